# Intrusive lists: first in, first out, and removal from anywhere.
#
# The links lie in the entities, found through links_t, so a list allocates nothing and an entity is
# in at most one list per pair of links. Every operation is O(1).
# Invariant: head == NONE if and only if tail == NONE; prev of the head and next of the tail are
# NONE.

from libc.stdint cimport uint32_t

from .pool cimport NONE


cdef struct link_t:
    uint32_t prev
    uint32_t next


cdef struct queue_t:
    uint32_t head
    uint32_t tail


cdef struct links_t:         # where the entities of a list keep their links
    char *first              # the links of entity 0
    size_t stride            # bytes of an entity


cdef inline links_t links_of(link_t *first, size_t stride) noexcept nogil:
    cdef links_t links
    links.first = <char *> first
    links.stride = stride
    return links


cdef inline link_t *link_of(links_t links, uint32_t item) noexcept nogil:
    return <link_t *> (links.first + item * links.stride)


cdef inline void queue_init(queue_t *q) noexcept nogil:
    q.head = q.tail = NONE


cdef inline void queue_append(queue_t *q, links_t links, uint32_t item) noexcept nogil:
    """queue_append puts an item that is in no list at the tail."""
    cdef link_t *link = link_of(links, item)
    link.prev = q.tail
    link.next = NONE
    if q.tail == NONE:
        q.head = item
    else:
        link_of(links, q.tail).next = item
    q.tail = item


cdef inline void queue_remove(queue_t *q, links_t links, uint32_t item) noexcept nogil:
    """queue_remove takes an item of this list out of it."""
    cdef link_t *link = link_of(links, item)
    if link.prev == NONE:
        q.head = link.next
    else:
        link_of(links, link.prev).next = link.next
    if link.next == NONE:
        q.tail = link.prev
    else:
        link_of(links, link.next).prev = link.prev
