# The ids of cancelled requests: sent to the broker once, and again on each WELCOME, since a CANCEL
# may be lost with its connection, until the broker's answer has come.
#
# ids[head..sent) were sent, ids[sent..tail) are to be sent; 0 stands where an answer has come.
# Invariant: head <= sent <= tail <= room; at most CANCELS_MAX sent ids are remembered.
# Cost:      amortized O(1); an answer that comes out of turn is searched among those remembered.
# Memory:    one array, owned, that doubles and never shrinks.

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

cdef enum:
    CANCELS_MAX = 4096       # sent ids
    CANCELS_ROOM_MIN = 64


cdef struct cancels_t:       # all zero: none
    uint64_t *ids            # owned
    uint32_t head
    uint32_t sent
    uint32_t tail
    uint32_t room


cdef inline int cancels_reserve(cancels_t *c) noexcept nogil:
    """cancels_reserve makes room for one more; -1: no memory."""
    cdef uint32_t room
    cdef void *bigger
    if c.tail < c.room:
        return 0
    if c.head > c.room // 2:
        memmove(c.ids, c.ids + c.head, (c.tail - c.head) * sizeof(uint64_t))
        c.sent -= c.head
        c.tail -= c.head
        c.head = 0
        return 0
    room = 2 * c.room if c.room else CANCELS_ROOM_MIN
    bigger = realloc(c.ids, room * sizeof(uint64_t))
    if bigger == NULL:
        return -1
    c.ids = <uint64_t *> bigger
    c.room = room
    return 0


cdef inline void cancels_add(cancels_t *c, uint64_t id) noexcept nogil:
    """cancels_add has a CANCEL sent; without memory it is not, and the answer is dropped."""
    if cancels_reserve(c) == 0:
        c.ids[c.tail] = id
        c.tail += 1


cdef inline uint64_t cancels_next(cancels_t *c) noexcept nogil:
    """cancels_next gives the next id to be sent, which then counts as sent; 0: none is left."""
    cdef uint64_t id = 0
    while c.sent < c.tail and id == 0:
        id = c.ids[c.sent]
        c.sent += 1
    while c.head < c.sent and (c.ids[c.head] == 0 or c.sent - c.head > CANCELS_MAX):
        c.head += 1
    return id


cdef inline void cancels_again(cancels_t *c) noexcept nogil:
    """cancels_again has every remembered CANCEL sent once more."""
    c.sent = c.head


cdef inline void cancels_heard(cancels_t *c, uint64_t id) noexcept nogil:
    """cancels_heard forgets an id that the broker has answered, if it is one of them."""
    cdef uint32_t i
    for i in range(c.head, c.tail):
        if c.ids[i] == id:
            c.ids[i] = 0
            break
    while c.head < c.sent and c.ids[c.head] == 0:
        c.head += 1


cdef inline void cancels_free(cancels_t *c) noexcept nogil:
    free(c.ids)
    memset(c, 0, sizeof(cancels_t))
