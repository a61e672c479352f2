"""Peers that go, and some that come back (see departures.pxd for the rules)."""

from libc.stdint cimport UINT64_MAX, uint32_t, uint8_t

from pound._base.check cimport CHECK
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport (
    disp_client_close, disp_client_lost, disp_worker_gone, disp_worker_void)
from pound._wire.dialects cimport DIALECT_PLAIN, DIALECT_PND
from .actions cimport act
from .admission cimport guide_ready
from .heartbeats cimport cancel_heartbeat
from .kinds cimport LOG_WORKER_GONE, LOG_WORKER_LEFT
from .log_events cimport log_event
from .peers cimport peer_release, route_dies, route_free
from .queues cimport peer_touch
from .state cimport LOST_CUT, LOST_MAX, LOST_TRIED, broker_t, peer_t, route_t

cdef void route_lost(broker_t *b, route_t *route) noexcept nogil:
    """The route's connection is closed, and every message that came by it has been read."""
    cdef peer_t *peer = route.peer
    route_dies(b, route)
    if peer == NULL or peer.dialect == DIALECT_PND:
        route_free(b, route)
        if peer == NULL:
            return
        if peer.route != NULL:
            peer_touch(b, peer)
            return
    if peer.worker != NONE:
        worker_lost(b, peer, route.explicit_id)
    if peer.client != NONE:
        peer.lost.cut_at = b.now
        if peer.dialect == DIALECT_PND or route.explicit_id:
            disp_client_lost(b.d, peer.client, b.settings.client_grace_ns, b.now)
        else:
            disp_client_close(b.d, peer.client, b.now)
        act(b)
    peer_release(b, peer)


cdef void route_taken(broker_t *b, route_t *route) noexcept nogil:
    cdef peer_t *peer = route.peer
    if peer == NULL or peer.dialect == DIALECT_PND:  # a session may have other routes, or come back
        route_lost(b, route)
        return
    if peer.lost.state:
        lost_forget(b, peer)
    route_free(b, route)  # first: with its last role a peer gives up all its routes
    if peer.worker != NONE:
        worker_lost(b, peer, 0)
    if peer.client != NONE:
        disp_client_close(b.d, peer.client, b.now)
        act(b)
    peer_release(b, peer)


cdef void worker_lost(broker_t *b, peer_t *peer, uint8_t may_return) noexcept nogil:
    """The worker's last route is closed: its tasks return. It may come back under its id."""
    cdef uint32_t held = b.d.workers[peer.worker].held
    if peer.lost.state:
        peer.lost.state = LOST_CUT
        if held:  # it was back, and is gone again: perhaps, so cut_at stays as it is
            log_event(b, LOG_WORKER_GONE, peer, NULL, 0, held, peer.dialect)
    elif not b.d.workers[peer.worker].gone:
        log_event(b, LOG_WORKER_LEFT if b.d.workers[peer.worker].leaving else LOG_WORKER_GONE,
                  peer, NULL, 0, held, peer.dialect)
    if (not peer.lost.state and peer.dialect == DIALECT_PLAIN and may_return and held == 0
            and not b.d.workers[peer.worker].gone and b.guard == NULL):
        lost_note(b, peer)
    peer.tasks.count = 0
    worker_gone(b, peer)


cdef void worker_gone(broker_t *b, peer_t *peer) noexcept nogil:
    cancel_heartbeat(b, peer)
    disp_worker_gone(b.d, peer.worker, b.now)
    act(b)


cdef void worker_void(broker_t *b, peer_t *peer) noexcept nogil:
    peer.tasks.count = 0
    cancel_heartbeat(b, peer)
    disp_worker_void(b.d, peer.worker, b.now)
    act(b)


cdef void session_end(broker_t *b, peer_t *peer) noexcept nogil:
    """The peer's session ends at once in both roles, as by BYE."""
    if peer.worker != NONE:
        peer.tasks.count = 0
        worker_gone(b, peer)
    if peer.client != NONE:
        disp_client_close(b.d, peer.client, b.now)
        act(b)


cdef void lost_note(broker_t *b, peer_t *peer) noexcept nogil:
    """Remember an idle REQ worker that may reconnect under its id without a word."""
    cdef peer_t *oldest
    if b.lost.count == LOST_MAX:
        oldest = b.lost.peers[0]
        lost_forget(b, oldest)
        peer_release(b, oldest)
    peer.lost.state = LOST_CUT
    peer.lost.cut_at = b.now
    peer.lost.not_before = 0
    CHECK(b.lost.count < LOST_MAX, "%u lost workers", b.lost.count)
    b.lost.peers[b.lost.count] = peer
    b.lost.count += 1


cdef void lost_forget(broker_t *b, peer_t *peer) noexcept nogil:
    """The worker has spoken, or its place is needed."""
    cdef uint32_t i = 0
    while b.lost.peers[i] != peer:
        i += 1
    b.lost.count -= 1
    while i < b.lost.count:
        b.lost.peers[i] = b.lost.peers[i + 1]
        i += 1
    peer.lost.state = 0


cdef void lost_seek(broker_t *b) noexcept nogil:
    """Count lost workers as ready if a task waits for them: sending it shows whether they are."""
    cdef uint32_t i
    cdef peer_t *peer
    b.lost.seek = 0
    for i in range(b.lost.count):
        peer = b.lost.peers[i]
        if (peer.lost.state == LOST_CUT and b.now >= peer.lost.not_before
                and b.d.services[peer.guide.service].waiting):
            peer.lost.state = LOST_TRIED
            peer.lost.tried_at = b.lost.tried_at = b.now
            peer.lost.tried_order = UINT64_MAX  # until it was sent its task
            peer.route.alive = 1
            guide_ready(b, peer, peer.guide.service)
            if peer.worker == NONE:
                peer.lost.state = LOST_CUT
                peer.route.alive = 0
