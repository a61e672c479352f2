# Numbered entities: an array that doubles, with a free list through its free entities.
#
# A number names an entity from pool_take to pool_give. The number freed last is taken first; fresh
# ones count up from 0. Pointers into the array are valid until the next pool_take of the same pool:
# keep numbers, not pointers. Both operations are amortised O(1); memory is freed only by pool_free.
# A taken entity is all zero; so is a free one, except for its first four bytes, which belong to the
# pool. The size of an entity is an argument of each call: as a constant there, it lets the compiler
# clear the entity in few instructions.

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memset

from .array cimport array_grow
from .check cimport CHECK, POUND_CHECKS
from .hints cimport fetch, unlikely

cdef enum:
    NONE = 0xFFFFFFFF        # no number
    POOL_ROOM_MIN = 16


cdef struct pool_t:
    void *block              # owned: what the array lies in
    uint32_t used            # entities that are taken
    uint32_t fresh           # numbers ever given out: the next fresh one
    uint32_t room            # entities that the array has room for
    uint32_t free            # the last freed one, or NONE


cdef inline void pool_init(pool_t *p) noexcept nogil:
    memset(p, 0, sizeof(pool_t))
    p.free = NONE


cdef inline void pool_free(pool_t *p) noexcept nogil:
    """pool_free frees the array."""
    free(p.block)
    pool_init(p)


cdef inline int pool_reserve(pool_t *p, void **array, size_t size) noexcept nogil:
    """pool_reserve makes sure that the next pool_take succeeds; -1: no memory."""
    cdef size_t room
    if p.free != NONE or p.fresh < p.room:
        return 0
    room = 2 * <size_t> p.room if p.room else POOL_ROOM_MIN
    if room >= NONE:
        return -1
    if array_grow(array, &p.block, p.room * size, room * size) < 0:
        return -1
    p.room = <uint32_t> room
    return 0


cdef inline bint pool_clear(const uint8_t *entity, size_t size) noexcept nogil:
    """pool_clear returns whether an entity is all zero."""
    cdef size_t i
    for i in range(size):
        if entity[i]:
            return False
    return True


cdef inline uint32_t pool_take_fresh(pool_t *p, void **array, size_t size) noexcept nogil:
    """pool_take_fresh is the rare part of pool_take: no number has been freed."""
    if pool_reserve(p, array, size) < 0:
        return NONE
    memset(<uint8_t *> array[0] + p.fresh * size, 0, size)
    p.fresh += 1
    p.used += 1
    return p.fresh - 1


cdef inline uint32_t pool_take(pool_t *p, void **array, size_t size) noexcept nogil:
    """pool_take returns the number of a zeroed entity, or NONE when there is no memory."""
    cdef uint32_t number = p.free
    cdef uint8_t *entity
    if unlikely(number == NONE):
        return pool_take_fresh(p, array, size)
    entity = <uint8_t *> array[0] + number * size
    p.free = (<uint32_t *> entity)[0]
    (<uint32_t *> entity)[0] = 0
    if POUND_CHECKS:
        CHECK(pool_clear(entity, size), "entity %u was written to when it was free", number)
    fetch(<uint8_t *> array[0] + p.free * size)
    p.used += 1
    return number


cdef inline void pool_give(pool_t *p, void **array, size_t size, uint32_t number) noexcept nogil:
    """pool_give frees a number and zeroes its entity."""
    cdef uint8_t *entity = <uint8_t *> array[0] + number * size
    memset(entity, 0, size)
    (<uint32_t *> entity)[0] = p.free
    p.free = number
    p.used -= 1
