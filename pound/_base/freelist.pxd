# Spares: small blocks of memory on their way from one use to the next.
#
# Every request and every answer needs a block for a few microseconds, far more of them at a time
# than malloc keeps at hand for a thread. A block that is given back is kept for the next taker of
# its size class, up to SPARES_MAX of a class; the rest, and larger ones, are malloc's.
#
# Invariant: a block is given back with the size that it was taken with, and is not NULL.
# Cost:      O(1), and the block is not touched: who gives it back may have it in no near cache.
#            A class wastes at most SPARE_STEP - 1 bytes of a block.
# Memory:    the kept blocks are the owner's of the spares_t: at most 17 MiB, and 512 KiB for the
#            arrays that name them, freed by spares_free. With POUND_DEBUG nothing is kept, so that
#            a sanitizer sees every use after free.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .array cimport LINE
from .check cimport POUND_CHECKS
from .hints cimport fetch, unlikely

cdef enum:
    SPARE_STEP = 32          # bytes between two classes
    SPARE_CLASSES = 16       # so blocks of up to 512 bytes are kept
    SPARES_MAX = 4096
    SPARES_AHEAD = 6         # a block is fetched so many takes before its own


cdef struct spares_t:        # all zero: none are kept
    void **kept[16]          # of each class, SPARES_MAX places; owned, NULL until the first
    uint32_t count[16]


# spare_take returns a block of `size` bytes, 1 and more; NULL: no memory.
cdef inline void *spare_take(spares_t *s, size_t size) noexcept nogil:
    cdef size_t number = (size - 1) // SPARE_STEP
    cdef uint32_t count
    if number >= SPARE_CLASSES:
        return malloc(size)
    count = s.count[number]
    if unlikely(count == 0):
        return malloc((number + 1) * SPARE_STEP)
    s.count[number] = count - 1
    if count > SPARES_AHEAD:
        fetch(s.kept[number][count - 1 - SPARES_AHEAD])
        fetch(<char *> s.kept[number][count - 1 - SPARES_AHEAD] + LINE)
    return s.kept[number][count - 1]


# spare_room makes sure that a class has places; 0: it has none for another block.
cdef inline bint spare_room(spares_t *s, size_t number) noexcept nogil:
    if unlikely(s.kept[number] == NULL):
        s.kept[number] = <void **> malloc(SPARES_MAX * sizeof(void *))
    return s.kept[number] != NULL and s.count[number] < SPARES_MAX


cdef inline void spare_give(spares_t *s, void *block, size_t size) noexcept nogil:
    cdef size_t number = (size - 1) // SPARE_STEP
    if number >= SPARE_CLASSES or POUND_CHECKS or not spare_room(s, number):
        free(block)
        return
    s.kept[number][s.count[number]] = block
    s.count[number] += 1


cdef inline void spares_free(spares_t *s) noexcept nogil:
    cdef int number
    cdef uint32_t i
    for number in range(SPARE_CLASSES):
        for i in range(s.count[number]):
            free(s.kept[number][i])
        free(s.kept[number])
    memset(s, 0, sizeof(spares_t))
