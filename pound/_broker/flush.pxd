# The end of a turn: each touched peer is sent what waits for it, in as few messages as possible.
#
# A refused send is handled here, after the dispatcher has decided. A full pipe or a closed
# connection takes back the worker's unsent tasks, uncounted. A client's answers stay queued, in
# order. Deferred answers (delivery.pxd) are sent when they are due, or with anything else that
# their peer is sent.
#
# Cost: O(what is sent). Bodies of attached parts are shared with libzmq, not copied.

from libc.stdint cimport int64_t

from .state cimport broker_t, route_t

cdef enum:
    RETRY_NS = 5000000       # between two tries to send to a peer whose pipe was full

# flush sends to every dirty peer, and to those whom that makes dirty.
cdef void flush(broker_t *b) noexcept nogil

# flush_blocked makes the peers dirty again whose next try is due, and gives up on clients that
# have not read for client_grace.
cdef void flush_blocked(broker_t *b) noexcept nogil

# flush_deferred makes the peers dirty whose deferred answers are due by `until`.
cdef void flush_deferred(broker_t *b, int64_t until) noexcept nogil

# send_version answers a packet of another version: which one is spoken here.
cdef void send_version(broker_t *b, route_t *route) noexcept nogil
