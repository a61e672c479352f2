# The dispatcher: which worker gets a request, and how the request ends. Decisions, no messages.
#
# Rules
#   An accepted request is WAITING, RUNNING, ANSWERED (ended, not delivered yet), KEPT (delivered,
#   kept for a client that asks again), then forgotten. Errors are answers.
#   A task is UNSENT until the caller calls disp_sent; an attempt counts from then. UNSENT tasks are
#   undone without a trace. If the worker or the lease of a sent task is lost, its request *returns*
#   to its queue. It keeps the task until it is sent again, and until then the old token still
#   counts. A task whose request has ended or was sent to another worker is an *orphan*: it holds
#   its worker's credit until the worker answers or is lost, and counts for its owner's quota if its
#   request has ended.
#   An idle worker gets the next task before a busy one. Among idle ones the worker that was sent a
#   task longest ago is first (LRU by sent_seq); of the first two busy ones, the one that holds
#   less.
#   A request that its worker gives back goes to another worker at once, or is *delayed*: it
#   waits, in no queue, until the delay is over; then it returns. It can end meanwhile like any
#   other. A new request may be held back in the same way, so that it can adopt a task that a worker
#   was sent for it in another epoch and claims (claims.pxd).
#   Returned requests go before fresh ones, in order of acceptance. Of the fresh ones the owners
#   take turns, as many tasks in each as the owner has weight; those of one owner go in order.
#   Priority is strict, but one dispatch in 16 serves the lower ones in turn. A request that was
#   lost twice is *isolated*: only a worker that holds nothing gets it, and no other task joins it
#   there. If no worker is idle, one busy worker is *reserved* and gets no tasks until it holds
#   none.
#
# Invariants, checked by audit.pxd: accepted = waiting + running + answered + failed + cancelled +
#   expired; nobody is sent more than capacity; after each call no request waits that an eligible
#   worker could take.
#
# Cost: every step is O(1) or O(log n), times the number of services of the worker concerned (at
#   most 64). Losing a worker costs its tasks; the end of a service's wait costs its waiting
#   requests. Memory per waiting request: 64 bytes, 8 to 16 for its id, 16 for a deadline.
#
# Each call changes state first and matches last: services that got requests back, in order of
#   number, then workers that can take more. Only a new request that finds a worker and no earlier
#   request is assigned at once. In a tick, each timer that fires counts as such a call.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from pound._base.check cimport CHECK
from pound._base.heap cimport heap_top
from pound._base.hints cimport fetch, likely
from pound._base.index cimport index_fetch, index_guess
from pound._base.links cimport queue_append, queue_init
from pound._base.pool cimport NONE, pool_take
from pound._base.table cimport mix
from pound._wire.codes cimport CODE_CANCELLED
from .admission cimport accept_reserve, known_result, refusal, request_accept, request_make
from .changes cimport (
    arm, blocked_places, disarm, grace_places, lease_start, liveness_places, offers_replace,
    orphan_free, queue_links, request_delay, request_find, request_free, request_stop,
    reservation_break, service_drop, task_find, task_free, worker_file, worker_unblock,
    worker_unserved)
from .endings cimport (
    claims_compare, client_end, done_fetch, forget_ended, request_fail, request_lost,
    task_release, tasks_compare, tasks_lose, tasks_recredit, tasks_undo, tasks_void, token_held,
    token_over, worker_end)
from .finish cimport finish
from .limits cimport limits_t
from .matching cimport dispatch, next_offer, other_offer, settle
from .memory cimport memory_free, memory_init
from .model cimport (
    ANS_COUNTED, ANS_DEAD, ANS_DROPPED, ANS_RELEASED, LIVENESS_NEVER, OPENED_NAMED, PRIORITIES,
    QUEUED_DELAYED, READY_NEW_ROUTE, READY_SAME_ROUTE, REQUEST_ANSWERED, REQUEST_KEPT,
    REQUEST_RUNNING, REQUEST_WAITING, REQ_ACCEPTED, REQ_NO_MEMORY, REQ_QUOTA_OPEN, SENT_SHIFT,
    TASK_SENT, client_t, dispatcher_t, owner_limits_t, owner_t, quota_t, request_t, service_t,
    worker_t)
from .owners cimport account_limit, owner_at, quota_wait, stakes_end
from .shares cimport CLIENTS_RESERVE, client_make, offered_more, service_make, service_refusal
from .timers cimport delay_over, due, expire, next_due, silence, wait_over


