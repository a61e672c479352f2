"""Who is connected, and what they are to be sent (see peers.pxd for the rules)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strlen
from posix.stdlib cimport posix_memalign

from pound._base.array cimport LINE
from pound._base.buffer cimport buffer_free
from pound._base.check cimport CHECK
from pound._base.freelist cimport freelist_give, freelist_take
from pound._base.links cimport queue_init
from pound._base.pool cimport NONE
from pound._base.table cimport names_get, names_put, names_remove
from pound._wire.dialects cimport BACKEND, DIALECT_PND
from pound._zmq.libzmq cimport zmq
from pound._zmq.pipes cimport pipe_bytes, pipe_release, taken_mark
from .kinds cimport (
    C_CLOSED_CONNECTIONS, C_NO_MEMORY, C_PEERS, C_ROUTES, C_UNROUTED_CONNECTIONS, LOG_BAD_MESSAGE,
    LOG_DRAINED, LOG_DRAINING, LOG_PAUSE, LOG_REQUESTS_REFUSED, LOG_REQUEST_FAILED,
    LOG_REQUEST_UNANSWERABLE, LOG_SILENT_CONNECTION, LOG_TASKS_RELEASED, LOG_UNFINISHED,
    LOG_WORKER_LEAVES, LOG_WORKER_READY, LOG_WORKER_REFUSED)
from .log_queue cimport LOG_TEXT_MAX, log_key, log_t, logs_put
from .records cimport stored_clear
from .state cimport (
    LABEL_MAX, LOST_CUT, ROUTE_ID_MAX, broker_t, connection_t, item_t, peer_t, roster_t, route_t,
    socket_t, stored_t, unsent_t)

cdef enum:
    ITEMS_ROOM_MIN = 16
    BEFORE_CUT_NS = 1_000_000_000  # a worker may be back before its old connection's end is seen
    GONE_NS = 20_000_000     # libzmq may take a message for a connection that has just closed
    CHANGES_LINES = 10       # of one key in 30 s, where each event is a change of state
    LOOK_NS = 20_000_000     # between two looks whether a blocked peer reads


# -- numbers for pointers ---------------------------------------------------------------------

cdef int array_room(void **array, uint32_t *room, uint32_t index, size_t size) noexcept nogil:
    cdef uint32_t wanted = room[0] if room[0] else 16
    cdef void *grown
    if index < room[0]:
        return 0
    while wanted <= index:
        wanted *= 2
    grown = realloc(array[0], wanted * size)
    if grown == NULL:
        return -1
    memset(<uint8_t *> grown + room[0] * size, 0, (wanted - room[0]) * size)
    array[0] = grown
    room[0] = wanted
    return 0


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


cdef void peer_block(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil:
    """Note that a send was refused; it's tried again after delay_ns (the same for all)."""
    cdef uint64_t piped = <uint64_t> pipe_bytes(peer.reading.pipe)
    if peer.blocked.since == 0:
        peer.blocked.since = peer.reading.progress_at = b.now
        peer_look(b, peer)
    peer.items_bytes += piped - peer.reading.pipe_noted
    peer.reading.pipe_noted = piped
    if peer.blocked.waits:
        return
    peer.blocked.waits = 1
    peer.blocked.retry_at = b.now + delay_ns
    peer.blocked.next = NULL
    if b.pending.blocked == NULL:
        b.pending.blocked = peer
    else:
        b.pending.blocked_tail.blocked.next = peer
    b.pending.blocked_tail = peer


cdef int peer_look(broker_t *b, peer_t *peer) noexcept nogil:
    """Look how much the peer has read so far: whether that is another number than before."""
    cdef uint64_t left = peer_taken(peer)
    cdef int64_t taken = 0
    cdef int reads
    if peer.route != NULL and peer.route.fd >= 0:
        taken = taken_mark(peer.route.fd)
    reads = taken != peer.reading.taken_seen or left != peer.reading.left_seen
    peer.reading.taken_seen = taken
    peer.reading.left_seen = left
    peer.reading.looked_at = b.now
    return reads


