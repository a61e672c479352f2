# A growable run of bytes, into which packets are written.
#
# Holds:     `size` bytes in use of `room` bytes allocated at `data`.
# Invariant: size <= room; data is NULL exactly when room is 0.
# Cost:      extending is amortised O(1) per byte (room doubles); emptying keeps the room.
# Memory:    malloc'd, owned by the owner of the struct, freed by buffer_free; a zeroed struct is an
#            empty buffer. buffer_extend invalidates every pointer into it.

from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX, uint8_t
from libc.stdlib cimport free, realloc

from .hints cimport unlikely

cdef enum:
    BUFFER_ROOM_MIN = 1024  # bytes; the first allocation, so that small packets need only one


cdef struct buffer_t:
    uint8_t *data  # malloc'd, owned
    size_t size    # bytes in use
    size_t room    # bytes allocated


# buffer_grow makes room for `more` bytes: 0, or -1 when there is no memory (nothing changes).
cdef inline int buffer_grow(buffer_t *b, size_t more) noexcept nogil:
    cdef size_t room = b.room if b.room else BUFFER_ROOM_MIN
    cdef uint8_t *data
    if more > SIZE_MAX / 2 - b.size:
        return -1
    while room < b.size + more:
        room *= 2
    data = <uint8_t *>realloc(b.data, room)
    if data == NULL:
        return -1
    b.data = data
    b.room = room
    return 0


# buffer_extend adds `more` bytes of undefined content and returns the first of them;
# NULL: no memory, the buffer is unchanged.
cdef inline uint8_t *buffer_extend(buffer_t *b, size_t more) noexcept nogil:
    cdef uint8_t *at
    if unlikely(more > b.room - b.size or b.data == NULL):
        if buffer_grow(b, more) != 0:
            return NULL
    at = b.data + b.size
    b.size += more
    return at


# buffer_free frees the memory and leaves an empty buffer, ready for use.
cdef inline void buffer_free(buffer_t *b) noexcept nogil:
    free(b.data)
    b.data = NULL
    b.size = 0
    b.room = 0
