# Ranks: numbers ordered by (key, number), least first, for keys that mostly come in order.
#
# A heap that uses this order. The LRU of offers (key: when their worker was last sent a task) gives
# nearly every entry a key above all that are there: whoever was just sent a task goes last, and
# answers mostly come in the order of the tasks. Such an entry is appended to a list; another, with
# a key not above the last one's, is *late* and goes into a heap. The lesser of the list's head and
# the heap's top is first.
#
# Invariant: keys in the list rise strictly; a late item's link.next is LATE and its link.prev its
# place in the heap; each item's seat has its key. The seats belong to the entities and are found
# through seats_t; that of an entity in no rank means nothing, so whoever lists it must know.
# Cost: first and second are O(1). Enter and leave are O(1), and O(log late) for a late item. At
# worst, with workers that answer in random order, most are late and a rank costs what its heap
# does; a late item that gets a new key is in the list again. The rank owns the heap's nodes: 16
# bytes for as many late items as there ever were at once.

from libc.stdint cimport int64_t, uint32_t

from .heap cimport (
    heap_free, heap_next, heap_push, heap_remove, heap_t, heap_top, node_less, node_t, places_of,
    places_t)
from .links cimport link_t, links_of, links_t, queue_append, queue_init, queue_remove, queue_t
from .pool cimport NONE

cdef enum:
    LATE = NONE - 1          # no item's number


cdef struct seat_t:          # of an item in a rank
    int64_t key
    link_t link              # neighbours in the list, or LATE and a place; see above


cdef struct rank_t:
    queue_t order
    heap_t late              # owned


cdef struct seats_t:         # where the entities of a rank keep their seats
    seat_t *first            # the seat of entity 0
    size_t stride            # bytes of an entity


cdef inline seats_t seats_of(seat_t *first, size_t stride) noexcept nogil:
    cdef seats_t seats
    seats.first = first
    seats.stride = stride
    return seats


cdef inline seat_t *seat_of(seats_t seats, uint32_t item) noexcept nogil:
    return <seat_t *> (<char *> seats.first + item * seats.stride)


cdef inline links_t order_links(seats_t seats) noexcept nogil:
    return links_of(&seats.first.link, seats.stride)


cdef inline places_t late_places(seats_t seats) noexcept nogil:
    return places_of(&seats.first.link.prev, seats.stride)


cdef inline void rank_init(rank_t *r) noexcept nogil:
    """rank_init makes an empty rank of a zeroed one."""
    queue_init(&r.order)


cdef inline int rank_enter(rank_t *r, seats_t seats, int64_t key, uint32_t item) noexcept nogil:
    """rank_enter adds an item that is in no rank; -1: no memory, it is in none."""
    cdef seat_t *seat = seat_of(seats, item)
    seat.key = key
    if r.order.tail == NONE or seat_of(seats, r.order.tail).key < key:
        queue_append(&r.order, order_links(seats), item)
        return 0
    seat.link.next = LATE
    return heap_push(&r.late, late_places(seats), key, item)


cdef inline void rank_leave(rank_t *r, seats_t seats, uint32_t item) noexcept nogil:
    """rank_leave takes an item of this rank out of it."""
    if seat_of(seats, item).link.next == LATE:
        heap_remove(&r.late, late_places(seats), item)
    else:
        queue_remove(&r.order, order_links(seats), item)


cdef inline uint32_t rank_first(const rank_t *r, seats_t seats) noexcept nogil:
    """rank_first gives the item with the least key, or NONE."""
    cdef node_t head
    if r.late.count == 0:
        return r.order.head
    head.item = r.order.head
    if head.item == NONE:
        return r.late.nodes[0].item
    head.key = seat_of(seats, head.item).key
    return r.late.nodes[0].item if node_less(r.late.nodes[0], head) else head.item


cdef inline uint32_t rank_second(const rank_t *r, seats_t seats, uint32_t first) noexcept nogil:
    """rank_second gives the item with the least key but `first`, which is the first, or NONE."""
    cdef node_t listed
    cdef node_t late
    if r.late.count == 0:
        return seat_of(seats, first).link.next
    listed.item = r.order.head
    if first == listed.item:
        listed.item = seat_of(seats, first).link.next
        late = r.late.nodes[0]
    else:
        late = heap_next(&r.late)
    if listed.item == NONE or late.item == NONE:
        return late.item if listed.item == NONE else listed.item
    listed.key = seat_of(seats, listed.item).key
    return late.item if node_less(late, listed) else listed.item


cdef inline void rank_free(rank_t *r) noexcept nogil:
    heap_free(&r.late)
    rank_init(r)
