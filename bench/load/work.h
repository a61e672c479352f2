/* Tasks that take time: a heap by when each is finished.
 *
 * A worker works on all of its tasks at once. How long one takes is drawn evenly from half of the
 * mean to one and a half, from a fixed seed, so that workers don't fall in step with each other.
 * Adding and taking cost O(log n).
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include "bytes.h"

struct peer;

struct piece {
    uint64_t due_ns;
    struct peer *worker;
    uint64_t token, tag;
};

struct work {
    struct piece *pieces; /* a binary heap */
    uint32_t n, room;
    uint64_t random;
};

/* work_ns returns how long the next task takes. */
static inline uint64_t work_ns(struct work *w, uint64_t mean_ns) {
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return mean_ns / 2 + mean_ns * (w->random >> 44) / (1 << 20);
}

static inline void work_add(struct work *w, struct piece piece) {
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 1024;
        w->pieces = must(realloc(w->pieces, w->room * sizeof *w->pieces));
    }
    uint32_t i = w->n++;
    for (; i && w->pieces[(i - 1) / 2].due_ns > piece.due_ns; i = (i - 1) / 2)
        w->pieces[i] = w->pieces[(i - 1) / 2];
    w->pieces[i] = piece;
}

/* work_take removes the piece that is finished first; there is one. */
static inline struct piece work_take(struct work *w) {
    struct piece first = w->pieces[0], last = w->pieces[--w->n];
    uint32_t i = 0, child;
    while ((child = 2 * i + 1) < w->n) {
        child += child + 1 < w->n && w->pieces[child + 1].due_ns < w->pieces[child].due_ns;
        if (last.due_ns <= w->pieces[child].due_ns)
            break;
        w->pieces[i] = w->pieces[child];
        i = child;
    }
    w->pieces[i] = last;
    return first;
}

#endif
