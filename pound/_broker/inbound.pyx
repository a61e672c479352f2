"""One message at a time, from a socket to those who understand it (rules: inbound.pxd)."""

from libc.limits cimport INT_MAX
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.stdio cimport snprintf

from pound._base.hints cimport unlikely
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_client_back
from pound._wire.dialects cimport (
    BAD_VERSION, DIALECT_NONE, FRONTEND, SAID_BAD, SAID_PACKET, bad_text, dialect_read, message_t)
from pound._zmq.libzmq cimport (
    ETERM, ZMQ_EVENT_ACCEPTED, ZMQ_EVENT_DISCONNECTED, ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_SRCFD,
    zmq, zmq_msg_t)
from pound._zmq.receive cimport monitor_next, receive_now
from .actions cimport act, live_now
from .arrivals cimport arrivals_spoke
from .denials cimport denial, denial_unproven
from .departures cimport route_lost, route_taken
from .descriptors cimport (
    ACCEPTED_LASTS, ACCEPTED_NOT, accepted_t, descriptors_accepted, descriptors_closed,
    descriptors_failed)
from .guard cimport guard_accepted, guard_closed, guard_failed
from .guide cimport guide_bad, guide_message
from .kinds cimport C_BAD_MESSAGES, C_BYTES_IN, C_IGNORED_MESSAGES, C_MESSAGES_IN
from .outgoing cimport OUTGOING_MAX
from .peers cimport (
    connection_bind, connection_closed, connection_opened, connection_shaken, route_closing,
    route_find, route_open, route_settle)
from .pnd cimport packet_message
from .queues cimport peer_touch, peer_unblock
from .rights cimport proof_of, proof_serial, rights_count, rights_route, route_proves
from .state cimport ROUTE_ID_MAX, VIOLATIONS_MAX, broker_t, route_t, socket_t
from .violations cimport ignore_route, violation, violations_left
from .young cimport young_opened, young_relieve

cdef enum:
    ACCEPT_FAILED = 0x0040   # ZMQ_EVENT_ACCEPT_FAILED; its value is errno
    HANDSHAKE_FAILED = 0x2000    # ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL; its value says why
    CUT_FRAMES = 1024        # of a message that has too many, read at once
    WHY_ROOM = 64            # bytes of a reason: no more of it is logged


cdef int receive(broker_t *b, uint8_t side) noexcept nogil:
    cdef socket_t *s = &b.sides[side]
    cdef uint32_t frames = 0
    cdef int read
    cdef uint32_t i
    if s.cutting:
        return cut(b, s)
    read = read_frames(b, s, &frames)
    if read <= 0:
        return read
    b.counters[C_MESSAGES_IN] += 1
    b.incoming.frames_read += frames
    message(b, side, frames)
    for i in range(frames):
        if not frame_whole(b, i):
            zmq.msg_close(&b.incoming.frames[i])
            zmq.msg_init(&b.incoming.frames[i])
    return 1


# frame_whole says whether a frame's bytes lie in its zmq_msg_t: then there is nothing to give back,
# and it may stay until the next message takes its place.
cdef int frame_whole(broker_t *b, uint32_t i) noexcept nogil:
    cdef size_t data = <size_t> b.incoming.frame_views[i].data
    return data - <size_t> &b.incoming.frames[i] < sizeof(zmq_msg_t)


# read_frames reads a message into b.incoming: 1; 0: there was none; -1: terminated. One with more
# frames than there is room for is cut: s.cutting, and the rest of it comes next.
cdef int read_frames(broker_t *b, socket_t *s, uint32_t *frames) noexcept nogil:
    cdef zmq_msg_t *msg
    cdef int more = 1
    cdef int size
    while more:
        if frames[0] == b.incoming.room:
            s.cutting = 1
            s.cut = frames[0]
            s.cut_route = NULL
            return 1
        msg = &b.incoming.frames[frames[0]]
        size = receive_now(msg, s.socket)
        if size < 0:
            return -1 if zmq.errnum() == ETERM else 0
        b.incoming.frame_views[frames[0]].data = <const uint8_t *> zmq.msg_data(msg)
        b.incoming.frame_views[frames[0]].size = size if size < INT_MAX else zmq.msg_size(msg)
        b.counters[C_BYTES_IN] += b.incoming.frame_views[frames[0]].size
        more = zmq.msg_more(msg)
        frames[0] += 1
    return 1


