# Handles for the inline leaves, for tests only. Each is a thin cdef class around one struct; checks
# of arguments are here, as the leaves themselves trust their caller.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pound._base.check cimport CHECK
from pound._base.heap cimport (
    heap_free, heap_move, heap_push, heap_remove, heap_t, heap_top, places_of, places_t)
from pound._base.index cimport (
    index_count, index_find, index_free, index_put, index_remove, index_shrink, index_t, keys_of)
from pound._base.links cimport (
    link_t, links_of, links_t, queue_append, queue_init, queue_remove, queue_t)
from pound._base.lru cimport (
    LATE, lru_enter, lru_entries_of, lru_entries_t, lru_entry_t, lru_first, lru_free, lru_init,
    lru_leave, lru_t)
from pound._base.pool cimport NONE, pool_free, pool_give, pool_init, pool_t, pool_take
from pound._base.table cimport (
    cell_t, hash_bytes, hash_name, mix, names_free, names_get, names_init, names_put, names_remove,
    names_t, table_first, table_free, table_next, table_put, table_remove, table_t)
from pound._dispatch.limits cimport limits_default
from pound._dispatch.model cimport offer_t, request_t, task_t

cdef object number(uint32_t n):
    return None if n == NONE else n


def sizes():
    """Bytes of the dispatcher's structs."""
    return {"request": sizeof(request_t), "task": sizeof(task_t), "offer": sizeof(offer_t),
            "cell": sizeof(cell_t)}


def limits():
    return limits_default()


def check(bint condition, int value):
    CHECK(condition, "value %d", value)


def sip(bytes key, uint64_t seed0, uint64_t seed1):
    cdef uint64_t seed[2]
    seed[0] = seed0
    seed[1] = seed1
    return hash_bytes(seed, key, len(key))


def name_hash(bytes key, uint64_t seed0, uint64_t seed1):
    cdef uint64_t seed[2]
    seed[0] = seed0
    seed[1] = seed1
    return hash_name(seed, key, len(key))


def mixed(uint64_t value):
    return mix(value)


