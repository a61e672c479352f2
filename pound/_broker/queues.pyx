"""What waits to be sent to a peer, and when it is sent (see queues.pxd for the rules)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from pound._base.array cimport array_room
from pound._base.freelist cimport freelist_give, freelist_take
from pound._zmq.pipes cimport pipe_bytes, taken_mark
from .kinds cimport C_NO_MEMORY
from .records cimport stored_clear
from .state cimport broker_t, item_t, peer_t, stored_t, unsent_t

cdef enum:
    ITEMS_ROOM_MIN = 16
    LOOK_NS = 20_000_000     # between two looks whether a blocked peer reads


# -- when: deferred, or blocked until it reads ------------------------------------------------

cdef void peer_defer(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil:
    """See to it that the peer is touched after delay_ns (the same for all), if not before."""
    if peer.deferred or peer.dead:
        return
    peer.deferred = 1
    peer.deferral.until = b.now + delay_ns
    peer.deferral.next = NULL
    if b.pending.deferred == NULL:
        b.pending.deferred = peer
    else:
        b.pending.deferred_tail.deferral.next = peer
    b.pending.deferred_tail = peer


cdef void peer_block(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil:
    """Note that a send was refused; it's tried again after delay_ns (the same for all)."""
    cdef uint64_t piped = <uint64_t> pipe_bytes(peer.reading.pipe)
    if peer.blocked.since == 0:
        peer.blocked.since = peer.reading.progress_at = b.now
        peer_look(b, peer)
    peer.items_bytes += piped - peer.reading.pipe_noted
    peer.reading.pipe_noted = piped
    if peer.blocked.waits:
        return
    peer.blocked.waits = 1
    peer.blocked.retry_at = b.now + delay_ns
    peer.blocked.next = NULL
    if b.pending.blocked == NULL:
        b.pending.blocked = peer
    else:
        b.pending.blocked_tail.blocked.next = peer
    b.pending.blocked_tail = peer


cdef int peer_look(broker_t *b, peer_t *peer) noexcept nogil:
    """Look how much the peer has read so far: whether that is another number than before."""
    cdef uint64_t left = peer_taken(peer)
    cdef int64_t taken = 0
    cdef int reads
    if peer.route != NULL and peer.route.fd >= 0:
        taken = taken_mark(peer.route.fd)
    reads = taken != peer.reading.taken_seen or left != peer.reading.left_seen
    peer.reading.taken_seen = taken
    peer.reading.left_seen = left
    peer.reading.looked_at = b.now
    return reads


cdef int peer_stalled(broker_t *b, peer_t *peer, int64_t ns) noexcept nogil:
    if b.now - peer.reading.looked_at >= LOOK_NS and peer_look(b, peer):
        peer.reading.progress_at = b.now
    return b.now - max(peer.reading.progress_at, b.loop.resumed_at) > ns


cdef int64_t peer_watch(broker_t *b, peer_t *peer, int64_t gap_ns) noexcept nogil:
    cdef int anew = peer.blocked.since == 0 and b.now - peer.reading.looked_at > gap_ns
    if peer_look(b, peer) or anew:
        peer.reading.progress_at = b.now
    return b.now - max(peer.reading.progress_at, b.loop.resumed_at)


# -- what -------------------------------------------------------------------------------------

cdef int tasks_grow(broker_t *b, peer_t *peer) noexcept nogil:
    if array_room(
            <void **> &peer.tasks.at, &peer.tasks.room, peer.tasks.count, sizeof(unsent_t)):
        b.counters[C_NO_MEMORY] += 1
        return -1
    return 0


cdef int items_grow(broker_t *b, peer_t *peer) noexcept nogil:
    cdef uint32_t room = 2 * peer.items_room if peer.items_room else ITEMS_ROOM_MIN
    cdef item_t *items = <item_t *> malloc(room * sizeof(item_t))
    cdef uint32_t i
    if items == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    for i in range(peer.items_count):
        items[i] = item_at(peer, i)[0]
    free(peer.items)
    peer.items = items
    peer.items_first = 0
    peer.items_room = room
    return 0


cdef int partial_push(
        broker_t *b, peer_t *peer, uint32_t slot, const stored_t *partial, uint32_t size
        ) noexcept nogil:
    cdef stored_t *own = <stored_t *> freelist_take(&b.freelist, sizeof(stored_t))
    if own == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    if item_add(b, peer, slot, own, size):
        freelist_give(&b.freelist, own, sizeof(stored_t))
        return -1
    own[0] = partial[0]
    return 0


cdef void partial_free(broker_t *b, stored_t *partial) noexcept nogil:
    stored_clear(b, partial)
    freelist_give(&b.freelist, partial, sizeof(stored_t))


cdef void items_free(peer_t *peer) noexcept nogil:
    free(peer.items)
    peer.items = NULL
    peer.items_room = peer.items_first = 0


cdef void items_clear(broker_t *b, peer_t *peer) noexcept nogil:
    """Drop all items, and the ring."""
    while peer.items_count:
        item_pop(b, peer)
    items_free(peer)
