"""Routes without a connection that can be watched (rules: sweep.pxd)."""

from libc.stdint cimport int64_t, uint32_t, uint8_t

from pound._base.pool cimport NONE
from pound._wire.dialects cimport BACKEND, DIALECT_PLAIN, DIALECT_PND, FRONTEND
from .actions cimport live_now
from .departures cimport route_lost
from .queues cimport peer_touch
from .state cimport (
    FULL_CLIENTS, FULL_WORKERS, OWE_HEARTBEAT, broker_t, peer_t, roster_t, route_t)

cdef enum:
    ROWS = 256               # looked at in a second, at least
    ROUND_S = 15             # seconds in which all are


cdef uint32_t rows(const broker_t *b, uint32_t count) noexcept nogil:
    """Say how many of so many routes are looked at this time."""
    cdef int64_t rounds = min(max(1, b.settings.client_grace_ns // 2_000_000_000),
                              <int64_t> ROUND_S)
    if b.rounds.full:
        return count
    return min(count, ROWS + count // <uint32_t> rounds)


# idle says whether a Guide peer that was silent for client_grace may be forgotten.
cdef int idle(const broker_t *b, const peer_t *peer) noexcept nogil:
    if peer.items_count or peer.tasks.count:
        return 0
    if peer.client != NONE and b.d.clients[peer.client].open:
        if not b.rounds.full & FULL_CLIENTS:
            return 0
    if peer.worker != NONE and not b.d.workers[peer.worker].gone:
        return (b.rounds.full & FULL_WORKERS and peer.dialect == DIALECT_PLAIN
                and b.d.workers[peer.worker].held == 0)
    return 1


cdef void visit(broker_t *b, route_t *route) noexcept nogil:
    cdef peer_t *peer = route.peer
    if not route.alive or route.fd >= 0 or route.closing:
        return
    if peer != NULL and peer.dialect == DIALECT_PND:
        if peer.route == route:
            peer.control.owed |= OWE_HEARTBEAT
            peer_touch(b, peer)
    elif live_now(b) - route.heard_at > b.settings.client_grace_ns and (
            peer == NULL or idle(b, peer)):
        route_lost(b, route)


cdef void sweep_side(broker_t *b, uint8_t side) noexcept nogil:
    cdef roster_t *routes = &b.sides[side].routes
    cdef route_t *route
    cdef uint32_t _
    for _ in range(rows(b, routes.count)):
        b.rounds.routes[side] = (b.rounds.routes[side] + 1) % routes.count
        route = <route_t *> routes.at[b.rounds.routes[side]]
        if route != NULL:
            visit(b, route)


cdef void sweep(broker_t *b) noexcept nogil:
    sweep_side(b, FRONTEND)
    sweep_side(b, BACKEND)
    b.rounds.full = 0
