# Indexes: 64-bit keys that mostly follow one another → numbers of entities.
#
# Tokens, and the ids of a client, are counted up, and those that are open form a short run. A key's
# low bits select its cell, so a run lies side by side, sixteen to a cache line, where a hash table
# would scatter it. An item whose cell is occupied goes into a hash table: items that stay open for
# very long, or whose keys were chosen to collide.
#
# Invariant: keys differ, and an item's entity has its key, found through keys_t, from put to
#            removal; at most half of the cells are occupied.
# Cost:      find, put and remove are O(1) expected whatever the keys are, if the table's hashes are
#            salted. Growth reads each entity.
# Memory:    4 bytes a cell, two to four times as many cells as the most keys at once, and the
#            table's. An index whose owner calls index_shrink after removals has at most INDEX_KEPT
#            cells, or 16 for each item.

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from .hints cimport fetch, likely, unlikely
from .pool cimport NONE
from .table cimport (
    mix, table_first, table_free, table_next, table_put, table_remove, table_resize, table_t)

cdef enum:
    INDEX_CELLS_MIN = 16     # a cache line
    INDEX_SPARSE = 16        # cells for each item; with more, they are freed
    INDEX_KEPT = 256         # cells that are not worth shrinking


cdef struct index_t:         # all zero is an empty index
    uint32_t *cells          # items, or NONE; owned, NULL until the first put
    uint32_t mask            # number of cells - 1
    uint32_t in_cells        # items there
    table_t others           # items whose cell was taken
    uint64_t salt            # random and secret, if others choose the keys


cdef struct keys_t:          # where the entities of an index keep their keys
    char *first              # the key of entity 0
    size_t stride            # bytes of an entity


cdef inline keys_t keys_of(uint64_t *first, size_t stride) noexcept nogil:
    cdef keys_t keys
    keys.first = <char *> first
    keys.stride = stride
    return keys


cdef inline uint64_t key_of(keys_t keys, uint32_t item) noexcept nogil:
    return (<uint64_t *> (keys.first + item * keys.stride))[0]


cdef inline uint32_t index_hash(const index_t *x, uint64_t key) noexcept nogil:
    return <uint32_t> mix(key ^ x.salt)


cdef inline void index_fetch(const index_t *x, uint64_t key) noexcept nogil:
    """index_fetch prefetches the cell of a key that is looked up next."""
    fetch(&x.cells[key & x.mask])


cdef inline uint32_t index_guess(const index_t *x, uint64_t key) noexcept nogil:
    """index_guess returns an item that may have this key, or NONE."""
    return NONE if x.cells == NULL else x.cells[key & x.mask]


cdef inline uint32_t index_find_other(const index_t *x, keys_t keys, uint64_t key) noexcept nogil:
    """index_find_other is the rare part of index_find: the key's cell has no item, or another."""
    cdef uint32_t hash = index_hash(x, key)
    cdef uint32_t at = table_first(&x.others, hash)
    while at != NONE and key_of(keys, x.others.cells[at].item) != key:
        at = table_next(&x.others, hash, at)
    return NONE if at == NONE else x.others.cells[at].item


cdef inline uint32_t index_find(const index_t *x, keys_t keys, uint64_t key) noexcept nogil:
    """index_find returns the item that has this key, or NONE."""
    cdef uint32_t item = index_guess(x, key)
    if likely(item != NONE and key_of(keys, item) == key):
        return item
    return index_find_other(x, keys, key) if unlikely(x.others.count > 0) else NONE


cdef inline int index_grow(index_t *x, keys_t keys) noexcept nogil:
    """index_grow doubles the cells; -1: no memory, nothing changed."""
    cdef size_t room = 2 * (<size_t> x.mask + 1) if x.cells != NULL else INDEX_CELLS_MIN
    cdef uint32_t *cells = <uint32_t *> malloc(room * sizeof(uint32_t))
    cdef size_t i
    if cells == NULL:
        return -1
    memset(cells, 0xFF, room * sizeof(uint32_t))
    if x.cells != NULL:
        for i in range(<size_t> x.mask + 1):
            if x.cells[i] != NONE:
                cells[key_of(keys, x.cells[i]) & (room - 1)] = x.cells[i]
    free(x.cells)
    x.cells = cells
    x.mask = <uint32_t> (room - 1)
    return 0


cdef inline int index_put(index_t *x, keys_t keys, uint64_t key, uint32_t item) noexcept nogil:
    """index_put adds an item with a key that is new to the index; -1: no memory."""
    if unlikely(x.cells == NULL or x.in_cells > x.mask // 2) and index_grow(x, keys) < 0:
        return -1
    if unlikely(x.cells[key & x.mask] != NONE):
        return table_put(&x.others, index_hash(x, key), item)
    x.cells[key & x.mask] = item
    x.in_cells += 1
    return 0


cdef inline void index_remove(index_t *x, uint64_t key, uint32_t item) noexcept nogil:
    """index_remove takes an item out that was put under this key."""
    cdef uint32_t hash, at
    if likely(index_guess(x, key) == item):
        x.cells[key & x.mask] = NONE
        x.in_cells -= 1
    else:
        hash = index_hash(x, key)
        at = table_first(&x.others, hash)
        while x.others.cells[at].item != item:
            at = table_next(&x.others, hash, at)
        table_remove(&x.others, at)


cdef inline void index_spill(index_t *x, keys_t keys) noexcept nogil:
    """index_spill frees the cells; their items move to the table, if there is memory."""
    cdef uint32_t i, item
    for i in range(x.mask + 1):
        item = x.cells[i]
        if item == NONE:
            continue
        if table_put(&x.others, index_hash(x, key_of(keys, item)), item) < 0:
            return
        x.cells[i] = NONE
        x.in_cells -= 1
    free(x.cells)
    x.cells = NULL
    x.mask = 0


cdef inline void index_shrink(index_t *x, keys_t keys) noexcept nogil:
    """index_shrink frees memory where few items are left of many."""
    if unlikely(x.mask >= INDEX_KEPT and x.in_cells <= x.mask // INDEX_SPARSE):
        index_spill(x, keys)
    if unlikely(x.others.mask >= INDEX_KEPT
                and x.others.count <= x.others.mask // INDEX_SPARSE):
        table_resize(&x.others, (<size_t> x.others.mask + 1) // 4)


cdef inline uint32_t index_count(const index_t *x) noexcept nogil:
    return x.in_cells + x.others.count


cdef inline void index_free(index_t *x) noexcept nogil:
    """index_free frees all memory; the index is empty and may be used again."""
    free(x.cells)
    table_free(&x.others)
    x.cells = NULL
    x.mask = x.in_cells = 0
