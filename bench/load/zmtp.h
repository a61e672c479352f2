/* ZMTP 3.0 (RFC 23), with the NULL mechanism, the part that a DEALER needs. CURVE: curve.h.
 *
 * Reading: zmtp_message finds the frames of the message at the front of some bytes, and copies
 * nothing; the frames point into those bytes. Writing: zmtp_put_* append to bytes.
 */
#ifndef BENCH_ZMTP_H
#define BENCH_ZMTP_H

#include <stdbool.h>

#include "bytes.h"

enum {
    ZMTP_GREETING_SIZE = 64,
    ZMTP_LONG_HEADER_SIZE = 9,
    ZMTP_FRAMES_MAX = 1025, /* of one message: more than a packet of the broker may have */
};

enum zmtp_flag { ZMTP_LAST = 0, ZMTP_MORE = 1, ZMTP_LONG = 2, ZMTP_COMMAND = 4 };

struct frame {
    const uint8_t *data;
    size_t size;
};

struct message {
    uint32_t n;     /* frames */
    bool command;   /* a single command frame */
    size_t need;    /* of an incomplete message: bytes it has at least */
    struct frame frames[ZMTP_FRAMES_MAX];
};

enum { ZMTP_INCOMPLETE = 0, ZMTP_BROKEN = -1 };

/* zmtp_message returns the size of the first message and fills `m`; or a reason not to. */
ptrdiff_t zmtp_message(const uint8_t *data, size_t size, struct message *m);

/* zmtp_frame returns the size of the first frame with its header, or 0 if it is cut. */
size_t zmtp_frame(const uint8_t *data, size_t size, uint8_t *flags, struct frame *frame);

/* zmtp_greeting_sound returns whether the 64 bytes are of a peer that we can talk to. */
bool zmtp_greeting_sound(const uint8_t *greeting);

void zmtp_put_greeting(struct bytes *out);
void zmtp_put_ready(struct bytes *out);
void zmtp_put_metadata(struct bytes *out);

/* zmtp_put_pong answers a PING; other commands are ignored. */
void zmtp_put_pong(struct bytes *out, const struct frame *command);

/* zmtp_put_header appends the header of a frame of `size` bytes. */
static inline void zmtp_put_header(struct bytes *out, uint8_t flags, size_t size) {
    uint8_t *at = bytes_reserve(out, ZMTP_LONG_HEADER_SIZE);
    if (size > 255) {
        uint64_t wire = __builtin_bswap64(size);
        at[0] = flags | ZMTP_LONG;
        memcpy(at + 1, &wire, sizeof wire);
        out->size += ZMTP_LONG_HEADER_SIZE;
        return;
    }
    at[0] = flags;
    at[1] = (uint8_t)size;
    out->size += 2;
}

static inline void zmtp_put_frame(struct bytes *out, uint8_t flags, const void *data, size_t size) {
    zmtp_put_header(out, flags, size);
    bytes_put(out, data, size);
}

static inline bool frame_is(const struct frame *frame, const char *text, size_t size) {
    return frame->size == size && memcmp(frame->data, text, size) == 0;
}

#endif
