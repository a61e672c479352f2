# Numbered entities: an array that grows by doubling, and a free list through its free entities.
#
# A number names an entity from pool_take to pool_give; numbers are given out last freed first,
# fresh ones counting up from 0. Pointers into the array are good until the next pool_take of the
# same pool: keep numbers, not pointers. Both operations are O(1) amortized; memory is never given
# back before the end. A taken entity is all zero. The first four bytes of a free one are the
# pool's.

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memset

cdef enum:
    NONE = 0xFFFFFFFF        # no number
    POOL_ROOM_MIN = 16


cdef struct pool_t:
    uint32_t size            # bytes of an entity
    uint32_t used            # entities that are taken
    uint32_t fresh           # numbers ever given out: the next fresh one
    uint32_t room            # entities that the array has room for
    uint32_t free            # the last freed one, or NONE


cdef inline void pool_init(pool_t *p, size_t size) noexcept nogil:
    memset(p, 0, sizeof(pool_t))
    p.size = <uint32_t> size
    p.free = NONE


cdef inline int pool_reserve(pool_t *p, void **array) noexcept nogil:
    """pool_reserve makes sure that the next pool_take succeeds; -1: no memory."""
    cdef size_t room
    cdef void *bigger
    if p.free != NONE or p.fresh < p.room:
        return 0
    room = 2 * <size_t> p.room if p.room else POOL_ROOM_MIN
    if room >= NONE:
        return -1
    bigger = realloc(array[0], room * p.size)
    if bigger == NULL:
        return -1
    array[0] = bigger
    p.room = <uint32_t> room
    return 0


cdef inline uint32_t pool_take(pool_t *p, void **array) noexcept nogil:
    """pool_take gives the number of a zeroed entity, or NONE when there is no memory."""
    cdef uint32_t number
    cdef uint8_t *entity
    if pool_reserve(p, array) < 0:
        return NONE
    number = p.free if p.free != NONE else p.fresh
    entity = <uint8_t *> array[0] + <size_t> number * p.size
    if p.free != NONE:
        p.free = (<uint32_t *> entity)[0]
    else:
        p.fresh += 1
    memset(entity, 0, p.size)
    p.used += 1
    return number


cdef inline void pool_give(pool_t *p, void **array, uint32_t number) noexcept nogil:
    """pool_give frees a number and zeroes its entity."""
    cdef uint8_t *entity = <uint8_t *> array[0] + <size_t> number * p.size
    memset(entity, 0, p.size)
    (<uint32_t *> entity)[0] = p.free
    p.free = number
    p.used -= 1
