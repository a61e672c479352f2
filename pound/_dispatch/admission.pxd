# Admission: which requests are accepted, and what is known of a repeated one.
#
# A refused request costs nothing and changes only a counter: the limits are checked first, then all
# memory that it needs while it waits is allocated, and only then does any state change. Limits on
# waiting requests do not apply while a worker can take the request at once. The bytes of open
# requests are bounded whether they wait or run, since the broker stores them until the answer; one
# request is accepted whatever its size. Quotas (owners.pxd) come first: who is over one of its own
# is not sent away for what others do.
#
# A request that is *held back* goes to no worker before its time, whoever is free: it waits like
# one that was given back, and counts for all limits on waiting requests. Then it is a fresh one,
# and its owner takes turns for it as for others. It may wait for a service without workers whatever
# the rules are: where it comes from it was accepted.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pound._base.heap cimport heap_push
from pound._base.hints cimport unlikely
from pound._base.index cimport index_put
from pound._base.links cimport queue_append
from pound._base.pool cimport NONE, pool_give, pool_take
from .changes cimport (
    client_links, deadline_places, disarm, id_keys, kept_leave, request_delay, request_find,
    service_unmatched, waiting_enter)
from .flows cimport flow_reserve
from .limits cimport limits_t
from .matching cimport assign
from .model cimport (
    QUEUED_FRESH, QUEUED_HELD, REQUEST_ANSWERED, REQUEST_RUNNING, REQUEST_WAITING, REQ_ACCEPTED,
    REQ_ANSWERED, REQ_BUSY, REQ_BUSY_CLIENTS, REQ_BUSY_MEMORY, REQ_BUSY_SERVICE,
    REQ_BUSY_SESSION, REQ_BUSY_SHARE, REQ_BUSY_WINDOW, REQ_HELD, REQ_KEPT, REQ_STALE, client_t,
    dispatcher_t, request_t, service_t)
from .owners cimport counted, quota_enter, quota_refusal, stake_reserve
from .shares cimport (
    OPEN_TO_FREE, bytes_refusal, client_joins, shared, window_full, workerless_refusal)


cdef inline int known_result(
    dispatcher_t *d, uint32_t c, uint64_t id, uint32_t *slot
) noexcept nogil:
    """known_result looks up an id that the client has used; REQ_ACCEPTED: it is new after all."""
    cdef uint32_t r = request_find(d, c, id)
    if r == NONE:
        return REQ_STALE if id < d.clients[c].done else REQ_ACCEPTED
    slot[0] = r
    if d.requests[r].state in (REQUEST_WAITING, REQUEST_RUNNING):
        return REQ_HELD
    if d.requests[r].state == REQUEST_ANSWERED:
        return REQ_ANSWERED
    kept_leave(d, r)
    d.requests[r].state = REQUEST_ANSWERED
    return REQ_KEPT


cdef inline uint64_t open_bytes(const dispatcher_t *d) noexcept nogil:
    """open_bytes returns the bytes of all open requests."""
    return d.counters.waiting_bytes + d.counters.running_bytes


cdef inline int refusal(
    dispatcher_t *d, client_t *client, uint32_t s, uint32_t offer, uint32_t bytes, bint held
) noexcept nogil:
    """refusal returns why a new request is not accepted, or REQ_ACCEPTED.

    `offer` is of a worker that could take it at once, or NONE; `held`: it is to be held back.
    """
    cdef const limits_t *limits = &d.limits
    cdef const service_t *service = &d.services[s]
    cdef uint64_t total = open_bytes(d) + bytes
    cdef int result = REQ_ACCEPTED
    if unlikely(client.open >= client.window) and not client_joins(d, client):
        return REQ_BUSY_CLIENTS if client.reserve else REQ_BUSY_SESSION
    if counted(d, client, service):
        result = quota_refusal(d, client, s, bytes)
    if unlikely(service.workers == 0) and result == REQ_ACCEPTED:
        result = workerless_refusal(d, client, bytes, held)
    if unlikely(d.shares.full) and result == REQ_ACCEPTED:
        result = REQ_BUSY_MEMORY
    if unlikely(total > limits.waiting_bytes_max - (limits.waiting_bytes_max >> 3)) and (
            result == REQ_ACCEPTED):
        result = bytes_refusal(d, client, total, bytes)
    if result != REQ_ACCEPTED or offer != NONE:
        return result
    if service.waiting >= client.window >> 2 and window_full(limits, client):
        return REQ_BUSY_WINDOW
    if d.counters.waiting >= limits.waiting_max:
        return REQ_BUSY
    if (shared(limits, limits.waiting_max)
            and client.open >= OPEN_TO_FREE * (limits.waiting_max - d.counters.waiting)):
        return REQ_BUSY_SHARE
    if (service.waiting >= limits.service_waiting_max
            or service.waiting_bytes + bytes > limits.service_waiting_bytes_max):
        return REQ_BUSY_SERVICE
    return REQ_ACCEPTED


