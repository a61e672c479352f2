# Indexed heaps: numbers ordered by (key, number), least first.
#
# They serve the timers (key: due time in ns), the queues of returned requests (key: order of
# acceptance) and the late entries of an LRU (key: when their worker was last sent a task). Each
# node carries its key, so a comparison never touches the entities. Each entity stores its place, so
# moving or removing one needs no search.
#
# Invariant: key(i) <= key of its children 4i+1..4i+4, and for each i: place of nodes[i].item == i.
# An entity that is in no heap has the place NONE, which its creator sets.
# Cost: push, move and remove are O(log n) with fan-out 4, top is O(1). The heap owns its nodes; the
# array doubles and never shrinks. The entities own their places, found through places_t.

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from .pool cimport NONE

cdef enum:
    HEAP_FAN = 4
    HEAP_ROOM_MIN = 4


cdef struct node_t:
    int64_t key
    uint32_t item


cdef struct heap_t:          # all zero is an empty heap
    node_t *nodes            # owned
    uint32_t count
    uint32_t room


cdef struct places_t:        # where the entities of a heap keep their places
    char *first              # the place of entity 0
    size_t stride            # bytes of an entity


cdef inline places_t places_of(uint32_t *first, size_t stride) noexcept nogil:
    cdef places_t places
    places.first = <char *> first
    places.stride = stride
    return places


cdef inline uint32_t *place_of(places_t places, uint32_t item) noexcept nogil:
    return <uint32_t *> (places.first + item * places.stride)


cdef inline bint node_less(node_t a, node_t b) noexcept nogil:
    return a.key < b.key or (a.key == b.key and a.item < b.item)


cdef inline void heap_set(heap_t *h, places_t places, uint32_t i, node_t node) noexcept nogil:
    h.nodes[i] = node
    place_of(places, node.item)[0] = i


cdef inline void heap_up(heap_t *h, places_t places, uint32_t i, node_t node) noexcept nogil:
    """heap_up puts a node at `i` or above it."""
    cdef uint32_t parent
    while i > 0:
        parent = (i - 1) // HEAP_FAN
        if not node_less(node, h.nodes[parent]):
            break
        heap_set(h, places, i, h.nodes[parent])
        i = parent
    heap_set(h, places, i, node)


cdef inline uint32_t heap_least_child(const heap_t *h, uint32_t i) noexcept nogil:
    """heap_least_child returns the least child of `i`, or NONE when it has no child."""
    cdef uint32_t child = HEAP_FAN * i + 1
    cdef uint32_t least = child
    cdef uint32_t end = h.count if h.count < child + HEAP_FAN else child + HEAP_FAN
    if child >= h.count:
        return NONE
    for child in range(least + 1, end):
        if node_less(h.nodes[child], h.nodes[least]):
            least = child
    return least


cdef inline void heap_down(heap_t *h, places_t places, uint32_t i, node_t node) noexcept nogil:
    """heap_down puts a node at `i` or below it."""
    cdef uint32_t child = heap_least_child(h, i)
    while child != NONE and node_less(h.nodes[child], node):
        heap_set(h, places, i, h.nodes[child])
        i = child
        child = heap_least_child(h, i)
    heap_set(h, places, i, node)


cdef inline void heap_fix(heap_t *h, places_t places, uint32_t i, node_t node) noexcept nogil:
    """heap_fix puts a node where it belongs when the one at `i` is to be overwritten."""
    if i > 0 and node_less(node, h.nodes[(i - 1) // HEAP_FAN]):
        heap_up(h, places, i, node)
    else:
        heap_down(h, places, i, node)


cdef inline int heap_push(heap_t *h, places_t places, int64_t key, uint32_t item) noexcept nogil:
    """heap_push adds an item that is in no heap; -1: no memory, nothing changed."""
    cdef node_t node
    cdef void *bigger
    cdef uint32_t room
    if h.count == h.room:
        room = 2 * h.room if h.room else HEAP_ROOM_MIN
        bigger = realloc(h.nodes, room * sizeof(node_t))
        if bigger == NULL:
            return -1
        h.nodes = <node_t *> bigger
        h.room = room
    node.key = key
    node.item = item
    h.count += 1
    heap_up(h, places, h.count - 1, node)
    return 0


cdef inline void heap_move(heap_t *h, places_t places, int64_t key, uint32_t item) noexcept nogil:
    """heap_move changes the key of an item of the heap."""
    cdef node_t node
    node.key = key
    node.item = item
    heap_fix(h, places, place_of(places, item)[0], node)


cdef inline void heap_remove(heap_t *h, places_t places, uint32_t item) noexcept nogil:
    """heap_remove takes an item out of the heap."""
    cdef uint32_t i = place_of(places, item)[0]
    cdef node_t last
    h.count -= 1
    last = h.nodes[h.count]
    if i < h.count:
        heap_fix(h, places, i, last)
    place_of(places, item)[0] = NONE


cdef inline uint32_t heap_top(const heap_t *h) noexcept nogil:
    """heap_top returns the item with the least key, or NONE."""
    return h.nodes[0].item if h.count > 0 else NONE


cdef inline node_t heap_next(const heap_t *h) noexcept nogil:
    """heap_next returns the least node but the first; item NONE: there is none."""
    cdef node_t least
    cdef uint32_t i
    least.key = 0
    least.item = NONE
    for i in range(1, min(h.count, <uint32_t> HEAP_FAN + 1)):
        if least.item == NONE or node_less(h.nodes[i], least):
            least = h.nodes[i]
    return least


cdef inline void heap_free(heap_t *h) noexcept nogil:
    free(h.nodes)
    memset(h, 0, sizeof(heap_t))
