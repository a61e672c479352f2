"""A table of keys in the hands of Python (see keytable.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc

import os

from pound.errors import ConfigError

from .table cimport (
    GRANTS_MAX, IDENTITIES_MAX, KEYS_MAX, KEYTABLE_FULL, KEYTABLE_NO_MEMORY, KEYTABLE_OK,
    PATTERNS_MAX, PUBLIC_SIZE, ROLE_CLIENT, ROLE_OPERATOR, ROLE_WORKER, SERIALS_MAX,
    identity_limits_t, keytable_delete, keytable_init, keytable_put_grant, keytable_put_identity,
    keytable_put_key, keytable_put_limits, keytable_put_pattern, keytable_put_revoked, keytable_t)

# --- with the GIL ----------------------------------------------------------------------------

SETS_MAX = GRANTS_MAX - 1    # different sets of services; one more is that of none
NEVER = INT64_MAX            # when a key expires that has no end
ROLE_BITS = {"client": ROLE_CLIENT, "worker": ROLE_WORKER, "operator": ROLE_OPERATOR}


cdef keytable_t *keytable_taken(Keytable handle) except NULL:
    cdef keytable_t *table = handle.table
    if table == NULL:
        raise ValueError("the table was taken before")
    handle.table = NULL
    return table


cdef class Keytable:
    """A table of keys, for one thread, until a broker takes it.

    Numbers and serials are the caller's. A put that is refused raises.
    """

    def __cinit__(self):
        self.table = <keytable_t *> malloc(sizeof(keytable_t))
        if self.table == NULL:
            raise MemoryError
        keytable_init(self.table, seed(), seed())

    def __dealloc__(self):
        keytable_delete(self.table)

    def put_grant(self, patterns):
        """Add a set of services, patterns as bytes; return its number."""
        check(keytable_put_grant(opened(self)), f"sets of services: {GRANTS_MAX}")
        grant = self.table.n_grants - 1
        for pattern in patterns:
            put_pattern(self.table, grant, pattern)
        return grant

    def put_identity(
            self, uint32_t number, bytes name, uint8_t roles, uint32_t grant,
            uint32_t connections_max):
        """Add an identity."""
        check(
            keytable_put_identity(
                opened(self), number, <const uint8_t *> <const char *> name, len(name), roles,
                grant, connections_max),
            f"names since the broker was started: {IDENTITIES_MAX}; restart it")

    def put_limits(
            self, uint32_t number, uint32_t weight, uint32_t open_max, uint64_t bytes_max,
            double per_second, double burst):
        """Give an identity its turns and quotas; a quota or rate of 0 is no limit."""
        cdef identity_limits_t limits
        limits.weight = weight
        limits.open_max = open_max
        limits.bytes_max = bytes_max
        limits.interval_ns = max(1, <int64_t> (1e9 / per_second)) if per_second else 0
        limits.burst_ns = <int64_t> ((burst - 1) * limits.interval_ns)
        check(keytable_put_limits(opened(self), number, &limits), "")

    def put_key(self, bytes public, uint32_t identity, uint32_t serial, int64_t expires):
        """Add a key of an identity; it ends at `expires`, ns of the wall clock, or `NEVER`."""
        check(
            keytable_put_key(opened(self), public_bytes(public), identity, serial, expires),
            f"keys: {KEYS_MAX}, or {SERIALS_MAX} since the broker was started; remove old ones "
            "under [revoked], or restart it")

    def put_revoked(self, bytes public, uint32_t identity):
        """Note that a key was revoked."""
        check(
            keytable_put_revoked(opened(self), public_bytes(public), identity),
            f"keys: {KEYS_MAX}; remove old ones under [revoked]")


cdef keytable_t *opened(Keytable handle) except NULL:
    if handle.table == NULL:
        raise ValueError("the table was taken before")
    return handle.table


cdef put_pattern(keytable_t *table, uint32_t grant, bytes text):
    check(
        keytable_put_pattern(table, grant, <const uint8_t *> <const char *> text, len(text)),
        f"services of a peer: {PATTERNS_MAX}")


cdef check(int result, str most):
    if result == KEYTABLE_NO_MEMORY:
        raise MemoryError
    if result == KEYTABLE_FULL:
        raise ConfigError(f"too many {most}")
    if result != KEYTABLE_OK:
        raise ValueError(f"not for this table: {result}")


cdef const uint8_t *public_bytes(bytes public) except NULL:
    if len(public) != PUBLIC_SIZE:
        raise ValueError(f"a public key has {PUBLIC_SIZE} bytes")
    return <const uint8_t *> <const char *> public


cdef uint64_t seed():
    return int.from_bytes(os.urandom(8), "little")
