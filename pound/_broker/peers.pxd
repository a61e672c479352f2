# Who is connected: peers, routes, connections.
#
# Bookkeeping only: nothing here sends a message or calls the dispatcher. Every call is O(1), except
# those that walk one peer's routes or free one peer's queue.

from libc.stdint cimport uint8_t

from pound._base.hints cimport unlikely
from .state cimport broker_t, peer_t, roster_t, route_t

cdef void roster_free(roster_t *table) noexcept nogil

cdef peer_t *peer_open(broker_t *b, uint8_t dialect) noexcept nogil
cdef void peer_release(broker_t *b, peer_t *peer) noexcept nogil
cdef void peer_free(broker_t *b, peer_t *peer) noexcept nogil
cdef void peers_free_dead(broker_t *b) noexcept nogil
cdef void peer_label(peer_t *peer, const uint8_t *label, size_t size) noexcept nogil

# peer_address makes the address that the message in b.incoming.frames came from the peer's label.
cdef void peer_address(broker_t *b, peer_t *peer) noexcept nogil

cdef route_t *route_find(
    broker_t *b, uint8_t side, const uint8_t *id, size_t size) noexcept nogil
cdef route_t *route_open(
    broker_t *b, uint8_t side, const uint8_t *id, size_t size) noexcept nogil
cdef void route_attach(broker_t *b, route_t *route, peer_t *peer) noexcept nogil
cdef void route_detach(broker_t *b, route_t *route) noexcept nogil
cdef void route_free(broker_t *b, route_t *route) noexcept nogil
cdef void route_closing(broker_t *b, route_t *route) noexcept nogil
cdef void route_settle(broker_t *b, route_t *route) noexcept nogil


cdef inline void route_native(broker_t *b, route_t *route) noexcept nogil:
    """route_native counts a living route by which a worker or a PND peer speaks."""
    if unlikely(not route.native):
        route.native = 1
        b.sides[route.side].natives += 1


# route_dies notes that a route's connection is gone; route_free, that the route is.
cdef void route_dies(broker_t *b, route_t *route) noexcept nogil

# connection_bind makes `route` the one that is known on `fd` and puts the older one on the closing
# list: a descriptor carries one connection at a time.
cdef void connection_opened(broker_t *b, uint8_t side, int fd) noexcept nogil
cdef void connection_shaken(broker_t *b, uint8_t side) noexcept nogil
cdef void connection_closed(broker_t *b, uint8_t side, int fd) noexcept nogil
cdef void connection_bind(broker_t *b, route_t *route, int fd) noexcept nogil
