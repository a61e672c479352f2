"""Malformed messages, counted against their routes (see violations.pxd for the rules)."""

from libc.stdint cimport int64_t, uint16_t, uint64_t, uint8_t
from libc.string cimport memset, strlen

from pound._wire.dialects cimport (
    DIALECT_BARE, DIALECT_MDP1, DIALECT_MDP2, DIALECT_PLAIN, DIALECT_PND, DIALECT_PPP)
from .kinds cimport (
    C_BAD_MDP1, C_BAD_MDP2, C_BAD_MESSAGES, C_BAD_PLAIN, C_BAD_PND, C_BAD_PPP, C_IGNORED_ROUTES,
    LOG_BAD_MESSAGE, LOG_ROUTE_IGNORED)
from .log_events cimport log_event, log_reason
from .peers cimport peer_address
from .state cimport VIOLATIONS_MAX, broker_t, peer_t, route_t

cdef void violation(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil:
    cdef uint64_t reason = log_reason(<const uint8_t *> why, strlen(why))
    cdef bint another = reason != route.violation_reason
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
    route.violation_reason = reason
    route.violations = violations_left(b, route) + 1
    route.violated_at = b.now
    if route.hop and route.violations >= VIOLATIONS_MAX:
        route.violations = VIOLATIONS_MAX - 1
    if route.violations >= VIOLATIONS_MAX:
        ignore_route(b, route, dialect, why)
    elif route.violations == 1 or another:
        violation_log(b, route, LOG_BAD_MESSAGE, dialect, why)


cdef void ignore_route(
        broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil:
    if route.ignored:
        return
    route.ignored = 1
    b.counters[C_IGNORED_ROUTES] += 1
    violation_log(b, route, LOG_ROUTE_IGNORED, dialect, why)


cdef void violation_log(
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


cdef uint16_t violations_left(broker_t *b, route_t *route) noexcept nogil:
    cdef int64_t seconds = (b.now - route.violated_at) // 1_000_000_000
    if route.deaf:
        return VIOLATIONS_MAX
    return <uint16_t> (route.violations - seconds) if seconds < route.violations else 0
