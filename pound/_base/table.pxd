# Hash tables from keys to numbers.
#
# table_t   an open-addressing table of (hash, item). It knows no keys: the owner of the entities
#           compares them, walking the candidates that have the wanted hash:
#               at = table_first(t, hash)
#               while at != NONE and <item's key differs>: at = table_next(t, hash, at)
#           8 bytes a cell, at most half of them used. Lookup, put and remove are O(1) expected
#           and stay in one cache line; growth does not read the entities.
# names_t   bytes (0..255: routing ids, sessions, service names) → number. Owns copies of its keys;
#           keys up to NAME_INLINE bytes live inside the entry.
#
# Linear probing, removal by shifting back: no tombstones, so a table never decays. A table grows by
# doubling and shrinks only on its owner's call. Hashes are seeded: a peer that chooses its keys
# can't make them collide. An empty key may have a NULL pointer.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from .pool cimport NONE

cdef enum:
    TABLE_CELLS_MIN = 16
    NAME_INLINE = 24         # bytes: a session, a routing id of libzmq, most names
    ROUTING_ID_MADE = 5      # bytes of a routing id that libzmq made: a zero and a number


cdef struct cell_t:
    uint32_t hash
    uint32_t item            # NONE: the cell is free


cdef struct table_t:         # all zero is an empty table
    cell_t *cells            # owned; NULL until the first put
    uint32_t mask            # number of cells - 1
    uint32_t count           # items


cdef inline uint32_t table_next(const table_t *t, uint32_t hash, uint32_t at) noexcept nogil:
    """table_next returns the cell of the next item with this hash after cell `at`, or NONE."""
    cdef uint32_t i = (at + 1) & t.mask
    while t.cells[i].item != NONE:
        if t.cells[i].hash == hash:
            return i
        i = (i + 1) & t.mask
    return NONE


cdef inline uint32_t table_first(const table_t *t, uint32_t hash) noexcept nogil:
    """table_first returns the cell of the first item with this hash, or NONE."""
    if t.cells == NULL:
        return NONE
    return table_next(t, hash, hash - 1)


cdef inline void table_place(table_t *t, uint32_t hash, uint32_t item) noexcept nogil:
    """table_place fills the first free cell for this hash; there must be one."""
    cdef uint32_t i = hash & t.mask
    while t.cells[i].item != NONE:
        i = (i + 1) & t.mask
    t.cells[i].hash = hash
    t.cells[i].item = item


cdef inline int table_resize(table_t *t, size_t cells) noexcept nogil:
    """table_resize changes the number of cells, at least twice the items; -1: no memory."""
    cdef table_t other
    cdef uint32_t i
    other.cells = <cell_t *> malloc(cells * sizeof(cell_t))
    if other.cells == NULL:
        return -1
    memset(other.cells, 0xFF, cells * sizeof(cell_t))
    other.mask = <uint32_t> (cells - 1)
    other.count = t.count
    if t.cells != NULL:
        for i in range(t.mask + 1):
            if t.cells[i].item != NONE:
                table_place(&other, t.cells[i].hash, t.cells[i].item)
    free(t.cells)
    t[0] = other
    return 0


cdef inline int table_grow(table_t *t) noexcept nogil:
    """table_grow doubles the cells; -1: no memory, nothing changed."""
    if t.cells == NULL:
        return table_resize(t, TABLE_CELLS_MIN)
    return table_resize(t, 2 * (<size_t> t.mask + 1))


cdef inline int table_reserve(table_t *t) noexcept nogil:
    """table_reserve makes sure that the next table_put succeeds; -1: no memory."""
    if t.cells == NULL or t.count > t.mask // 2:
        return table_grow(t)
    return 0


cdef inline int table_put(table_t *t, uint32_t hash, uint32_t item) noexcept nogil:
    """table_put adds an item, whose key must not be in the table; -1: no memory."""
    if table_reserve(t) < 0:
        return -1
    table_place(t, hash, item)
    t.count += 1
    return 0


