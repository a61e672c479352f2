"""When a handler may give its next partial (rules: partials.pxd)."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from pound._base.clock cimport clock_ns
from pound._base.locks cimport (
    condition_wait, pthread_cond_broadcast, pthread_mutex_lock, pthread_mutex_unlock)
from pound._wire.packets cimport KIND_PARTIAL, partial_cost
from .engine cimport engine_post
from .handoff cimport handoff_t, notices, ring, rings
from .link cimport FAR
from .mailbox cimport body_clear, body_t
from .task cimport answer_new, answer_size, answer_t, answers_put, held_task_t


cdef void room_take(handoff_t *h, const answer_t *a) noexcept nogil:
    if a.kind == KIND_PARTIAL:
        pthread_mutex_lock(&h.lock)
        h.partials_bytes += answer_size(a)
        pthread_mutex_unlock(&h.lock)


cdef void room_give(handoff_t *h, const answer_t *a) noexcept nogil:
    cdef bint notify
    if a.kind == KIND_PARTIAL:
        pthread_mutex_lock(&h.lock)
        h.partials_bytes -= answer_size(a)
        if h.blocked:
            pthread_cond_broadcast(&h.room)
        notify = h.loop_blocked and rings(h)
        h.loop_blocked = 0
        pthread_mutex_unlock(&h.lock)
        if notify:
            ring(h)


# dead says that nobody waits for the task's answer any more; under the lock.
cdef inline bint dead(const handoff_t *h, const held_task_t *task) noexcept nogil:
    return task.cancelled or h.over


# full says that a partial of the task has to wait, for room or for CREDIT; under the lock.
cdef inline bint full(const handoff_t *h, const held_task_t *task) noexcept nogil:
    if dead(h, task):
        return False
    return h.partials_bytes >= h.partials_max or task.streamed >= task.credit


# expired notes that a task is past its deadline: nobody waits for it; under the lock.
cdef inline void expired(held_task_t *task) noexcept nogil:
    if task.deadline and clock_ns() >= task.deadline:
        task.cancelled = 1


# await_room waits until a partial of the task need not wait any more; under the lock.
cdef void await_room(handoff_t *h, held_task_t *task) noexcept nogil:
    h.blocked += 1
    while full(h, task):
        task.waits = 1
        condition_wait(&h.room, &h.lock, task.deadline if task.deadline else FAR)
        expired(task)
    h.blocked -= 1


cdef partial_t partial_give(
    handoff_t *h, held_task_t *task, body_t *body, bint waits
) noexcept nogil:
    cdef partial_t how = PARTIAL_GIVEN
    cdef bint notify = False
    pthread_mutex_lock(&h.lock)
    if waits:
        await_room(h, task)
    elif full(h, task):
        expired(task)
    if full(h, task):
        how = PARTIAL_REFUSED
        task.waits = h.loop_blocked = 1
    elif dead(h, task):
        how = PARTIAL_DROPPED
    else:
        partial_put(h, task, body)
        notify = notices(h)
    pthread_mutex_unlock(&h.lock)
    if how == PARTIAL_DROPPED:
        body_clear(body)
    if notify:
        engine_post(h.engine, &h.notice.command)
    return how


cdef bint partial_has_room(handoff_t *h, held_task_t *task) noexcept nogil:
    cdef bint has
    pthread_mutex_lock(&h.lock)
    has = not full(h, task)
    if not has:
        task.waits = h.loop_blocked = 1
    pthread_mutex_unlock(&h.lock)
    return has


cdef void take_credit(handoff_t *h, held_task_t *task, uint64_t credit) noexcept nogil:
    cdef bint notify = False
    pthread_mutex_lock(&h.lock)
    if credit > task.credit:
        task.credit = credit
        if task.waits:
            task.waits = 0
            if h.blocked:
                pthread_cond_broadcast(&h.room)
            notify = h.loop_blocked and rings(h)
    pthread_mutex_unlock(&h.lock)
    if notify:
        ring(h)


# partial_put gives the next partial of a task, and counts its bytes; under the lock.
cdef void partial_put(handoff_t *h, held_task_t *task, body_t *body) noexcept nogil:
    cdef answer_t *a = answer_new(KIND_PARTIAL, task, task.token)
    a.attempt = task.attempt
    a.sequence = task.sequence
    a.body = body[0]
    memset(body, 0, sizeof(body_t))
    task.sequence += 1
    task.streamed += partial_cost(a.body.bytes, a.body.parts)
    h.partials_bytes += answer_size(a)
    answers_put(&h.given, a)
