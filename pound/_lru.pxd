# Who gets the next task: the eligible worker that was sent one longest ago.
#
# A service keeps the offers of its eligible workers in two ranks by sent_seq: idle ones (the
# worker holds nothing) and busy ones (it has credit left). The least of both is next. What waits
# goes out in this order: isolated requests, to idle workers only; then the highest priority (one
# dispatch in FAIR_EVERY: the lowest), in it what has returned, by order of acceptance, then the
# fresh. An isolated request that finds no idle worker reserves the next busy one, which then runs
# empty.
#
# After settle no waiting request could be taken by an eligible worker. A dispatch costs O(1) for
# each service that the worker offers, or O(log n) where workers answer out of turn; serving a
# worker looks at its offers once for each task.

from libc.stdint cimport uint32_t

from pound._book cimport (
    ATTEMPTS_SHARED, act, credit_take, offer_seats, request_drop_task, reservation_end,
    reservation_make, running_enter, task_make, unmatched_places, unserved_places, waiting_leave,
    worker_list, worker_place)
from pound._dispatcher cimport (
    ACT_TASK, LISTED_NOWHERE, NONE, dispatcher_t, request_t, service_t, worker_t)
from pound._heap cimport heap_remove, heap_top
from pound._rank cimport rank_first

cdef extern from *:
    int __builtin_ctz(unsigned int) nogil
    int __builtin_clz(unsigned int) nogil

cdef enum:
    FAIR_EVERY = 16          # one dispatch in so many serves the lowest priority


cdef inline uint32_t next_request(const service_t *service) noexcept nogil:
    """next_request gives the request that is to be sent next to a shared worker, or NONE."""
    cdef uint32_t p
    if service.filled == 0:
        return NONE
    if service.dispatches % FAIR_EVERY == FAIR_EVERY - 1:
        p = __builtin_ctz(service.filled)
    else:
        p = 31 - __builtin_clz(service.filled)
    return heap_top(&service.returned[p]) if service.returned[p].count else service.fresh[p].head


cdef inline uint32_t next_offer(const dispatcher_t *d, const service_t *service) noexcept nogil:
    """next_offer gives the offer of the eligible worker that was sent a task longest ago."""
    cdef uint32_t idle = rank_first(&service.idle, offer_seats(d))
    cdef uint32_t busy = rank_first(&service.busy, offer_seats(d))
    if busy == NONE:
        return idle
    if idle == NONE or d.offers[busy].seat.key < d.offers[idle].seat.key:
        return busy
    return idle


cdef inline void hand(dispatcher_t *d, uint32_t r, uint32_t o) noexcept nogil:
    """hand makes a task of a request, which has none and is in no queue, for an offer's worker."""
    cdef uint32_t w = d.offers[o].worker
    cdef request_t *request = &d.requests[r]
    cdef worker_t *worker = &d.workers[w]
    cdef uint32_t t = task_make(d, r, w)
    d.tasks[t].isolates = request.attempts >= ATTEMPTS_SHARED
    request.task = t
    running_enter(d, r)
    d.sent_seq += 1
    worker.sent_seq = d.sent_seq
    worker.next_offer = d.offers[o].index + 1
    credit_take(d, t)
    worker_list(d, w, worker_place(worker))
    d.services[request.service].dispatches += 1
    d.counters.redelivered += request.attempts > 0
    act(d, ACT_TASK, r, w, d.tasks[t].token, request.attempts + 1)


cdef inline void dispatch(dispatcher_t *d, uint32_t r, uint32_t o) noexcept nogil:
    """dispatch hands a waiting request to the worker of an offer."""
    waiting_leave(d, r)
    request_drop_task(d, r)
    hand(d, r, o)


cdef inline void match(dispatcher_t *d, uint32_t s) noexcept nogil:
    """match hands out a service's waiting requests while there are workers for them."""
    cdef service_t *service = &d.services[s]
    cdef uint32_t r, o
    while True:
        if service.isolated.count > 0:
            o = rank_first(&service.idle, offer_seats(d))
            if o != NONE:
                dispatch(d, heap_top(&service.isolated), o)
                continue
            o = rank_first(&service.busy, offer_seats(d))
            if service.reserved == NONE and o != NONE:
                reservation_make(d, s, d.offers[o].worker)
        o = next_offer(d, service)
        r = next_request(service)
        if o == NONE or r == NONE:
            return
        dispatch(d, r, o)


cdef inline bint has_work_for(const service_t *service, const worker_t *worker) noexcept nogil:
    """has_work_for tells whether matching would give an eligible worker a task or a reservation."""
    if service.waiting > service.isolated.count:
        return True
    return service.isolated.count > 0 and (worker.held == 0 or service.reserved == NONE)


cdef inline uint32_t next_service(const dispatcher_t *d, const worker_t *worker) noexcept nogil:
    """next_service gives the service, of a worker's in turn, that has work for it, or NONE."""
    cdef uint32_t i, s
    for i in range(worker.next_offer, worker.next_offer + worker.n_offers):
        s = d.offers[worker.offers[i % worker.n_offers]].service
        if has_work_for(&d.services[s], worker):
            return s
    return NONE


cdef inline void serve(dispatcher_t *d, uint32_t w) noexcept nogil:
    """serve gives a worker work while it is eligible and one of its services has some."""
    cdef worker_t *worker = &d.workers[w]
    cdef uint32_t s = worker.reserved_for
    if s != NONE and worker.held == 0:
        reservation_end(d, s)
        match(d, s)
    while worker.listed != LISTED_NOWHERE:
        s = next_service(d, worker)
        if s == NONE:
            return
        match(d, s)


cdef inline void settle(dispatcher_t *d) noexcept nogil:
    """settle matches all that the changes of a call have made possible."""
    cdef uint32_t n
    while d.unmatched.count > 0 or d.unserved.count > 0:
        n = heap_top(&d.unmatched)
        if n != NONE:
            heap_remove(&d.unmatched, unmatched_places(d), n)
            match(d, n)
            continue
        n = heap_top(&d.unserved)
        heap_remove(&d.unserved, unserved_places(d), n)
        serve(d, n)
