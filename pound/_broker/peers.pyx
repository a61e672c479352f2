"""Who is connected: peers, routes, connections (see peers.pxd for the rules)."""

from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen
from posix.stdlib cimport posix_memalign

from pound._base.array cimport LINE, array_room
from pound._base.buffer cimport buffer_free
from pound._base.check cimport CHECK
from pound._base.hints cimport unlikely
from pound._base.links cimport queue_init
from pound._base.pool cimport NONE
from pound._base.table cimport names_get, names_put, names_remove
from pound._wire.dialects cimport BACKEND, DIALECT_PND
from pound._zmq.libzmq cimport zmq
from pound._zmq.pipes cimport pipe_release
from pound.security.zap cimport NO_LISTENER
from .heartbeats cimport cancel_heartbeat
from .kinds cimport (
    C_CLOSED_CONNECTIONS, C_NO_MEMORY, C_PEERS, C_ROUTES, C_UNROUTED_CONNECTIONS)
from .queues cimport control_counts, items_clear, peer_unblock
from .rights cimport rights_connections, rights_uncount
from .state cimport (
    LABEL_MAX, LOST_CUT, NO_IDENTITY, ROUTE_ID_MAX, broker_t, connection_t, peer_t, roster_t,
    route_t, socket_t)
from .young cimport young_over

cdef enum:
    BEFORE_CUT_NS = 1_000_000_000  # a worker may be back before its old connection's end is seen
    GONE_NS = 20_000_000     # libzmq may take a message for a connection that has just closed


# -- numbers for pointers ---------------------------------------------------------------------

# roster_add returns the number that stands for `pointer` from now on, NONE when there's no memory.
cdef uint32_t roster_add(roster_t *table, void *pointer) noexcept nogil:
    cdef uint32_t number
    cdef uint32_t room = table.room
    if table.free_count:
        table.free_count -= 1
        number = table.free[table.free_count]
    else:
        if array_room(<void **> &table.at, &room, table.count, sizeof(void *)):
            return NONE
        if array_room(<void **> &table.free, &table.room, table.count, sizeof(uint32_t)):
            return NONE
        number = table.count
        table.count += 1
    table.at[number] = pointer
    return number


cdef void roster_remove(roster_t *table, uint32_t number) noexcept nogil:
    table.at[number] = NULL
    table.free[table.free_count] = number
    table.free_count += 1


cdef void roster_free(roster_t *table) noexcept nogil:
    free(table.at)
    free(table.free)
    memset(table, 0, sizeof(roster_t))


# -- peers ------------------------------------------------------------------------------------

cdef peer_t *peer_open(broker_t *b, uint8_t dialect) noexcept nogil:
    """A new peer without a route; NULL when there is no memory."""
    cdef void *block = NULL
    cdef peer_t *peer
    if posix_memalign(&block, LINE, sizeof(peer_t)):
        b.counters[C_NO_MEMORY] += 1
        return NULL
    peer = <peer_t *> block
    memset(peer, 0, sizeof(peer_t))
    peer.number = roster_add(&b.peers.all, peer)
    if peer.number == NONE:
        b.counters[C_NO_MEMORY] += 1
        free(peer)
        return NULL
    b.counters[C_PEERS] += 1
    peer.dialect = dialect
    peer.rights.identity = NO_IDENTITY
    peer.rights.listener = NO_LISTENER
    peer.client = peer.worker = peer.guide.service = NONE
    queue_init(&peer.credits)
    return peer


cdef void peer_release(broker_t *b, peer_t *peer) noexcept nogil:
    """Give the peer up, if nothing holds it any more: no living route, client or worker."""
    cdef route_t *route = peer.routes
    if peer.dead or peer.lost.state or peer.client != NONE or peer.worker != NONE:
        return
    while route != NULL:
        if route.alive:
            return
        route = route.next
    if peer.dialect == DIALECT_PND:
        names_remove(&b.peers.sessions, peer.pnd.session, 16)
    while peer.routes != NULL:
        route_free(b, peer.routes)
    cancel_heartbeat(b, peer)
    peer.dead = 1
    peer.next_dead = b.peers.dead
    b.peers.dead = peer


