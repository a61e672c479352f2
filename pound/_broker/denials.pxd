# What is refused by whole messages, for what their connections proved, and what follows.
#
# A PND packet is answered by ERROR 16 at once, by the route that it came by: for each of its
# requests with their ids, and for anything else once, with id 0. Nothing waits for a peer that does
# not read it. The Guide's dialects have no words for it.
#
# A connection whose key has ended is closed by the broker CUT_NS after its first message that was
# refused, or after the walk that found it: it reads until then why.
#
# Cost:   O(records) a packet; a tick looks at all routes, when one was refused.
# Memory: none.

from libc.stdint cimport int64_t, uint32_t, uint8_t

from pound._wire.dialects cimport message_t
from .state cimport broker_t, route_t

# denial returns whether the message of so many frames in b.incoming is refused; that is done then.
cdef bint denial(
    broker_t *b, route_t *route, const message_t *m, uint32_t frames) noexcept nogil

# deny_packet answers the packet in b.incoming with its attached frames; `why` is a denial of
# reasons.pxd.
cdef void deny_packet(
    broker_t *b, route_t *route, uint32_t attached, int why) noexcept nogil

# denial_unproven counts a message whose connection proved nothing.
cdef void denial_unproven(broker_t *b) noexcept nogil

# denials_cut_soon has the connections of denied routes closed after a moment; denials_tick closes
# them then, and denials_due returns when that is: INT64_MAX, there are none.
cdef void denials_cut_soon(broker_t *b) noexcept nogil
cdef void denials_tick(broker_t *b) noexcept nogil


cdef inline int64_t denials_due(const broker_t *b) noexcept nogil:
    return b.guard.cut_at
