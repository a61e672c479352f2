"""Keys for tests: the table that a broker reads, ZAP requests and what is answered, proofs."""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from pound.security.keytable cimport Keytable, keytable_taken
from pound.security.table cimport (
    GRANTS_MAX as _GRANTS_MAX, IDENTITIES_MAX as _IDENTITIES_MAX, IDENTITY_NAME_MAX,
    KEYTABLE_FORM, KEYTABLE_FULL, KEYTABLE_NO_MEMORY, KEYTABLE_OK, KEYTABLE_TAKEN,
    KEYTABLE_UNKNOWN, PATTERN_MAX as _PATTERN_MAX, PATTERNS_MAX as _PATTERNS_MAX,
    PUBLIC_SIZE as _PUBLIC_SIZE, ROLE_CLIENT, ROLE_OPERATOR, ROLE_WORKER,
    SERIALS_MAX as _SERIALS_MAX, identity_known, identity_t, key_expired, key_revoked, key_t,
    keytable_find, keytable_free,
    keytable_init, keytable_matches, keytable_next_expiry, keytable_of_serial, keytable_put_grant,
    keytable_put_identity, keytable_put_key, keytable_put_pattern, keytable_put_revoked, keytable_t)
from pound.security.zap cimport (
    LISTENERS_MAX as _LISTENERS_MAX, NO_LISTENER, ZAP_BAD_DOMAIN, ZAP_BAD_FORM, ZAP_BAD_KEY,
    ZAP_BAD_MECHANISM, ZAP_CONNECTIONS, ZAP_FRAMES_MAX as _ZAP_FRAMES_MAX, ZAP_GRANTED,
    ZAP_KEY_EXPIRED, ZAP_KEY_REVOKED, ZAP_KEY_UNKNOWN, ZAP_NO_ROLE, ZAP_REPLY_FRAMES, proof_read,
    proof_t, proof_write, verdict_t, zap_frame_t, zap_judge, zap_reason_text, zap_reply,
    zap_reply_t, zap_rules_t)

import enum

FOREVER = INT64_MAX
GRANTS_MAX = _GRANTS_MAX
IDENTITIES_MAX = _IDENTITIES_MAX
LISTENERS_MAX = _LISTENERS_MAX
NAME_MAX = IDENTITY_NAME_MAX
PATTERN_MAX = _PATTERN_MAX
PATTERNS_MAX = _PATTERNS_MAX
PUBLIC_SIZE = _PUBLIC_SIZE
SERIALS_MAX = _SERIALS_MAX
ZAP_FRAMES_MAX = _ZAP_FRAMES_MAX


class Role(enum.IntFlag):
    """What an identity may be."""

    CLIENT = ROLE_CLIENT
    WORKER = ROLE_WORKER
    OPERATOR = ROLE_OPERATOR


class Put(enum.IntEnum):
    """How it went to put something into a table."""

    OK = KEYTABLE_OK
    NO_MEMORY = KEYTABLE_NO_MEMORY
    FULL = KEYTABLE_FULL
    TAKEN = KEYTABLE_TAKEN
    UNKNOWN = KEYTABLE_UNKNOWN
    FORM = KEYTABLE_FORM


class Reason(enum.IntEnum):
    """Why a connection was let in or not."""

    GRANTED = ZAP_GRANTED
    BAD_FORM = ZAP_BAD_FORM
    BAD_DOMAIN = ZAP_BAD_DOMAIN
    BAD_MECHANISM = ZAP_BAD_MECHANISM
    BAD_KEY = ZAP_BAD_KEY
    KEY_UNKNOWN = ZAP_KEY_UNKNOWN
    KEY_REVOKED = ZAP_KEY_REVOKED
    KEY_EXPIRED = ZAP_KEY_EXPIRED
    NO_ROLE = ZAP_NO_ROLE
    CONNECTIONS = ZAP_CONNECTIONS


def reason_text(reason):
    return zap_reason_text(reason).decode()


def write_proof(salt, listener, serial):
    cdef proof_t proof
    cdef uint8_t digits[16]
    proof.salt = salt
    proof.listener = listener
    proof.serial = serial
    proof_write(digits, &proof)
    return digits[:16]


def read_proof(bytes text):
    """(salt, listener, serial) of a proof, or None."""
    cdef proof_t proof
    if not proof_read(text, len(text), &proof):
        return None
    return proof.salt, proof.listener, proof.serial


@cython.final
cdef class Answer:
    """A verdict and the frames of its reply."""

    cdef readonly int status
    cdef readonly object reason
    cdef readonly object listener
    cdef readonly object public
    cdef readonly list frames

    def __repr__(self):
        return f"<Answer {self.status} {self.reason!r} {self.listener} {self.frames}>"


