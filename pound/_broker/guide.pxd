# The messages of the Guide's clients and workers, translated to calls of the dispatcher.

from libc.stdint cimport uint32_t

from pound._wire.dialects cimport message_t
from .state cimport broker_t, route_t

# guide_message lets a recognised message act; its `frames` are b.incoming.frames[1] and on.
cdef void guide_message(
    broker_t *b, route_t *route, const message_t *m, uint32_t frames) noexcept nogil

# guide_bad ends the task of a worker whose answer, or a partial of it, has a bad form and names a
# task that the worker holds: it would be held forever. `why` is in the client's ERROR, if its
# dialect has one.
cdef void guide_bad(
    broker_t *b, route_t *route, const message_t *m, const char *why) noexcept nogil
