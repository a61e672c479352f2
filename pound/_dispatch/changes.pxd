# Changes of state: the small steps of which the dispatcher's rules are made.
#
# Each function keeps counters, queues, heaps and lists consistent through one change and decides
# nothing: dispatcher.pyx and matching.pxd decide. Work that a change makes possible is noted in two
# sets, services to be matched and workers to be served, which the end of each call settles.
#
# If memory for a peer's request is missing, the request is refused (REQ_NO_MEMORY). The little that
# later steps of an accepted request need (heap nodes, tasks, actions) must be there, or the process
# aborts.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from pound._base.check cimport CHECK
from pound._base.heap cimport (
    heap_free, heap_move, heap_push, heap_remove, heap_t, place_of, places_of, places_t)
from pound._base.hints cimport unlikely
from pound._base.index cimport index_find, index_put, index_remove, index_shrink, keys_of, keys_t
from pound._base.links cimport links_of, links_t, queue_append, queue_remove
from pound._base.lru cimport lru_enter, lru_entries_of, lru_entries_t, lru_free, lru_leave, lru_t
from pound._base.pool cimport NONE, pool_give, pool_take
from .flows cimport flow_enter, flow_leave
from .model cimport (
    ACT_CANCEL, ACT_FREE, ACT_SERVICE_FREE, ACT_WORKER_FREE, LISTED_BUSY, LISTED_IDLE,
    LISTED_NOWHERE, LIVENESS_IDLE, PRIORITIES, QUEUED_DELAYED, QUEUED_HELD, QUEUED_ISOLATED,
    QUEUED_NOWHERE, QUEUED_RETURNED, REQUEST_KEPT, REQUEST_RUNNING, REQUEST_WAITING,
    TASK_UNSENT, action_t, client_t, dispatcher_t, offer_t, request_t, service_t, task_t,
    worker_t)
from .owners cimport charge_end, counted, quota_leave

cdef enum:
    ATTEMPTS_SHARED = 2      # a request sent this often goes alone from now on
    ISOLATED_SHIFT = 58      # bits of seq in the key of an isolated request
    ACTIONS_ROOM_MIN = 64


# --- where entities keep their places, links and LRU entries ---

cdef inline places_t queue_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.requests[0].queue.prev, sizeof(request_t))


cdef inline places_t deadline_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.requests[0].deadline_at, sizeof(request_t))


cdef inline places_t blocked_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.workers[0].blocked_at, sizeof(worker_t))


cdef inline places_t liveness_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.workers[0].liveness_at, sizeof(worker_t))


cdef inline places_t unserved_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.workers[0].unserved_at, sizeof(worker_t))


cdef inline keys_t id_keys(const dispatcher_t *d) noexcept nogil:
    return keys_of(&d.requests[0].id, sizeof(request_t))


cdef inline keys_t token_keys(const dispatcher_t *d) noexcept nogil:
    return keys_of(&d.tasks[0].token, sizeof(task_t))


cdef inline places_t grace_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.clients[0].grace_at, sizeof(client_t))


cdef inline places_t wait_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.services[0].wait_at, sizeof(service_t))


cdef inline places_t unmatched_places(dispatcher_t *d) noexcept nogil:
    return places_of(&d.services[0].unmatched_at, sizeof(service_t))


cdef inline links_t queue_links(dispatcher_t *d) noexcept nogil:
    return links_of(&d.requests[0].queue, sizeof(request_t))


cdef inline links_t client_links(dispatcher_t *d) noexcept nogil:
    return links_of(&d.requests[0].sibling, sizeof(request_t))


cdef inline links_t worker_links(dispatcher_t *d) noexcept nogil:
    return links_of(&d.tasks[0].sibling, sizeof(task_t))


cdef inline lru_entries_t offer_entries(const dispatcher_t *d) noexcept nogil:
    return lru_entries_of(&d.offers[0].entry, sizeof(offer_t))


# --- heaps, timers and the two sets ---

cdef inline void enter(heap_t *h, places_t places, int64_t key, uint32_t item) noexcept nogil:
    CHECK(heap_push(h, places, key, item) == 0, "no memory for %u heap nodes", h.count + 1)


cdef inline void arm(heap_t *h, places_t places, int64_t due, uint32_t item) noexcept nogil:
    """arm sets the timer of an item, armed or not."""
    if place_of(places, item)[0] == NONE:
        enter(h, places, due, item)
    else:
        heap_move(h, places, due, item)