# --- life and death of the whole ---

cdef dispatcher_t *disp_new(
    const limits_t *limits, uint64_t first_token, uint64_t seed
) noexcept nogil:
    cdef dispatcher_t *d = <dispatcher_t *> calloc(1, sizeof(dispatcher_t))
    if d == NULL:
        return NULL
    d.limits = limits[0]
    d.limits.attempts_max = min(max(limits.attempts_max, 1), <uint32_t> 255)
    d.next_token = first_token
    # No decision depends on it; those that choose ids must not know it.
    d.hash_seed = mix(seed ^ mix(<uintptr_t> d))
    d.by_token.salt = d.hash_seed
    queue_init(&d.kept)
    if memory_init(d) < 0:
        disp_delete(d)
        return NULL
    return d


cdef void disp_delete(dispatcher_t *d) noexcept nogil:
    memory_free(d)
    free(d)


cdef uint32_t disp_service_open(
    dispatcher_t *d, int64_t lease_ns, uint8_t how, int64_t now, uint32_t c
) noexcept nogil:
    if service_refusal(d, how, c) != REQ_ACCEPTED:
        d.counters.refused += how == OPENED_NAMED
        return NONE
    return service_make(d, lease_ns, how, now, c)


cdef int disp_service_refusal(const dispatcher_t *d, uint8_t how, uint32_t c) noexcept nogil:
    return service_refusal(d, how, c)


cdef void disp_service_drop(dispatcher_t *d, uint32_t s) noexcept nogil:
    service_drop(d, s)


cdef bint disp_offerable(
    dispatcher_t *d, const uint32_t *services, uint32_t n_services
) noexcept nogil:
    cdef uint32_t more = offered_more(d, services, n_services)
    return more == 0 or d.shares.offered + more <= d.limits.services_max


# --- clients ---

cdef void disp_client_room(dispatcher_t *d, int64_t now) noexcept nogil:
    d.now = now
    if disp_clients_full(d) and d.timers.graces.count > 0:
        client_end(d, heap_top(&d.timers.graces))
    finish(d)


cdef uint32_t disp_client_open(dispatcher_t *d, uint8_t is_guide, uint8_t reserve) noexcept nogil:
    if disp_clients_full(d) and not (reserve and d.shares.reserve < CLIENTS_RESERVE):
        return NONE
    return client_make(d, is_guide, disp_clients_full(d))


cdef void disp_client_done(dispatcher_t *d, uint32_t c, uint64_t done) noexcept nogil:
    cdef client_t *client = &d.clients[c]
    cdef uint64_t id = client.done
    cdef uint64_t first = client.done
    cdef uint32_t r, following
    if client.is_guide or done <= first:
        return
    client.done = done
    # Visits each id once in a client's life, or each of its requests, whichever is less.
    if done - first <= client.count:
        if done - first > 1:
            done_fetch(d, client, first, done)
        while id < done:
            r = request_find(d, c, id)
            if r != NONE:
                forget_ended(d, r)
            id += 1
    else:
        r = client.requests.head
        while r != NONE:
            following = d.requests[r].sibling.next
            if first <= d.requests[r].id < done:
                forget_ended(d, r)
            r = following
    finish(d)


cdef int disp_client_owner(dispatcher_t *d, uint32_t c, uint32_t owner) noexcept nogil:
    CHECK(d.clients[c].open == 0, "client %u has %u open", c, d.clients[c].open)
    if owner_at(d, owner) == NULL:
        return -1
    stakes_end(d, &d.clients[c])
    d.clients[c].owner = owner
    return 0


cdef int disp_owner_set(
    dispatcher_t *d, uint32_t owner, const owner_limits_t *limits, int64_t now
) noexcept nogil:
    cdef owner_t *known = owner_at(d, owner)
    if known == NULL:
        return -1
    known.limits = limits[0]
    account_limit(&known.account, &limits.quota, now)
    return 0


cdef void disp_service_quota(
    dispatcher_t *d, uint32_t s, const quota_t *quota
) noexcept nogil:
    cdef service_t *service = &d.services[s]
    CHECK(service.refs == 0 and service.pinned, "service %u is in use", s)
    service.quota = quota[0]
    service.has_quota = quota.open_max > 0 or quota.bytes_max > 0 or quota.interval_ns > 0


