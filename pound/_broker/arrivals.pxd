# Connections that were let in by a key, and have not sent a message: they count, too.
#
# ZAP says which key comes in from which address, and not by which connection; the monitor, which
# connection there is, and not by which key. An *arrival* is a key that ZAP let in, until it is
# known by which connection: by its first message, which most peers send at once. Those that stay
# silent are looked at LOOK_NS later: one from the same address that was sent more than a refused
# peer is, or, where no one can say how much that was, is open for longer than a handshake may take,
# has shaken hands, so it is an arrival's. Of several that shook hands at once from one address, one
# may be taken for another until it speaks: the sum is right, and when the key of one ends, all of
# them are closed. When one is closed before, another may count for its key from then on, and
# end with that one, until it speaks.
#
# Invariant: each arrival, and each open connection that has a `serial`, counts once among the
#            `connections` of its key's identity; a connection with a `serial` has no route.
# Cost:      O(1) a handshake, and a search of the arrivals for its first message. A look, while
#            there are arrivals: O(descriptors + silent connections * arrivals).
# Memory:    an array of the guard's, of no more arrivals than there are connections, and those of
#            LOOK_NS. Without memory for one, its connection counts from its first message on.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t

from pound.security.table cimport key_t
from .state cimport arrivals_t, broker_t

cdef void arrivals_init(arrivals_t *arrivals) noexcept nogil
cdef void arrivals_free(arrivals_t *arrivals) noexcept nogil

# arrivals_add notes that ZAP let in a key from an address, by a listener.
cdef void arrivals_add(
    broker_t *b, const key_t *key, uint8_t listener, const uint8_t *address, size_t size
) noexcept nogil

# arrivals_spoke notes the first message that came by a connection, or by one that is closed by now;
# its route counts from then on.
cdef void arrivals_spoke(broker_t *b, uint8_t side, int fd, uint32_t serial) noexcept nogil

# arrivals_judge counts all anew, for a table in which nothing was counted, and closes the silent
# connections whose key has ended.
cdef void arrivals_judge(broker_t *b) noexcept nogil

# arrivals_tick looks for the connections of arrivals; arrivals_due returns when that is.
cdef void arrivals_tick(broker_t *b) noexcept nogil


cdef inline int64_t arrivals_due(const broker_t *b) noexcept nogil:
    return b.guard.arrivals.look_at