cdef inline void disarm(heap_t *h, places_t places, uint32_t item) noexcept nogil:
    """disarm stops the timer of an item, armed or not."""
    if place_of(places, item)[0] != NONE:
        heap_remove(h, places, item)


cdef inline void service_unmatched(dispatcher_t *d, uint32_t s) noexcept nogil:
    """service_unmatched notes that a service may have work that it can hand out."""
    if d.services[s].unmatched_at == NONE:
        enter(&d.unmatched, unmatched_places(d), 0, s)


cdef inline bint worker_awaited(const dispatcher_t *d, const worker_t *worker) noexcept nogil:
    """worker_awaited returns whether a service of a worker has requests that wait."""
    cdef uint32_t i
    for i in range(worker.n_offers):
        if d.services[d.offers[worker.offers[i]].service].waiting > 0:
            return True
    return False


cdef inline void worker_unserved(dispatcher_t *d, uint32_t w) noexcept nogil:
    """worker_unserved notes that a worker may be able to take more, if there is more."""
    cdef const worker_t *worker = &d.workers[w]
    if not worker.gone and worker.unserved_at == NONE and worker_awaited(d, worker):
        enter(&d.unserved, unserved_places(d), 0, w)


# --- actions ---

cdef inline void actions_grow(dispatcher_t *d) noexcept nogil:
    cdef uint32_t room = 2 * d.actions.room if d.actions.room else ACTIONS_ROOM_MIN
    cdef void *bigger = realloc(d.actions.items, room * sizeof(action_t))
    CHECK(bigger != NULL, "no memory for %u actions", room)
    d.actions.items = <action_t *> bigger
    d.actions.room = room


cdef inline void act(
    dispatcher_t *d, uint8_t kind, uint32_t slot, uint32_t peer, uint64_t token, uint8_t code
) noexcept nogil:
    cdef action_t *action
    if unlikely(d.actions.end == d.actions.room):
        actions_grow(d)
    action = &d.actions.items[d.actions.end]
    action.kind = kind
    action.slot = slot
    action.peer = peer
    action.token = token
    action.code = code
    d.actions.end += 1


# --- services ---

cdef inline void service_unname(dispatcher_t *d, service_t *service) noexcept nogil:
    """service_unname forgets who asked for a service first: it is offered now, or freed."""
    cdef uint32_t c = service.namer
    if c != NONE and d.clients[c].used and d.clients[c].stamp == service.namer_stamp:
        d.clients[c].named -= 1
    service.namer = NONE


cdef inline void service_offered(dispatcher_t *d, service_t *service) noexcept nogil:
    """service_offered notes that a service is about to have its first worker."""
    d.shares.offered += 1 - service.pinned
    d.shares.workerless -= service.waiting
    d.shares.workerless_bytes -= service.waiting_bytes
    service_unname(d, service)


cdef inline void service_left(dispatcher_t *d, service_t *service) noexcept nogil:
    """service_left notes that a service has lost its last worker."""
    d.shares.offered -= 1 - service.pinned
    d.shares.workerless += service.waiting
    d.shares.workerless_bytes += service.waiting_bytes


cdef inline void service_drop(dispatcher_t *d, uint32_t s) noexcept nogil:
    """service_drop frees a service to which nothing refers, unless it is pinned."""
    cdef service_t *service = &d.services[s]
    cdef uint32_t p
    if service.refs > 0 or service.pinned:
        return
    disarm(&d.timers.service_waits, wait_places(d), s)
    disarm(&d.unmatched, unmatched_places(d), s)
    lru_free(&service.idle)
    lru_free(&service.busy)
    heap_free(&service.isolated)
    for p in range(PRIORITIES):
        heap_free(&service.returned[p])
    service_unname(d, service)
    d.shares.internal -= service.internal
    d.counters.services -= 1
    pool_give(&d.service_pool, <void **> &d.services, sizeof(service_t), s)
    act(d, ACT_SERVICE_FREE, NONE, s, 0, 0)


cdef inline void service_unref(dispatcher_t *d, uint32_t s) noexcept nogil:
    d.services[s].refs -= 1
    if d.services[s].refs == 0:
        service_drop(d, s)


cdef inline void service_await(dispatcher_t *d, uint32_t s) noexcept nogil:
    """service_await arms the wait for a first worker, if requests of this service need it."""
    cdef service_t *service = &d.services[s]
    if (d.limits.service_wait_ns > 0 and service.workers == 0
            and service.waiting > service.delayed and service.wait_at == NONE):
        enter(&d.timers.service_waits, wait_places(d), d.now + d.limits.service_wait_ns, s)


