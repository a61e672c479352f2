# The calls of the dispatcher; dispatcher.pyx states its rules, model.pxd its data.
#
# Times come as arguments: `now` on monotonic time, `live` on the liveness clock. Decisions leave as
# actions: the caller drains disp_action after every call and before the next one, since a number
# that an action frees may be given out again by the next call.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pound._base.pool cimport NONE
from .limits cimport limits_t
from .model cimport (
    REQUEST_RUNNING, SENT_SHIFT, TASK_SENT, TASK_UNSENT, action_t, dispatcher_t, owner_limits_t,
    quota_t, task_t)

# NULL: no memory.
# disp_new: tokens begin at `first_token`; `seed` is random and secret.
cdef dispatcher_t *disp_new(
    const limits_t *limits, uint64_t first_token, uint64_t seed) noexcept nogil
cdef void disp_delete(dispatcher_t *d) noexcept nogil

# disp_service_open returns a new service that client `c` asks for, if any does; or NONE, and
# disp_service_refusal returns why: REQ_ACCEPTED means no memory.
cdef uint32_t disp_service_open(
    dispatcher_t *d, int64_t lease_ns, uint8_t how, int64_t now, uint32_t c) noexcept nogil
cdef int disp_service_refusal(const dispatcher_t *d, uint8_t how, uint32_t c) noexcept nogil

# disp_offerable returns whether a worker may offer these services, among those that others offer.
cdef bint disp_offerable(
    dispatcher_t *d, const uint32_t *services, uint32_t n_services) noexcept nogil

# disp_service_drop frees a service that nothing refers to and that is not pinned: a caller that
# opened one and did not use it calls this.
cdef void disp_service_drop(dispatcher_t *d, uint32_t s) noexcept nogil

# disp_client_room ends the client that has been in its grace longest, if there is no room for one
# more. disp_client_open returns a new client, or NONE: too many, or no memory. With `reserve` a few
# more are accepted, but only for the broker's own services.
cdef void disp_client_room(dispatcher_t *d, int64_t now) noexcept nogil
cdef uint32_t disp_client_open(dispatcher_t *d, uint8_t is_guide, uint8_t reserve) noexcept nogil
cdef void disp_client_done(dispatcher_t *d, uint32_t c, uint64_t done) noexcept nogil
cdef void disp_client_lost(
    dispatcher_t *d, uint32_t c, int64_t grace_ns, int64_t now) noexcept nogil
cdef void disp_client_back(dispatcher_t *d, uint32_t c) noexcept nogil
cdef void disp_client_close(dispatcher_t *d, uint32_t c, int64_t now) noexcept nogil

# disp_client_owner lets a client without open requests ask in the name of an identity (owners.pxd);
# before it is called, a client is an owner by itself. disp_owner_set gives an identity its limits,
# which hold from now on: nobody waits longer than a new rate asks for. -1: no memory, or no such
# number; nothing has changed.
cdef int disp_client_owner(dispatcher_t *d, uint32_t c, uint32_t owner) noexcept nogil
cdef int disp_owner_set(
    dispatcher_t *d, uint32_t owner, const owner_limits_t *limits, int64_t now) noexcept nogil

# disp_service_quota gives each owner a quota in a pinned service that was not used yet.
# disp_quota_wait returns for how long a client's request is refused for a rate, in ns; a service
# that was freed meanwhile is NONE.
cdef void disp_service_quota(dispatcher_t *d, uint32_t s, const quota_t *quota) noexcept nogil
cdef int64_t disp_quota_wait(
    const dispatcher_t *d, uint32_t c, uint32_t s, int64_t now) noexcept nogil

# disp_request: a new request goes to no worker before `hold_ns` have passed, if that is above 0.
cdef int disp_request(
    dispatcher_t *d, uint32_t c, uint64_t id, uint32_t s, uint8_t priority, int64_t timeout_ns,
    uint32_t bytes, uint8_t internal, int64_t hold_ns, int64_t now, uint32_t *slot) noexcept nogil
cdef int disp_cancel(dispatcher_t *d, uint32_t c, uint64_t id, int64_t now) noexcept nogil
cdef void disp_delivered(dispatcher_t *d, uint32_t slot) noexcept nogil
cdef void disp_undeliverable(dispatcher_t *d, uint32_t slot) noexcept nogil
cdef void disp_answer_bytes(dispatcher_t *d, uint32_t slot, uint32_t bytes) noexcept nogil


# disp_full: with `full`, no request is accepted, since the memory that is left is for answers.
cdef void disp_full(dispatcher_t *d, uint8_t full) noexcept nogil

# disp_evict forgets kept answers, oldest first, until they have no more than `bytes` bytes.
cdef void disp_evict(dispatcher_t *d, uint64_t bytes) noexcept nogil

