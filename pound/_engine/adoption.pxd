# What a worker keeps when its broker is gone, until a broker adopts it.
#
# unadopted  a task of a broker that is gone: its handler goes on. Its partials and its
#           answer are kept with it. A broker that has the client's request *adopts* it (ACCEPTED),
#           and what was kept is sent; or nobody wants it (CANCEL).
# answered  an unadopted task whose handler has returned.
# recent    final answers that the broker has taken within the last second or two: if it dies, their
#           clients may not have them.
#
# Invariants:
# - Only tasks with a key are kept: the others' clients are of the Guide, and no broker could tell
#   what belongs to them.
# - A task's `kept` has its answers that may not have reached the client, in order: partials until
#   the client's CREDIT says that they came, and of an unadopted task all that its handler gives.
# - HOLDS names all unadopted tasks. It goes before each READY, which is said again when one of them
#   was answered.
# - What was cancelled or given back (ERROR 14) is not kept.
# - While a task is kept its partials take no room of the handoff: only CREDIT bounds them.
#
# Cost:    O(1) an answer; the end of an epoch costs O(tasks and answers held).
# Memory:  partials are bounded by their credit and KEPT_BYTES_MAX a task, `answered` by
#          ANSWERED_MAX and ANSWERED_BYTES_MAX, `recent` by RECENT_MAX and RECENT_BYTES_MAX, and
#          `older` likewise; the oldest goes first.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from .outbox cimport outbox_t
from .task cimport answer_t, held_task_t
from .worker_state cimport worker_state_t

cdef enum:
    KEPT_BYTES_MAX = 4 << 20     # of one task's partials; beyond, the task is not kept
    ANSWERED_MAX = 4096
    ANSWERED_BYTES_MAX = 64 << 20
    RECENT_MAX = 4096
    RECENT_BYTES_MAX = 16 << 20
    RECENT_MS = 1000             # a recent answer is kept for this long at least

# kept_heard keeps those of the sent answers that may still be wanted: the broker has them.
cdef void kept_heard(worker_state_t *w) noexcept nogil
# kept_turn lets recent answers go that are old enough.
cdef void kept_turn(worker_state_t *w, int64_t now) noexcept nogil
# kept_credit lets go of the partials of a task that its client has.
cdef void kept_credit(held_task_t *task, uint32_t sequence) noexcept nogil
# kept_epoch keeps all that belonged to a broker that is gone: how many tasks go on. What can't be
# kept becomes stale, or is dropped.
cdef uint32_t kept_epoch(worker_state_t *w) noexcept nogil
# kept_lost drops an answer that was sent: it can't be sent again, so that its task is not kept.
cdef void kept_lost(answer_t *a) noexcept nogil
# kept_given keeps what the handler of an unadopted task gave. False: it is for the broker after
# all.
cdef bint kept_given(worker_state_t *w, answer_t *a) noexcept nogil
# kept_adopted has the answers of an unadopted task sent: a broker has its request. A task that is
# not there any more is given back.
cdef void kept_adopted(worker_state_t *w, uint64_t token) noexcept nogil
# kept_cancelled keeps nothing of a task any more: nobody wants its answer. False: its handler runs,
# and what it gives is for the broker, as it is of any cancelled task.
cdef bint kept_cancelled(worker_state_t *w, held_task_t *task) noexcept nogil
# kept_holds writes HOLDS, if there is anything to name.
cdef void kept_holds(outbox_t *out, const worker_state_t *w) noexcept nogil
# outdate makes a running task stale: it only keeps its handler busy.
cdef void outdate(worker_state_t *w, held_task_t *task) noexcept nogil
# kept_abandon lets go of all that is kept: the broker adopts nothing.
cdef void kept_abandon(worker_state_t *w) noexcept nogil
# kept_drop forgets the answers that are kept, at the worker's end.
cdef void kept_drop(worker_state_t *w) noexcept nogil
