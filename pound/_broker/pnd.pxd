# The records of one PND packet, translated to calls of the dispatcher.

from libc.stdint cimport uint32_t

from .state cimport broker_t, route_t

# packet_message reads the packet in b.incoming.frames[1], with `attached` frames behind it, and
# lets its records act; a packet of broken form changes nothing but counters.
cdef void packet_message(broker_t *b, route_t *route, uint32_t attached) noexcept nogil
