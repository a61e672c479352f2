/* One writer publishes an array of counters; any thread reads a consistent copy of it.
 *
 * The sequence is odd while the writer writes. A reader that sees it odd, or sees it change, reads
 * again. No thread waits for a lock.
 */
#ifndef POUND_SEQLOCK_H
#define POUND_SEQLOCK_H

#include <stdint.h>
#include <string.h>

static inline void seqlock_begin(uint64_t *sequence) {
    __atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void seqlock_end(uint64_t *sequence) {
    __atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELEASE);
}

/* seqlock_read copies `size` bytes: 1, or 0 if the writer was writing: try again. */
static inline int seqlock_read(uint64_t *sequence, void *to, const void *from, size_t size) {
    uint64_t before = __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
    memcpy(to, from, size);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return !(before & 1) && __atomic_load_n(sequence, __ATOMIC_RELAXED) == before;
}

static inline void command_give(uint8_t *command, uint8_t value) {
    __atomic_store_n(command, value, __ATOMIC_RELEASE);
}

static inline uint8_t command_take(uint8_t *command) {
    return __atomic_exchange_n(command, 0, __ATOMIC_ACQUIRE);
}

#endif
