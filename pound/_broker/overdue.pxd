# Tasks that a worker has held for long: a handler that hangs is reported by nobody else.
#
# Each round looks at some workers, and at the oldest task of each. A task is logged once, and one
# task of a worker in OVERDUE_AGAIN_NS.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_held_ms
from .kinds cimport C_TASKS_HELD_LONG, LOG_TASK_HELD
from .log_events cimport log_event
from .state cimport broker_t, peer_t, service_name_t

cdef enum:
    OVERDUE_ROWS = 256       # workers looked at in one report
    OVERDUE_AGAIN_NS = 30_000_000_000


cdef inline void overdue_log(
    broker_t *b, uint32_t w, peer_t *peer, int64_t held_ms
) noexcept nogil:
    """overdue_log logs a worker's oldest task, unless that was done."""
    cdef uint32_t t = b.d.workers[w].tasks.head
    cdef uint64_t token = b.d.tasks[t].token
    cdef uint32_t r = b.d.tasks[t].request
    cdef service_name_t *service
    if peer.logged.overdue_at and (
            peer.logged.overdue == token or b.now - peer.logged.overdue_at < OVERDUE_AGAIN_NS):
        return
    peer.logged.overdue = token
    peer.logged.overdue_at = b.now
    b.counters[C_TASKS_HELD_LONG] += 1
    if r == NONE:  # its request has ended
        log_event(b, LOG_TASK_HELD, peer, NULL, 0, held_ms, b.d.workers[w].held)
        return
    service = &b.services.at[b.d.requests[r].service]
    log_event(b, LOG_TASK_HELD, peer, service.name, service.size, held_ms, b.d.workers[w].held)


cdef inline void overdue_report(broker_t *b) noexcept nogil:
    """overdue_report looks at the next workers in turn."""
    cdef uint32_t w, _
    cdef int64_t held_ms
    if b.settings.held_long_ms == 0:
        return
    for _ in range(min(b.peers.workers_room, <uint32_t> OVERDUE_ROWS)):
        b.rounds.workers = (b.rounds.workers + 1) % b.peers.workers_room
        w = b.rounds.workers
        if b.peers.of_worker[w] == NULL or b.d.workers[w].gone:
            continue
        held_ms = disp_held_ms(b.d, w, b.now)
        if held_ms >= b.settings.held_long_ms:
            overdue_log(b, w, b.peers.of_worker[w], held_ms)
