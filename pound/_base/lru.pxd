# LRU lists: numbers ordered by (key, number), least first, for keys that mostly come in order.
#
# The key of an offer is when its worker was last sent a task. Nearly every new entry has the
# greatest key: the worker that was just sent a task goes last, and answers mostly come in the order
# of the tasks. Such an entry is appended to a list. An entry whose key is not above the last one's
# is *late* and goes into a heap. The first entry is the lesser of the list's head and the heap's
# top.
#
# Invariant: keys in the list rise strictly; a late entry's link.next is LATE and its link.prev is
# its place in the heap. The entities own their entries, found through lru_entries_t; the entry of
# an entity that is not in the LRU is undefined, so the caller must know.
# Cost: first and second are O(1). Enter and leave are O(1), or O(log late) for a late entry. If
# workers answer in random order most entries are late, and an LRU costs what its heap does; a late
# entry that gets a new key returns to the list. The LRU owns the heap's nodes: 16 bytes for each of
# the most late entries that there ever were at once.

from libc.stdint cimport int64_t, uint32_t

from .heap cimport (
    heap_free, heap_next, heap_push, heap_remove, heap_t, heap_top, node_less, node_t, places_of,
    places_t)
from .links cimport link_t, links_of, links_t, queue_append, queue_init, queue_remove, queue_t
from .pool cimport NONE

cdef enum:
    LATE = NONE - 1          # no item's number


cdef struct lru_entry_t:     # of an item
    int64_t key
    link_t link              # neighbours in the list, or LATE and a place; see above


cdef struct lru_t:
    queue_t order
    heap_t late              # owned


cdef struct lru_entries_t:   # where the entities keep their entries
    lru_entry_t *first            # the entry of entity 0
    size_t stride            # bytes of an entity


cdef inline lru_entries_t lru_entries_of(lru_entry_t *first, size_t stride) noexcept nogil:
    cdef lru_entries_t entries
    entries.first = first
    entries.stride = stride
    return entries


cdef inline lru_entry_t *lru_entry_of(lru_entries_t entries, uint32_t item) noexcept nogil:
    return <lru_entry_t *> (<char *> entries.first + item * entries.stride)


cdef inline links_t order_links(lru_entries_t entries) noexcept nogil:
    return links_of(&entries.first.link, entries.stride)


cdef inline places_t late_places(lru_entries_t entries) noexcept nogil:
    return places_of(&entries.first.link.prev, entries.stride)


cdef inline void lru_init(lru_t *r) noexcept nogil:
    """lru_init makes an empty lru of a zeroed one."""
    queue_init(&r.order)


cdef inline int lru_enter(
    lru_t *r, lru_entries_t entries, int64_t key, uint32_t item
) noexcept nogil:
    """lru_enter adds an item that is in no lru; -1: no memory, it is in none."""
    cdef lru_entry_t *entry = lru_entry_of(entries, item)
    entry.key = key
    if r.order.tail == NONE or lru_entry_of(entries, r.order.tail).key < key:
        queue_append(&r.order, order_links(entries), item)
        return 0
    entry.link.next = LATE
    return heap_push(&r.late, late_places(entries), key, item)


cdef inline void lru_leave(lru_t *r, lru_entries_t entries, uint32_t item) noexcept nogil:
    """lru_leave takes an item of this lru out of it."""
    if lru_entry_of(entries, item).link.next == LATE:
        heap_remove(&r.late, late_places(entries), item)
    else:
        queue_remove(&r.order, order_links(entries), item)


cdef inline uint32_t lru_first(const lru_t *r, lru_entries_t entries) noexcept nogil:
    """lru_first returns the item with the least key, or NONE."""
    cdef node_t head
    if r.late.count == 0:
        return r.order.head
    head.item = r.order.head
    if head.item == NONE:
        return r.late.nodes[0].item
    head.key = lru_entry_of(entries, head.item).key
    return r.late.nodes[0].item if node_less(r.late.nodes[0], head) else head.item


cdef inline uint32_t lru_second(
    const lru_t *r, lru_entries_t entries, uint32_t first
) noexcept nogil:
    """lru_second returns the item with the least key but `first`, which is the first, or NONE."""
    cdef node_t listed
    cdef node_t late
    if r.late.count == 0:
        return lru_entry_of(entries, first).link.next
    listed.item = r.order.head
    if first == listed.item:
        listed.item = lru_entry_of(entries, first).link.next
        late = r.late.nodes[0]
    else:
        late = heap_next(&r.late)
    if listed.item == NONE or late.item == NONE:
        return late.item if listed.item == NONE else listed.item
    listed.key = lru_entry_of(entries, listed.item).key
    return late.item if node_less(late, listed) else listed.item


cdef inline void lru_free(lru_t *r) noexcept nogil:
    heap_free(&r.late)
    lru_init(r)