# --- workers and their offers ---

cdef inline bint worker_eligible(const worker_t *worker) noexcept nogil:
    return (worker.held < worker.capacity and worker.blocked_at == NONE
            and worker.reserved_for == NONE
            and not (worker.isolating or worker.leaving or worker.gone))


cdef inline lru_t *offer_lru(service_t *service, uint8_t listed) noexcept nogil:
    return &service.idle if listed == LISTED_IDLE else &service.busy


cdef inline void enlist(lru_t *r, lru_entries_t entries, int64_t key, uint32_t o) noexcept nogil:
    CHECK(lru_enter(r, entries, key, o) == 0, "no memory for %u late offers", r.late.count + 1)


cdef inline void worker_list(dispatcher_t *d, uint32_t w, uint8_t wanted) noexcept nogil:
    """worker_list moves a worker's offers to the wanted LRUs, under its present sent_seq."""
    cdef worker_t *worker = &d.workers[w]
    cdef lru_entries_t entries = offer_entries(d)
    cdef service_t *service
    cdef uint32_t i, o
    for i in range(worker.n_offers):
        o = worker.offers[i]
        service = &d.services[d.offers[o].service]
        if worker.listed != LISTED_NOWHERE:
            lru_leave(offer_lru(service, worker.listed), entries, o)
        if wanted != LISTED_NOWHERE:
            enlist(offer_lru(service, wanted), entries, <int64_t> worker.sent_seq, o)
    worker.listed = wanted


cdef inline uint8_t worker_place(const worker_t *worker) noexcept nogil:
    """worker_place returns where a worker's offers belong."""
    if not worker_eligible(worker):
        return LISTED_NOWHERE
    return LISTED_BUSY if worker.held > 0 else LISTED_IDLE


cdef inline void worker_file(dispatcher_t *d, uint32_t w) noexcept nogil:
    """worker_file puts a worker's offers where they belong after a change of its state."""
    cdef uint8_t wanted = worker_place(&d.workers[w])
    if wanted != d.workers[w].listed:
        worker_list(d, w, wanted)


cdef inline void worker_unblock(dispatcher_t *d, uint32_t w) noexcept nogil:
    if d.workers[w].blocked_at != NONE:
        heap_remove(&d.timers.blocked_ends, blocked_places(d), w)
        worker_file(d, w)
        worker_unserved(d, w)


cdef inline void worker_free_gone(dispatcher_t *d, uint32_t w) noexcept nogil:
    """worker_free_gone frees a gone worker, unless one of its returned tasks still counts."""
    cdef worker_t *worker = &d.workers[w]
    if not worker.gone or worker.pinned or worker.tasks.head != NONE:
        return
    pool_give(&d.worker_pool, <void **> &d.workers, sizeof(worker_t), w)
    act(d, ACT_WORKER_FREE, NONE, w, 0, 0)


cdef inline void offer_make(
    dispatcher_t *d, uint32_t w, uint32_t s, uint32_t *offers, uint32_t index
) noexcept nogil:
    """offer_make writes a new offer, in no LRU yet, into offers[index]."""
    cdef uint32_t o = pool_take(&d.offer_pool, <void **> &d.offers, sizeof(offer_t))
    cdef service_t *service = &d.services[s]
    CHECK(o != NONE, "no memory for %u offers", d.offer_pool.used)
    offers[index] = o
    d.offers[o].service = s
    d.offers[o].worker = w
    d.offers[o].index = index
    service.refs += 1
    if service.workers == 0:
        service_offered(d, service)
    service.workers += 1
    disarm(&d.timers.service_waits, wait_places(d), s)


cdef inline void offer_drop(dispatcher_t *d, uint32_t o) noexcept nogil:
    """offer_drop frees an offer that is in no LRU."""
    cdef uint32_t s = d.offers[o].service
    d.services[s].workers -= 1
    if d.services[s].workers == 0:
        d.services[s].workerless_since = d.now
        service_left(d, &d.services[s])
        service_await(d, s)
    pool_give(&d.offer_pool, <void **> &d.offers, sizeof(offer_t), o)
    service_unref(d, s)


