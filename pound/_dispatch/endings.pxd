# How requests and tasks end without a worker's answer: failed, undone, released, lost, forgotten.
#
# undone    the task was never sent: nothing is counted, its token is dead
# released  its worker gave it back, or reconnected without it: the attempt is taken back, its token
#           is dead
# lost      the worker is gone or the lease has expired: the attempt counts. At the limit the
#           request fails; else it waits again, and its task still counts until it is sent again
# void      its worker may not answer any more: lost, and its token is dead at once
# An orphan, whose request has ended before, just ends; so does a claim, which has none yet.
#
# The tasks of a worker and the requests of a client are visited oldest first; each costs O(log n).

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from pound._base.hints cimport fetch
from pound._base.index cimport index_free, index_guess
from pound._base.pool cimport NONE, pool_give
from pound._wire.codes cimport CODE_ABORTED
from .changes cimport (
    act, blocked_places, credit_give, credit_take, disarm, grace_places, lease_start,
    liveness_places, offer_drop, orphan_free, request_free, request_return, request_stop,
    reservation_break, running_enter, task_find, task_free, waiting_leave, waiting_requeue,
    worker_file, worker_free_gone)
from .model cimport (
    ACT_CANCEL, ACT_CLIENT_FREE, ACT_FAIL, MARK_ANSWERED, MARK_LISTED, REQUEST_ANSWERED,
    REQUEST_KEPT, REQUEST_RUNNING, REQUEST_WAITING, TASK_CLAIMED, TASK_SENT, TASK_UNSENT, client_t,
    dispatcher_t, worker_t)
from .owners cimport stakes_end

cdef enum:
    FETCHED_MAX = 64         # requests that are fetched before they are freed, one after the other


cdef inline void request_fail(
    dispatcher_t *d, uint32_t r, uint8_t code, uint32_t holder = NONE
) noexcept nogil:
    """request_fail ends an open request with an error; the caller counts why."""
    request_stop(d, r)
    d.requests[r].state = REQUEST_ANSWERED
    act(d, ACT_FAIL, r, holder, 0, code)


cdef inline void task_undo(dispatcher_t *d, uint32_t t) noexcept nogil:
    """task_undo takes back a task that was not sent; its request returns as if it had not been."""
    cdef uint32_t r = d.tasks[t].request
    d.requests[r].task = NONE
    task_free(d, t)
    request_return(d, r)


cdef inline void tasks_undo(dispatcher_t *d, uint32_t w) noexcept nogil:
    """tasks_undo takes back what a worker was not sent yet, oldest first."""
    cdef uint32_t t = d.workers[w].tasks.head
    cdef uint32_t following
    while t != NONE:
        following = d.tasks[t].sibling.next
        if d.tasks[t].state == TASK_UNSENT:
            task_undo(d, t)
        t = following


cdef inline void task_release(dispatcher_t *d, uint32_t t) noexcept nogil:
    """task_release takes a SENT task of a request back from its worker, uncounted."""
    cdef uint32_t r = d.tasks[t].request
    d.requests[r].attempts -= 1
    d.requests[r].task = NONE
    task_free(d, t)
    if d.requests[r].state == REQUEST_RUNNING:
        request_return(d, r)
    else:
        waiting_requeue(d, r)


cdef inline void request_lost(dispatcher_t *d, uint32_t r) noexcept nogil:
    """request_lost returns a RUNNING request, or fails it when its attempts are used up."""
    d.counters.losses += 1
    if d.requests[r].attempts < d.limits.attempts_max:
        request_return(d, r)
        return
    d.counters.failed += 1
    request_fail(d, r, CODE_ABORTED)


cdef inline void task_recredit(dispatcher_t *d, uint32_t t) noexcept nogil:
    """task_recredit lets a task of a worker that was gone hold its credit again."""
    if not d.tasks[t].holds and not d.tasks[t].marks & MARK_ANSWERED:
        credit_take(d, t)


