# A worker's tasks, and where to find them by their tokens. worker_rules.pxd has the invariants.
#
# Memory: belongs to the engine's thread, except `handoff`, where handlers take tasks and give
#         answers (handoff.pxd).

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._base.table cimport mix
from .handoff cimport handoff_t
from .link cimport broker_limits_t
from .mailbox cimport body_t
from .task cimport (
    TASK_ANSWERED, TASK_GONE, TASK_RUNNING, answers_t, held_add, held_remove, held_task_t,
    held_tasks_t, task_queue_t)

cdef struct leaving_t:       # of a worker that leaves
    int64_t until            # FAR: it serves
    int64_t bye_at           # when to say BYE (again)
    int64_t idle_since       # all is answered, and the broker was heard since
    uint32_t given_back      # tasks, at the end of the drain
    uint32_t undelivered     # answers that reached no broker until the end
    uint32_t byes            # sent, and not yet agreed to
    uint8_t bye_due
    uint8_t agreed           # the broker said BYE 2 to each BYE
    uint8_t gave_back
    uint8_t homeward         # it says BYE to serve at the preferred broker

cdef struct kept_t:          # what outlives the broker: adoption.pxd
    held_tasks_t answered    # unadopted tasks whose handler has returned
    uint32_t owed            # of those, the ones whose answer no broker has had
    uint64_t answered_bytes  # of their answers
    uint32_t unadopted        # running tasks of a broker that is gone
    answers_t recent         # final ones that the broker has, and their clients perhaps not yet
    answers_t older          # the same, longer ago
    int64_t turned_at        # when `recent` became `older` last

cdef struct worker_state_t:
    handoff_t handoff
    leaving_t drain
    broker_limits_t limits   # of the last WELCOME; handlers read it
    body_t names             # label and services
    body_t services          # the names alone, one inline part each
    uint32_t capacity
    held_task_t **buckets    # running and answered tasks by token
    uint32_t mask
    held_tasks_t running
    held_tasks_t stale
    kept_t kept
    task_queue_t fresh       # of this turn, not yet handed to handlers
    answers_t unsent
    answers_t sent           # the broker has sent nothing since
    uint32_t ready_serial
    uint8_t ready_again      # READY has other values than it had


# --- tasks by their token ------------------------------------------------------------------

cdef inline held_task_t **bucket(worker_state_t *w, uint64_t token) noexcept nogil:
    return &w.buckets[<uint32_t>mix(token) & w.mask]


# held_find returns the task of a token, running or answered; NULL: there is none.
cdef inline held_task_t *held_find(worker_state_t *w, uint64_t token) noexcept nogil:
    cdef held_task_t *task = bucket(w, token)[0]
    while task != NULL and task.token != token:
        task = task.chain
    return task


cdef inline void bucket_add(worker_state_t *w, held_task_t *task) noexcept nogil:
    cdef held_task_t **first = bucket(w, task.token)
    task.chain = first[0]
    first[0] = task


cdef inline void bucket_remove(worker_state_t *w, held_task_t *task) noexcept nogil:
    cdef held_task_t **at = bucket(w, task.token)
    while at[0] != task:
        at = &at[0].chain
    at[0] = task.chain


# running_add and answered_add take over a reference; their removals leave it to the caller.
cdef inline void running_add(worker_state_t *w, held_task_t *task) noexcept nogil:
    bucket_add(w, task)
    task.place = TASK_RUNNING
    held_add(&w.running, task)


cdef inline void running_remove(worker_state_t *w, held_task_t *task) noexcept nogil:
    bucket_remove(w, task)
    task.place = TASK_GONE
    held_remove(&w.running, task)
    w.kept.unadopted -= task.unadopted


cdef inline void answered_add(worker_state_t *w, held_task_t *task) noexcept nogil:
    bucket_add(w, task)
    task.place = TASK_ANSWERED
    held_add(&w.kept.answered, task)
    w.kept.owed += not task.is_heard
    w.kept.answered_bytes += task.kept.bytes


cdef inline void answered_remove(worker_state_t *w, held_task_t *task) noexcept nogil:
    bucket_remove(w, task)
    task.place = TASK_GONE
    held_remove(&w.kept.answered, task)
    w.kept.owed -= not task.is_heard
    w.kept.answered_bytes -= task.kept.bytes
