# What waits to be sent to a peer: a worker's tasks, a client's answers and partials (items). And
# when it is sent: at the end of the turn (the peer is touched), a little later (deferred), or once
# the peer takes more (blocked).
#
# Bookkeeping only: nothing here sends a message or calls the dispatcher.
#
# Invariant: a peer is on the list of touched, of deferred, of blocked peers exactly while its
#            `dirty`, `deferred`, `blocked.waits` is set.
# Cost:      O(1), amortised where a queue grows; items_clear that of what is queued.
# Memory:    a peer owns its tasks and its ring of items, an item its partial.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from pound._base.hints cimport unlikely
from pound._dispatch.model cimport REQUEST_FREE
from pound._zmq.pipes cimport pipe_bytes
from .kinds cimport C_CONTROL_BYTES, C_QUEUED, C_UNDELIVERED_BYTES
from .state cimport broker_t, item_t, peer_t, stored_t

cdef enum:
    ITEMS_ROOM_KEPT = 1024   # of an empty ring


# -- when -------------------------------------------------------------------------------------

cdef inline void peer_touch(broker_t *b, peer_t *peer) noexcept nogil:
    """peer_touch puts a peer on the list of those that the turn's end has something to send to."""
    if peer.dirty or peer.dead:
        return
    peer.dirty = 1
    peer.next_dirty = NULL
    if b.pending.dirty == NULL:
        b.pending.dirty = peer
    else:
        b.pending.dirty_tail.next_dirty = peer
    b.pending.dirty_tail = peer


# peer_defer has the peer touched after delay_ns (the same for all), if not before.
cdef void peer_defer(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil

# peer_block notes that a send was refused, and has it tried again after delay_ns, the same for all.
cdef void peer_block(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil


cdef inline void peer_unblock(peer_t *peer) noexcept nogil:
    """peer_unblock notes that the peer was sent something, or has another route."""
    peer.blocked.since = 0
    peer.items_bytes -= peer.reading.pipe_noted
    peer.reading.pipe_noted = 0


# peer_stalled says whether a blocked peer has read nothing for `ns`, as far as can be seen. A look
# costs a system call, and there is one in LOOK_NS at most.
cdef int peer_stalled(broker_t *b, peer_t *peer, int64_t ns) noexcept nogil

# peer_watch does that for one that need not be blocked, and returns for how many ns it has read
# nothing. Who was not watched for `gap_ns` is taken for one that has just read.
cdef int64_t peer_watch(broker_t *b, peer_t *peer, int64_t gap_ns) noexcept nogil


cdef inline uint64_t peer_taken(const peer_t *peer) noexcept nogil:
    """peer_taken gives the bytes that the peer was sent and has read, of those counted."""
    return peer.reading.piped - <uint64_t> pipe_bytes(peer.reading.pipe)


cdef inline void ask_again(peer_t *peer) noexcept nogil:
    """ask_again has a peer ask again for all that it lacks, as on any WELCOME.

    For a peer for which something could not be queued; an answer is kept until then, if there is
    one.
    """
    if peer.route != NULL:
        peer.route.welcomed = 0


# -- what -------------------------------------------------------------------------------------

cdef inline void control_counts(broker_t *b, peer_t *peer) noexcept nogil:
    """control_counts keeps C_CONTROL_BYTES in step with the peer's small records."""
    b.counters[C_CONTROL_BYTES] += peer.control.records.size - peer.control.counted
    peer.control.counted = peer.control.records.size


# For the functions below, where a queue is full, a partial is dropped, or a large ring is empty.
cdef int tasks_grow(broker_t *b, peer_t *peer) noexcept nogil
cdef int items_grow(broker_t *b, peer_t *peer) noexcept nogil
cdef void partial_free(broker_t *b, stored_t *partial) noexcept nogil
cdef void items_free(peer_t *peer) noexcept nogil


cdef inline int peer_task(broker_t *b, peer_t *peer, uint64_t token, uint32_t slot) noexcept nogil:
    """peer_task queues a task for the next flush; 0, or -1 when there is no memory."""
    if unlikely(peer.tasks.count == peer.tasks.room) and tasks_grow(b, peer):
        return -1
    peer.tasks.at[peer.tasks.count].token = token
    peer.tasks.at[peer.tasks.count].slot = slot
    peer.tasks.count += 1
    peer_touch(b, peer)
    return 0


cdef inline item_t *item_at(const peer_t *peer, uint32_t i) noexcept nogil:
    """item_at gives the peer's item that has `i` others before it."""
    return &peer.items[(peer.items_first + i) & (peer.items_room - 1)]


cdef inline int item_add(
    broker_t *b, peer_t *peer, uint32_t slot, stored_t *partial, uint32_t size
) noexcept nogil:
    """item_add queues an item of the request in `slot`; 0, or -1 when there is no memory."""
    cdef item_t *item
    if unlikely(peer.items_count == peer.items_room) and items_grow(b, peer):
        return -1
    item = item_at(peer, peer.items_count)
    item.partial = partial
    item.slot = slot
    item.seq = b.d.requests[slot].seq
    item.size = size
    peer.items_count += 1
    peer.items_bytes += size
    b.counters[C_QUEUED] += 1
    b.counters[C_UNDELIVERED_BYTES] += size
    return 0


cdef inline int item_push(broker_t *b, peer_t *peer, uint32_t slot) noexcept nogil:
    """item_push queues the answer in `slot`, of the size that the dispatcher knows; 0, or -1."""
    return item_add(b, peer, slot, NULL, b.d.requests[slot].bytes)


# partial_push queues a partial, which counts for `size` bytes and which the item then owns: 0, or
# -1. When an item is sent is for its caller to say: peer_touch or peer_defer.
cdef int partial_push(
    broker_t *b, peer_t *peer, uint32_t slot, const stored_t *partial, uint32_t size
) noexcept nogil
cdef void items_clear(broker_t *b, peer_t *peer) noexcept nogil


cdef inline void item_pop(broker_t *b, peer_t *peer) noexcept nogil:
    """item_pop drops the first item; a partial is freed, an answer stays in its slot."""
    cdef item_t *item = item_at(peer, 0)
    if item.partial != NULL:
        partial_free(b, item.partial)
    peer.items_bytes -= item.size
    b.counters[C_UNDELIVERED_BYTES] -= item.size
    peer.items_first = (peer.items_first + 1) & (peer.items_room - 1)
    peer.items_count -= 1
    b.counters[C_QUEUED] -= 1
    if unlikely(peer.items_count == 0 and peer.items_room > ITEMS_ROOM_KEPT):
        items_free(peer)


cdef inline bint item_lives(const broker_t *b, const item_t *item) noexcept nogil:
    """item_lives says whether the item's request is still there; else the item is nothing."""
    return (b.d.requests[item.slot].seq == item.seq
            and b.d.requests[item.slot].state != REQUEST_FREE)


cdef inline stored_t *item_record(const broker_t *b, const item_t *item) noexcept nogil:
    """item_record gives what a living item says."""
    return item.partial if item.partial != NULL else &b.slots[item.slot].record