cdef uint32_t disp_worker_open(
    dispatcher_t *d, uint8_t mode, int64_t liveness_ns, uint8_t notified, int64_t live
) noexcept nogil
cdef void disp_worker_ready(
    dispatcher_t *d, uint32_t w, uint32_t capacity, const uint32_t *services, uint32_t n_services,
    const uint64_t *tokens, uint32_t n_tokens, uint8_t how, int64_t now, int64_t live
) noexcept nogil
cdef void disp_worker_leave(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil
cdef void disp_worker_gone(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil
# disp_worker_void ends a worker, gone or not, that may not answer any more: what it was sent is
# lost, and no answer to it counts. Its number is freed.
cdef void disp_worker_void(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil
cdef void disp_heard(dispatcher_t *d, uint32_t w, int64_t now, int64_t live) noexcept nogil
cdef void disp_blocked(dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil

cdef int disp_answer(
    dispatcher_t *d, uint32_t w, uint64_t token, uint32_t bytes, int64_t now, int64_t live,
    uint32_t *slot) noexcept nogil
# disp_release takes a task that its worker gives back. If `elsewhere`, another worker gets it at
# once, when one could take it; else its request waits again, and no worker gets it before
# `delay_ns` have passed.
cdef int disp_release(
    dispatcher_t *d, uint32_t w, uint64_t token, int64_t delay_ns, bint elsewhere, int64_t now,
    int64_t live, uint32_t *slot) noexcept nogil
# disp_prefetch fetches what answers with these tokens will probably touch, and writes their slots
# or NONE: guesses, which change no state.
cdef void disp_prefetch(
    const dispatcher_t *d, const uint64_t *tokens, uint32_t n, uint32_t *slots) noexcept nogil
cdef uint32_t disp_partial(dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil
# disp_held_request returns the request whose task a worker was sent under a token, disp_request_of
# the one that a client calls `id`; or NONE. Requests of Guide clients have no ids.
cdef uint32_t disp_held_request(const dispatcher_t *d, uint32_t w, uint64_t token) noexcept nogil
cdef uint32_t disp_request_of(const dispatcher_t *d, uint32_t c, uint64_t id) noexcept nogil
# 0, or -1: the task is not UNSENT.
cdef int disp_sent(dispatcher_t *d, uint32_t slot, uint64_t token, int64_t now) noexcept nogil

# The next due time in monotonic ns, or -1: nothing is armed.
cdef int64_t disp_tick(dispatcher_t *d, int64_t now, int64_t live) noexcept nogil

# What disp_tick would return now: for timers that were armed since.
cdef int64_t disp_next_due(const dispatcher_t *d) noexcept nogil


cdef inline bint disp_unsent(const dispatcher_t *d, uint32_t slot, uint64_t token) noexcept nogil:
    """disp_unsent returns whether the task of an ACT_TASK is still to be sent: it may be undone."""
    cdef const task_t *task
    if d.requests[slot].state != REQUEST_RUNNING:
        return False
    task = &d.tasks[d.requests[slot].task]
    return task.token == token and task.state == TASK_UNSENT


cdef inline const task_t *disp_sent_task(const dispatcher_t *d, uint32_t slot) noexcept nogil:
    """disp_sent_task returns the task of a request that a worker was sent, or NULL."""
    cdef const task_t *task
    if d.requests[slot].state != REQUEST_RUNNING:
        return NULL
    task = &d.tasks[d.requests[slot].task]
    return task if task.state == TASK_SENT else NULL


cdef inline int64_t disp_deadline(const dispatcher_t *d, uint32_t slot) noexcept nogil:
    """disp_deadline returns an open request's deadline in monotonic ns, or 0: it has none."""
    cdef uint32_t place = d.requests[slot].deadline_at
    return 0 if place == NONE else d.timers.deadlines.nodes[place].key


cdef inline bint disp_clients_full(const dispatcher_t *d) noexcept nogil:
    return d.client_pool.used - d.shares.reserve >= d.limits.clients_max


cdef inline int64_t disp_held_ms(const dispatcher_t *d, uint32_t w, int64_t now) noexcept nogil:
    """disp_held_ms returns for how long a worker has held its oldest task, or -1: it holds none.

    One of another epoch counts from its claim, then from its adoption.
    """
    cdef uint32_t t = d.workers[w].tasks.head
    cdef uint32_t passed
    if t == NONE or d.tasks[t].state == TASK_UNSENT:
        return -1
    passed = <uint32_t> (now >> SENT_SHIFT) - d.tasks[t].sent_at
    return (<int64_t> passed << SENT_SHIFT) // 1_000_000


cdef inline uint32_t disp_actions(const dispatcher_t *d) noexcept nogil:
    """disp_actions counts the actions that are to be taken."""
    return d.actions.end - d.actions.next


cdef inline const action_t *disp_later(const dispatcher_t *d, uint32_t i) noexcept nogil:
    """disp_later returns the action after the next `i`; there are more than `i`."""
    return &d.actions.items[d.actions.next + i]


cdef inline const action_t *disp_action(dispatcher_t *d) noexcept nogil:
    """disp_action takes the next action, or NULL: there is none.

    It may be read until anything else of the dispatcher is called.
    """
    cdef const action_t *action
    if d.actions.next == d.actions.end:
        return NULL
    action = &d.actions.items[d.actions.next]
    d.actions.next += 1
    if d.actions.next == d.actions.end:
        d.actions.next = d.actions.end = 0
    return action
