"""A task and its answers: counted references, queues."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pound._base.check cimport CHECK
from pound._wire.packets cimport STREAM_FIRST
from .mailbox cimport body_clear

cdef extern from * nogil:
    uint32_t __atomic_add_fetch_u32 "__atomic_add_fetch"(uint32_t *at, uint32_t value, int order)
    int64_t __atomic_add_fetch_i64 "__atomic_add_fetch"(int64_t *at, int64_t value, int order)
    int __ATOMIC_ACQ_REL

cdef int64_t live = 0                # tasks and answers of the process; atomic


cdef int64_t tasks_live() noexcept nogil:
    return __atomic_add_fetch_i64(&live, 0, __ATOMIC_ACQ_REL)


cdef inline void count(int64_t more) noexcept nogil:
    __atomic_add_fetch_i64(&live, more, __ATOMIC_ACQ_REL)


cdef held_task_t *task_new() noexcept nogil:
    cdef held_task_t *task = <held_task_t *>calloc(1, sizeof(held_task_t))
    if task != NULL:
        task.refs = 1
        task.credit = STREAM_FIRST
        count(1)
    return task


cdef void task_keep(held_task_t *task) noexcept nogil:
    __atomic_add_fetch_u32(&task.refs, 1, __ATOMIC_ACQ_REL)


cdef void task_drop(held_task_t *task) noexcept nogil:
    if __atomic_add_fetch_u32(&task.refs, <uint32_t>-1, __ATOMIC_ACQ_REL) == 0:
        body_clear(&task.body)
        free(task)
        count(-1)


cdef void held_add(held_tasks_t *held, held_task_t *task) noexcept nogil:
    task.older = held.newest
    task.newer = NULL
    if held.newest != NULL:
        held.newest.newer = task
    else:
        held.oldest = task
    held.newest = task
    held.count += 1


cdef void held_remove(held_tasks_t *held, held_task_t *task) noexcept nogil:
    if task.older != NULL:
        task.older.newer = task.newer
    else:
        held.oldest = task.newer
    if task.newer != NULL:
        task.newer.older = task.older
    else:
        held.newest = task.older
    held.count -= 1


cdef void held_drop(held_tasks_t *held) noexcept nogil:
    cdef held_task_t *task
    while held.oldest != NULL:
        task = held.oldest
        held_remove(held, task)
        task.place = TASK_GONE
        task_drop(task)


cdef void answers_put(answers_t *answers, answer_t *a) noexcept nogil:
    a.next = NULL
    if answers.last != NULL:
        answers.last.next = a
    else:
        answers.first = a
    answers.last = a
    answers.count += 1
    answers.bytes += answer_size(a)


cdef answer_t *answers_pop(answers_t *answers) noexcept nogil:
    cdef answer_t *a = answers.first
    answers.first = a.next
    if a.next == NULL:
        answers.last = NULL
    answers.count -= 1
    answers.bytes -= answer_size(a)
    return a


cdef void answers_append(answers_t *to, answers_t *answers) noexcept nogil:
    if answers.first == NULL:
        return
    if to.last != NULL:
        to.last.next = answers.first
    else:
        to.first = answers.first
    to.last = answers.last
    to.count += answers.count
    to.bytes += answers.bytes
    memset(answers, 0, sizeof(answers_t))


cdef answer_t *answer_new(uint8_t kind, held_task_t *task, uint64_t token) noexcept nogil:
    cdef answer_t *a = <answer_t *>calloc(1, sizeof(answer_t))
    CHECK(a != NULL, "no memory for an answer")
    a.kind = kind
    a.token = token
    a.task = task
    if task != NULL:
        task_keep(task)
    count(1)
    return a


cdef void answer_free(answer_t *a) noexcept nogil:
    cdef held_task_t *task = a.task
    body_clear(&a.body)
    if task != NULL and a == &task.answer:
        answers_drop(&task.kept)
    else:
        free(a)
        count(-1)
    if task != NULL:
        task_drop(task)


cdef void answers_drop(answers_t *answers) noexcept nogil:
    while answers.first != NULL:
        answer_free(answers_pop(answers))
