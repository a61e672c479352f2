"""Whom a broker knows (see table.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from pound._base.array cimport array_room
from pound._base.pool cimport NONE
from pound._base.table cimport (
    hash_bytes, mix, table_first, table_free, table_next, table_put, table_remove)

cdef enum:
    ASTERISK = 42

cdef const char *Z85 = (
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")
cdef const uint8_t *OWN = b"pound."
cdef const uint8_t *MAJORDOMO = b"mmi."


cdef void keytable_init(keytable_t *t, uint64_t seed0, uint64_t seed1) noexcept nogil:
    memset(t, 0, sizeof(keytable_t))
    t.seed[0] = seed0
    t.seed[1] = seed1


cdef void grant_free(grant_t *grant) noexcept nogil:
    cdef uint32_t i
    for i in range(grant.count):
        free(grant.patterns[i].text)
    free(grant.patterns)


cdef void keytable_free(keytable_t *t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.n_grants):
        grant_free(&t.grants[i])
    free(t.grants)
    free(t.identities)
    free(t.keys)
    table_free(&t.by_public)
    table_free(&t.by_serial)
    keytable_init(t, t.seed[0], t.seed[1])


cdef void keytable_delete(keytable_t *t) noexcept nogil:
    if t != NULL:
        keytable_free(t)
        free(t)


# --- building

cdef int keytable_put_grant(keytable_t *t) noexcept nogil:
    if t.n_grants >= GRANTS_MAX:
        return KEYTABLE_FULL
    if array_room(<void **> &t.grants, &t.grants_room, t.n_grants, sizeof(grant_t)) < 0:
        return KEYTABLE_NO_MEMORY
    t.n_grants += 1
    return KEYTABLE_OK


cdef int keytable_put_pattern(
    keytable_t *t, uint32_t grant, const uint8_t *text, size_t size
) noexcept nogil:
    cdef bint wildcard = size > 0 and text[size - 1] == ASTERISK
    cdef grant_t *g
    cdef pattern_t *pattern
    cdef size_t i
    if grant >= t.n_grants:
        return KEYTABLE_UNKNOWN
    size -= wildcard
    if size > PATTERN_MAX:
        return KEYTABLE_FORM
    for i in range(size):
        if text[i] == ASTERISK:
            return KEYTABLE_FORM
    g = &t.grants[grant]
    if g.count >= PATTERNS_MAX:
        return KEYTABLE_FULL
    if array_room(<void **> &g.patterns, &g.room, g.count, sizeof(pattern_t)) < 0:
        return KEYTABLE_NO_MEMORY
    pattern = &g.patterns[g.count]
    if size > 0:
        pattern.text = <uint8_t *> malloc(size)
        if pattern.text == NULL:
            return KEYTABLE_NO_MEMORY
        memcpy(pattern.text, text, size)
    pattern.size = <uint8_t> size
    pattern.wildcard = wildcard
    g.count += 1
    return KEYTABLE_OK


cdef int keytable_put_identity(
    keytable_t *t, uint32_t number, const uint8_t *name, size_t size, uint8_t roles,
    uint32_t grant, uint32_t connections_max
) noexcept nogil:
    cdef identity_t *identity
    if number >= IDENTITIES_MAX:
        return KEYTABLE_FULL
    if size == 0 or size > IDENTITY_NAME_MAX:
        return KEYTABLE_FORM
    if grant >= t.n_grants:
        return KEYTABLE_UNKNOWN
    if identity_known(t, number):
        return KEYTABLE_TAKEN
    if array_room(<void **> &t.identities, &t.identities_room, number, sizeof(identity_t)) < 0:
        return KEYTABLE_NO_MEMORY
    identity = &t.identities[number]
    memcpy(identity.name, name, size)
    identity.name_size = <uint8_t> size
    identity.roles = roles
    identity.grant = <uint16_t> grant
    identity.connections_max = connections_max
    return KEYTABLE_OK


cdef int keytable_put_limits(
    keytable_t *t, uint32_t number, const identity_limits_t *limits
) noexcept nogil:
    if not identity_known(t, number):
        return KEYTABLE_UNKNOWN
    t.identities[number].limits = limits[0]
    return KEYTABLE_OK


cdef uint32_t serial_hash(const keytable_t *t, uint32_t serial) noexcept nogil:
    return <uint32_t> mix(serial ^ t.seed[0])


cdef int key_add(
    keytable_t *t, const uint8_t *public, uint32_t identity, uint32_t serial, int64_t expires
) noexcept nogil:
    """key_add appends a key to the array and to by_public."""
    cdef key_t *key
    if not identity_known(t, identity):
        return KEYTABLE_UNKNOWN
    if t.n_keys >= KEYS_MAX:
        return KEYTABLE_FULL
    if keytable_find(t, public) != NULL:
        return KEYTABLE_TAKEN
    if array_room(<void **> &t.keys, &t.keys_room, t.n_keys, sizeof(key_t)) < 0:
        return KEYTABLE_NO_MEMORY
    if table_put(&t.by_public, hash_bytes(t.seed, public, PUBLIC_SIZE), t.n_keys) < 0:
        return KEYTABLE_NO_MEMORY
    key = &t.keys[t.n_keys]
    memcpy(key.public, public, PUBLIC_SIZE)
    key.expires = expires
    key.identity = identity
    key.serial = serial
    t.n_keys += 1
    return KEYTABLE_OK


cdef void key_drop_last(keytable_t *t) noexcept nogil:
    """key_drop_last undoes key_add."""
    cdef uint32_t hash = hash_bytes(t.seed, t.keys[t.n_keys - 1].public, PUBLIC_SIZE)
    cdef uint32_t at = table_first(&t.by_public, hash)
    t.n_keys -= 1
    while t.by_public.cells[at].item != t.n_keys:
        at = table_next(&t.by_public, hash, at)
    table_remove(&t.by_public, at)


cdef int keytable_put_key(
    keytable_t *t, const uint8_t *public, uint32_t identity, uint32_t serial, int64_t expires
) noexcept nogil:
    cdef int result
    if serial == 0 or serial >= SERIALS_MAX:
        return KEYTABLE_FULL
    if keytable_of_serial(t, serial) != NULL:
        return KEYTABLE_TAKEN
    result = key_add(t, public, identity, serial, expires)
    if result == KEYTABLE_OK and table_put(
            &t.by_serial, serial_hash(t, serial), t.n_keys - 1) < 0:
        key_drop_last(t)
        return KEYTABLE_NO_MEMORY
    return result


cdef int keytable_put_revoked(
    keytable_t *t, const uint8_t *public, uint32_t identity
) noexcept nogil:
    return key_add(t, public, identity, 0, INT64_MAX)


# --- looking up

cdef void key_text(uint8_t *text, const uint8_t *public) noexcept nogil:
    cdef uint32_t value
    cdef int group, i
    for group in range(PUBLIC_SIZE // 4):
        value = 0
        for i in range(4):
            value = value << 8 | public[4 * group + i]
        for i in range(4, -1, -1):
            text[5 * group + i] = <uint8_t> Z85[value % 85]
            value //= 85


cdef const key_t *keytable_find(const keytable_t *t, const uint8_t *public) noexcept nogil:
    cdef uint32_t hash = hash_bytes(t.seed, public, PUBLIC_SIZE)
    cdef uint32_t at = table_first(&t.by_public, hash)
    cdef const key_t *key
    while at != NONE:
        key = &t.keys[t.by_public.cells[at].item]
        if memcmp(key.public, public, PUBLIC_SIZE) == 0:
            return key
        at = table_next(&t.by_public, hash, at)
    return NULL


cdef const key_t *keytable_of_serial(const keytable_t *t, uint32_t serial) noexcept nogil:
    cdef uint32_t hash = serial_hash(t, serial)
    cdef uint32_t at = table_first(&t.by_serial, hash)
    cdef const key_t *key
    while at != NONE:
        key = &t.keys[t.by_serial.cells[at].item]
        if key.serial == serial:
            return key
        at = table_next(&t.by_serial, hash, at)
    return NULL


cdef bint begins(
    const uint8_t *name, size_t size, const uint8_t *text, size_t text_size
) noexcept nogil:
    return size >= text_size and (text_size == 0 or memcmp(name, text, text_size) == 0)


cdef bint keytable_matches(
    const keytable_t *t, uint32_t grant, const uint8_t *name, size_t size
) noexcept nogil:
    cdef const grant_t *g = &t.grants[grant]
    cdef const pattern_t *pattern
    cdef uint32_t i
    if begins(name, size, OWN, 6) or begins(name, size, MAJORDOMO, 4):
        return False
    for i in range(g.count):
        pattern = &g.patterns[i]
        if (pattern.wildcard or size == pattern.size) and begins(
                name, size, pattern.text, pattern.size):
            return True
    return False


cdef int64_t keytable_next_expiry(const keytable_t *t, int64_t now) noexcept nogil:
    cdef int64_t least = INT64_MAX
    cdef uint32_t i
    for i in range(t.n_keys):
        if not key_revoked(&t.keys[i]) and not key_expired(&t.keys[i], now):
            least = min(least, t.keys[i].expires)
    return least
