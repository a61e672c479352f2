/* PND/1 (docs/protocol.md) as it lies in memory, as far as zmq_floor.c speaks it: little-endian, as
 * bytes.h demands of the machine, and unaligned. */
#ifndef BENCH_PND_H
#define BENCH_PND_H

#include <stdint.h>

#define WIRE __attribute__((packed, may_alias))

enum { REQUEST = 1, REPLY = 3, ERROR = 5, READY = 7, TASK = 8, HEARTBEAT = 9, WELCOME = 12 };
enum { ATTACHED = 1, RETRY = 4 }; /* flags */
enum { UNIMPLEMENTED = 12 };      /* an error code */
enum { RECORDS_MAX = 65535, MAGIC_SIZE = 4, EPOCH_SIZE = 16, KEY_SIZE = 16 };

struct WIRE packet {
    uint8_t magic[MAGIC_SIZE];
    uint16_t records, reserved;
    uint8_t epoch[EPOCH_SIZE]; /* a peer's session, when it comes from there */
    uint64_t done;
};

struct WIRE record {
    uint32_t size;             /* of all that is the record's */
    uint8_t kind, flags;
    uint16_t parts;
    uint64_t id;
};

struct WIRE task { /* and a REQUEST, where the attempt is a reserved 0 */
    struct record record;
    uint32_t timeout_ms;
    uint8_t priority, attempt;
    uint16_t name_size;
    uint8_t key[KEY_SIZE];
};

struct WIRE ready {
    struct record record;
    uint32_t capacity, tokens_n, features;
    uint8_t epoch[EPOCH_SIZE]; /* of the tokens, which follow */
};

struct WIRE welcome {
    struct record record;
    uint32_t heartbeat_ms, liveness, body_max, packet_max, frames_max, requests_max, features;
};

struct WIRE error {
    struct record record;
    uint16_t code, reserved;
    uint32_t retry_after_ms;
    uint32_t text_size;        /* of the body's one part, which follows */
};

#endif
