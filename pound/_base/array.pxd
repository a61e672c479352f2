# Growing arrays: plain ones (array_room), and those that begin at a cache line, so that an entity
# of 64 bytes lies in one line (array_grow).
#
# An array of array_grow begins inside a block of malloc's; the block is what the owner frees.
# realloc grows both: a large block is remapped, not copied.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uintptr_t
from libc.stdlib cimport realloc
from libc.string cimport memmove, memset

cdef enum:
    LINE = 64                # bytes of a cache line, of most processors
    ARRAY_ROOM_MIN = 16      # elements that array_room makes room for at first


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


cdef inline int array_room(
    void **array, uint32_t *room, uint32_t index, size_t size
) noexcept nogil:
    """array_room grows a plain array of elements of `size` bytes to hold `index`: 0, or -1.

    New elements are zeroed. Without memory nothing changes.
    """
    cdef uint32_t wanted = room[0] if room[0] else ARRAY_ROOM_MIN
    cdef void *grown
    if index < room[0]:
        return 0
    while wanted <= index:
        wanted *= 2
    grown = realloc(array[0], wanted * size)
    if grown == NULL:
        return -1
    memset(<char *> grown + room[0] * size, 0, (wanted - room[0]) * size)
    array[0] = grown
    room[0] = wanted
    return 0
