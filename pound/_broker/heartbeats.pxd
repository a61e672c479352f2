# Heartbeats that workers are sent: a list for each dialect, ordered by when they are due.
#
# Each worker is checked twice in its dialect's interval. One that was sent anything since the last
# check needs no heartbeat, so no silence outlasts the interval.
#
# Cost: O(1) a check, and O(dialects) a turn.

from libc.stdint cimport int64_t

from .state cimport broker_t, peer_t


# heartbeats_start sets when a worker is looked at next.
cdef void heartbeats_start(broker_t *b, peer_t *peer) noexcept nogil

# cancel_heartbeat has a worker no longer looked at.
cdef void cancel_heartbeat(broker_t *b, peer_t *peer) noexcept nogil

# heartbeats_send owes a heartbeat to each worker that is due and was sent nothing.
cdef void heartbeats_send(broker_t *b) noexcept nogil

# heartbeats_due gives when the first worker is to be looked at; INT64_MAX: there is none.
cdef int64_t heartbeats_due(const broker_t *b) noexcept nogil