cdef inline void offers_replace(
    dispatcher_t *d, uint32_t w, const uint32_t *services, uint32_t n_services
) noexcept nogil:
    """offers_replace replaces a worker's offers; a service that it keeps is not freed meanwhile."""
    cdef worker_t *worker = &d.workers[w]
    cdef uint32_t *offers = worker.offers
    cdef uint32_t n_offers = worker.n_offers
    cdef uint32_t i
    worker_list(d, w, LISTED_NOWHERE)
    worker.n_offers = 0
    worker.next_offer = 0
    worker.offers = <uint32_t *> malloc(max(n_services, 1) * sizeof(uint32_t))
    CHECK(worker.offers != NULL, "no memory for %u offers", n_services)
    d.stamp += 1
    for i in range(n_services):
        if d.services[services[i]].mark != d.stamp:
            d.services[services[i]].mark = d.stamp
            offer_make(d, w, services[i], worker.offers, worker.n_offers)
            worker.n_offers += 1
    for i in range(n_offers):
        offer_drop(d, offers[i])
    free(offers)


cdef inline void reservation_make(dispatcher_t *d, uint32_t s, uint32_t w) noexcept nogil:
    d.services[s].reserved = w
    d.workers[w].reserved_for = s
    worker_file(d, w)


cdef inline void reservation_end(dispatcher_t *d, uint32_t s) noexcept nogil:
    cdef uint32_t w = d.services[s].reserved
    d.services[s].reserved = NONE
    d.workers[w].reserved_for = NONE
    worker_file(d, w)


cdef inline void reservation_break(dispatcher_t *d, uint32_t w) noexcept nogil:
    """reservation_break ends the reservation, if any, of a worker that can't keep it."""
    cdef uint32_t s = d.workers[w].reserved_for
    if s != NONE:
        reservation_end(d, s)
        worker_unserved(d, w)
        service_unmatched(d, s)


# --- credit and tasks ---

cdef inline void credit_take(dispatcher_t *d, uint32_t t) noexcept nogil:
    """credit_take lets a task hold a credit of its worker, whose offers the caller files."""
    cdef worker_t *worker = &d.workers[d.tasks[t].worker]
    d.tasks[t].holds = 1
    worker.held += 1
    worker.isolating |= d.tasks[t].isolates


cdef inline void credit_give(dispatcher_t *d, uint32_t t) noexcept nogil:
    """credit_give takes the credit back that a task holds, if it holds one."""
    cdef uint32_t w = d.tasks[t].worker
    cdef worker_t *worker = &d.workers[w]
    if not d.tasks[t].holds:
        return
    d.tasks[t].holds = 0
    worker.held -= 1
    if d.tasks[t].isolates:
        worker.isolating = 0
    if (worker.held == 0 and worker.mode == LIVENESS_IDLE and worker.liveness_at == NONE
            and not worker.gone):
        enter(&d.timers.liveness, liveness_places(d), d.now, w)
    # A busy worker with credit left stays so until it holds nothing.
    if worker.listed != LISTED_BUSY or worker.held == 0:
        worker_file(d, w)
    if d.counters.waiting > 0:
        worker_unserved(d, w)


cdef inline uint32_t task_find(const dispatcher_t *d, uint64_t token) noexcept nogil:
    """task_find returns the task that a token names, or NONE."""
    return index_find(&d.by_token, token_keys(d), token)


cdef inline uint32_t task_make(dispatcher_t *d, uint32_t r, uint32_t w) noexcept nogil:
    """task_make returns an UNSENT task, with a token of its own, that holds no credit yet."""
    cdef uint32_t t = pool_take(&d.task_pool, <void **> &d.tasks, sizeof(task_t))
    cdef task_t *task
    CHECK(t != NONE, "no memory for %u tasks", d.task_pool.used)
    task = &d.tasks[t]
    task.token = d.next_token
    task.worker = w
    task.request = r
    task.state = TASK_UNSENT
    d.next_token += 1
    CHECK(index_put(&d.by_token, token_keys(d), task.token, t) == 0,
          "no memory for %u tokens", d.task_pool.used)
    queue_append(&d.workers[w].tasks, worker_links(d), t)
    return t


cdef inline void task_free(dispatcher_t *d, uint32_t t) noexcept nogil:
    """task_free ends a task: its token is dead, its credit back. No request may refer to it."""
    cdef uint32_t w = d.tasks[t].worker
    credit_give(d, t)
    index_remove(&d.by_token, d.tasks[t].token, t)
    queue_remove(&d.workers[w].tasks, worker_links(d), t)
    pool_give(&d.task_pool, <void **> &d.tasks, sizeof(task_t), t)
    worker_free_gone(d, w)


