"""Answers that nobody reads, given up before anybody is refused (rules: unread.pxd)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._base.pool cimport NONE
from pound._wire.dialects cimport BACKEND, FRONTEND
from pound._zmq.pipes cimport pipe_bytes
from .actions cimport act
from .delivery cimport items_drop
from .descriptors cimport descriptors_cut
from .inbound cimport monitor_drain
from .kinds cimport C_PIPE_BYTES, C_UNDELIVERED_BYTES, C_UNREAD_CLIENTS, LOG_CLIENT_UNREAD
from .log_events cimport log_event
from .queues cimport peer_watch
from .state cimport broker_t, peer_t

cdef enum:
    WATCHED_PARTS = 4        # unread from one part of so many on, it is watched who reads
    HELD_PARTS = 2           # and held from one part of so many on, answers are given up
    LOOK_AGAIN_NS = 250_000_000


# unread_bytes says how much a client has not read, as far as it is counted; 0 for others. If it is
# a worker, too, that includes the tasks in its pipe: they return once it is back without them.
cdef uint64_t unread_bytes(const peer_t *peer) noexcept nogil:
    if peer == NULL or peer.dead or peer.client == NONE:
        return 0
    return peer.items_bytes - peer.reading.pipe_noted + <uint64_t> pipe_bytes(peer.reading.pipe)


# stalled_for says for how many ns a client has read nothing, or 0 while that is not too long. Looks
# are as far apart as turns may be. Of an inproc peer one sees little: it has client_grace.
cdef int64_t stalled_for(broker_t *b, peer_t *peer) noexcept nogil:
    cdef int64_t since_ns = peer_watch(b, peer, LOOK_AGAIN_NS + 2 * b.loop.pulse_ns)
    cdef int64_t patience = b.settings.heartbeat_ns * b.settings.liveness
    if peer.route != NULL and peer.route.alive and peer.route.fd < 0:
        patience = max(patience, b.settings.client_grace_ns)
    return since_ns if since_ns > patience else 0


cdef uint64_t most_unread(broker_t *b) noexcept nogil:
    """Look at all clients; give the most that one has unread that does not read."""
    cdef uint64_t most = 0
    cdef uint64_t unread
    cdef peer_t *peer
    cdef uint32_t i
    for i in range(b.peers.all.count):
        peer = <peer_t *> b.peers.all.at[i]
        unread = unread_bytes(peer)
        if unread and stalled_for(b, peer):
            most = max(most, unread)
    return most


cdef void give_up(broker_t *b, peer_t *peer, uint64_t unread, int64_t since_ns) noexcept nogil:
    """Drop what the client has not read, with its connection; a PND client will ask again."""
    b.counters[C_UNREAD_CLIENTS] += 1
    log_event(b, LOG_CLIENT_UNREAD, peer, NULL, 0, <int64_t> unread, since_ns // 1_000_000)
    items_drop(b, peer)
    act(b)
    peer.reading.progress_at = b.now
    if peer.route != NULL and peer.route.alive and not peer.route.closing and peer.route.fd >= 0:
        descriptors_cut(b, peer.route.side, peer.route.fd)


# connections_known reads every event: a descriptor may be another connection's by now. What a
# closed one had sent is to be read after that.
cdef void connections_known(broker_t *b) noexcept nogil:
    cdef uint8_t side
    for side in range(FRONTEND, BACKEND + 1):
        b.sides[side].readable = 1
        monitor_drain(b, side)


cdef int unread_drop(broker_t *b, uint64_t held) noexcept nogil:
    cdef uint64_t least = b.settings.memory_max // HELD_PARTS
    cdef uint64_t dropped = 0
    cdef uint64_t most, unread
    cdef int64_t since_ns
    cdef peer_t *peer
    cdef uint32_t i
    if (b.now < b.budget.unread_at or b.counters[C_UNDELIVERED_BYTES] + b.counters[C_PIPE_BYTES]
            < b.settings.memory_max // WATCHED_PARTS):
        return 0
    b.budget.unread_at = b.now + LOOK_AGAIN_NS
    most = most_unread(b)
    if held <= least or most == 0:
        return 0
    connections_known(b)
    for i in range(b.peers.all.count):
        if dropped >= held - least:
            break
        peer = <peer_t *> b.peers.all.at[i]
        unread = unread_bytes(peer)
        if unread < most // 2 or unread == 0:
            continue
        since_ns = stalled_for(b, peer)
        if since_ns:
            give_up(b, peer, unread, since_ns)
            dropped += unread
    return dropped > 0