cdef int64_t disp_quota_wait(
    const dispatcher_t *d, uint32_t c, uint32_t s, int64_t now
) noexcept nogil:
    return quota_wait(d, c, s, now)


cdef void disp_client_lost(
    dispatcher_t *d, uint32_t c, int64_t grace_ns, int64_t now
) noexcept nogil:
    arm(&d.timers.graces, grace_places(d), now + grace_ns, c)


cdef void disp_client_back(dispatcher_t *d, uint32_t c) noexcept nogil:
    disarm(&d.timers.graces, grace_places(d), c)


cdef void disp_client_close(dispatcher_t *d, uint32_t c, int64_t now) noexcept nogil:
    d.now = now
    client_end(d, c)
    finish(d)


# --- requests ---

cdef int disp_request(
    dispatcher_t *d, uint32_t c, uint64_t id, uint32_t s, uint8_t priority, int64_t timeout_ns,
    uint32_t bytes, uint8_t internal, int64_t hold_ns, int64_t now, uint32_t *slot
) noexcept nogil:
    cdef client_t *client = &d.clients[c]
    cdef uint32_t offer = next_offer(d, &d.services[s]) if likely(hold_ns == 0) else NONE
    cdef int result = REQ_ACCEPTED
    cdef int64_t deadline = now + timeout_ns if timeout_ns and not internal else 0
    d.now = now
    slot[0] = NONE
    CHECK(priority < PRIORITIES, "priority %u", <uint32_t> priority)
    if not client.is_guide and id <= client.highest:
        result = known_result(d, c, id, slot)
    if result == REQ_ACCEPTED and not internal:
        result = refusal(d, client, s, offer, bytes, hold_ns > 0)
        d.counters.refused += result != REQ_ACCEPTED
        d.counters.refused_quota += result >= REQ_QUOTA_OPEN
    if likely(result == REQ_ACCEPTED):
        if likely(accept_reserve(d, s, offer) == 0):
            slot[0] = request_make(d, c, id, deadline)
        if slot[0] == NONE:
            result = REQ_NO_MEMORY
        else:
            request_accept(d, slot[0], s, offer, priority, bytes, internal, hold_ns)
    if result != REQ_ACCEPTED:
        service_drop(d, s)
    finish(d)
    return result


cdef int disp_cancel(dispatcher_t *d, uint32_t c, uint64_t id, int64_t now) noexcept nogil:
    cdef uint32_t r = disp_request_of(d, c, id)
    if r == NONE or d.requests[r].state not in (REQUEST_WAITING, REQUEST_RUNNING):
        return 0
    d.now = now
    d.counters.cancelled += 1
    request_fail(d, r, CODE_CANCELLED)
    finish(d)
    return 1


cdef inline void kept_evict(dispatcher_t *d, uint64_t bytes) noexcept nogil:
    """kept_evict forgets kept answers, oldest first, until they have no more than `bytes` bytes."""
    while d.counters.kept_bytes > bytes:
        d.counters.answers_evicted += 1
        request_free(d, d.kept.head)


cdef void disp_evict(dispatcher_t *d, uint64_t bytes) noexcept nogil:
    kept_evict(d, bytes)
    finish(d)


cdef void disp_full(dispatcher_t *d, uint8_t full) noexcept nogil:
    d.shares.full = full


cdef void disp_delivered(dispatcher_t *d, uint32_t slot) noexcept nogil:
    cdef request_t *request = &d.requests[slot]
    cdef client_t *client = &d.clients[request.client]
    CHECK(request.state == REQUEST_ANSWERED, "request %u in state %u", slot,
          <uint32_t> request.state)
    if client.is_guide or request.id < client.done:
        request_free(d, slot)
    else:
        request.state = REQUEST_KEPT
        queue_append(&d.kept, queue_links(d), slot)
        d.counters.kept += 1
        d.counters.kept_bytes += request.bytes
    kept_evict(d, d.limits.answers_bytes_max)
    finish(d)


cdef void disp_undeliverable(dispatcher_t *d, uint32_t slot) noexcept nogil:
    CHECK(d.requests[slot].state == REQUEST_ANSWERED, "request %u in state %u", slot,
          <uint32_t> d.requests[slot].state)
    d.counters.answers_dropped += 1
    request_free(d, slot)
    finish(d)