cdef void peer_free(broker_t *b, peer_t *peer) noexcept nogil:
    """Free a peer and what it owns; libzmq may still hold messages that count in its pipe."""
    b.adoption.heard_bytes -= peer.pnd.holds.size
    buffer_free(&peer.pnd.holds)
    items_clear(b, peer)
    buffer_free(&peer.control.records)
    control_counts(b, peer)
    if peer.reading.pipe != NULL:
        pipe_release(peer.reading.pipe)
    free(peer.tasks.at)
    free(peer)


cdef void peers_free_dead(broker_t *b) noexcept nogil:
    """Free the dead peers that no list names any more."""
    cdef peer_t *peer = b.peers.dead
    cdef peer_t *after
    b.peers.dead = NULL
    while peer != NULL:
        after = peer.next_dead
        if peer.blocked.waits or peer.dirty or peer.deferred:
            peer.next_dead = b.peers.dead
            b.peers.dead = peer
        else:
            roster_remove(&b.peers.all, peer.number)
            b.counters[C_PEERS] -= 1
            peer_free(b, peer)
        peer = after


cdef void peer_label(peer_t *peer, const uint8_t *label, size_t size) noexcept nogil:
    peer.label.size = <uint8_t> (size if size < LABEL_MAX else LABEL_MAX)
    memcpy(peer.label.bytes, label, peer.label.size)


cdef void peer_address(broker_t *b, peer_t *peer) noexcept nogil:
    cdef const char *address = zmq.msg_gets(&b.incoming.frames[0], "Peer-Address")
    if address != NULL:
        peer_label(peer, <const uint8_t *> address, strlen(address))


# -- routes -----------------------------------------------------------------------------------

cdef route_t *route_find(
        broker_t *b, uint8_t side, const uint8_t *id, size_t size) noexcept nogil:
    cdef uint32_t number = names_get(&b.sides[side].ids, id, <uint32_t> size)
    if number == NONE:
        return NULL
    return <route_t *> b.sides[side].routes.at[number]


cdef route_t *route_open(
        broker_t *b, uint8_t side, const uint8_t *id, size_t size) noexcept nogil:
    """A new living route without a peer; NULL when there is no memory."""
    cdef socket_t *s = &b.sides[side]
    cdef route_t *route = <route_t *> calloc(1, sizeof(route_t))
    CHECK(0 < size <= ROUTE_ID_MAX, "a routing id of %zu bytes", size)
    if route == NULL:
        b.counters[C_NO_MEMORY] += 1
        return NULL
    route.number = roster_add(&s.routes, route)
    if route.number == NONE or names_put(&s.ids, id, <uint32_t> size, route.number):
        b.counters[C_NO_MEMORY] += 1
        if route.number != NONE:
            roster_remove(&s.routes, route.number)
        free(route)
        return NULL
    b.peers.routes_seen += 1
    b.counters[C_ROUTES] += 1
    route.seen = b.peers.routes_seen
    route.side = side
    route.fd = -1
    route.listener = NO_LISTENER
    route.alive = 1
    route.size = <uint8_t> size
    route.explicit_id = id[0] != 0
    memcpy(route.id, id, size)
    return route


cdef void route_attach(broker_t *b, route_t *route, peer_t *peer) noexcept nogil:
    """Make the route, the latest one seen, the one that reaches the peer."""
    route.peer = peer
    route.next = peer.routes
    route.welcomed = route.ready = 0
    peer.routes = route
    peer.route = route
    peer_unblock(peer)


cdef void route_detach(broker_t *b, route_t *route) noexcept nogil:
    """Take the route from its peer; the newest living one that is left reaches it from now on."""
    cdef peer_t *peer = route.peer
    cdef route_t **link
    if peer == NULL:
        return
    link = &peer.routes
    while link[0] != route:
        link = &link[0].next
    link[0] = route.next
    route.peer = NULL
    route.next = NULL
    if peer.route == route:
        peer.route = peer.routes
        while peer.route != NULL and not peer.route.alive:
            peer.route = peer.route.next


cdef void route_dies(broker_t *b, route_t *route) noexcept nogil:
    b.sides[route.side].natives -= route.native
    route.alive = route.native = 0
    if unlikely(route.counted):
        rights_uncount(b, route)
    route_settle(b, route)


