# Claims: tasks that their workers were sent in another epoch, by another broker or by this one
# before it was started again, and that a request of this epoch may *adopt*.
#
# A worker claims what it still works on, and what it has answered and keeps the answer of. A claim
# is a task without a request: no answer to it counts, nobody is charged for it, and it ends with
# its worker's life, with the next READY on a new route that does not list it, or when it is
# dropped. While it runs it holds its worker's credit; what the worker was not sent yet makes room.
# A request that waits adopts a claim: it runs from then on, as if the worker had been sent it here,
# with a lease of its own and as its first attempt. One that was lost twice goes alone, and adopts
# nothing.
#
# A token is the name of one task only. So a worker may not claim the token of a task that is not
# its own, nor one of the 2^44 that are given out next: more than a claim lives to see. That an
# honest claim is refused for it has a chance of 2^-20 a restart, since each epoch's first token is
# random.
#
# Cost: O(1) for each claim and O(log n) for an adoption, times the services of the worker.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pound._base.index cimport index_put
from pound._base.links cimport queue_append
from pound._base.pool cimport NONE, pool_give, pool_take
from .changes cimport (
    ATTEMPTS_SHARED, credit_give, credit_take, lease_start, running_enter, task_find, token_keys,
    waiting_leave, worker_links)
from .endings cimport tasks_undo
from .model cimport (
    CLAIM_ADOPTED, CLAIM_NONE, CLAIM_OPEN, CLAIM_OTHER, MARK_ANSWERED, MARK_CLAIMED, QUEUED_FRESH,
    REQUEST_WAITING, SENT_SHIFT, TASK_CLAIMED, TASK_SENT, claim_t, dispatcher_t, request_t, task_t,
    worker_t)

cdef enum:
    AHEAD_SHIFT = 44         # bits of how many tokens may be given out while a claim lives


cdef inline uint8_t claim_state(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """claim_state returns what a token is to a worker that says it holds it."""
    cdef uint32_t t = task_find(d, token)
    if t == NONE:
        return CLAIM_OTHER if (token - d.next_token) >> AHEAD_SHIFT == 0 else CLAIM_NONE
    if d.tasks[t].worker != w:
        return CLAIM_OTHER
    if d.tasks[t].state == TASK_CLAIMED:
        return CLAIM_OPEN
    if d.tasks[t].state == TASK_SENT and d.tasks[t].request != NONE:
        return CLAIM_ADOPTED
    return CLAIM_OTHER


cdef inline uint32_t claim_find(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """claim_find returns the claim of a worker under a token, or NONE."""
    return task_find(d, token) if claim_state(d, w, token) == CLAIM_OPEN else NONE


cdef inline uint32_t claim_make(dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """claim_make returns a new claim, which holds no credit yet, or NONE: no memory."""
    cdef uint32_t t = pool_take(&d.task_pool, <void **> &d.tasks, sizeof(task_t))
    cdef task_t *task
    if t == NONE:
        return NONE
    task = &d.tasks[t]
    task.token = token
    task.worker = w
    task.request = NONE
    task.state = TASK_CLAIMED
    task.marks = MARK_CLAIMED | MARK_ANSWERED
    task.sent_at = <uint32_t> (d.now >> SENT_SHIFT)
    if index_put(&d.by_token, token_keys(d), token, t) < 0:
        pool_give(&d.task_pool, <void **> &d.tasks, sizeof(task_t), t)
        return NONE
    queue_append(&d.workers[w].tasks, worker_links(d), t)
    return t


cdef inline void claim_update(dispatcher_t *d, uint32_t t, bint running) noexcept nogil:
    """claim_update lets a claim hold credit if it runs, and none if it is answered."""
    if running and not d.tasks[t].holds:
        d.tasks[t].marks &= ~MARK_ANSWERED
        credit_take(d, t)
    elif not running and d.tasks[t].holds:
        d.tasks[t].marks |= MARK_ANSWERED
        credit_give(d, t)


cdef inline bint claim_enter(dispatcher_t *d, uint32_t w, const claim_t *claim) noexcept nogil:
    """claim_enter makes a claim or updates it: False, if it may not be or there is no memory."""
    cdef uint8_t state = claim_state(d, w, claim.token)
    cdef uint32_t t = NONE
    if state == CLAIM_NONE:
        t = claim_make(d, w, claim.token)
    elif state == CLAIM_OPEN:
        t = task_find(d, claim.token)
    if t == NONE:
        return False
    claim_update(d, t, claim.running != 0)
    return True


cdef inline uint32_t claims_enter(
    dispatcher_t *d, uint32_t w, const claim_t *claims, uint32_t n
) noexcept nogil:
    """claims_enter makes or updates claims of a worker, and takes back what they leave no room for.

    Nothing may join a task that isolates. It returns how many of them are claims now.
    """
    cdef worker_t *worker = &d.workers[w]
    cdef uint32_t before = worker.held
    cdef uint32_t entered = 0
    cdef uint32_t i
    for i in range(n):
        entered += claim_enter(d, w, &claims[i])
    if worker.held > before and (worker.held > worker.capacity or worker.isolating):
        tasks_undo(d, w)
    return entered


cdef inline bint offers(const dispatcher_t *d, uint32_t w, uint32_t s) noexcept nogil:
    """offers returns whether a worker offers a service."""
    cdef const worker_t *worker = &d.workers[w]
    cdef uint32_t i
    for i in range(worker.n_offers):
        if d.offers[worker.offers[i]].service == s:
            return True
    return False


cdef inline bint adopts(const request_t *request) noexcept nogil:
    """adopts returns whether a request can take up a claim: it waits, has no task, may share."""
    return (request.state == REQUEST_WAITING and request.attempts < ATTEMPTS_SHARED
            and (request.task == NONE or request.queued == QUEUED_FRESH))


cdef inline void claim_adopt(dispatcher_t *d, uint32_t t, uint32_t r) noexcept nogil:
    """claim_adopt makes a claim the sent task of a waiting request."""
    waiting_leave(d, r)
    running_enter(d, r)
    d.requests[r].task = t
    if d.requests[r].attempts == 0:
        d.requests[r].attempts = 1
    d.tasks[t].request = r
    d.tasks[t].state = TASK_SENT
    d.tasks[t].sent_at = <uint32_t> (d.now >> SENT_SHIFT)
    lease_start(d, r)
    d.counters.adopted += 1
