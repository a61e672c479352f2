# Whom a broker knows: keys, identities, and grants, the sets of services that they may use.
#
# A key is a public key with an end; an identity is a name with its rights. An identity may have two
# keys while it rotates: rights belong to the identity, revocation to the key.
#
# Holds:     identities under numbers and keys under serials, both the builder's: stable by name, or
#            by name and public key, while a broker lives; never reused. A revoked key stays, with
#            the name of its identity, so that the log can say so.
# Invariant: public keys differ, and so do serials; a key's identity and an identity's grant are in
#            the table.
# Cost:      to find a key: O(1). To match a name: O(patterns of the grant), one memcmp each.
# Memory:    owned by the table, freed by keytable_free. A pointer to a key or an identity is valid
#            until the next one is put.
# No socket and no clock: the time is an argument, wall clock, in nanoseconds.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pound._base.table cimport table_t

cdef enum:
    PUBLIC_SIZE = 32         # bytes of a public key
    KEY_TEXT_SIZE = 40       # characters of it, as people see it: Z85
    KEYS_MAX = 1 << 20       # in a table
    SERIALS_MAX = 1 << 27    # a proof has 27 bits for it; serial 0 says: no key
    IDENTITIES_MAX = 65_535
    GRANTS_MAX = 4_096       # different sets of patterns
    PATTERNS_MAX = 64        # of a grant
    PATTERN_MAX = 255        # bytes before the asterisk: those of a service's name
    IDENTITY_NAME_MAX = 64   # bytes


cdef enum role_t:
    ROLE_CLIENT = 1
    ROLE_WORKER = 2
    ROLE_OPERATOR = 4


cdef enum keytable_error_t:
    KEYTABLE_OK = 0
    KEYTABLE_NO_MEMORY = -1
    KEYTABLE_FULL = -2       # a maximum from above
    KEYTABLE_TAKEN = -3      # the number, the serial or the public key is there already
    KEYTABLE_UNKNOWN = -4    # there is no such grant or identity
    KEYTABLE_FORM = -5       # an asterisk before the end, or a size that is not allowed


cdef struct key_t:
    uint8_t public[PUBLIC_SIZE]
    int64_t expires          # wall clock, ns; INT64_MAX: never
    uint32_t identity
    uint32_t serial          # 0: revoked


cdef struct identity_limits_t:  # what an identity may take of what all share; 0: no limit
    uint64_t bytes_max       # of its open requests
    int64_t interval_ns      # between two of its requests, in the mean
    int64_t burst_ns         # by how much a request may come earlier than that
    uint32_t open_max        # open requests
    uint32_t weight          # tasks that it is given in its turn; 0 counts as 1


cdef struct identity_t:
    identity_limits_t limits
    uint8_t name[IDENTITY_NAME_MAX]
    uint8_t name_size        # bytes; 0: no identity has this number
    uint8_t roles            # role_t
    uint16_t grant
    uint32_t connections     # living routes that its keys proved
    uint32_t connections_max  # 0: no limit


cdef struct pattern_t:
    uint8_t *text            # owned; NULL when there is none
    uint8_t size             # bytes
    uint8_t wildcard         # any name that begins so


cdef struct grant_t:
    pattern_t *patterns      # owned
    uint32_t count
    uint32_t room


cdef struct keytable_t:
    key_t *keys              # owned
    identity_t *identities   # owned, by number
    grant_t *grants          # owned
    uint32_t n_keys
    uint32_t n_grants
    uint32_t keys_room
    uint32_t identities_room
    uint32_t grants_room
    table_t by_public        # keys
    table_t by_serial        # keys that are not revoked
    uint64_t seed[2]


# keytable_init makes an empty table; the seeds must be random: peers choose their keys.
cdef void keytable_init(keytable_t *t, uint64_t seed0, uint64_t seed1) noexcept nogil
cdef void keytable_free(keytable_t *t) noexcept nogil

# keytable_delete frees a table and its struct, which is from malloc; NULL: there is none.
cdef void keytable_delete(keytable_t *t) noexcept nogil

# Each put returns KEYTABLE_OK, or what is wrong, and then nothing has changed.

# keytable_put_grant adds an empty grant; its number is n_grants - 1.
cdef int keytable_put_grant(keytable_t *t) noexcept nogil

# keytable_put_pattern adds a service's name to a grant, or a beginning of names and an asterisk. A
# size of 0 is the name of the default service.
cdef int keytable_put_pattern(
    keytable_t *t, uint32_t grant, const uint8_t *text, size_t size) noexcept nogil

cdef int keytable_put_identity(
    keytable_t *t, uint32_t number, const uint8_t *name, size_t size, uint8_t roles,
    uint32_t grant, uint32_t connections_max) noexcept nogil

cdef int keytable_put_limits(
    keytable_t *t, uint32_t number, const identity_limits_t *limits) noexcept nogil

cdef int keytable_put_key(
    keytable_t *t, const uint8_t *public, uint32_t identity, uint32_t serial, int64_t expires
) noexcept nogil

# keytable_put_revoked remembers that a key was revoked. No identity may have it besides.
cdef int keytable_put_revoked(
    keytable_t *t, const uint8_t *public, uint32_t identity) noexcept nogil

# key_text writes a public key in Z85 (RFC 32): KEY_TEXT_SIZE characters.
cdef void key_text(uint8_t *text, const uint8_t *public) noexcept nogil

# keytable_find returns a key, revoked and expired ones, too; NULL: it is unknown.
cdef const key_t *keytable_find(const keytable_t *t, const uint8_t *public) noexcept nogil

# keytable_of_serial returns the key with a serial; NULL: there is none, it may be revoked.
cdef const key_t *keytable_of_serial(const keytable_t *t, uint32_t serial) noexcept nogil

# identity_known returns whether an identity has this number.
cdef inline bint identity_known(const keytable_t *t, uint32_t number) noexcept nogil:
    return number < t.identities_room and t.identities[number].name_size > 0


# keytable_matches returns whether a grant holds a service's name. No grant holds the names of the
# broker's own services.
cdef bint keytable_matches(
    const keytable_t *t, uint32_t grant, const uint8_t *name, size_t size) noexcept nogil

# keytable_next_expiry returns when the next key expires of those that have not: INT64_MAX, never.
cdef int64_t keytable_next_expiry(const keytable_t *t, int64_t now) noexcept nogil


cdef inline bint key_revoked(const key_t *key) noexcept nogil:
    return key.serial == 0


cdef inline bint key_expired(const key_t *key, int64_t now) noexcept nogil:
    return now >= key.expires
