# A worker's rules: the tasks that it holds, from TASK to the answer.
#
# worker_state_t  the tasks of one worker: those that run, the answers that leave, what libzmq took
#                 and may not have arrived. Belongs to the engine's thread, except `handoff`, where
#                 handlers take tasks and give answers (handoff.pxd).
#
# Invariants:
# - `running` holds the tasks of this epoch whose handler has not returned. A task whose epoch is
#   over is *stale*: it only keeps a handler busy, which READY's capacity says, and its answer is
#   dropped. Answers and partials leave in the order in which the handlers gave them.
# - Before WELCOME a route carries READY only: answers wait for it, because a token means nothing in
#   another epoch. What was sent and has no later packet of the broker behind it is sent again after
#   a reconnect to the same epoch: until the broker gives the task to another worker, its token
#   counts.
# - A leaving worker closes after the BYE 2 that answers the BYE behind its last answer, and so
#   after as many as it sent BYEs: a socket closed with unread input resets its connection, and a
#   reset may overtake what was sent. If the broker is lost before, the worker waits for it as long
#   as it has time, since what no packet of the broker followed may have to be sent again.
# - A worker that goes to its preferred broker takes the same steps, and serves there.
#
# Cost:    O(1) a task; READY costs O(tasks held).
# Memory:  a task is counted: by `running`, by its handler, by each answer, by `cancelled`. Answers
#          own their bodies. `unsent` and `sent` are bounded: partials make their handler wait, and
#          final answers are at most one a task held.

from libc.stdint cimport int64_t, uint32_t, uint8_t

from .engine cimport engine_t
from .handoff cimport handoff_t
from .link cimport broker_limits_t
from .mailbox cimport body_t
from .task cimport answers_t, held_task_t, held_tasks_t, task_queue_t

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

cdef struct worker_state_t:
    handoff_t handoff
    leaving_t drain
    broker_limits_t limits   # of the last WELCOME; handlers read it
    body_t names             # label and services
    body_t services          # the names alone, one inline part each
    uint32_t capacity
    held_task_t **buckets    # running tasks by token
    uint32_t mask
    held_tasks_t running
    held_tasks_t stale
    task_queue_t fresh       # of this turn, not yet handed to handlers
    answers_t unsent
    answers_t sent           # the broker has sent nothing since
    uint32_t ready_serial
    uint8_t ready_again      # READY has other values than it had

cdef enum:
    LAST_WORDS_MS = 500              # after the drain's end, for the last packet
    AGREE_WITHIN_MS = 1000           # for the broker's BYE 2 when nothing else is left to wait for

# worker_init fills the rules of `engine`, and `w` except names and services: 0, or -1: no memory.
cdef int worker_init(
    worker_state_t *w, engine_t *engine, uint32_t capacity, int fd) noexcept nogil
cdef void worker_free(worker_state_t *w) noexcept nogil
# worker_leave asks the engine to take no more tasks and to end by then: 0, or -1: it has ended, or
# there is no memory. Any thread.
cdef int worker_leave(worker_state_t *w, int64_t until) noexcept nogil
