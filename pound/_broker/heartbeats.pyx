"""Heartbeats that workers are owed (see heartbeats.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t

from pound._base.pool cimport NONE
from pound._wire.dialects cimport DIALECT_MDP1, DIALECT_MDP2, DIALECT_PND, DIALECT_PPP
from .queues cimport peer_touch
from .state cimport OWE_HEARTBEAT, broker_t, peer_t

cdef void heartbeats_start(broker_t *b, peer_t *peer) noexcept nogil:
    cdef int64_t interval_ns = interval_of(b, peer)
    if interval_ns:
        schedule_heartbeat(b, peer, interval_ns // 2)


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


# interval_of returns how often a silent worker of this dialect is sent a heartbeat; 0: never.
cdef int64_t interval_of(broker_t *b, peer_t *peer) noexcept nogil:
    if peer.dialect == DIALECT_PND:
        return b.settings.heartbeat_ns
    if peer.dialect == DIALECT_PPP:
        return b.settings.ppp_heartbeat_ns
    if peer.dialect == DIALECT_MDP1 or peer.dialect == DIALECT_MDP2:
        return b.settings.mdp_heartbeat_ns
    return 0


cdef void heartbeats_send(broker_t *b) noexcept nogil:
    cdef uint8_t dialect
    for dialect in range(DIALECT_PND, DIALECT_MDP2 + 1):
        beat(b, dialect)


cdef void beat(broker_t *b, uint8_t dialect) noexcept nogil:
    """Owe a heartbeat to each worker of the dialect that was sent nothing since the last look."""
    cdef peer_t *peer = b.heartbeats.first[dialect]
    while peer != NULL and peer.heartbeat.due <= b.now:
        if peer.heartbeat.sent_to:
            peer.heartbeat.sent_to = 0
        elif dialect == DIALECT_PND or (peer.worker != NONE and (
                b.d.workers[peer.worker].held == 0 or peer.route.fd < 0)):
            peer.control.owed |= OWE_HEARTBEAT
            peer_touch(b, peer)
        heartbeats_start(b, peer)
        peer = b.heartbeats.first[dialect]


cdef int64_t heartbeats_due(const broker_t *b) noexcept nogil:
    cdef int64_t due = INT64_MAX
    cdef uint8_t dialect
    for dialect in range(DIALECT_PND, DIALECT_MDP2 + 1):
        if b.heartbeats.first[dialect] != NULL:
            due = min(due, b.heartbeats.first[dialect].heartbeat.due)
    return due