cdef class Table:
    """A table of keys, and the listeners of a broker that has it."""

    cdef keytable_t table
    cdef zap_rules_t rules

    def __cinit__(self, seed0=1, seed1=2, salt=0):
        keytable_init(&self.table, seed0, seed1)
        self.rules.table = &self.table
        self.rules.salt = salt

    def __dealloc__(self):
        keytable_free(&self.table)

    @staticmethod
    def taken(Keytable handle):
        """The table of a handle, which is empty then, for tests to look into."""
        cdef Table table = Table.__new__(Table)
        cdef keytable_t *taken = keytable_taken(handle)
        table.table = taken[0]
        free(taken)
        return table

    def name_of(self, number):
        """(name, roles, grant, connections_max) of an identity, or None."""
        cdef identity_t *identity
        if not identity_known(&self.table, number):
            return None
        identity = &self.table.identities[number]
        return (identity.name[:identity.name_size], Role(identity.roles), identity.grant,
                identity.connections_max)

    def limits_of(self, number):
        """What an identity may take, by name."""
        return dict(self.table.identities[number].limits)

    def grants(self):
        return self.table.n_grants

    def clear(self):
        keytable_free(&self.table)

    def grant(self, *patterns):
        """Add a grant: its number, or what is wrong with one of its patterns."""
        result = keytable_put_grant(&self.table)
        if result != KEYTABLE_OK:
            return Put(result)
        number = self.table.n_grants - 1
        for pattern in patterns:
            result = self.pattern(number, pattern)
            if result != KEYTABLE_OK:
                return result
        return number

    def pattern(self, grant, bytes text):
        return Put(keytable_put_pattern(&self.table, grant, text, len(text)))

    def identity(self, number, bytes name, roles, grant, connections_max=0):
        return Put(keytable_put_identity(
            &self.table, number, name, len(name), roles, grant, connections_max))

    def key(self, bytes public, identity, serial, expires=INT64_MAX):
        assert len(public) == _PUBLIC_SIZE
        return Put(keytable_put_key(&self.table, public, identity, serial, expires))

    def revoked(self, bytes public, identity):
        assert len(public) == _PUBLIC_SIZE
        return Put(keytable_put_revoked(&self.table, public, identity))

    def connect(self, identity, count):
        self.table.identities[identity].connections = count

    def matches(self, grant, bytes name):
        assert grant < self.table.n_grants
        return keytable_matches(&self.table, grant, name, len(name))

    def next_expiry(self, now):
        return keytable_next_expiry(&self.table, now)

    cdef object shown(self, const key_t *key):
        if key == NULL:
            return None
        return (key.public[:_PUBLIC_SIZE], key.identity, key.serial, key.expires)

    def find(self, bytes public):
        assert len(public) == _PUBLIC_SIZE
        return self.shown(keytable_find(&self.table, public))

    def of_serial(self, serial):
        return self.shown(keytable_of_serial(&self.table, serial))

    def state(self, bytes public, now):
        """(revoked, expired) of a known key."""
        cdef const key_t *key = keytable_find(&self.table, public)
        return key_revoked(key), key_expired(key, now)

    def listener(self, curve, roles=0):
        """Add a listener: its number."""
        cdef uint32_t number = self.rules.n_listeners
        assert number < _LISTENERS_MAX
        self.rules.listeners[number].curve = curve
        self.rules.listeners[number].roles = roles
        self.rules.n_listeners += 1
        return number

    def ask(self, frames, int64_t now=0):
        """Answer a ZAP request of any frames, bytes-like."""
        cdef list views = [memoryview(frame) for frame in frames]
        cdef uint32_t held = min(len(views), _ZAP_FRAMES_MAX)
        cdef zap_frame_t *c_frames = <zap_frame_t *> malloc((held + 1) * sizeof(zap_frame_t))
        cdef const uint8_t[::1] view
        cdef verdict_t verdict
        cdef zap_reply_t reply
        cdef Answer answer = Answer.__new__(Answer)
        cdef uint32_t i
        if c_frames == NULL:
            raise MemoryError
        try:
            # Behind the last frame a trap: a version at an address that nobody may read.
            c_frames[held].data = <const uint8_t *> 1
            c_frames[held].size = 3
            for i in range(held):
                view = views[i]
                c_frames[i].size = view.shape[0]
                c_frames[i].data = &view[0] if view.shape[0] else NULL
            memset(&reply, 0xFF, sizeof(reply))
            verdict = zap_judge(&self.rules, c_frames, len(views), now)
            zap_reply(&self.rules, &verdict, c_frames, len(views), &reply)
            answer.frames = [
                reply.frames[i].data[:reply.frames[i].size] if reply.frames[i].size else b""
                for i in range(ZAP_REPLY_FRAMES)]
        finally:
            free(c_frames)
        answer.status = verdict.status
        answer.reason = Reason(verdict.reason)
        answer.listener = None if verdict.listener == NO_LISTENER else verdict.listener
        answer.public = None if verdict.key == NULL else verdict.key.public[:_PUBLIC_SIZE]
        return answer
