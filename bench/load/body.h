/* The bodies of a run: all of one size, 8 bytes of tag and a pattern that is the same in each.
 *
 * The tag tells which request of which client a body belongs to. Bodies below BODY_SHARED_MIN
 * are copied, larger ones are written from the one pattern (out.h) and, when they come in, looked
 * at in samples: comparing a megabyte would cost more than moving it.
 */
#ifndef BENCH_BODY_H
#define BENCH_BODY_H

#include "out.h"

enum {
    BODY_TAG_SIZE = 8,
    BODY_SHARED_MIN = 16 * 1024,
    BODY_SAMPLE = 64,              /* bytes compared at each end of a large body */
};

struct body {
    size_t size;
    uint8_t *pattern;   /* size - BODY_TAG_SIZE bytes */
    struct iovec tail;  /* the pattern, for out_write */
};

void body_init(struct body *body, size_t size);
void body_free(struct body *body);

/* body_put appends the body with this tag. */
void body_put(const struct body *body, struct out *out, uint64_t tag);

/* body_sound returns whether the bytes are a body of this run, and its tag. */
bool body_sound(const struct body *body, const uint8_t *data, size_t size, uint64_t *tag);

/* body_echo appends a received body as it is: false, and nothing appended, if it is not sound. */
bool body_echo(const struct body *body, struct out *out, const uint8_t *data, size_t size);

#endif