cdef void route_free(broker_t *b, route_t *route) noexcept nogil:
    cdef socket_t *s = &b.sides[route.side]
    route_detach(b, route)
    route_dies(b, route)
    if route.fd >= 0 and s.connections[route.fd].route == route:
        s.connections[route.fd].route = NULL
    if s.cut_route == route:
        s.cut_route = NULL
    names_remove(&s.ids, route.id, route.size)
    roster_remove(&s.routes, route.number)
    b.counters[C_ROUTES] -= 1
    free(route)


cdef void route_closing(broker_t *b, route_t *route) noexcept nogil:
    """Put the route on its side's closing list: it is given up once its last messages are read."""
    cdef socket_t *s = &b.sides[route.side]
    if route.closing:
        return
    if s.closing == NULL:
        s.closing_since = b.now
    route.closing = 1
    route.next_closing = s.closing
    s.closing = route


cdef void route_settle(broker_t *b, route_t *route) noexcept nogil:
    """Take the route off the closing list."""
    cdef route_t **link = &b.sides[route.side].closing
    if not route.closing:
        return
    while link[0] != route:
        link = &link[0].next_closing
    link[0] = route.next_closing
    route.closing = 0


# -- connections ------------------------------------------------------------------------------

cdef connection_t *connection_at(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef uint32_t room = <uint32_t> s.connections_room
    if fd < 0:
        return NULL
    if array_room(<void **> &s.connections, &room, <uint32_t> fd, sizeof(connection_t)):
        b.counters[C_NO_MEMORY] += 1
        return NULL
    s.connections_room = <int> room
    return &s.connections[fd]


cdef void connection_opened(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef connection_t *connection
    connection_closed(b, side, fd)
    connection = connection_at(b, side, fd)
    if connection == NULL:
        b.sides[side].unrecorded += 1
        return
    connection.open = 1
    connection.opened_at = b.now
    b.peers.connections_seen += 1
    connection.order = b.peers.connections_seen


cdef void connection_shaken(broker_t *b, uint8_t side) noexcept nogil:
    b.lost.seek |= side == BACKEND and b.lost.count > 0


cdef void connection_closed(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef connection_t *connection = connection_at(b, side, fd)
    if connection == NULL:
        return
    b.counters[C_CLOSED_CONNECTIONS] += connection.open
    young_over(b, side, fd)
    if connection.route != NULL:
        connection.route.fd = -1
        if connection.route.alive:
            route_closing(b, connection.route)
        connection.route = NULL
    elif connection.open:
        b.counters[C_UNROUTED_CONNECTIONS] += 1
        if side == BACKEND:
            lost_suspect(b, connection)
    if unlikely(connection.serial):
        rights_connections(b, connection.serial, -1)
        connection.serial = 0
    connection.open = connection.reported = 0


# lost_suspect notes that a connection that never spoke is closed. It may have been that of a lost
# worker that came back without a word, if it was opened after the cut and before its task was sent.
cdef void lost_suspect(broker_t *b, const connection_t *connection) noexcept nogil:
    cdef peer_t *peer
    cdef uint32_t i
    for i in range(b.lost.count):
        peer = b.lost.peers[i]
        if connection.opened_at < peer.lost.cut_at - BEFORE_CUT_NS:
            continue
        if peer.lost.state == LOST_CUT or connection.order <= peer.lost.tried_order:
            peer.lost.not_before = b.now + GONE_NS
        if peer.lost.state != LOST_CUT and connection.order <= peer.lost.tried_order:
            route_closing(b, peer.route)


cdef void connection_bind(broker_t *b, route_t *route, int fd) noexcept nogil:
    cdef connection_t *connection = connection_at(b, route.side, fd)
    if connection == NULL or connection.route == route:
        return
    if connection.route != NULL:
        connection.route.fd = -1
        route_closing(b, connection.route)
    if route.fd >= 0:  # a connection that names a route is the one that the route names
        b.sides[route.side].connections[route.fd].route = NULL
    young_over(b, route.side, fd)
    connection.route = route
    route.fd = fd
