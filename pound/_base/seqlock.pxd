# Counters published to other threads, and commands taken from them, without a lock (seqlock.h).

from libc.stdint cimport uint64_t, uint8_t

cdef extern from "pound/_base/seqlock.h" nogil:
    void seqlock_begin(uint64_t *sequence)
    void seqlock_end(uint64_t *sequence)
    int seqlock_read(uint64_t *sequence, void *to, const void *source, size_t size)
    void command_give(uint8_t *command, uint8_t value)
    uint8_t command_take(uint8_t *command)