cdef inline void token_held(dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """token_held marks the task of a token that a worker lists."""
    cdef uint32_t t = task_find(d, token)
    cdef uint32_t r
    if t == NONE or d.tasks[t].worker != w or d.tasks[t].state == TASK_UNSENT:
        act(d, ACT_CANCEL, NONE, w, token, 0)
        return
    d.tasks[t].marks |= MARK_LISTED
    if d.tasks[t].state == TASK_CLAIMED:
        return
    r = d.tasks[t].request
    if r == NONE:
        act(d, ACT_CANCEL, NONE, w, token, 0)
    elif d.requests[r].state == REQUEST_WAITING:
        waiting_leave(d, r)
        running_enter(d, r)
        lease_start(d, r)
        task_recredit(d, t)


cdef inline void token_over(dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """token_over notifies a worker again of a task that it lists and that has ended."""
    cdef uint32_t t = task_find(d, token)
    if t != NONE and d.tasks[t].worker == w and d.tasks[t].state == TASK_CLAIMED:
        d.tasks[t].marks |= MARK_LISTED
    elif (t == NONE or w != d.tasks[t].worker or d.tasks[t].state == TASK_UNSENT
            or d.tasks[t].request == NONE):
        act(d, ACT_CANCEL, NONE, w, token, 0)


cdef inline void claims_compare(dispatcher_t *d, uint32_t w) noexcept nogil:
    """claims_compare takes from a worker the claims that it did not list."""
    cdef uint32_t t = d.workers[w].tasks.head
    cdef uint32_t following
    while t != NONE:
        following = d.tasks[t].sibling.next
        if d.tasks[t].marks & MARK_LISTED:
            d.tasks[t].marks &= ~MARK_LISTED
        elif d.tasks[t].state == TASK_CLAIMED:
            orphan_free(d, t)
        t = following


cdef inline void tasks_compare(dispatcher_t *d, uint32_t w) noexcept nogil:
    """tasks_compare takes from a worker the tasks that it did not list, and its claims."""
    cdef uint32_t t = d.workers[w].tasks.head
    cdef uint32_t following
    while t != NONE:
        following = d.tasks[t].sibling.next
        if d.tasks[t].marks & MARK_LISTED:
            d.tasks[t].marks &= ~MARK_LISTED
        elif d.tasks[t].state == TASK_UNSENT:
            task_undo(d, t)
        elif d.tasks[t].request == NONE:
            orphan_free(d, t)
        else:
            task_release(d, t)
        t = following


cdef inline void tasks_lose(dispatcher_t *d, uint32_t w) noexcept nogil:
    """tasks_lose ends all tasks of a worker that has begun a new life."""
    cdef uint32_t t, r
    while d.workers[w].tasks.head != NONE:
        t = d.workers[w].tasks.head
        r = d.tasks[t].request
        if d.tasks[t].state == TASK_UNSENT:
            task_undo(d, t)
            continue
        if r == NONE:
            orphan_free(d, t)
            continue
        d.requests[r].task = NONE
        task_free(d, t)
        if d.requests[r].state == REQUEST_RUNNING:
            request_lost(d, r)


cdef inline void tasks_recredit(dispatcher_t *d, uint32_t w) noexcept nogil:
    """tasks_recredit lets the returned tasks of a worker that was gone hold their credit again."""
    cdef uint32_t t = d.workers[w].tasks.head
    while t != NONE:
        task_recredit(d, t)
        t = d.tasks[t].sibling.next


cdef inline void tasks_gone(dispatcher_t *d, uint32_t w) noexcept nogil:
    """tasks_gone takes all tasks from a gone worker; those of returned requests still count."""
    cdef uint32_t t = d.workers[w].tasks.head
    cdef uint32_t following, r
    while t != NONE:
        following = d.tasks[t].sibling.next
        r = d.tasks[t].request
        if d.tasks[t].state == TASK_UNSENT:
            task_undo(d, t)
        elif r == NONE:
            orphan_free(d, t)
        else:
            credit_give(d, t)
            if d.requests[r].state == REQUEST_RUNNING:
                request_lost(d, r)
        t = following


cdef inline void tasks_void(dispatcher_t *d, uint32_t w) noexcept nogil:
    """tasks_void ends a gone worker's tasks that still count; the last one frees the worker."""
    cdef uint32_t t = d.workers[w].tasks.head
    cdef uint32_t following
    while t != NONE:
        following = d.tasks[t].sibling.next
        d.requests[d.tasks[t].request].task = NONE
        task_free(d, t)
        t = following


cdef inline void forget_ended(dispatcher_t *d, uint32_t r) noexcept nogil:
    """forget_ended frees a request that its client is done with, unless it is still open."""
    if d.requests[r].state == REQUEST_ANSWERED:
        d.counters.answers_dropped += 1
        request_free(d, r)
    elif d.requests[r].state == REQUEST_KEPT:
        request_free(d, r)


cdef inline void done_fetch(
    const dispatcher_t *d, const client_t *client, uint64_t id, uint64_t end
) noexcept nogil:
    """done_fetch fetches the requests of a client from `id` on, `end` excluded; not all of many."""
    cdef uint64_t at
    cdef uint32_t r
    end = min(end, id + FETCHED_MAX)
    for at in range(id, end):
        r = index_guess(&client.ids, at)
        if r != NONE:
            fetch(&d.requests[r])


cdef inline void client_end(dispatcher_t *d, uint32_t c) noexcept nogil:
    """client_end forgets a client with all its requests."""
    cdef client_t *client = &d.clients[c]
    cdef uint32_t r
    while client.requests.head != NONE:
        r = client.requests.head
        if d.requests[r].state in (REQUEST_WAITING, REQUEST_RUNNING):
            d.counters.cancelled += 1
            request_stop(d, r)
        elif d.requests[r].state == REQUEST_ANSWERED:
            d.counters.answers_dropped += 1
        request_free(d, r)
    disarm(&d.timers.graces, grace_places(d), c)
    d.counters.clients -= 1
    d.shares.reserve -= client.reserve
    stakes_end(d, client)
    index_free(&client.ids)
    pool_give(&d.client_pool, <void **> &d.clients, sizeof(client_t), c)
    act(d, ACT_CLIENT_FREE, NONE, c, 0, 0)


cdef inline void worker_end(dispatcher_t *d, uint32_t w) noexcept nogil:
    """worker_end takes everything from a worker that is gone; frees it once nothing is left."""
    cdef worker_t *worker = &d.workers[w]
    cdef uint32_t i
    worker.gone = worker.pinned = 1
    d.counters.workers -= 1
    worker_file(d, w)
    disarm(&d.timers.liveness, liveness_places(d), w)
    disarm(&d.timers.blocked_ends, blocked_places(d), w)
    tasks_gone(d, w)
    reservation_break(d, w)
    for i in range(worker.n_offers):
        offer_drop(d, worker.offers[i])
    free(worker.offers)
    worker.offers = NULL
    worker.n_offers = 0
    worker.pinned = 0
    worker_free_gone(d, w)
