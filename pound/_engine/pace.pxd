# A client's pace: how many requests of a service it has with a broker that refused some.
#
# A client may have far more to ask than the broker takes. Were all of it sent, the broker would
# refuse it again and again, and do little else. A refusal as busy says: no more of this service
# than there are now. From then on one is sent when another has ended; in time more are tried, until
# the broker takes all that come. What may not be sent yet is *parked* in a queue of its service's
# own, where it holds up no others.
#
# Services are known by the hash of their names, and a row belongs to one of them while it has
# requests. Only where a client asks for some dozens at the same time may two share a row.
# Invariant: `open` counts the row's requests that are with the broker, `users` all of them.
# Cost:      O(1) a request; a refused one costs the broker one message in each PACE_MORE_NS or so.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._base.pool cimport NONE

cdef enum:
    PACE_ROWS = 64                # bits of a mask
    PACE_TRIED = 16               # rows that are looked at for a service
    PACE_MORE = 64                # requests more that are tried at least; else an eighth
    PACE_MORE_NS = 1000000000     # until more are tried again


cdef struct pace_t:
    uint64_t name                 # hash of its service's
    uint32_t users                # requests, wherever they are
    uint32_t open
    uint32_t most                 # that may be open; NONE: as many as come
    int64_t until                 # when more are tried


cdef inline uint64_t pace_name(const uint8_t *name, uint32_t size) noexcept nogil:
    """pace_name gives the hash (FNV-1a) of a service's name."""
    cdef uint64_t hash = 14695981039346656037ULL
    cdef uint32_t i
    for i in range(size):
        hash = (hash ^ name[i]) * 1099511628211ULL
    return hash ^ hash >> 32


cdef inline uint8_t pace_find(const pace_t *paces, uint64_t name) noexcept nogil:
    """pace_find gives the row that is a service's, else one that is nobody's, else a shared one."""
    cdef uint8_t first = <uint8_t> (name % PACE_ROWS)
    cdef uint8_t nobodys = PACE_ROWS
    cdef uint8_t row, i
    for i in range(PACE_TRIED):
        row = (first + i) % PACE_ROWS
        if paces[row].name == name:
            return row
        if nobodys == PACE_ROWS and paces[row].users == 0:
            nobodys = row
    return first if nobodys == PACE_ROWS else nobodys


cdef inline bint pace_takes(const pace_t *pace) noexcept nogil:
    """pace_takes says whether one more may be sent."""
    return pace.open < pace.most


cdef inline void pace_refused(pace_t *pace, int64_t until) noexcept nogil:
    """pace_refused notes that the broker takes no more than are open; more are tried then."""
    pace.most = pace.open
    pace.until = until


cdef inline void pace_more(pace_t *pace, int64_t now, uint32_t window) noexcept nogil:
    """pace_more allows more, if it is time, of at most `window` of all services."""
    if now < pace.until:
        return
    pace.most += max(pace.most // 8, <uint32_t> PACE_MORE)
    pace.until = now + PACE_MORE_NS
    if pace.most >= window:
        pace.most = NONE