cdef inline void orphan_free(dispatcher_t *d, uint32_t t) noexcept nogil:
    """orphan_free ends an orphan, which no longer counts for who asked for it."""
    charge_end(d, t)
    task_free(d, t)


# --- requests in their queues ---

cdef inline void queue_enter(dispatcher_t *d, uint32_t r, uint8_t where) noexcept nogil:
    """queue_enter puts a request into one of its service's queues."""
    cdef request_t *request = &d.requests[r]
    cdef service_t *service = &d.services[request.service]
    cdef uint8_t p = request.priority
    cdef int64_t seq = <int64_t> request.seq
    request.queued = where
    if where == QUEUED_ISOLATED:
        seq |= <int64_t> (PRIORITIES - 1 - p) << ISOLATED_SHIFT
        enter(&service.isolated, queue_places(d), seq, r)
        return
    if where == QUEUED_RETURNED:
        enter(&service.returned[p], queue_places(d), seq, r)
    else:
        flow_enter(d, r)
    service.filled |= <uint32_t> 1 << p


cdef inline void queue_leave(dispatcher_t *d, uint32_t r) noexcept nogil:
    """queue_leave takes a request out of its queue; the last isolated one ends a reservation."""
    cdef request_t *request = &d.requests[r]
    cdef service_t *service = &d.services[request.service]
    cdef uint8_t p = request.priority
    cdef uint8_t where = request.queued
    cdef uint32_t w = service.reserved
    request.queued = QUEUED_NOWHERE
    if unlikely(where == QUEUED_ISOLATED):
        heap_remove(&service.isolated, queue_places(d), r)
        if service.isolated.count == 0 and w != NONE:
            reservation_end(d, request.service)
            worker_unserved(d, w)
        return
    if unlikely(where == QUEUED_DELAYED or where == QUEUED_HELD):
        heap_remove(&d.timers.delays, queue_places(d), r)
        service.delayed -= 1
        d.counters.delayed -= 1
        return
    if where == QUEUED_RETURNED:
        heap_remove(&service.returned[p], queue_places(d), r)
    else:
        flow_leave(d, r)
    if service.returned[p].count == 0 and service.turns[p] == NONE:
        service.filled &= ~(<uint32_t> 1 << p)


cdef inline uint8_t returned_where(const request_t *request) noexcept nogil:
    return QUEUED_ISOLATED if request.attempts >= ATTEMPTS_SHARED else QUEUED_RETURNED


cdef inline void waiting_enter(dispatcher_t *d, uint32_t r, uint8_t where) noexcept nogil:
    """waiting_enter makes a request wait, from now on, in the given queue; it matches nothing."""
    cdef request_t *request = &d.requests[r]
    cdef service_t *service = &d.services[request.service]
    request.state = REQUEST_WAITING
    request.since = d.now
    queue_enter(d, r, where)
    service.waiting += 1
    service.waiting_bytes += request.bytes
    d.counters.waiting += 1
    d.counters.waiting_bytes += request.bytes
    if unlikely(service.workers == 0):
        if service.waiting == 1:
            service.workerless_since = d.now
        d.shares.workerless += 1
        d.shares.workerless_bytes += request.bytes
        service_await(d, request.service)


cdef inline void waiting_leave(dispatcher_t *d, uint32_t r) noexcept nogil:
    cdef request_t *request = &d.requests[r]
    cdef service_t *service = &d.services[request.service]
    queue_leave(d, r)
    service.waiting -= 1
    service.waiting_bytes -= request.bytes
    d.counters.waiting -= 1
    d.counters.waiting_bytes -= request.bytes
    if unlikely(service.workers == 0):
        d.shares.workerless -= 1
        d.shares.workerless_bytes -= request.bytes
        if service.waiting == service.delayed:
            disarm(&d.timers.service_waits, wait_places(d), request.service)


cdef inline void waiting_requeue(dispatcher_t *d, uint32_t r) noexcept nogil:
    """waiting_requeue moves a returned request whose attempts fell to the queue for that number."""
    if d.requests[r].queued != returned_where(&d.requests[r]):
        queue_leave(d, r)
        queue_enter(d, r, returned_where(&d.requests[r]))
        service_unmatched(d, d.requests[r].service)