cdef inline bint taken_at_once(const service_t *service, uint32_t offer) noexcept nogil:
    """taken_at_once returns whether a new request goes to a worker without waiting."""
    return offer != NONE and service.waiting == service.delayed


cdef inline int accept_reserve(dispatcher_t *d, uint32_t s, uint32_t offer) noexcept nogil:
    """accept_reserve makes sure that request_accept finds memory: 0, or -1."""
    cdef const service_t *service = &d.services[s]
    if not taken_at_once(service, offer) and flow_reserve(d) < 0:
        return -1
    return stake_reserve(d) if unlikely(service.has_quota) else 0


cdef inline uint32_t request_make(
    dispatcher_t *d, uint32_t c, uint64_t id, int64_t deadline
) noexcept nogil:
    """request_make returns a slot that can be found by its id and expires, or NONE: no memory."""
    cdef uint32_t r = pool_take(&d.request_pool, <void **> &d.requests, sizeof(request_t))
    cdef request_t *request
    if r == NONE:
        return NONE
    request = &d.requests[r]
    request.id = id
    request.client = c
    request.deadline_at = request.task = NONE
    if deadline and heap_push(&d.timers.deadlines, deadline_places(d), deadline, r) < 0:
        pool_give(&d.request_pool, <void **> &d.requests, sizeof(request_t), r)
        return NONE
    if d.clients[c].is_guide:
        return r
    if index_put(&d.clients[c].ids, id_keys(d), id, r) < 0:
        disarm(&d.timers.deadlines, deadline_places(d), r)
        pool_give(&d.request_pool, <void **> &d.requests, sizeof(request_t), r)
        return NONE
    return r


cdef inline void request_accept(
    dispatcher_t *d, uint32_t r, uint32_t s, uint32_t offer, uint8_t priority, uint32_t bytes,
    uint8_t internal, int64_t hold_ns
) noexcept nogil:
    """request_accept hands a new request to the worker of `offer`, or has it wait: NONE.

    `hold_ns` is for how long it is held back, if it waits.
    """
    cdef request_t *request = &d.requests[r]
    cdef client_t *client = &d.clients[request.client]
    request.service = s
    request.priority = priority
    request.seq = d.next_seq
    d.next_seq += 1
    d.counters.accepted += 1
    d.services[s].refs += 1
    client.highest = max(client.highest, request.id)
    client.count += 1
    queue_append(&client.requests, client_links(d), r)
    if internal:
        request.state = REQUEST_ANSWERED
        d.counters.answered += 1
        return
    request.bytes = bytes
    client.open += 1
    client.open_bytes += bytes
    if counted(d, client, &d.services[s]):
        quota_enter(d, client, s, bytes)
    if taken_at_once(&d.services[s], offer):
        assign(d, r, offer)
        return
    waiting_enter(d, r, QUEUED_FRESH)
    if unlikely(hold_ns > 0):  # for a little more than the one before, so that they stay in order
        d.timers.held_until = max(d.timers.held_until + 1, d.now + hold_ns)
        request_delay(d, r, d.timers.held_until, QUEUED_HELD)
    elif offer != NONE:
        service_unmatched(d, s)
