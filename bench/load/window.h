/* The open requests of one client: when each was sent, by its id.
 *
 * Ids count up from 1. The ring has room for several windows, so that one slow answer does not
 * hold up the rest; only when it lags a whole ring behind does the client wait for it.
 * Invariant: every id below `done` is answered, `done` itself is not (or not yet sent).
 */
#ifndef BENCH_WINDOW_H
#define BENCH_WINDOW_H

#include "bytes.h"

struct window {
    uint64_t *sent_ns; /* by id & mask; 0 = answered or never sent */
    uint64_t mask;
    uint64_t next;     /* the id of the next request */
    uint64_t done;     /* the lowest id without an answer */
    uint32_t open;     /* requests without an answer */
};

static inline void window_init(struct window *w, uint32_t outstanding) {
    uint64_t size = 1024;
    while (size < 4 * (uint64_t)outstanding)
        size *= 2;
    *w = (struct window){must(calloc(size, sizeof(uint64_t))), size - 1, 1, 1, 0};
}

/* window_open returns the id of a new request, or 0 when the ring is full. */
static inline uint64_t window_open(struct window *w, uint64_t now_ns) {
    if (w->next - w->done > w->mask)
        return 0;
    w->sent_ns[w->next & w->mask] = now_ns;
    w->open++;
    return w->next++;
}

/* window_close returns when the request was sent, or 0 if it is not open. */
static inline uint64_t window_close(struct window *w, uint64_t id) {
    if (id < w->done || id >= w->next)
        return 0;
    uint64_t sent_ns = w->sent_ns[id & w->mask];
    if (!sent_ns)
        return 0;
    w->sent_ns[id & w->mask] = 0;
    w->open--;
    while (w->done < w->next && !w->sent_ns[w->done & w->mask])
        w->done++;
    return sent_ns;
}

#endif
