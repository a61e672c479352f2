# Spares: small blocks of memory on their way from one use to the next.
#
# Every request and every answer needs a block for a few microseconds, far more of them at a time
# than malloc keeps at hand for a thread. A block that is given back is kept for the next taker of
# its size class, up to SPARES_MAX of a class; the rest, and larger ones, are malloc's.
#
# Invariant: a block is given back with the size that it was taken with.
# Cost:      O(1), two memory accesses; a class wastes at most SPARE_STEP - 1 bytes of a block.
# Memory:    the kept blocks are the owner's of the spares_t: at most 17 MiB, freed by spares_free.
#            With POUND_DEBUG nothing is kept, so that a sanitizer sees every use after free.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

from pound._array cimport fetch

cdef extern from "_check.h" nogil:
    int POUND_CHECKS

cdef enum:
    SPARE_STEP = 32          # bytes between two classes
    SPARE_CLASSES = 16       # so blocks of up to 512 bytes are kept
    SPARES_MAX = 4096


cdef struct spares_t:        # all zero: none are kept
    void *first[16]          # of each class; the blocks are chained by their first word
    uint32_t count[16]


# spare_take returns a block of `size` bytes, 1 and more; NULL: no memory.
cdef inline void *spare_take(spares_t *s, size_t size) noexcept nogil:
    cdef size_t number = (size - 1) // SPARE_STEP
    cdef void *block
    if number >= SPARE_CLASSES:
        return malloc(size)
    block = s.first[number]
    if block == NULL:
        return malloc((number + 1) * SPARE_STEP)
    s.first[number] = (<void **> block)[0]
    fetch(s.first[number])
    s.count[number] -= 1
    return block


cdef inline void spare_give(spares_t *s, void *block, size_t size) noexcept nogil:
    cdef size_t number = (size - 1) // SPARE_STEP
    if block == NULL or number >= SPARE_CLASSES or s.count[number] == SPARES_MAX or POUND_CHECKS:
        free(block)
        return
    (<void **> block)[0] = s.first[number]
    s.first[number] = block
    s.count[number] += 1


cdef inline void spares_free(spares_t *s) noexcept nogil:
    cdef void *block
    cdef int number
    for number in range(SPARE_CLASSES):
        while s.first[number] != NULL:
            block = s.first[number]
            s.first[number] = (<void **> block)[0]
            free(block)
        s.count[number] = 0