cdef void disp_answer_bytes(dispatcher_t *d, uint32_t slot, uint32_t bytes) noexcept nogil:
    CHECK(d.requests[slot].state == REQUEST_ANSWERED, "request %u in state %u", slot,
          <uint32_t> d.requests[slot].state)
    d.requests[slot].bytes = bytes


# --- workers ---

cdef uint32_t disp_worker_open(
    dispatcher_t *d, uint8_t mode, int64_t liveness_ns, uint8_t notified, int64_t live
) noexcept nogil:
    cdef uint32_t w
    cdef worker_t *worker
    if d.counters.workers >= d.limits.workers_max:
        return NONE
    w = pool_take(&d.worker_pool, <void **> &d.workers, sizeof(worker_t))
    if w == NONE:
        return NONE
    worker = &d.workers[w]
    worker.used = 1
    worker.mode = mode
    worker.liveness_ns = liveness_ns
    worker.notified = notified
    worker.last_heard = live
    worker.reserved_for = worker.liveness_at = worker.blocked_at = worker.unserved_at = NONE
    queue_init(&worker.tasks)
    d.sent_seq += 1
    worker.sent_seq = d.sent_seq
    d.counters.workers += 1
    return w


cdef void disp_worker_ready(
    dispatcher_t *d, uint32_t w, uint32_t capacity, const uint32_t *services, uint32_t n_services,
    const uint64_t *tokens, uint32_t n_tokens, uint8_t how, int64_t now, int64_t live
) noexcept nogil:
    cdef worker_t *worker = &d.workers[w]
    cdef uint8_t was_gone = worker.gone
    cdef uint32_t i
    d.now = now
    d.counters.workers += was_gone
    worker.gone = worker.leaving = 0
    worker.last_heard = live
    worker_unblock(d, w)
    if how == READY_NEW_ROUTE:
        for i in range(n_tokens):
            token_held(d, w, tokens[i])
        tasks_compare(d, w)
    elif how == READY_SAME_ROUTE:
        for i in range(n_tokens):
            token_over(d, w, tokens[i])
        claims_compare(d, w)
        if was_gone:
            tasks_recredit(d, w)
    else:
        tasks_lose(d, w)
    worker.capacity = capacity
    offers_replace(d, w, services, n_services)
    if worker.reserved_for != NONE and d.services[worker.reserved_for].mark != d.stamp:
        reservation_break(d, w)
    worker_file(d, w)
    if worker.mode != LIVENESS_NEVER:
        arm(&d.timers.liveness, liveness_places(d), now + worker.liveness_ns, w)
    worker_unserved(d, w)
    finish(d)


