# The key of a client or worker: what its sockets prove who they are with, and why that failed.
#
# curve_t  three keys and a name, copied out of a credential; all zero: there is no key.
#
# Invariant: the secret is in no text that is logged, raised or shown.
# Memory:    a plain struct; curve_wipe leaves nothing of the secret in it.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef enum:
    KEY_SIZE = 32
    KEY_NAME_ROOM = 65           # bytes of a peer's name, its NUL included
    DENIAL_ROOM = 384            # bytes of a sentence, its NUL included

cdef struct curve_t:
    uint8_t used
    uint8_t broker[KEY_SIZE]     # the broker's public key
    uint8_t public[KEY_SIZE]
    uint8_t secret[KEY_SIZE]
    char name[KEY_NAME_ROOM]

# curve_configure has a socket prove who we are: 0; -1: zmq.errnum() says why not.
cdef int curve_configure(const curve_t *key, void *socket) noexcept nogil
cdef void curve_wipe(curve_t *key) noexcept nogil
# curve_denial writes why an endpoint does not let us in (denial_t), and what to do. `said` are the
# broker's own words.
cdef void curve_denial(
    char *to, size_t room, uint8_t denial, const char *endpoint, const curve_t *key,
    const char *said) noexcept nogil
# --- with the GIL

# curve_fill copies a pound.security.credential.Credential.
cdef int curve_fill(curve_t *key, object credential) except -1
