# What happens when timers fire.
#
# Seven heaps by due time in monotonic ns: deadlines, leases, ends of delays, ends of blocking,
# graces of clients, waits of services for a first worker, liveness of workers. Each entity has at
# most one timer of a kind and stores its place, so arming, re-arming and disarming are O(log n).
# Two kinds are lazy. A heartbeat does not move the liveness timer: when the timer fires, the worker
# is gone if it was silent for all that time on the liveness clock; else the timer is set for the
# rest. A service's wait is armed by the first request that needs it, then for the next one to end.

from libc.stdint cimport INT64_MAX, int64_t, uint32_t

from pound._base.check cimport CHECK
from pound._base.heap cimport heap_push, heap_remove, heap_t, heap_top
from pound._base.pool cimport NONE
from pound._wire.codes cimport CODE_DEADLINE_EXCEEDED, CODE_NOT_FOUND
from .changes cimport (
    act, arm, disarm, liveness_places, queue_enter, queue_leave, queue_places, returned_where,
    service_await, service_unmatched, wait_places)
from .endings cimport request_fail, worker_end
from .flows cimport flow_reserve
from .model cimport (
    ACT_WORKER_GONE, LIVENESS_IDLE, PRIORITIES, QUEUED_FRESH, QUEUED_HELD, REQUEST_RUNNING,
    dispatcher_t, service_t, timers_t, worker_t)


cdef inline uint32_t due(const heap_t *timers, int64_t now) noexcept nogil:
    """due returns the item whose timer fires next, or NONE."""
    return timers.nodes[0].item if timers.count > 0 and timers.nodes[0].key <= now else NONE


cdef inline void expire(dispatcher_t *d, uint32_t r) noexcept nogil:
    cdef uint32_t holder = NONE
    if d.requests[r].state == REQUEST_RUNNING:
        holder = d.tasks[d.requests[r].task].worker
    d.counters.expired += 1
    request_fail(d, r, CODE_DEADLINE_EXCEEDED, holder)


cdef inline void delay_over(dispatcher_t *d, uint32_t r) noexcept nogil:
    """delay_over returns a delayed request; it waits for a first worker from now on, if for one.

    One that was held back is fresh; without memory for that it comes before those that are.
    """
    cdef uint32_t s = d.requests[r].service
    cdef bint held = d.requests[r].queued == QUEUED_HELD
    queue_leave(d, r)
    d.requests[r].since = d.now
    queue_enter(d, r, QUEUED_FRESH if held and flow_reserve(d) == 0
                else returned_where(&d.requests[r]))
    service_await(d, s)
    service_unmatched(d, s)


cdef inline int64_t wait_end(const dispatcher_t *d, uint32_t r) noexcept nogil:
    """wait_end returns when a request of a service without workers has waited long enough.

    A request that was there before the last worker went waits from then on: the timer was armed at
    that moment, and does not fire before that wait is over.
    """
    return d.requests[r].since + d.limits.service_wait_ns


cdef inline int64_t wait_fail_heap(dispatcher_t *d, heap_t *h, int64_t next_end) noexcept nogil:
    """wait_fail_heap fails those of a heap that have waited long enough; the next end of a wait.

    Their order is not that of their waits: all are looked at, and the others go back.
    """
    cdef heap_t rest = d.timers.scratch
    cdef uint32_t r = heap_top(h)
    cdef int64_t key
    while r != NONE:
        if wait_end(d, r) <= d.now:
            d.counters.failed += 1
            request_fail(d, r, CODE_NOT_FOUND)
        else:
            next_end = min(next_end, wait_end(d, r))
            key = h.nodes[0].key
            heap_remove(h, queue_places(d), r)
            CHECK(heap_push(&rest, queue_places(d), key, r) == 0, "no memory for %u", rest.count)
        r = heap_top(h)
    d.timers.scratch = h[0]
    h[0] = rest
    return next_end


cdef inline int64_t wait_fail_flow(dispatcher_t *d, uint32_t f, int64_t next_end) noexcept nogil:
    """wait_fail_flow fails those of a flow that have waited long enough; the next end of a wait.

    The last one takes the flow with it.
    """
    cdef uint32_t r = d.flows.at[f].requests.head
    cdef uint32_t following
    while r != NONE:
        if wait_end(d, r) > d.now:
            return min(next_end, wait_end(d, r))
        following = d.requests[r].queue.next
        d.counters.failed += 1
        request_fail(d, r, CODE_NOT_FOUND)
        r = following
    return next_end


cdef inline int64_t wait_fail_ring(
    dispatcher_t *d, uint32_t first, int64_t next_end
) noexcept nogil:
    """wait_fail_ring is wait_fail_flow for a whole ring, from a flow on, which may be NONE."""
    cdef uint32_t last, following
    cdef uint32_t f = first
    if first == NONE:
        return next_end
    last = d.flows.at[first].ring.prev
    while True:
        following = d.flows.at[f].ring.next
        next_end = wait_fail_flow(d, f, next_end)
        if f == last:
            return next_end
        f = following


cdef inline void wait_over(dispatcher_t *d, uint32_t s) noexcept nogil:
    """wait_over fails the requests of a service that have waited for a first worker in vain."""
    cdef service_t *service = &d.services[s]
    cdef int64_t next_end = INT64_MAX
    cdef int p
    disarm(&d.timers.service_waits, wait_places(d), s)
    for p in range(PRIORITIES - 1, -1, -1):
        next_end = wait_fail_heap(d, &service.returned[p], next_end)
        next_end = wait_fail_ring(d, service.turns[p], next_end)
        if service.returned[p].count > 0:
            service.filled |= 1 << p
    next_end = wait_fail_heap(d, &service.isolated, next_end)
    if next_end != INT64_MAX:
        arm(&d.timers.service_waits, wait_places(d), next_end, s)


cdef inline void silence(dispatcher_t *d, uint32_t w, int64_t live) noexcept nogil:
    """silence ends a worker that was not heard for too long, or looks again later."""
    cdef worker_t *worker = &d.workers[w]
    cdef int64_t left = worker.last_heard + worker.liveness_ns - live
    if worker.mode == LIVENESS_IDLE and worker.held > 0:
        disarm(&d.timers.liveness, liveness_places(d), w)
    elif left > 0:
        arm(&d.timers.liveness, liveness_places(d), d.now + left, w)
    else:
        d.counters.expired_workers += 1
        act(d, ACT_WORKER_GONE, NONE, w, 0, 0)
        worker_end(d, w)


cdef inline int64_t next_due(const dispatcher_t *d) noexcept nogil:
    """next_due returns the time of the first timer, or -1."""
    cdef int64_t first = INT64_MAX
    cdef const timers_t *t = &d.timers
    cdef const heap_t **timers = [
        &t.deadlines, &t.leases, &t.delays, &t.blocked_ends, &t.graces, &t.service_waits,
        &t.liveness]
    cdef int i
    for i in range(7):
        if timers[i].count > 0 and timers[i].nodes[0].key < first:
            first = timers[i].nodes[0].key
    return -1 if first == INT64_MAX else first
