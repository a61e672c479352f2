# A worker's partials: for how long a handler waits before it may give the next one.
#
# A task's partials go as far as its last CREDIT says (STREAM_FIRST of _wire/packets.pxd before the
# first), by what they cost (partial_cost). Past that the handler waits, until CREDIT comes or
# nobody wants the answer any more: cancelled, past its deadline, another epoch, given back, the
# engine's end. Partials that are not packed yet, of all tasks together, take `partials_max` bytes
# at most, and one more: past that handlers wait for room.
#
# Invariant: `waits` of a task is set while a handler may wait for its CREDIT: only then has CREDIT
#            somebody to wake.
# Cost:      O(1) a partial; CREDIT of a task that waits wakes all handlers that wait.

from libc.stdint cimport uint64_t

from .handoff cimport handoff_t
from .mailbox cimport body_t
from .task cimport answer_t, held_task_t

cdef enum partial_t:
    PARTIAL_REFUSED          # it would wait
    PARTIAL_GIVEN
    PARTIAL_DROPPED          # nobody listens

# --- for handlers; any thread

# partial_give gives a partial and takes over its body, or drops it. It waits for room and for
# CREDIT; if not `waits` it is refused: the body is the caller's, and the event loop is rung when
# partial_has_room of the task may be true.
cdef partial_t partial_give(
    handoff_t *h, held_task_t *task, body_t *body, bint waits) noexcept nogil
cdef bint partial_has_room(handoff_t *h, held_task_t *task) noexcept nogil

# --- for the engine

# take_credit lets the partials of a task go on.
cdef void take_credit(handoff_t *h, held_task_t *task, uint64_t credit) noexcept nogil
# room_take and room_give count a partial among those that are not packed yet, and no longer.
cdef void room_take(handoff_t *h, const answer_t *a) noexcept nogil
cdef void room_give(handoff_t *h, const answer_t *a) noexcept nogil