cdef inline void table_remove(table_t *t, uint32_t at) noexcept nogil:
    """table_remove empties a cell and moves back those that its item had pushed on."""
    cdef uint32_t i = (at + 1) & t.mask
    while t.cells[i].item != NONE:
        # An item may move back to `at` unless its own first cell lies after `at`.
        if ((i - t.cells[i].hash) & t.mask) >= ((i - at) & t.mask):
            t.cells[at] = t.cells[i]
            at = i
        i = (i + 1) & t.mask
    t.cells[at].item = NONE
    t.count -= 1


cdef inline void table_free(table_t *t) noexcept nogil:
    free(t.cells)
    memset(t, 0, sizeof(table_t))


cdef inline uint64_t mix(uint64_t number) noexcept nogil:
    """mix lets each bit of a number change each other one (the finalizer of MurmurHash3)."""
    number = (number ^ (number >> 33)) * <uint64_t> 0xFF51AFD7ED558CCD
    number = (number ^ (number >> 33)) * <uint64_t> 0xC4CEB9FE1A85EC53
    return number ^ (number >> 33)


# --- names ---

cdef union name_bytes_t:
    uint8_t small[NAME_INLINE]
    uint8_t *large           # owned; size > NAME_INLINE


cdef struct name_t:
    name_bytes_t key
    uint32_t value
    uint32_t size            # bytes of the key; in a free entry: the next free one


cdef struct names_t:
    table_t table            # items are entries
    name_t *entries          # owned
    uint32_t used            # entries ever used
    uint32_t room
    uint32_t free            # first free entry, or NONE
    uint64_t seed[2]


cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = ((v[1] << 13) | (v[1] >> 51)) ^ v[0]
    v[3] = ((v[3] << 16) | (v[3] >> 48)) ^ v[2]
    v[0] = (v[0] << 32) | (v[0] >> 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = ((v[1] << 17) | (v[1] >> 47)) ^ v[2]
    v[3] = ((v[3] << 21) | (v[3] >> 43)) ^ v[0]
    v[2] = (v[2] << 32) | (v[2] >> 32)


cdef inline uint32_t hash_bytes(
    const uint64_t *seed, const uint8_t *key, size_t size
) noexcept nogil:
    """hash_bytes is SipHash-1-3: keyed, so that keys of a peer's choice don't collide."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t left = size
    v[0] = seed[0] ^ <uint64_t> 0x736F6D6570736575
    v[1] = seed[1] ^ <uint64_t> 0x646F72616E646F6D
    v[2] = seed[0] ^ <uint64_t> 0x6C7967656E657261
    v[3] = seed[1] ^ <uint64_t> 0x7465646279746573
    while left >= 8:
        memcpy(&word, key, 8)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        key += 8
        left -= 8
    word = 0
    if left > 0:
        memcpy(&word, key, left)
    word |= <uint64_t> size << 56
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return <uint32_t> (v[0] ^ v[1] ^ v[2] ^ v[3])


cdef inline uint32_t hash_name(
    const uint64_t *seed, const uint8_t *key, size_t size
) noexcept nogil:
    """hash_name hashes a key; a routing id that libzmq made, the most frequent, by keyed mixes."""
    cdef uint32_t number
    if size != ROUTING_ID_MADE or key[0] != 0:
        return hash_bytes(seed, key, size)
    memcpy(&number, key + 1, sizeof(number))
    return <uint32_t> mix(mix(number ^ seed[0]) ^ seed[1])


cdef inline void names_init(names_t *n, uint64_t seed0, uint64_t seed1) noexcept nogil:
    """names_init makes an empty table; the seeds must be random and secret."""
    memset(n, 0, sizeof(names_t))
    n.free = NONE
    n.seed[0] = seed0
    n.seed[1] = seed1


cdef inline uint32_t names_cell(
    const names_t *n, uint32_t hash, const uint8_t *key, size_t size
) noexcept nogil:
    """names_cell returns the cell of a key's entry, or NONE."""
    cdef uint32_t at = table_first(&n.table, hash)
    cdef const name_t *entry
    cdef const uint8_t *own
    while at != NONE:
        entry = &n.entries[n.table.cells[at].item]
        own = entry.key.large
        if entry.size <= NAME_INLINE:
            own = <const uint8_t *> &entry.key.small[0]
        if entry.size == size and (size == 0 or memcmp(own, key, size) == 0):
            return at
        at = table_next(&n.table, hash, at)
    return NONE


cdef inline uint32_t names_get(
    const names_t *n, const uint8_t *key, size_t size
) noexcept nogil:
    """names_get returns the number stored under a key, or NONE."""
    cdef uint32_t at = names_cell(n, hash_name(n.seed, key, size), key, size)
    return NONE if at == NONE else n.entries[n.table.cells[at].item].value


cdef inline int names_fill(
    names_t *n, uint32_t e, const uint8_t *key, size_t size, uint32_t value
) noexcept nogil:
    """names_fill writes entry `e`; -1: no memory for a large key, the entry is as before."""
    cdef uint8_t *own = &n.entries[e].key.small[0]
    cdef uint8_t *large
    if size > NAME_INLINE:
        large = <uint8_t *> malloc(size)
        if large == NULL:
            return -1
        n.entries[e].key.large = large
        own = large
    if size > 0:
        memcpy(own, key, size)
    n.entries[e].value = value
    n.entries[e].size = <uint32_t> size
    return 0


cdef inline int names_reserve(names_t *n) noexcept nogil:
    """names_reserve makes sure that there is a free entry; -1: no memory."""
    cdef uint32_t room
    cdef void *entries
    if n.free != NONE or n.used < n.room:
        return 0
    room = 2 * n.room if n.room else TABLE_CELLS_MIN
    entries = realloc(n.entries, room * sizeof(name_t))
    if entries == NULL:
        return -1
    n.entries = <name_t *> entries
    n.room = room
    return 0


cdef inline int names_put(
    names_t *n, const uint8_t *key, size_t size, uint32_t value
) noexcept nogil:
    """names_put stores a number (not NONE) under a key, new or not; -1: no memory, unchanged."""
    cdef uint32_t hash = hash_name(n.seed, key, size)
    cdef uint32_t at = names_cell(n, hash, key, size)
    cdef uint32_t e, next_free
    if at != NONE:
        n.entries[n.table.cells[at].item].value = value
        return 0
    if names_reserve(n) < 0:
        return -1
    e = n.free if n.free != NONE else n.used
    next_free = n.entries[e].size if n.free != NONE else NONE
    if names_fill(n, e, key, size, value) < 0:
        return -1
    if table_put(&n.table, hash, e) < 0:
        if size > NAME_INLINE:
            free(n.entries[e].key.large)
        n.entries[e].size = next_free
        return -1
    if n.free == NONE:
        n.used += 1
    n.free = next_free
    return 0


cdef inline uint32_t names_remove(names_t *n, const uint8_t *key, size_t size) noexcept nogil:
    """names_remove forgets a key; the number that was stored under it, or NONE."""
    cdef uint32_t at = names_cell(n, hash_name(n.seed, key, size), key, size)
    cdef uint32_t e
    if at == NONE:
        return NONE
    e = n.table.cells[at].item
    table_remove(&n.table, at)
    if n.entries[e].size > NAME_INLINE:
        free(n.entries[e].key.large)
    n.entries[e].size = n.free
    n.free = e
    return n.entries[e].value


cdef inline void names_free(names_t *n) noexcept nogil:
    """names_free frees all memory; the table is empty and may be used again."""
    cdef uint32_t i, e
    if n.table.cells != NULL:
        for i in range(n.table.mask + 1):
            e = n.table.cells[i].item
            if e != NONE and n.entries[e].size > NAME_INLINE:
                free(n.entries[e].key.large)
    table_free(&n.table)
    free(n.entries)
    names_init(n, n.seed[0], n.seed[1])
