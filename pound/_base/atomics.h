/* Data that threads share without a lock: counters, random numbers, lists of buffers to be released.
 *
 * Any thread may drop the last reference to a Python buffer that a message shares, libzmq's threads
 * among them, but only a thread with the GIL can release it. So that thread pushes the buffer on a
 * list with one compare-and-swap; a thread that holds the GIL takes the whole list. A list that is
 * only taken whole has no ABA problem.
 */
#ifndef POUND_MAIL_H
#define POUND_MAIL_H

#include <stdint.h>

typedef struct pound_shared_t {
    struct pound_shared_t *next;
} pound_shared_t;

static inline void shared_push(pound_shared_t **list, pound_shared_t *item) {
    item->next = __atomic_load_n(list, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(list, &item->next, item, 1, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED)) {
    }
}

static inline pound_shared_t *shared_take(pound_shared_t **list) {
    if (__atomic_load_n(list, __ATOMIC_RELAXED) == 0) {
        return 0;
    }
    return __atomic_exchange_n(list, (pound_shared_t *)0, __ATOMIC_ACQUIRE);
}

static inline void count_add(int64_t *count, int64_t change) {
    __atomic_fetch_add(count, change, __ATOMIC_RELAXED);
}

static inline int64_t count_read(int64_t *count) {
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

/* ringing_* keep a mailbox from being freed while a thread still wakes its reader. */
static inline void ringing_begin(uint32_t *ringing) {
    __atomic_fetch_add(ringing, 1, __ATOMIC_RELAXED);
}

static inline void ringing_end(uint32_t *ringing) {
    __atomic_fetch_sub(ringing, 1, __ATOMIC_RELEASE);
}

static inline uint32_t ringing_read(uint32_t *ringing) {
    return __atomic_load_n(ringing, __ATOMIC_ACQUIRE);
}

/* draw returns a pseudorandom number (SplitMix64); any thread may call it. */
static inline uint64_t draw(uint64_t *state) {
    uint64_t x = __atomic_add_fetch(state, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
