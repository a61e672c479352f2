# The dispatcher's actions, carried out on peers, slots and queues.
#
# Nothing here sends. What is to be sent is queued at its peer, and the peer is put on the dirty
# list.
# Rule: call `act` after every call of the dispatcher, before a call that acts on new input.

from libc.stdint cimport int64_t

from pound._dispatch.dispatcher cimport disp_actions
from .state cimport broker_t

cdef void act_all(broker_t *b) noexcept nogil  # for act, where there is something to do


cdef inline void act(broker_t *b) noexcept nogil:
    """act carries out what the dispatcher has decided."""
    if disp_actions(b.d):
        act_all(b)


# live_now is the clock of liveness: monotonic ns less the broker's own pauses.
cdef inline int64_t live_now(broker_t *b) noexcept nogil:
    return b.now - b.loop.paused