cdef void disp_worker_leave(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil:
    if d.workers[w].gone:
        return
    d.now = now
    d.workers[w].leaving = 1
    worker_file(d, w)
    tasks_undo(d, w)
    reservation_break(d, w)
    finish(d)


cdef void disp_worker_gone(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil:
    if d.workers[w].gone:
        return
    d.now = now
    worker_end(d, w)
    finish(d)


cdef void disp_worker_void(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil:
    d.now = now
    if not d.workers[w].gone:
        worker_end(d, w)
    if d.workers[w].used:
        tasks_void(d, w)
    finish(d)


cdef void disp_heard(dispatcher_t *d, uint32_t w, int64_t now, int64_t live) noexcept nogil:
    d.now = now
    d.workers[w].last_heard = live
    worker_unblock(d, w)
    finish(d)


cdef void disp_blocked(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil:
    if d.workers[w].gone:
        return
    d.now = now
    arm(&d.timers.blocked_ends, blocked_places(d), now + d.limits.block_ns, w)
    worker_file(d, w)
    tasks_undo(d, w)
    finish(d)


# --- answers ---

cdef uint32_t task_of(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """task_of returns the task that a worker was sent under a token, or NONE."""
    cdef uint32_t t = task_find(d, token)
    if t == NONE or d.tasks[t].worker != w or d.tasks[t].state != TASK_SENT:
        return NONE
    return t


cdef void request_answer(dispatcher_t *d, uint32_t r, uint32_t bytes) noexcept nogil:
    """request_answer ends a request with the answer of the worker that has its task."""
    cdef uint32_t t = d.requests[r].task
    d.requests[r].task = NONE
    task_free(d, t)
    request_stop(d, r)
    d.requests[r].state = REQUEST_ANSWERED
    d.requests[r].bytes = bytes
    d.counters.answered += 1


cdef int disp_answer(
    dispatcher_t *d, uint32_t w, uint64_t token, uint32_t bytes, int64_t now, int64_t live,
    uint32_t *slot
) noexcept nogil:
    cdef uint32_t t = task_of(d, w, token)
    cdef int result
    d.now = now
    d.workers[w].last_heard = live
    worker_unblock(d, w)
    slot[0] = NONE if t == NONE else d.tasks[t].request
    if t == NONE:
        d.counters.answers_late += 1
        result = ANS_DEAD
    elif slot[0] == NONE:
        d.counters.answers_dropped += 1
        orphan_free(d, t)
        result = ANS_DROPPED
    else:
        request_answer(d, slot[0], bytes)
        result = ANS_COUNTED
    finish(d)
    return result


cdef uint32_t disp_held_request(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    cdef uint32_t t = task_of(d, w, token)
    return NONE if t == NONE else d.tasks[t].request


cdef int disp_release(
    dispatcher_t *d, uint32_t w, uint64_t token, int64_t delay_ns, bint elsewhere, int64_t now,
    int64_t live, uint32_t *slot
) noexcept nogil:
    cdef uint32_t other = NONE
    slot[0] = disp_held_request(d, w, token)
    if slot[0] == NONE:
        return disp_answer(d, w, token, 0, now, live, slot)
    d.now = now
    d.workers[w].last_heard = live
    worker_unblock(d, w)
    d.counters.released += 1
    if elsewhere:
        other = other_offer(d, slot[0], w)
    task_release(d, d.requests[slot[0]].task)
    if other != NONE:
        dispatch(d, slot[0], other)
    elif delay_ns > 0:
        request_delay(d, slot[0], now + delay_ns, QUEUED_DELAYED)
    finish(d)
    return ANS_RELEASED


cdef void disp_prefetch(
    const dispatcher_t *d, const uint64_t *tokens, uint32_t n, uint32_t *slots
) noexcept nogil:
    cdef uint32_t i, t
    for i in range(n):
        index_fetch(&d.by_token, tokens[i])
    for i in range(n):
        slots[i] = index_guess(&d.by_token, tokens[i])
        if slots[i] != NONE:
            fetch(&d.tasks[slots[i]])
    for i in range(n):
        t = slots[i]
        slots[i] = NONE if t == NONE else d.tasks[t].request
        if slots[i] != NONE:
            fetch(&d.requests[slots[i]])


cdef uint32_t disp_partial(dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    cdef uint32_t r = disp_held_request(d, w, token)
    d.counters.partials_late += r == NONE
    return r


cdef uint32_t disp_request_of(const dispatcher_t *d, uint32_t c, uint64_t id) noexcept nogil:
    return NONE if d.clients[c].is_guide else request_find(d, c, id)


cdef int disp_sent(dispatcher_t *d, uint32_t slot, uint64_t token, int64_t now) noexcept nogil:
    if not disp_unsent(d, slot, token):
        return -1
    d.now = now
    d.tasks[d.requests[slot].task].state = TASK_SENT
    d.tasks[d.requests[slot].task].sent_at = <uint32_t> (now >> SENT_SHIFT)
    d.requests[slot].attempts += 1
    lease_start(d, slot)
    finish(d)
    return 0


# --- time ---

cdef int64_t disp_next_due(const dispatcher_t *d) noexcept nogil:
    return next_due(d)


cdef int64_t disp_tick(dispatcher_t *d, int64_t now, int64_t live) noexcept nogil:
    cdef uint32_t n
    d.now = now
    while (n := due(&d.timers.deadlines, now)) != NONE:
        expire(d, n)
        settle(d)
    while (n := due(&d.timers.leases, now)) != NONE:
        request_lost(d, n)
        settle(d)
    while (n := due(&d.timers.delays, now)) != NONE:
        delay_over(d, n)
        settle(d)
    while (n := due(&d.timers.blocked_ends, now)) != NONE:
        worker_unblock(d, n)
        settle(d)
    while (n := due(&d.timers.graces, now)) != NONE:
        client_end(d, n)
        settle(d)
    while (n := due(&d.timers.service_waits, now)) != NONE:
        wait_over(d, n)
        settle(d)
    while (n := due(&d.timers.liveness, now)) != NONE:
        silence(d, n, live)
        settle(d)
    finish(d)
    return next_due(d)
