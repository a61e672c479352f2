# Free lists of small blocks of memory, by size class.
#
# Every request and every answer needs a block for a few microseconds, more of them at a time than
# malloc caches for a thread. A returned block is kept for the next caller of its size class, up to
# FREELIST_MAX of a class; the rest, and larger blocks, go back to malloc.
#
# Invariant: a block is returned with the size that it was taken with, and is not NULL.
# Cost:      O(1), without touching the block, which may lie in no near cache. A class wastes at
#            most FREELIST_STEP - 1 bytes of a block.
# Memory:    the free lists own the kept blocks: at most 17 MiB, and 512 KiB for the arrays that
#            name them, freed by freelist_free. With POUND_DEBUG nothing is kept, so that a
#            sanitizer sees every use after free.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .array cimport LINE
from .check cimport POUND_CHECKS
from .hints cimport fetch, unlikely

cdef enum:
    FREELIST_STEP = 32          # bytes between two classes
    FREELIST_CLASSES = 16       # so blocks of up to 512 bytes are kept
    FREELIST_MAX = 4096
    FREELIST_AHEAD = 6         # a block is prefetched this many takes before its own


cdef struct freelist_t:        # all zero: none are kept
    void **kept[16]          # of each class, FREELIST_MAX places; owned, NULL until the first
    uint32_t count[16]


# freelist_take returns a block of `size` bytes, 1 and more; NULL: no memory.
cdef inline void *freelist_take(freelist_t *s, size_t size) noexcept nogil:
    cdef size_t number = (size - 1) // FREELIST_STEP
    cdef uint32_t count
    if number >= FREELIST_CLASSES:
        return malloc(size)
    count = s.count[number]
    if unlikely(count == 0):
        return malloc((number + 1) * FREELIST_STEP)
    s.count[number] = count - 1
    if count > FREELIST_AHEAD:
        fetch(s.kept[number][count - 1 - FREELIST_AHEAD])
        fetch(<char *> s.kept[number][count - 1 - FREELIST_AHEAD] + LINE)
    return s.kept[number][count - 1]


# freelist_room allocates the places of a class; 0: there is no place for another block.
cdef inline bint freelist_room(freelist_t *s, size_t number) noexcept nogil:
    if unlikely(s.kept[number] == NULL):
        s.kept[number] = <void **> malloc(FREELIST_MAX * sizeof(void *))
    return s.kept[number] != NULL and s.count[number] < FREELIST_MAX


cdef inline void freelist_give(freelist_t *s, void *block, size_t size) noexcept nogil:
    cdef size_t number = (size - 1) // FREELIST_STEP
    if number >= FREELIST_CLASSES or POUND_CHECKS or not freelist_room(s, number):
        free(block)
        return
    s.kept[number][s.count[number]] = block
    s.count[number] += 1


cdef inline void freelist_free(freelist_t *s) noexcept nogil:
    cdef int number
    cdef uint32_t i
    for number in range(FREELIST_CLASSES):
        for i in range(s.count[number]):
            free(s.kept[number][i])
        free(s.kept[number])
    memset(s, 0, sizeof(freelist_t))