cdef class Heap:
    """A heap of the items 0..count-1, with its places."""

    cdef heap_t heap
    cdef uint32_t *place
    cdef uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.count = count
        self.place = <uint32_t *> calloc(count, sizeof(uint32_t))
        for i in range(count):
            self.place[i] = NONE

    def __dealloc__(self):
        heap_free(&self.heap)
        free(self.place)

    cdef places_t places(self):
        return places_of(self.place, sizeof(uint32_t))

    cdef uint32_t member(self, uint32_t item, bint wanted) except? NONE:
        if item >= self.count or (self.place[item] != NONE) != wanted:
            raise ValueError(f"item {item}")
        return item

    def push(self, int64_t key, uint32_t item):
        assert heap_push(&self.heap, self.places(), key, self.member(item, False)) == 0

    def move(self, int64_t key, uint32_t item):
        heap_move(&self.heap, self.places(), key, self.member(item, True))

    def remove(self, uint32_t item):
        heap_remove(&self.heap, self.places(), self.member(item, True))

    def top(self):
        return number(heap_top(&self.heap))

    def __len__(self):
        return self.heap.count

    def __contains__(self, uint32_t item):
        return self.place[item] != NONE

    def sound(self):
        """Whether parents come before children and each item knows its place."""
        cdef uint32_t i
        nodes = [(self.heap.nodes[i].key, self.heap.nodes[i].item)
                 for i in range(self.heap.count)]
        placed = all(self.place[nodes[i][1]] == i for i in range(len(nodes)))
        members = sum(self.place[i] != NONE for i in range(self.count))
        ordered = all(nodes[(i - 1) // 4] < nodes[i] for i in range(1, len(nodes)))
        return placed and ordered and members == len(nodes)


cdef class Queue:
    """A list of the items 0..count-1, with its links."""

    cdef queue_t queue
    cdef link_t *link

    def __cinit__(self, uint32_t count):
        self.link = <link_t *> calloc(count, sizeof(link_t))
        queue_init(&self.queue)

    def __dealloc__(self):
        free(self.link)

    cdef links_t links(self):
        return links_of(self.link, sizeof(link_t))

    def append(self, uint32_t item):
        queue_append(&self.queue, self.links(), item)

    def remove(self, uint32_t item):
        queue_remove(&self.queue, self.links(), item)

    def forwards(self):
        cdef uint32_t item = self.queue.head
        items = []
        while item != NONE:
            items.append(item)
            item = self.link[item].next
        return items

    def backwards(self):
        cdef uint32_t item = self.queue.tail
        items = []
        while item != NONE:
            items.append(item)
            item = self.link[item].prev
        return items


cdef class Lru:
    """A lru of the items 0..count-1, with its entries."""

    cdef lru_t lru
    cdef lru_entry_t *entry
    cdef uint32_t count

    def __cinit__(self, uint32_t count):
        self.count = count
        self.entry = <lru_entry_t *> calloc(count, sizeof(lru_entry_t))
        lru_init(&self.lru)

    def __dealloc__(self):
        lru_free(&self.lru)
        free(self.entry)

    cdef lru_entries_t entries(self):
        return lru_entries_of(self.entry, sizeof(lru_entry_t))

    def enter(self, int64_t key, uint32_t item):
        assert lru_enter(&self.lru, self.entries(), key, item) == 0

    def leave(self, uint32_t item):
        lru_leave(&self.lru, self.entries(), item)

    def first(self):
        return number(lru_first(&self.lru, self.entries()))

    def order(self):
        """The items of the list, or None when it is not the same backwards."""
        cdef uint32_t item = self.lru.order.head
        cdef uint32_t previous = NONE
        items = []
        while item != NONE:
            if self.entry[item].link.prev != previous:
                return None
            items.append(item)
            previous = item
            item = self.entry[item].link.next
        return items if self.lru.order.tail == previous else None

    def late(self):
        """The items of the heap, or None when one does not know that it is there."""
        cdef uint32_t i
        items = [self.lru.late.nodes[i].item for i in range(self.lru.late.count)]
        if any(self.entry[item].link.next != LATE for item in items):
            return None
        return sorted(items)


cdef struct entity_t:
    uint64_t first
    uint64_t second


cdef class Pool:
    """A pool of small entities."""

    cdef pool_t pool
    cdef entity_t *entities

    def __cinit__(self):
        pool_init(&self.pool)

    def __dealloc__(self):
        pool_free(&self.pool)

    def take(self):
        return number(pool_take(&self.pool, <void **> &self.entities, sizeof(entity_t)))

    def give(self, uint32_t n):
        pool_give(&self.pool, <void **> &self.entities, sizeof(entity_t), n)

    def write(self, uint32_t n, uint64_t value):
        self.entities[n].first = self.entities[n].second = value

    def read(self, uint32_t n):
        return self.entities[n].first, self.entities[n].second

    @property
    def used(self):
        return self.pool.used


cdef class Table:
    """A table of (hash, item), as it is: no keys."""

    cdef table_t table

    def __dealloc__(self):
        table_free(&self.table)

    def put(self, uint32_t hash, uint32_t item):
        assert table_put(&self.table, hash, item) == 0

    def items(self, uint32_t hash):
        cdef uint32_t at = table_first(&self.table, hash)
        found = []
        while at != NONE:
            found.append(self.table.cells[at].item)
            at = table_next(&self.table, hash, at)
        return found

    def remove(self, uint32_t hash, uint32_t item):
        cdef uint32_t at = table_first(&self.table, hash)
        while at != NONE and self.table.cells[at].item != item:
            at = table_next(&self.table, hash, at)
        if at == NONE:
            raise ValueError(f"item {item}")
        table_remove(&self.table, at)

    def __len__(self):
        return self.table.count

    @property
    def cells(self):
        return 0 if self.table.cells == NULL else self.table.mask + 1


cdef class Index:
    """An index of the numbers of its own entities, by their keys."""

    cdef index_t index
    cdef uint64_t keys[4096]

    def __cinit__(self, uint64_t salt=0):
        self.index.salt = salt

    def __dealloc__(self):
        index_free(&self.index)

    def put(self, uint64_t key, uint32_t item):
        assert index_put(&self.index, keys_of(self.keys, sizeof(uint64_t)), key, item) == 0
        self.keys[item] = key

    def find(self, uint64_t key):
        return number(index_find(&self.index, keys_of(self.keys, sizeof(uint64_t)), key))

    def remove(self, uint32_t item):
        index_remove(&self.index, self.keys[item], item)

    def shrink(self):
        index_shrink(&self.index, keys_of(self.keys, sizeof(uint64_t)))

    def __len__(self):
        return index_count(&self.index)

    @property
    def cells(self):
        return 0 if self.index.cells == NULL else self.index.mask + 1

    @property
    def others(self):
        """How many items lie in the table, and how many cells it has."""
        return self.index.others.count, (
            0 if self.index.others.cells == NULL else self.index.others.mask + 1)


cdef class Names:
    """A table of bytes → number."""

    cdef names_t names

    def __cinit__(self, uint64_t seed0, uint64_t seed1):
        names_init(&self.names, seed0, seed1)

    def __dealloc__(self):
        names_free(&self.names)

    def get(self, bytes key):
        return number(names_get(&self.names, key, len(key)))

    def put(self, bytes key, uint32_t value):
        assert names_put(&self.names, key, len(key), value) == 0

    def remove(self, bytes key):
        return number(names_remove(&self.names, key, len(key)))

    def clear(self):
        names_free(&self.names)

    def __len__(self):
        return self.names.table.count