cdef inline void request_delay(
    dispatcher_t *d, uint32_t r, int64_t due, uint8_t where
) noexcept nogil:
    """request_delay takes a waiting request, which has no task, from its queue until `due`."""
    cdef uint32_t s = d.requests[r].service
    queue_leave(d, r)
    d.requests[r].queued = where
    enter(&d.timers.delays, queue_places(d), due, r)
    d.services[s].delayed += 1
    d.counters.delayed += 1
    if d.services[s].waiting == d.services[s].delayed:
        disarm(&d.timers.service_waits, wait_places(d), s)


cdef inline void running_enter(dispatcher_t *d, uint32_t r) noexcept nogil:
    cdef request_t *request = &d.requests[r]
    request.state = REQUEST_RUNNING
    request.queue.prev = NONE  # no lease is armed
    d.services[request.service].running += 1
    d.counters.running += 1
    d.counters.running_bytes += request.bytes


cdef inline void running_leave(dispatcher_t *d, uint32_t r) noexcept nogil:
    disarm(&d.timers.leases, queue_places(d), r)
    d.services[d.requests[r].service].running -= 1
    d.counters.running -= 1
    d.counters.running_bytes -= d.requests[r].bytes


cdef inline void lease_start(dispatcher_t *d, uint32_t r) noexcept nogil:
    cdef int64_t lease_ns = d.services[d.requests[r].service].lease_ns
    if lease_ns > 0:
        arm(&d.timers.leases, queue_places(d), d.now + lease_ns, r)


# --- requests as a whole ---

cdef inline uint32_t request_find(const dispatcher_t *d, uint32_t c, uint64_t id) noexcept nogil:
    """request_find returns the slot of a request, or NONE: unknown, or of a Guide client."""
    return index_find(&d.clients[c].ids, id_keys(d), id)


cdef inline uint32_t request_drop_task(dispatcher_t *d, uint32_t r) noexcept nogil:
    """request_drop_task parts a request from its task, if any.

    A task that was never sent, or whose worker is gone, ends; another becomes an orphan, which is
    returned, and its worker is notified.
    """
    cdef uint32_t t = d.requests[r].task
    cdef task_t *task
    if t == NONE:
        return NONE
    d.requests[r].task = NONE
    task = &d.tasks[t]
    if task.state == TASK_UNSENT or d.workers[task.worker].gone:
        task_free(d, t)
        return NONE
    task.request = NONE
    if d.workers[task.worker].notified:
        act(d, ACT_CANCEL, NONE, task.worker, task.token, 0)
    return t


cdef inline void request_return(dispatcher_t *d, uint32_t r) noexcept nogil:
    """request_return puts a RUNNING request back to the head of its queue."""
    running_leave(d, r)
    waiting_enter(d, r, returned_where(&d.requests[r]))
    service_unmatched(d, d.requests[r].service)


cdef inline void request_stop(dispatcher_t *d, uint32_t r) noexcept nogil:
    """request_stop takes an open request from where it waits or runs; its state is the caller's."""
    cdef request_t *request = &d.requests[r]
    cdef client_t *client = &d.clients[request.client]
    cdef uint32_t orphan
    if request.state == REQUEST_WAITING:
        waiting_leave(d, r)
    else:
        running_leave(d, r)
    orphan = request_drop_task(d, r)
    disarm(&d.timers.deadlines, deadline_places(d), r)
    client.open -= 1
    client.open_bytes -= request.bytes
    if counted(d, client, &d.services[request.service]):
        quota_leave(d, client, request.service, request.bytes, orphan)
    request.bytes = 0


cdef inline void kept_leave(dispatcher_t *d, uint32_t r) noexcept nogil:
    queue_remove(&d.kept, queue_links(d), r)
    d.counters.kept -= 1
    d.counters.kept_bytes -= d.requests[r].bytes


cdef inline void request_free(dispatcher_t *d, uint32_t r) noexcept nogil:
    """request_free forgets a request that is neither waiting nor running any more."""
    cdef request_t *request = &d.requests[r]
    cdef client_t *client = &d.clients[request.client]
    cdef uint32_t s = request.service
    if request.state == REQUEST_KEPT:
        kept_leave(d, r)
    if not client.is_guide:
        index_remove(&client.ids, request.id, r)
        index_shrink(&client.ids, id_keys(d))
    queue_remove(&client.requests, client_links(d), r)
    client.count -= 1
    pool_give(&d.request_pool, <void **> &d.requests, sizeof(request_t), r)
    act(d, ACT_FREE, r, NONE, 0, 0)
    service_unref(d, s)
