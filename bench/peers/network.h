/* Integers in network byte order, for the protocols that use it. */
#ifndef BENCH_NETWORK_H
#define BENCH_NETWORK_H

#include "bytes.h"

static inline void put_be16(struct bytes *b, uint16_t v) { put_u16(b, __builtin_bswap16(v)); }
static inline void put_be32(struct bytes *b, uint32_t v) { put_u32(b, __builtin_bswap32(v)); }
static inline void put_be64(struct bytes *b, uint64_t v) { put_u64(b, __builtin_bswap64(v)); }

static inline uint16_t get_be16(const uint8_t *data) { return __builtin_bswap16(get_u16(data)); }
static inline uint32_t get_be32(const uint8_t *data) { return __builtin_bswap32(get_u32(data)); }
static inline uint64_t get_be64(const uint8_t *data) { return __builtin_bswap64(get_u64(data)); }

#endif
