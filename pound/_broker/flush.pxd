# The end of a turn: each touched peer is sent what waits for it, in as few messages as possible.
#
# A refused send is handled here, after the dispatcher has decided. A full pipe or a closed
# connection takes back the worker's unsent tasks, uncounted. A client's answers stay queued, in
# order. Deferred answers (delivery.pxd) are sent when they are due, or with anything else that
# their peer is sent.
#
# Cost: O(what is sent). Bodies of attached parts are shared with libzmq, not copied.

from libc.stdint cimport int64_t, uint32_t

from .state cimport broker_t, route_t

cdef enum:
    RETRY_NS = 5000000       # between two tries to send to a peer whose pipe was full

cdef enum sent_t:
    SENT
    BLOCKED                  # the peer's pipe is full, or there is no memory for the message
    UNREACHABLE              # the connection is closed

# flush sends to every dirty peer, and to those whom that makes dirty.
cdef void flush(broker_t *b) noexcept nogil

# flush_blocked makes the peers dirty again whose next try is due, and gives up on clients that
# have not read for client_grace.
cdef void flush_blocked(broker_t *b) noexcept nogil

# flush_deferred makes the peers dirty whose deferred answers are due by `until`.
cdef void flush_deferred(broker_t *b, int64_t until) noexcept nogil

# send_packet sends b.outbound.packet, and so many of b.outbound.attached behind it, or nothing.
cdef sent_t send_packet(broker_t *b, route_t *route, uint32_t attached) noexcept nogil

# send_version answers a packet of another version: which one is spoken here.
cdef void send_version(broker_t *b, route_t *route) noexcept nogil
