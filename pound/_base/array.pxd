# Growing arrays that begin at a cache line, so that an entity of 64 bytes lies in one line.
#
# The array begins inside a block of malloc's; the block is what the owner frees. realloc grows it:
# a large block is remapped, not copied.

from libc.stddef cimport size_t
from libc.stdint cimport uintptr_t
from libc.stdlib cimport realloc
from libc.string cimport memmove

cdef enum:
    LINE = 64                # bytes of a cache line, of most processors


cdef inline int array_grow(
    void **array, void **block, size_t used, size_t wanted
) noexcept nogil:
    """array_grow makes room for `wanted` bytes and keeps the first `used`; -1: no memory."""
    cdef size_t before = <uintptr_t> array[0] - <uintptr_t> block[0]
    cdef char *grown = <char *> realloc(block[0], wanted + LINE - 1)
    cdef size_t after
    if grown == NULL:
        return -1
    after = -<uintptr_t> grown % LINE
    if after != before:
        memmove(grown + after, grown + before, used)
    block[0] = grown
    array[0] = grown + after
    return 0
