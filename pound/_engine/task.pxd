# A task and its answers, and the queues for both.
#
# held_task_t   one task; its final answer lies inside it and costs no memory of its own.
# answer_t      a final answer or a partial on its way out.
# task_queue_t  tasks on their way to handlers.
# held_tasks_t, answers_t  tasks and answers in the order in which they came.
#
# Cost:   O(1) each.
# Memory: a task is counted: by its place among the running or the stale, by its handler, by each
#         answer, by the list of cancelled ones. An answer owns its body and counts its task; the
#         end of the final one is the end of what is kept of its task.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._wire.packets cimport KEY_SIZE
from .mailbox cimport body_t

cdef enum:
    RECORD_BYTES = 64        # what a record costs beside its body, roughly

cdef enum place_t:
    TASK_GONE = 0            # answered, or the worker's end is over
    TASK_RUNNING             # waits for its handler or runs
    TASK_STALE
    TASK_ANSWERED            # by its handler, for a broker that is gone: adoption.pxd

cdef struct held_task_t           # defined below

cdef struct answer_t:
    answer_t *next
    held_task_t *task        # counted; NULL: the engine answers what was never a task
    uint64_t token
    body_t body              # owned
    uint32_t sequence        # of a partial
    uint32_t retry_after_ms  # of an ERROR; 0: nothing is known
    uint16_t code            # of an ERROR
    uint8_t kind             # KIND_REPLY, KIND_ERROR, KIND_PARTIAL
    uint8_t attempt          # of a partial

cdef struct answers_t:       # a queue; all zero is an empty one
    answer_t *first
    answer_t *last
    uint64_t bytes
    uint32_t count

cdef struct held_task_t:
    held_task_t *next        # among those that wait for a handler, or that an event loop took
    held_task_t *next_notified  # among those that are reported as cancelled
    held_task_t *older       # among the running, the stale or the answered
    held_task_t *newer
    held_task_t *chain       # in its bucket
    uint64_t token
    uint8_t key[KEY_SIZE]    # of its request; all 0: none
    int64_t deadline         # ns, monotonic; 0: none
    body_t body              # the request's, until its handler took it
    answer_t answer          # the final one
    answers_t kept           # answers that may have to be sent (again): adoption.pxd
    uint32_t refs            # atomic
    uint64_t streamed        # cost of the partials given; under the lock
    uint64_t credit          # what they may cost in all; under the lock
    uint32_t sequence        # of the next partial; under the lock
    uint32_t listed          # the READY that listed it last
    uint16_t service         # the place among the services
    uint8_t attempt
    uint8_t cancelled        # written under the lock, never taken back
    uint8_t taken            # by a handler; under the lock
    uint8_t answered         # by its handler; under the lock
    uint8_t notified         # as cancelled, to an event loop
    uint8_t waits            # for CREDIT; under the lock
    uint8_t place            # place_t; the engine's, as is `unadopted`
    uint8_t unadopted        # its broker is gone, and no other one has its request yet
    uint8_t is_heard         # a broker had its answer, and died; the engine's
    uint8_t is_partial       # some of what would have to be sent again is not kept; the engine's

cdef struct task_queue_t:    # tasks on their way to handlers, by `next`; all zero: none
    held_task_t *first
    held_task_t *last
    uint32_t count

cdef struct held_tasks_t:    # tasks in the order in which they came; all zero: none
    held_task_t *oldest
    held_task_t *newest
    uint32_t count


# tasks_append moves a queue of tasks behind another one.
cdef inline void tasks_append(task_queue_t *to, task_queue_t *tasks) noexcept nogil:
    if tasks.first == NULL:
        return
    if to.last != NULL:
        to.last.next = tasks.first
    else:
        to.first = tasks.first
    to.last = tasks.last
    to.count += tasks.count
    tasks.first = tasks.last = NULL
    tasks.count = 0


cdef inline uint64_t answer_size(const answer_t *a) noexcept nogil:
    return a.body.bytes + RECORD_BYTES


cdef held_task_t *task_new() noexcept nogil   # of one reference, no partials given; NULL: no memory
cdef void task_keep(held_task_t *task) noexcept nogil
cdef void task_drop(held_task_t *task) noexcept nogil
# held_add takes over a reference; held_remove leaves it to the caller.
cdef void held_add(held_tasks_t *held, held_task_t *task) noexcept nogil
cdef void held_remove(held_tasks_t *held, held_task_t *task) noexcept nogil
cdef void held_drop(held_tasks_t *held) noexcept nogil
# answer_new makes an answer that is not inside its task; `task` may be NULL.
cdef answer_t *answer_new(uint8_t kind, held_task_t *task, uint64_t token) noexcept nogil
cdef void answer_free(answer_t *a) noexcept nogil
cdef void answers_put(answers_t *answers, answer_t *a) noexcept nogil
cdef answer_t *answers_pop(answers_t *answers) noexcept nogil    # there must be one
cdef void answers_drop(answers_t *answers) noexcept nogil
# answers_append moves a queue of answers behind another one.
cdef void answers_append(answers_t *to, answers_t *answers) noexcept nogil
# tasks_live counts the tasks and answers of this process.
cdef int64_t tasks_live() noexcept nogil
