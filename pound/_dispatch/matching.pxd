# Which worker gets the next task: an idle worker before a busy one, the least recently used first.
#
# A service keeps the offers of its eligible workers in two LRUs by sent_seq: idle ones (the worker
# holds nothing) and busy ones (it has credit left). The first idle worker is next. If there is
# none, the first two busy ones are compared, and the one that holds less is next: so a worker that
# hangs is passed over, whatever its capacity. (The share of its capacity in use would mislead: the
# larger the capacity of a hanging worker, the emptier it looks.)
# Requests go out in this order: isolated ones, to idle workers only; then the highest priority, in
# it the returned ones by order of acceptance, then the fresh ones, of which the owners take turns
# (flows.pxd). One shared dispatch in FAIR_EVERY serves the lower priorities in turn, so that each
# is served within FAIR_EVERY dispatches for each priority. An isolated request that finds no idle
# worker reserves the next busy one, which gets no task until it holds none.
#
# After settle, no eligible worker could take a waiting request. A dispatch costs O(1) for each
# service that the worker offers, or O(log n) where workers answer out of order; serving a worker
# visits its offers once for each task.

from libc.stdint cimport uint8_t, uint32_t

from pound._base.heap cimport heap_remove, heap_top
from pound._base.lru cimport lru_first, lru_second, lru_t
from pound._base.pool cimport NONE
from .changes cimport (
    ATTEMPTS_SHARED, act, credit_take, offer_entries, request_drop_task, reservation_end,
    reservation_make, running_enter, task_make, unmatched_places, unserved_places, waiting_leave,
    worker_list, worker_place)
from .flows cimport flow_serve
from .model cimport ACT_TASK, LISTED_NOWHERE, dispatcher_t, request_t, service_t, worker_t

cdef extern from *:
    int __builtin_ctz(unsigned int) nogil
    int __builtin_clz(unsigned int) nogil

cdef enum:
    FAIR_EVERY = 16          # one dispatch in so many serves a priority below the highest


cdef inline uint32_t fair_priority(service_t *service, uint32_t highest) noexcept nogil:
    """fair_priority returns the lower priority whose turn it is, or the highest if it is alone."""
    cdef uint32_t lower = service.filled ^ <uint32_t> 1 << highest
    cdef uint32_t after = lower >> service.turn >> 1
    if lower == 0:
        return highest
    service.turn = <uint8_t> (
        service.turn + 1 + __builtin_ctz(after) if after else __builtin_ctz(lower))
    return service.turn


cdef inline uint32_t next_request(dispatcher_t *d, service_t *service) noexcept nogil:
    """next_request returns the request, of some that wait, that is sent next to a shared worker.

    The caller sends it: it counts in its owner's turn.
    """
    cdef uint32_t p = 31 - __builtin_clz(service.filled)
    if service.dispatches % FAIR_EVERY == FAIR_EVERY - 1:
        p = fair_priority(service, p)
    if service.returned[p].count > 0:
        return heap_top(&service.returned[p])
    return flow_serve(d, service, p)


cdef inline uint32_t held_by(const dispatcher_t *d, uint32_t o) noexcept nogil:
    """held_by returns how much the worker of an offer holds."""
    return d.workers[d.offers[o].worker].held


cdef inline uint32_t next_offer(const dispatcher_t *d, const service_t *service) noexcept nogil:
    """next_offer returns the offer of the eligible worker that is sent the next task, or NONE."""
    cdef uint32_t first = lru_first(&service.idle, offer_entries(d))
    cdef uint32_t second
    if first != NONE:
        return first
    first = lru_first(&service.busy, offer_entries(d))
    if first == NONE:
        return NONE
    second = lru_second(&service.busy, offer_entries(d), first)
    if second != NONE and held_by(d, second) < held_by(d, first):
        return second
    return first


cdef inline uint32_t other_offer(
    const dispatcher_t *d, uint32_t r, uint32_t w
) noexcept nogil:
    """other_offer returns the offer of a worker that can take what `w` is about to give back.

    Who is eligible between two calls has nothing waiting for it, so the request passes nobody.
    """
    cdef const service_t *service = &d.services[d.requests[r].service]
    cdef uint32_t o = first_except(d, &service.idle, w)
    if o == NONE and d.requests[r].attempts <= ATTEMPTS_SHARED:
        o = first_except(d, &service.busy, w)
    return o


cdef inline uint32_t first_except(
    const dispatcher_t *d, const lru_t *lru, uint32_t w
) noexcept nogil:
    """first_except returns the first offer in an LRU that is not of worker `w`, or NONE."""
    cdef uint32_t o = lru_first(lru, offer_entries(d))
    if o != NONE and d.offers[o].worker == w:
        o = lru_second(lru, offer_entries(d), o)
    return o


cdef inline void assign(dispatcher_t *d, uint32_t r, uint32_t o) noexcept nogil:
    """assign makes a task for an offer's worker of a request that has none and is in no queue."""
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
    d.services[request.service].dispatches += 1 - d.tasks[t].isolates
    d.counters.redelivered += request.attempts > 0
    act(d, ACT_TASK, r, w, d.tasks[t].token, request.attempts + 1)


cdef inline void dispatch(dispatcher_t *d, uint32_t r, uint32_t o) noexcept nogil:
    """dispatch hands a waiting request to the worker of an offer."""
    waiting_leave(d, r)
    request_drop_task(d, r)
    assign(d, r, o)


cdef inline void match(dispatcher_t *d, uint32_t s) noexcept nogil:
    """match hands out a service's waiting requests while there are workers for them."""
    cdef service_t *service = &d.services[s]
    cdef uint32_t o
    while True:
        if service.isolated.count > 0:
            o = lru_first(&service.idle, offer_entries(d))
            if o != NONE:
                dispatch(d, heap_top(&service.isolated), o)
                continue
            o = lru_first(&service.busy, offer_entries(d))
            if service.reserved == NONE and o != NONE:
                reservation_make(d, s, d.offers[o].worker)
        o = next_offer(d, service)
        if o == NONE or service.filled == 0:
            return
        dispatch(d, next_request(d, service), o)


cdef inline bint has_work_for(const service_t *service, const worker_t *worker) noexcept nogil:
    """has_work_for returns whether matching gives an eligible worker a task or a reservation."""
    if service.waiting > service.isolated.count + service.delayed:
        return True
    return service.isolated.count > 0 and (worker.held == 0 or service.reserved == NONE)


cdef inline uint32_t next_service(const dispatcher_t *d, const worker_t *worker) noexcept nogil:
    """next_service returns the service, of a worker's in turn, that has work for it, or NONE."""
    cdef uint32_t i, s
    for i in range(worker.next_offer, worker.next_offer + worker.n_offers):
        s = d.offers[worker.offers[i % worker.n_offers]].service
        if has_work_for(&d.services[s], worker):
            return s
    return NONE


cdef inline void serve(dispatcher_t *d, uint32_t w) noexcept nogil:
    """serve assigns work to a worker while it is eligible and one of its services has some."""
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