# cut drops more frames of a message that has too many, CUT_FRAMES at most: 1, or as read_frames.
cdef int cut(broker_t *b, socket_t *s) noexcept nogil:
    cdef zmq_msg_t msg
    cdef int result = 1
    cdef int size
    cdef uint32_t _
    zmq.msg_init(&msg)
    for _ in range(CUT_FRAMES):
        size = receive_now(&msg, s.socket)
        if size < 0:
            result = -1 if zmq.errnum() == ETERM else 0
            break
        b.counters[C_BYTES_IN] += zmq.msg_size(&msg)
        b.incoming.frames_read += 1
        s.cut += 1
        s.cutting = zmq.msg_more(&msg) != 0
        if not s.cutting:
            break
    zmq.msg_close(&msg)
    if s.cut > OUTGOING_MAX and s.cut_route != NULL:
        deafen(b, s.cut_route)
        s.cut_route = NULL
    return result


# deafen ignores for good the sender of a message of more frames than any dialect's has.
cdef void deafen(broker_t *b, route_t *route) noexcept nogil:
    route.deaf = 1
    route.violations = VIOLATIONS_MAX
    ignore_route(b, route, DIALECT_NONE, "a message of more frames than any dialect has")


cdef void message(broker_t *b, uint8_t side, uint32_t frames) noexcept nogil:
    """Find the message's route and let those act who understand what it says."""
    cdef message_t m
    cdef socket_t *s = &b.sides[side]
    cdef route_t *route = sender(b, side) if b.guard == NULL else proven_sender(b, side)
    if route == NULL:
        return
    if unlikely(s.cutting):
        s.cut_route = NULL if route.hop else route
    if route.violations >= VIOLATIONS_MAX and violations_left(b, route) >= VIOLATIONS_MAX:
        b.counters[C_IGNORED_MESSAGES] += 1
        return
    dialect_read(b.incoming.frame_views + 1, frames - 1, side, &m)
    if unlikely(b.guard != NULL) and denial(b, route, &m, frames):
        return
    route.hop |= m.envelope > 1
    if s.cutting or m.said == SAID_BAD:
        bad(b, route, &m, frames)
    elif m.said == SAID_PACKET:
        packet_message(b, route, frames - 2)
    else:
        guide_message(b, route, &m, frames - 1)


cdef void bad(broker_t *b, route_t *route, const message_t *m, uint32_t frames) noexcept nogil:
    """A message of broken form counts against its route; a task that it was to answer ends."""
    cdef char why[WHY_ROOM]
    if b.sides[route.side].cutting:
        snprintf(why, WHY_ROOM, "more frames than frames_max (%u)", b.settings.frames_max)
    elif m.error == BAD_VERSION:
        snprintf(why, WHY_ROOM, "%s '%.*s'", bad_text(m.error), <int> m.service_size,
                 <const char *> m.service)
    else:
        snprintf(why, WHY_ROOM, "%s", bad_text(m.error))
    route.hop |= through_hop(b, route.side, frames)
    violation(b, route, m.dialect, why)
    guide_bad(b, route, m, why)


# through_hop says whether a client's message came by a proxy: an address before an empty frame.
cdef int through_hop(broker_t *b, uint8_t side, uint32_t frames) noexcept nogil:
    cdef uint32_t i
    if side == FRONTEND and b.incoming.frame_views[1].size:
        for i in range(2, frames):
            if b.incoming.frame_views[i].size == 0:
                return 1
    return 0


# -- routes -----------------------------------------------------------------------------------

# sender returns the route of the message in b.incoming, made on its first message; NULL: no memory,
# or an id of more bytes than ZMTP allows: libzmq does not look at those that raw peers claim.
# Before a route is bound to a connection every event is read: the descriptor may be a new one.
# An id that libzmq made never comes back, so its route need not be looked at twice.
cdef route_t *sender(broker_t *b, uint8_t side) noexcept nogil:
    cdef const uint8_t *id = b.incoming.frame_views[0].data
    cdef size_t size = b.incoming.frame_views[0].size
    cdef route_t *route = route_find(b, side, id, size)
    cdef int fd
    if route != NULL and route.alive and route.fd >= 0 and not route.explicit_id:
        return route
    if size > ROUTE_ID_MAX:
        b.counters[C_BAD_MESSAGES] += 1
        return NULL
    fd = zmq.msg_get(&b.incoming.frames[0], ZMQ_SRCFD)
    if route != NULL and fd < 0:
        route.heard_at = live_now(b)
    if route != NULL and route.fd == fd and route.alive:
        return route
    if fd >= 0:
        monitor_drain(b, side)
        if route != NULL and route.alive and elsewhere(b, route, fd):
            route_lost(b, route)
            route = route_find(b, side, id, size)
    if route == NULL:
        route = route_open(b, side, id, size)
        if route == NULL:
            return NULL
        route.heard_at = live_now(b)
    elif not route.alive:
        revive(b, route)
    elif route.closing:
        return route
    if fd >= 0:
        bind(b, route, fd)
    return route


