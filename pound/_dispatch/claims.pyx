"""Claims: the tasks of other epochs (rules: claims.pxd)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pound._base.index cimport index_put
from pound._base.links cimport queue_append
from pound._base.pool cimport NONE, pool_give, pool_take
from .changes cimport (
    ATTEMPTS_SHARED, credit_give, credit_take, lease_start, running_enter, task_find, task_free,
    token_keys, waiting_leave, worker_file, worker_links, worker_unserved)
from .endings cimport task_undo, tasks_undo
from .finish cimport finish
from .model cimport (
    CLAIM_ADOPTED, CLAIM_NONE, CLAIM_OPEN, CLAIM_OTHER, MARK_ANSWERED, MARK_CLAIMED, QUEUED_FRESH,
    REQUEST_RUNNING, REQUEST_WAITING, SENT_SHIFT, TASK_CLAIMED, TASK_SENT, TASK_UNSENT, claim_t,
    dispatcher_t, request_t, task_t, worker_t)

cdef enum:
    AHEAD_SHIFT = 44         # bits of how many tokens may be given out while a claim lives


cdef uint8_t claim_state(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
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


cdef uint32_t claim_find(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    """claim_find returns the claim of a worker under a token, or NONE."""
    return task_find(d, token) if claim_state(d, w, token) == CLAIM_OPEN else NONE


cdef uint32_t claim_make(dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
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


cdef void claim_update(dispatcher_t *d, uint32_t t, bint running) noexcept nogil:
    """claim_update lets a claim hold credit if it runs, and none if it is answered."""
    if running and not d.tasks[t].holds:
        d.tasks[t].marks &= ~MARK_ANSWERED
        credit_take(d, t)
    elif not running and d.tasks[t].holds:
        d.tasks[t].marks |= MARK_ANSWERED
        credit_give(d, t)


cdef bint claim_enter(dispatcher_t *d, uint32_t w, const claim_t *claim) noexcept nogil:
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


cdef uint32_t claims_enter(
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


cdef bint offers(const dispatcher_t *d, uint32_t w, uint32_t s) noexcept nogil:
    """offers returns whether a worker offers a service."""
    cdef const worker_t *worker = &d.workers[w]
    cdef uint32_t i
    for i in range(worker.n_offers):
        if d.offers[worker.offers[i]].service == s:
            return True
    return False


cdef bint adopts(const request_t *request) noexcept nogil:
    """adopts returns whether a request can take up a claim: it waits, has no task, may share."""
    return (request.state == REQUEST_WAITING and request.attempts < ATTEMPTS_SHARED
            and (request.task == NONE or request.queued == QUEUED_FRESH))


cdef uint32_t unsent_task(const dispatcher_t *d, uint32_t r) noexcept nogil:
    """unsent_task returns the task of a request that is to be sent, as its first; or NONE."""
    cdef const request_t *request = &d.requests[r]
    if request.state != REQUEST_RUNNING or request.attempts >= ATTEMPTS_SHARED:
        return NONE
    return request.task if d.tasks[request.task].state == TASK_UNSENT else NONE


cdef void claim_adopt(
    dispatcher_t *d, uint32_t t, uint32_t r, uint8_t attempt
) noexcept nogil:
    """claim_adopt makes a claim the sent task of a waiting request: its attempt, of that number.

    No more of them count here than a request may have that shares its worker.
    """
    cdef uint32_t most = min(<uint32_t> ATTEMPTS_SHARED, d.limits.attempts_max)
    waiting_leave(d, r)
    running_enter(d, r)
    d.requests[r].task = t
    d.requests[r].attempts = max(
        d.requests[r].attempts, <uint8_t> min(max(<uint32_t> attempt, <uint32_t> 1), most))
    d.tasks[t].request = r
    d.tasks[t].state = TASK_SENT
    d.tasks[t].sent_at = <uint32_t> (d.now >> SENT_SHIFT)
    lease_start(d, r)
    d.counters.adopted += 1


# --- the calls ---

cdef uint8_t disp_claim_state(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil:
    return claim_state(d, w, token)


cdef uint32_t disp_claims(
    dispatcher_t *d, uint32_t w, const claim_t *claims, uint32_t n, int64_t now
) noexcept nogil:
    cdef uint32_t entered
    if d.workers[w].gone:
        return 0
    d.now = now
    entered = claims_enter(d, w, claims, n)
    worker_file(d, w)
    worker_unserved(d, w)
    finish(d)
    return entered


cdef int disp_adopt(
    dispatcher_t *d, uint32_t w, uint64_t token, uint32_t slot, uint8_t attempt, int64_t now
) noexcept nogil:
    cdef uint32_t t = claim_find(d, w, token)
    cdef uint32_t unsent = unsent_task(d, slot)
    if t == NONE or not offers(d, w, d.requests[slot].service):
        return 0
    if unsent == NONE and not adopts(&d.requests[slot]):
        return 0
    d.now = now
    if unsent != NONE:
        task_undo(d, unsent)
    claim_adopt(d, t, slot, attempt)
    finish(d)
    return 1


cdef void disp_claim_drop(
    dispatcher_t *d, uint32_t w, uint64_t token, int64_t now
) noexcept nogil:
    cdef uint32_t t = claim_find(d, w, token)
    if t == NONE:
        return
    d.now = now
    task_free(d, t)
    finish(d)


cdef uint64_t disp_tokens_above(dispatcher_t *d, uint64_t floor) noexcept nogil:
    d.next_token = max(d.next_token, floor)
    return d.next_token
