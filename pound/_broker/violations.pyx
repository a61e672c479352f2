"""Malformed messages, counted against their routes (see violations.pxd for the rules)."""

from libc.stdint cimport int64_t, uint16_t, uint64_t, uint8_t
from libc.string cimport memset, strlen

from pound._wire.dialects cimport (
    DIALECT_BARE, DIALECT_MDP1, DIALECT_MDP2, DIALECT_PLAIN, DIALECT_PND, DIALECT_PPP)
from .kinds cimport (
    C_BAD_MDP1, C_BAD_MDP2, C_BAD_MESSAGES, C_BAD_PLAIN, C_BAD_PND, C_BAD_PPP, C_STRUCK_ROUTES,
    LOG_BAD_MESSAGE, LOG_ROUTE_STRUCK)
from .peers cimport log_event, log_reason, peer_address
from .state cimport STRIKES_MAX, broker_t, peer_t, route_t

cdef void strike(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil:
    cdef uint64_t reason = log_reason(<const uint8_t *> why, strlen(why))
    cdef bint another = reason != route.struck_for
    b.counters[C_BAD_MESSAGES] += 1
    if dialect == DIALECT_PND:
        b.counters[C_BAD_PND] += 1
    elif dialect == DIALECT_PLAIN or dialect == DIALECT_BARE:
        b.counters[C_BAD_PLAIN] += 1
    elif dialect == DIALECT_PPP:
        b.counters[C_BAD_PPP] += 1
    elif dialect == DIALECT_MDP1:
        b.counters[C_BAD_MDP1] += 1
    elif dialect == DIALECT_MDP2:
        b.counters[C_BAD_MDP2] += 1
    route.struck_for = reason
    route.strikes = strikes_left(b, route) + 1
    route.struck_at = b.now
    if route.hop and route.strikes >= STRIKES_MAX:
        route.strikes = STRIKES_MAX - 1
    if route.strikes >= STRIKES_MAX:
        strike_off(b, route, dialect, why)
    elif route.strikes == 1 or another:
        strike_log(b, route, LOG_BAD_MESSAGE, dialect, why)


cdef void strike_off(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil:
    if route.struck:
        return
    route.struck = 1
    b.counters[C_STRUCK_ROUTES] += 1
    strike_log(b, route, LOG_ROUTE_STRUCK, dialect, why)


cdef void strike_log(
        broker_t *b, route_t *route, uint8_t kind, uint8_t dialect, const char *why
        ) noexcept nogil:
    """Log a bad message; a route that has no peer yet is known by its address."""
    cdef peer_t stranger
    cdef peer_t *peer = route.peer
    if peer == NULL:
        memset(&stranger, 0, sizeof(peer_t))
        peer = &stranger
        peer_address(b, peer)
    log_event(b, kind, peer, <const uint8_t *> why, strlen(why), dialect, 0)


cdef uint16_t strikes_left(broker_t *b, route_t *route) noexcept nogil:
    cdef int64_t seconds = (b.now - route.struck_at) // 1_000_000_000
    if route.deaf:
        return STRIKES_MAX
    return <uint16_t> (route.strikes - seconds) if seconds < route.strikes else 0
