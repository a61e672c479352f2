# Answers queued for their clients, and what happens to those that find no room.
#
# Nothing here carries out the dispatcher's actions: the caller does (actions.pxd).

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from .state cimport broker_t, peer_t


# fail stores an ERROR as the answer of a request that no worker answered, and delivers it.
cdef void fail(broker_t *b, uint32_t slot, uint16_t code, uint32_t holder) noexcept nogil

# deliver queues the answer in `slot`, whose size the dispatcher knows, for its client.
cdef void deliver(broker_t *b, uint32_t slot) noexcept nogil

# items_drop gives up what a client has not read for too long; when it reads, it may ask again.
cdef void items_drop(broker_t *b, peer_t *peer) noexcept nogil

# overflows_now is overflows for a client that has much waiting.
cdef int overflows_now(broker_t *b, peer_t *peer, uint64_t size) noexcept nogil


cdef inline int overflows(broker_t *b, peer_t *peer, uint64_t size) noexcept nogil:
    """overflows says whether `size` more bytes are too many for a client that does not read.

    One answer may always wait for it, whatever its size, unless the memory for all is used up.
    """
    if not b.budget.over and (
            peer.items_bytes + size <= b.settings.undelivered_bytes_max or peer.items_count == 0):
        return 0
    return overflows_now(b, peer, size)


cdef inline bint leaves_unread(const broker_t *b, const peer_t *peer) noexcept nogil:
    """leaves_unread says whether a client has so much unread that it had better ask for no more."""
    return peer.blocked.since != 0 and peer.items_bytes > b.settings.undelivered_bytes_max
