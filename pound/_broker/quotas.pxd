# Quotas: the turns and quotas of the broker's keys, as the dispatcher is to keep them.
#
# An owner is the identity of a key, under its number in the table of keys; the rules are those of
# _dispatch/owners.pxd. A client that no key stands behind is an owner by itself.
#
# Cost:   a client: O(1). A table: O(identities), when the loop takes it.

from libc.stdint cimport uint32_t

from .state cimport broker_t, peer_t

# quotas_take gives the dispatcher the limits of the guard's table: 0, or -1: no memory for some.
cdef int quotas_take(broker_t *b) noexcept nogil

# owner_of_client lets a new client ask in the name of its peer's key, if it has one.
cdef void owner_of_client(broker_t *b, const peer_t *peer, uint32_t client) noexcept nogil
