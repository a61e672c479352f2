# ZAP (RFC 27): what libzmq asks about each connection before it is let in, and our answer.
#
# Invariant: status 200 at a CURVE listener only for a known key, not revoked and not expired, whose
#            identity has a role that the listener allows. A reply has six frames whatever the
#            request was: a request without one would end all later handshakes.
# Cost:      O(1); no allocation.
# Memory:    a verdict borrows its key from the table; a reply borrows its request id from the
#            request's frames, and its frames point into itself: it can't be copied.
# No socket and no clock: the time is an argument, wall clock, in nanoseconds.

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from .table cimport key_t, keytable_t

cdef enum:
    LISTENERS_MAX = 32       # of a broker: a proof has five bits for their number
    NO_LISTENER = 0xFF
    PROOF_SIZE = 16          # bytes of a User-Id
    ZAP_FRAMES_MAX = 16      # frames of a request that are looked at; what has more is refused
    ZAP_REPLY_FRAMES = 6
    ZAP_ID_MAX = 255         # bytes of a request id; a longer one comes back empty


cdef enum:                   # frames of a request
    ZAP_VERSION
    ZAP_ID
    ZAP_DOMAIN
    ZAP_ADDRESS              # of the peer: an IP address without a port
    ZAP_ROUTING_ID           # the server socket's own
    ZAP_MECHANISM
    ZAP_KEY                  # CURVE: 32 bytes


cdef enum zap_reason_t:
    ZAP_GRANTED
    ZAP_BAD_FORM             # it is no ZAP request
    ZAP_BAD_DOMAIN           # none of our listeners
    ZAP_BAD_MECHANISM        # not the one of the listener
    ZAP_BAD_KEY              # not 32 bytes
    ZAP_KEY_UNKNOWN
    ZAP_KEY_REVOKED
    ZAP_KEY_EXPIRED
    ZAP_NO_ROLE              # that the listener allows
    ZAP_CONNECTIONS          # the identity has as many as it may have
    ZAP_NO_KEY               # the last two are refused by libzmq itself, which does not ask then
    ZAP_OTHER_BROKER


cdef struct zap_frame_t:
    const uint8_t *data
    size_t size              # bytes


cdef struct listener_t:
    uint8_t curve            # 0: no encryption, everyone is let in
    uint8_t roles            # role_t: those that may be used here


cdef struct zap_rules_t:
    const keytable_t *table
    listener_t listeners[LISTENERS_MAX]
    uint32_t n_listeners
    uint32_t salt            # random, of this start of the broker: makes a forged proof useless


cdef struct verdict_t:
    const key_t *key         # of the request, if it is known; else NULL
    uint16_t status          # 200, 400: not you, 500: not now. Never 300: no peer hears of it
    uint8_t reason           # zap_reason_t
    uint8_t listener         # or NO_LISTENER


cdef struct zap_reply_t:
    zap_frame_t frames[ZAP_REPLY_FRAMES]
    uint8_t proof[PROOF_SIZE]


cdef struct proof_t:
    uint32_t salt
    uint32_t serial          # 0: no key
    uint8_t listener


# zap_judge decides about a request of `n` frames, of which `frames` has the first ZAP_FRAMES_MAX.
cdef verdict_t zap_judge(
    const zap_rules_t *rules, const zap_frame_t *frames, uint32_t n, int64_t now) noexcept nogil

# zap_reply fills in what to answer. `frames` and `n` are those of zap_judge.
cdef void zap_reply(
    const zap_rules_t *rules, const verdict_t *verdict, const zap_frame_t *frames, uint32_t n,
    zap_reply_t *reply) noexcept nogil

# zap_reason_text says a zap_reason_t in words, for logs; a static string.
cdef const char *zap_reason_text(uint8_t reason) noexcept nogil

# A proof is the User-Id of a connection, which each of its messages carries: 16 hexadecimal digits
# of salt (32 bits), listener (5) and serial (27).
cdef void proof_write(uint8_t *digits, const proof_t *proof) noexcept nogil

# proof_read returns whether `size` bytes are a proof, as proof_write writes it, and fills it in.
cdef bint proof_read(const uint8_t *digits, size_t size, proof_t *proof) noexcept nogil