# proven_sender is sender in a broker with keys. A message whose proof is not its route's is of
# another peer, which has taken the routing id: libzmq lets it only once the former one is gone, so
# that one's route is given up, whatever else is known of it by now.
cdef route_t *proven_sender(broker_t *b, uint8_t side) noexcept nogil:
    cdef const uint8_t *id = b.incoming.frame_views[0].data
    cdef size_t size = b.incoming.frame_views[0].size
    cdef const char *proof = proof_of(b, side)
    cdef route_t *route
    if proof == NULL:
        denial_unproven(b)
        return NULL
    route = route_find(b, side, id, size)
    if route != NULL and not route_proves(route, proof):
        route_taken(b, route)
    route = sender(b, side)
    if route != NULL and not route.judged:
        rights_route(b, route, proof)
    return route


# elsewhere says whether the message came by another connection than the route's: the peer is back
# under an id of its own choice, and its former connection is gone. Messages carry the number of
# their descriptor only, which the next connection is given as soon as it is free: so the last,
# unread messages of a closed route may name the connection of somebody else. An id that libzmq
# made never comes back, and a connection that has a route is that route's.
cdef int elsewhere(broker_t *b, route_t *route, int fd) noexcept nogil:
    cdef socket_t *s = &b.sides[route.side]
    if not route.explicit_id or not is_open(s, fd):
        return 0
    return s.connections[fd].route == NULL and (route.fd >= 0 or route.closing)


cdef void revive(broker_t *b, route_t *route) noexcept nogil:
    """A Guide peer with an explicit id is back."""
    route.alive = 1
    route_settle(b, route)
    if unlikely(b.guard != NULL):
        rights_count(b, route)
    if route.peer == NULL:
        return
    route.peer.route = route
    peer_unblock(route.peer)
    peer_touch(b, route.peer)
    if route.peer.client != NONE:
        disp_client_back(b.d, route.peer.client)
        act(b)


cdef void bind(broker_t *b, route_t *route, int fd) noexcept nogil:
    """Note the route's connection; when that's closed already these are its last messages.

    Or it is one of those that opened unrecorded. Should that be wrong, a connection counts as open
    until its descriptor's next one, and its peer is found dead by silence or by the next send.
    """
    cdef socket_t *s = &b.sides[route.side]
    if s.unrecorded and not is_open(s, fd):
        s.unrecorded -= 1
        connection_opened(b, route.side, fd)
    if unlikely(b.guard != NULL) and not (is_open(s, fd) and s.connections[fd].route != NULL):
        arrivals_spoke(b, route.side, fd, proof_serial(proof_of(b, route.side)))
    if is_open(s, fd):
        connection_bind(b, route, fd)
    else:
        route_closing(b, route)


cdef bint is_open(const socket_t *s, int fd) noexcept nogil:
    return fd < s.connections_room and s.connections[fd].open


# -- connections ------------------------------------------------------------------------------

cdef void accepted(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef accepted_t stays
    connection_opened(b, side, fd)
    stays = descriptors_accepted(b, side, fd)
    if stays != ACCEPTED_LASTS:
        young_relieve(b)
    if stays != ACCEPTED_NOT:
        young_opened(b, side, fd)
    if b.guard != NULL:
        guard_accepted(b, side, fd)


cdef void monitor_drain(broker_t *b, uint8_t side) noexcept nogil:
    cdef void *monitor = b.sides[side].monitor
    cdef zmq_msg_t msg
    cdef uint16_t event
    cdef uint32_t value
    zmq.msg_init(&msg)
    while monitor_next(monitor, &msg, &event, &value):
        if event == ZMQ_EVENT_ACCEPTED:
            accepted(b, side, <int> value)
        elif event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            connection_shaken(b, side)  # its value is 0, not a descriptor
        elif event == ZMQ_EVENT_DISCONNECTED:
            descriptors_closed(b, <int> value)
            if b.guard != NULL:
                guard_closed(b, side, <int> value)
            connection_closed(b, side, <int> value)
        elif event == HANDSHAKE_FAILED and b.guard != NULL:
            guard_failed(b, side, value)
        elif event == ACCEPT_FAILED:
            descriptors_failed(b, <int> value)
    zmq.msg_close(&msg)
