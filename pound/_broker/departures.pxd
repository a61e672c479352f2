# Peers that leave: their routes, their roles, and REQ workers that may return silently.
#
# A lost worker is an idle REQ worker with an id of its own whose connection was cut. It may
# reconnect under that id without a message. So while a task waits for it, it counts as ready:
# sending the task shows whether it is there. With keys it shows it to anybody who has taken the id,
# so there are no lost workers then.

from .state cimport broker_t, peer_t, route_t

# route_lost gives up a route whose connection is closed, and every message that came by it read.
cdef void route_lost(broker_t *b, route_t *route) noexcept nogil

# route_taken gives up a route whose routing id another peer has: nothing of it stays.
cdef void route_taken(broker_t *b, route_t *route) noexcept nogil

# worker_gone ends the peer as a worker: its tasks return.
cdef void worker_gone(broker_t *b, peer_t *peer) noexcept nogil

# worker_void ends it for lack of a right: nothing that it was sent can be answered by it any more.
cdef void worker_void(broker_t *b, peer_t *peer) noexcept nogil

# session_end ends the peer in both roles at once, as BYE does.
cdef void session_end(broker_t *b, peer_t *peer) noexcept nogil

# lost_seek takes lost workers for ready if a task waits for them.
cdef void lost_seek(broker_t *b) noexcept nogil

# lost_forget: the worker has spoken, or its place is needed.
cdef void lost_forget(broker_t *b, peer_t *peer) noexcept nogil
