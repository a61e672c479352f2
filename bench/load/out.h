/* What waits to be written to one connection: small bytes, and at marked places a *tail*.
 *
 * All large bodies of a run end in the same bytes, the tail, which is kept once for the whole
 * program: a mark costs a word where a copy would cost a megabyte. out_write hands everything to
 * the kernel in as few calls as it takes.
 */
#ifndef BENCH_OUT_H
#define BENCH_OUT_H

#include <stdbool.h>
#include <sys/uio.h>

#include "bytes.h"

struct out {
    struct bytes bytes;
    size_t sent;      /* of bytes: already with the kernel */
    size_t *marks;    /* offsets in bytes, increasing: here the tail goes in */
    uint32_t marks_n;
    uint32_t marks_room;
    uint32_t marks_done;
    size_t tail_sent; /* of the tail at marks[marks_done] */
};

enum out_state { OUT_DONE, OUT_BLOCKED, OUT_FAILED };

/* out_mark puts the tail after what was appended so far. */
void out_mark(struct out *out);

/* out_write writes until nothing is left or the kernel takes no more. */
enum out_state out_write(struct out *out, int fd, const struct iovec *tail);

void out_free(struct out *out);

static inline bool out_empty(const struct out *out) { return out->bytes.size == 0; }

#endif
