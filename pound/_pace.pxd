# A client's pace: how many requests of a service it has with a broker that refused some.
#
# A client may have far more to ask than the broker takes. Were all of it sent, the broker would
# refuse it again and again, and do little else. A refusal as busy says: no more of this service
# than there are now. From then on one is sent when another has ended; in time more are tried, until
# the broker takes all that come. What may not be sent yet is *parked* in a queue of its service's
# own, where it holds up no others.
#
# Services are told apart by their names' hash: of PACE_ROWS, two that meet share a pace.
# Invariant: `open` counts the row's requests that are with the broker.
# Cost:      O(1) a request; a refused one costs the broker one message in each PACE_MORE_NS or so.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._pool cimport NONE

cdef enum:
    PACE_ROWS = 64                # bits of a mask
    PACE_MORE = 64                # requests more that are tried at least; else an eighth
    PACE_MORE_NS = 1000000000     # until more are tried again


cdef struct pace_t:
    uint32_t open
    uint32_t most                 # that may be open; NONE: as many as come
    int64_t until                 # when more are tried


cdef inline uint8_t pace_row(const uint8_t *name, uint32_t size) noexcept nogil:
    """pace_row gives the row of a service."""
    cdef uint64_t hash = 14695981039346656037ULL
    cdef uint32_t i
    for i in range(size):
        hash = (hash ^ name[i]) * 1099511628211ULL
    return <uint8_t> ((hash ^ hash >> 32) % PACE_ROWS)


cdef inline bint pace_takes(const pace_t *pace) noexcept nogil:
    """pace_takes tells whether one more may be sent."""
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
