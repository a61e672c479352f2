# A worker's rules: the tasks that it holds, from TASK to the answer.
#
# The tasks of one worker: those that run, the answers that leave, what libzmq took and may not have
# arrived (worker_state.pxd).
#
# Invariants:
# - `running` holds the tasks whose handler has not returned and whose answer may be wanted; those
#   of a broker that is gone are *unadopted* (adoption.pxd). A task that nobody can want any more is
#   *stale*: it only keeps a handler busy, which READY's capacity says, and its answer is dropped.
#   Answers and partials leave in the order in which the handlers gave them.
# - Before WELCOME a route carries HOLDS and READY only: answers wait for it, because a token means
#   nothing in another epoch until its task is adopted. What was sent and has no later packet of the
#   broker behind it is sent again after a reconnect to the same epoch: until the broker gives the
#   task to another worker, its token counts.
# - A leaving worker closes after the BYE 2 that answers the BYE behind its last answer, and so
#   after as many as it sent BYEs: a socket closed with unread input resets its connection, and a
#   reset may overtake what was sent. If the broker is lost before, the worker waits for it as long
#   as it has time, since what no packet of the broker followed may have to be sent again.
# - A worker that goes to its preferred broker takes the same steps, and serves there.
#
# Cost:    O(1) a task; READY costs O(tasks held).
# Memory:  a task is counted: by `running`, by its handler, by each answer, by `cancelled`. Answers
#          own their bodies. `unsent` and `sent` are bounded: partials make their handler wait, and
#          final answers are at most one a task held. What is kept has bounds of its own.

from libc.stdint cimport int64_t, uint32_t

from .engine cimport engine_t
from .worker_state cimport worker_state_t

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
