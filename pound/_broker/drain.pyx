"""How a broker ends (rules: drain.pxd)."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint8_t
from libc.stdio cimport snprintf

from pound._base.pool cimport NONE
from pound._dispatch.model cimport REQUEST_ANSWERED, REQUEST_RUNNING, REQUEST_WAITING, request_t
from pound._wire.dialects cimport DIALECT_MDP1, DIALECT_MDP2, DIALECT_PND
from pound._wire.packets cimport BYE_GOING
from .control cimport notify_bye
from .flush cimport flush, flush_deferred
from .kinds cimport LOG_DRAINED, LOG_DRAINING, LOG_UNFINISHED
from .log_events cimport log_event
from .queues cimport peer_touch
from .state cimport LABEL_MAX, OWE_DISCONNECT, broker_t, peer_t

cdef enum:
    RETRY_GOING_MS = 1000    # for clients and workers when the broker goes away


cdef void drain_begin(broker_t *b) noexcept nogil:
    b.drain.draining = 1
    b.drain.until = b.now + b.settings.drain_timeout_ns
    log_event(b, LOG_DRAINING, NULL, NULL, 0, <int64_t> b.d.counters.running,
              <int64_t> b.d.counters.waiting)


cdef void drain_check(broker_t *b) noexcept nogil:
    if not b.drain.draining or b.loop.finished:
        return
    if not drained(b) and b.now < b.drain.until:
        return
    b.loop.finished = b.drain.over = 1
    b.drain.unfinished = count_left(b)
    if b.drain.unfinished == 0:
        log_event(b, LOG_DRAINED, NULL, NULL, 0, <int64_t> b.d.counters.running,
                  <int64_t> b.d.counters.waiting)


cdef int drained(broker_t *b) noexcept nogil:
    cdef uint32_t count = b.d.request_pool.fresh
    cdef uint32_t _
    if b.d.counters.running or b.pending.blocked != NULL or b.pending.deferred != NULL:
        return 0
    for _ in range(count):
        if b.drain.at >= count:
            b.drain.at = 0
        if holds(b, b.drain.at):
            return 0
        b.drain.at += 1
    return 1


# holds says whether the broker waits for the end of what is in a slot.
cdef int holds(const broker_t *b, uint32_t slot) noexcept nogil:
    cdef const request_t *request = &b.d.requests[slot]
    if request.state == REQUEST_WAITING:
        return (request.attempts > 0 or b.slots[slot].dialect != DIALECT_PND
                or b.d.services[request.service].workers > 0)
    if request.state == REQUEST_ANSWERED:
        return expected(b, b.peers.of_client[request.client])
    return request.state == REQUEST_RUNNING


# expected says whether a client that has an answer to take is there, or may be back in a moment:
# one that was cut is, by far, before a liveness has passed.
cdef int expected(const broker_t *b, const peer_t *client) noexcept nogil:
    return (client.route != NULL and client.route.alive) or (
        b.now - client.lost.cut_at < b.settings.heartbeat_ns * b.settings.liveness)


# count_left counts the requests that the broker would have waited for, and says so, if any.
cdef uint32_t count_left(broker_t *b) noexcept nogil:
    cdef char text[LABEL_MAX + 1]
    cdef uint32_t left = 0, unnotified = 0, undelivered = 0
    cdef uint32_t slot
    cdef int size
    for slot in range(b.d.request_pool.fresh):
        if holds(b, slot):
            left += 1
            undelivered += b.d.requests[slot].state == REQUEST_ANSWERED
            unnotified += b.slots[slot].dialect != DIALECT_PND
    if left:
        size = snprintf(text, sizeof(text), "unnotified=%u undelivered=%u", unnotified, undelivered)
        log_event(b, LOG_UNFINISHED, NULL, <const uint8_t *> text, <size_t> size,
                  <int64_t> b.d.counters.running, <int64_t> b.d.counters.waiting)
    return left


cdef void farewell(broker_t *b) noexcept nogil:
    cdef peer_t *peer
    cdef uint32_t i
    flush_deferred(b, INT64_MAX)
    flush(b)
    for i in range(b.peers.all.count):
        peer = <peer_t *> b.peers.all.at[i]
        if peer != NULL and not peer.dead and peer.dialect == DIALECT_PND:
            notify_bye(b, peer, BYE_GOING, RETRY_GOING_MS)
    flush(b)
    for i in range(b.peers.all.count):
        peer = <peer_t *> b.peers.all.at[i]
        if peer != NULL and not peer.dead and peer.worker != NONE and is_mdp(peer):
            peer.control.owed |= OWE_DISCONNECT
            peer_touch(b, peer)
    flush(b)


cdef int is_mdp(const peer_t *peer) noexcept nogil:
    return peer.dialect == DIALECT_MDP1 or peer.dialect == DIALECT_MDP2
