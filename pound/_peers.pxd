# Who is connected: peers, routes, connections, and the queues of what they are to be sent.
#
# Bookkeeping only: nothing here sends a message or calls the dispatcher. Every call is
# O(1) but for those that walk one peer's routes or free one peer's queue.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._dispatcher cimport REQUEST_FREE
from pound._libzmq cimport zmq, zmq_msg_t
from pound._state cimport broker_t, item_t, peer_t, roster_t, route_t, slot_t, stored_t

# roster_add returns the number that stands for `pointer` from now on, NONE when there's no memory.
cdef uint32_t roster_add(roster_t *table, void *pointer) noexcept nogil
cdef void roster_remove(roster_t *table, uint32_t number) noexcept nogil
cdef void roster_free(roster_t *table) noexcept nogil

# array_room grows `*array` (elements of `size` bytes) to hold `index`, zeroed; 0, or -1.
cdef int array_room(void **array, uint32_t *room, uint32_t index, size_t size) noexcept nogil

# stored_fill gives an empty record a copy of an image, and `attached` empty messages: 0, or -1: no
# memory.
# stored_again gives a record another image: 0, or -1: no memory (nothing changes).
# stored_clear frees what a stored record owns and leaves it empty.
cdef int stored_fill(
    broker_t *b, stored_t *record, const uint8_t *image, uint32_t size, uint16_t attached
) noexcept nogil
cdef int stored_again(
    broker_t *b, stored_t *record, const uint8_t *image, uint32_t size) noexcept nogil
cdef void stored_clear(broker_t *b, stored_t *record) noexcept nogil


cdef inline size_t image_room(const stored_t *record) noexcept nogil:
    """image_room gives the bytes before a record's attached parts: a multiple of 8."""
    return (<size_t> record.size + 7) // 8 * 8


cdef inline zmq_msg_t *stored_attached(const stored_t *record) noexcept nogil:
    """stored_attached gives a record's attached parts: as many as it says."""
    return <zmq_msg_t *> (record.image + image_room(record))


cdef inline uint64_t stored_bytes(const stored_t *record) noexcept nogil:
    """stored_bytes gives the bytes of a record, those of its attached parts included."""
    cdef uint64_t size = record.size
    cdef uint32_t i
    for i in range(record.attached):
        size += zmq.msg_size(&stored_attached(record)[i])
    return size


cdef void slot_clear(broker_t *b, slot_t *slot) noexcept nogil

cdef peer_t *peer_open(broker_t *b, uint8_t dialect) noexcept nogil
cdef void peer_release(broker_t *b, peer_t *peer) noexcept nogil
cdef void peers_bury(broker_t *b) noexcept nogil
cdef void peer_touch(broker_t *b, peer_t *peer) noexcept nogil
cdef void peer_block(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil
cdef void peer_defer(broker_t *b, peer_t *peer, int64_t delay_ns) noexcept nogil
cdef void peer_label(peer_t *peer, const uint8_t *label, size_t size) noexcept nogil
cdef int peer_task(broker_t *b, peer_t *peer, uint64_t token, uint32_t slot) noexcept nogil
cdef void peer_beats(broker_t *b, peer_t *peer, int64_t interval_ns) noexcept nogil
cdef void peer_rests(broker_t *b, peer_t *peer) noexcept nogil

# item_push queues the answer in `slot` (partial NULL) or a partial, which it then owns; 0, or -1.
# When it is sent is for the caller to say: peer_touch or peer_defer.
cdef int item_push(broker_t *b, peer_t *peer, uint32_t slot, stored_t *partial) noexcept nogil
cdef void item_pop(broker_t *b, peer_t *peer) noexcept nogil
cdef void items_clear(broker_t *b, peer_t *peer) noexcept nogil


cdef inline item_t *item_at(const peer_t *peer, uint32_t i) noexcept nogil:
    """item_at gives the peer's item that has `i` others before it."""
    return &peer.items[(peer.items_first + i) & (peer.items_room - 1)]


cdef inline bint item_lives(const broker_t *b, const item_t *item) noexcept nogil:
    """item_lives says whether the item's request is still there; else the item is nothing."""
    return (b.d.requests[item.slot].seq == item.seq
            and b.d.requests[item.slot].state != REQUEST_FREE)


cdef inline stored_t *item_record(const broker_t *b, const item_t *item) noexcept nogil:
    """item_record gives what a living item says."""
    return item.partial if item.partial != NULL else &b.slots[item.slot].record


cdef route_t *route_find(
    broker_t *b, uint8_t side, const uint8_t *id, size_t size) noexcept nogil
cdef route_t *route_open(
    broker_t *b, uint8_t side, const uint8_t *id, size_t size) noexcept nogil
cdef void route_attach(broker_t *b, route_t *route, peer_t *peer) noexcept nogil
cdef void route_detach(broker_t *b, route_t *route) noexcept nogil
cdef void route_free(broker_t *b, route_t *route) noexcept nogil
cdef void route_closing(broker_t *b, route_t *route) noexcept nogil
cdef void route_settle(broker_t *b, route_t *route) noexcept nogil

# connection_bind makes `route` the one that is known on `fd` and puts the older one on the closing
# list: a descriptor carries one connection at a time.
cdef void connection_opened(broker_t *b, uint8_t side, int fd) noexcept nogil
cdef void connection_shaken(broker_t *b, uint8_t side, int fd) noexcept nogil
cdef void connection_closed(broker_t *b, uint8_t side, int fd) noexcept nogil
cdef void connection_bind(broker_t *b, route_t *route, int fd) noexcept nogil

cdef void log_event(
    broker_t *b, uint8_t kind, peer_t *peer, const uint8_t *text, size_t size,
    int64_t number, int64_t other) noexcept nogil