cdef int peer_stalled(broker_t *b, peer_t *peer, int64_t ns) noexcept nogil:
    if b.now - peer.reading.looked_at >= LOOK_NS and peer_look(b, peer):
        peer.reading.progress_at = b.now
    return b.now - max(peer.reading.progress_at, b.loop.resumed_at) > ns


cdef int64_t peer_watch(broker_t *b, peer_t *peer, int64_t gap_ns) noexcept nogil:
    cdef int anew = peer.blocked.since == 0 and b.now - peer.reading.looked_at > gap_ns
    if peer_look(b, peer) or anew:
        peer.reading.progress_at = b.now
    return b.now - max(peer.reading.progress_at, b.loop.resumed_at)


cdef void peer_defer(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil:
    """See to it that the peer is touched after delay_ns (the same for all), if not before."""
    if peer.deferred or peer.dead:
        return
    peer.deferred = 1
    peer.deferral.until = b.now + delay_ns
    peer.deferral.next = NULL
    if b.pending.deferred == NULL:
        b.pending.deferred = peer
    else:
        b.pending.deferred_tail.deferral.next = peer
    b.pending.deferred_tail = peer


cdef void peer_label(peer_t *peer, const uint8_t *label, size_t size) noexcept nogil:
    peer.label.size = <uint8_t> (size if size < LABEL_MAX else LABEL_MAX)
    memcpy(peer.label.bytes, label, peer.label.size)


cdef void peer_address(broker_t *b, peer_t *peer) noexcept nogil:
    cdef const char *address = zmq.msg_gets(&b.incoming.frames[0], "Peer-Address")
    if address != NULL:
        peer_label(peer, <const uint8_t *> address, strlen(address))


cdef int tasks_grow(broker_t *b, peer_t *peer) noexcept nogil:
    if array_room(
            <void **> &peer.tasks.at, &peer.tasks.room, peer.tasks.count, sizeof(unsent_t)):
        b.counters[C_NO_MEMORY] += 1
        return -1
    return 0


cdef void schedule_heartbeat(broker_t *b, peer_t *peer, int64_t interval_ns) noexcept nogil:
    """Set the worker's next heartbeat to one interval from now: the last of its dialect."""
    cancel_heartbeat(b, peer)
    peer.heartbeat.scheduled = 1
    peer.heartbeat.due = b.now + interval_ns
    peer.heartbeat.next = NULL
    peer.heartbeat.prev = b.heartbeats.last[peer.dialect]
    if peer.heartbeat.prev == NULL:
        b.heartbeats.first[peer.dialect] = peer
    else:
        peer.heartbeat.prev.heartbeat.next = peer
    b.heartbeats.last[peer.dialect] = peer


cdef void cancel_heartbeat(broker_t *b, peer_t *peer) noexcept nogil:
    """Take the peer off its dialect's list of heartbeats."""
    if not peer.heartbeat.scheduled:
        return
    peer.heartbeat.scheduled = 0
    if peer.heartbeat.prev == NULL:
        b.heartbeats.first[peer.dialect] = peer.heartbeat.next
    else:
        peer.heartbeat.prev.heartbeat.next = peer.heartbeat.next
    if peer.heartbeat.next == NULL:
        b.heartbeats.last[peer.dialect] = peer.heartbeat.prev
    else:
        peer.heartbeat.next.heartbeat.prev = peer.heartbeat.prev


# -- what a client is to be sent --------------------------------------------------------------

cdef int items_grow(broker_t *b, peer_t *peer) noexcept nogil:
    cdef uint32_t room = 2 * peer.items_room if peer.items_room else ITEMS_ROOM_MIN
    cdef item_t *items = <item_t *> malloc(room * sizeof(item_t))
    cdef uint32_t i
    if items == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    for i in range(peer.items_count):
        items[i] = item_at(peer, i)[0]
    free(peer.items)
    peer.items = items
    peer.items_first = 0
    peer.items_room = room
    return 0


cdef int partial_push(
        broker_t *b, peer_t *peer, uint32_t slot, const stored_t *partial, uint32_t size
        ) noexcept nogil:
    cdef stored_t *own = <stored_t *> freelist_take(&b.freelist, sizeof(stored_t))
    if own == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    if item_add(b, peer, slot, own, size):
        freelist_give(&b.freelist, own, sizeof(stored_t))
        return -1
    own[0] = partial[0]
    return 0


cdef void partial_free(broker_t *b, stored_t *partial) noexcept nogil:
    stored_clear(b, partial)
    freelist_give(&b.freelist, partial, sizeof(stored_t))


cdef void items_free(peer_t *peer) noexcept nogil:
    free(peer.items)
    peer.items = NULL
    peer.items_room = peer.items_first = 0


cdef void items_clear(broker_t *b, peer_t *peer) noexcept nogil:
    """Drop all items, and the ring."""
    while peer.items_count:
        item_pop(b, peer)
    items_free(peer)


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
    if connection.route != NULL:
        connection.route.fd = -1
        if connection.route.alive:
            route_closing(b, connection.route)
        connection.route = NULL
    elif connection.open:
        b.counters[C_UNROUTED_CONNECTIONS] += 1
        if side == BACKEND:
            lost_suspect(b, connection)
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
    connection.route = route
    route.fd = fd


# -- events for people ------------------------------------------------------------------------

# log_lines returns how many lines of a kind, about one peer, are written in 30 s; 0: all. A fault
# that a peer makes is said once and counted; workers that come and go are changes of state.
cdef uint32_t log_lines(uint8_t kind) noexcept nogil:
    if kind == LOG_DRAINING or kind == LOG_DRAINED or kind == LOG_UNFINISHED:
        return 0
    if (LOG_WORKER_READY <= kind <= LOG_WORKER_LEAVES or kind == LOG_PAUSE
            or kind == LOG_SILENT_CONNECTION):
        return CHANGES_LINES
    return 1


# log_about returns the event's key: by the peer's label, else by the text. A worker that is refused
# is known by the service that it names, since it may come again and again by new connections; so
# are released tasks, which their caller counts by service. A request's fate has a code, of which
# there are few; so are the reasons of bad messages, up to the quote of what was sent.
cdef uint64_t log_about(broker_t *b, const log_t *event) noexcept nogil:
    cdef int64_t number = 0
    if (event.kind == LOG_REQUEST_FAILED or event.kind == LOG_REQUEST_UNANSWERABLE
            or event.kind == LOG_REQUESTS_REFUSED):
        number = event.number
    elif event.kind == LOG_BAD_MESSAGE:
        number = <int64_t> log_reason(event.text, event.text_size)
    if (event.label_size and event.kind != LOG_WORKER_REFUSED
            and event.kind != LOG_TASKS_RELEASED):
        return log_key(b.logs, event.kind, event.label, event.label_size, number)
    return log_key(b.logs, event.kind, event.text, event.text_size, number)


cdef uint64_t log_reason(const uint8_t *text, size_t size) noexcept nogil:
    """FNV-1a of a reason, without what a peer chose of it."""
    cdef uint64_t hash = 14695981039346656037ULL
    cdef size_t i
    for i in range(size):
        if text[i] == c"'":
            break
        hash = (hash ^ text[i]) * 1099511628211ULL
    return hash


cdef void log_event(
        broker_t *b, uint8_t kind, peer_t *peer, const uint8_t *text, size_t size,
        int64_t number, int64_t other) noexcept nogil:
    """Put an event for the logging thread, unless the same was put a moment ago (_log_queue)."""
    cdef log_t event
    memset(&event, 0, sizeof(event))
    event.kind = kind
    event.number = number
    event.other = other
    if peer != NULL:
        CHECK(peer.label.size <= LOG_TEXT_MAX, "a label of %d bytes", <int> peer.label.size)
        event.label_size = peer.label.size
        memcpy(event.label, peer.label.bytes, peer.label.size)
    event.text_size = <uint8_t> (size if size < LOG_TEXT_MAX else LOG_TEXT_MAX)
    if event.text_size:
        memcpy(event.text, text, event.text_size)
    logs_put(b.logs, b.now, &event, log_about(b, &event), log_lines(kind))
