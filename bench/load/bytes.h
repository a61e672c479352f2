/* A growing run of bytes, and little-endian integers in it.
 *
 * The struct owns its memory; a pointer into it is good until the next call that may grow it.
 * Appending costs amortised O(1), taking from the front O(rest). Running out of memory ends the
 * program: a load generator has nobody to apologise to.
 */
#ifndef BENCH_BYTES_H
#define BENCH_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers are copied as they lie");

struct bytes {
    uint8_t *data;
    size_t size; /* bytes in use */
    size_t room; /* bytes allocated */
};

/* must returns `memory`, or ends the program when there is none. */
static inline void *must(void *memory) {
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

/* bytes_reserve returns the end of the bytes, with room for `more` behind it. */
static inline uint8_t *bytes_reserve(struct bytes *b, size_t more) {
    if (b->room - b->size < more) {
        size_t room = b->room ? b->room : 256;
        while (room - b->size < more)
            room *= 2;
        b->data = must(realloc(b->data, room));
        b->room = room;
    }
    return b->data + b->size;
}

static inline void bytes_put(struct bytes *b, const void *data, size_t size) {
    memcpy(bytes_reserve(b, size), data, size);
    b->size += size;
}

/* bytes_drop takes `size` bytes from the front. */
static inline void bytes_drop(struct bytes *b, size_t size) {
    b->size -= size;
    memmove(b->data, b->data + size, b->size);
}

static inline void bytes_free(struct bytes *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

static inline void put_u8(struct bytes *b, uint8_t value) { bytes_put(b, &value, 1); }
static inline void put_u16(struct bytes *b, uint16_t value) { bytes_put(b, &value, 2); }
static inline void put_u32(struct bytes *b, uint32_t value) { bytes_put(b, &value, 4); }
static inline void put_u64(struct bytes *b, uint64_t value) { bytes_put(b, &value, 8); }

static inline uint16_t get_u16(const uint8_t *data) {
    uint16_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

static inline uint32_t get_u32(const uint8_t *data) {
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

static inline uint64_t get_u64(const uint8_t *data) {
    uint64_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

#endif
