"""ZAP requests, verdicts and replies (see zap.pxd for the rules)."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, strlen

from .table cimport (
    PUBLIC_SIZE, SERIALS_MAX, identity_t, key_expired, key_revoked, key_t, keytable_find)

cdef enum:
    SERIAL_BITS = 27
    LISTENER_BITS = 5
    GRANTED = 200
    NOT_YOU = 400
    NOT_NOW = 500
    DIGIT_0 = 48
    DIGIT_9 = 57

cdef const char *VERSION = b"1.0"
cdef const char *DOMAIN = b"pound/"      # and the number of the listener
cdef const char *DIGITS = b"0123456789abcdef"


cdef bint says(const zap_frame_t *frame, const char *text) noexcept nogil:
    return frame.size == strlen(text) and memcmp(frame.data, text, frame.size) == 0


cdef uint8_t listener_of(const zap_rules_t *rules, const zap_frame_t *domain) noexcept nogil:
    """listener_of returns the number that a domain names, or NO_LISTENER."""
    cdef size_t start = strlen(DOMAIN)
    cdef uint32_t number = 0
    cdef size_t i
    if domain.size <= start or domain.size > start + 2 or memcmp(domain.data, DOMAIN, start) != 0:
        return NO_LISTENER
    if domain.size == start + 2 and domain.data[start] == DIGIT_0:
        return NO_LISTENER
    for i in range(start, domain.size):
        if domain.data[i] < DIGIT_0 or domain.data[i] > DIGIT_9:
            return NO_LISTENER
        number = 10 * number + domain.data[i] - DIGIT_0
    return <uint8_t> number if number < rules.n_listeners else NO_LISTENER


cdef uint8_t judge_key(
    const zap_rules_t *rules, const key_t *key, uint8_t roles, int64_t now
) noexcept nogil:
    """judge_key returns why a key may not come in by a listener of these roles, or ZAP_GRANTED."""
    cdef const identity_t *identity
    if key == NULL:
        return ZAP_KEY_UNKNOWN
    if key_revoked(key):
        return ZAP_KEY_REVOKED
    if key_expired(key, now):
        return ZAP_KEY_EXPIRED
    identity = &rules.table.identities[key.identity]
    if not identity.roles & roles:
        return ZAP_NO_ROLE
    if identity.connections_max and identity.connections >= identity.connections_max:
        return ZAP_CONNECTIONS
    return ZAP_GRANTED


cdef uint8_t judge_curve(
    const zap_rules_t *rules, const zap_frame_t *frames, uint32_t n, int64_t now,
    verdict_t *verdict
) noexcept nogil:
    if not says(&frames[ZAP_MECHANISM], b"CURVE"):
        return ZAP_BAD_MECHANISM
    if n != ZAP_KEY + 1:
        return ZAP_BAD_FORM
    if frames[ZAP_KEY].size != PUBLIC_SIZE:
        return ZAP_BAD_KEY
    verdict.key = keytable_find(rules.table, frames[ZAP_KEY].data)
    return judge_key(rules, verdict.key, rules.listeners[verdict.listener].roles, now)


cdef uint8_t judge_null(const zap_frame_t *frames, uint32_t n) noexcept nogil:
    if not says(&frames[ZAP_MECHANISM], b"NULL"):
        return ZAP_BAD_MECHANISM
    return ZAP_GRANTED if n == ZAP_MECHANISM + 1 else ZAP_BAD_FORM


cdef uint8_t judge(
    const zap_rules_t *rules, const zap_frame_t *frames, uint32_t n, int64_t now,
    verdict_t *verdict
) noexcept nogil:
    """judge returns the reason, and fills in listener and key as far as it comes."""
    if n <= ZAP_MECHANISM or not says(&frames[ZAP_VERSION], VERSION):
        return ZAP_BAD_FORM
    verdict.listener = listener_of(rules, &frames[ZAP_DOMAIN])
    if verdict.listener == NO_LISTENER:
        return ZAP_BAD_DOMAIN
    if rules.listeners[verdict.listener].curve:
        return judge_curve(rules, frames, n, now, verdict)
    return judge_null(frames, n)


cdef uint16_t status_of(uint8_t reason) noexcept nogil:
    if reason == ZAP_GRANTED:
        return GRANTED
    return NOT_NOW if reason == ZAP_CONNECTIONS or reason == ZAP_BAD_FORM else NOT_YOU


cdef verdict_t zap_judge(
    const zap_rules_t *rules, const zap_frame_t *frames, uint32_t n, int64_t now
) noexcept nogil:
    cdef verdict_t verdict
    verdict.key = NULL
    verdict.listener = NO_LISTENER
    verdict.reason = judge(rules, frames, n, now, &verdict)
    verdict.status = status_of(verdict.reason)
    return verdict


# --- the reply

cdef void put(zap_frame_t *frame, const void *data, size_t size) noexcept nogil:
    frame.data = <const uint8_t *> data
    frame.size = size


cdef const char *status_text(uint16_t status) noexcept nogil:
    if status == GRANTED:
        return b"200"
    return b"500" if status == NOT_NOW else b"400"


cdef void zap_reply(
    const zap_rules_t *rules, const verdict_t *verdict, const zap_frame_t *frames, uint32_t n,
    zap_reply_t *reply
) noexcept nogil:
    cdef const char *text = zap_reason_text(verdict.reason)
    cdef proof_t proof
    put(&reply.frames[0], VERSION, strlen(VERSION))
    put(&reply.frames[1], NULL, 0)
    if n > ZAP_ID and frames[ZAP_ID].size <= ZAP_ID_MAX:
        reply.frames[1] = frames[ZAP_ID]
    put(&reply.frames[2], status_text(verdict.status), 3)
    put(&reply.frames[3], text, strlen(text))
    put(&reply.frames[4], NULL, 0)
    put(&reply.frames[5], NULL, 0)
    if verdict.status == GRANTED:
        proof.salt = rules.salt
        proof.listener = verdict.listener
        proof.serial = 0 if verdict.key == NULL else verdict.key.serial
        proof_write(reply.proof, &proof)
        put(&reply.frames[4], reply.proof, PROOF_SIZE)


cdef const char *zap_reason_text(uint8_t reason) noexcept nogil:
    if reason == ZAP_GRANTED:
        return b"granted"
    if reason == ZAP_BAD_FORM:
        return b"no ZAP request"
    if reason == ZAP_BAD_DOMAIN:
        return b"not a listener of this broker"
    if reason == ZAP_BAD_MECHANISM:
        return b"not the listener's mechanism"
    if reason == ZAP_BAD_KEY:
        return b"the key does not have 32 bytes"
    if reason == ZAP_KEY_UNKNOWN:
        return b"the key is unknown"
    if reason == ZAP_KEY_REVOKED:
        return b"the key is revoked"
    if reason == ZAP_KEY_EXPIRED:
        return b"the key has expired"
    if reason == ZAP_NO_ROLE:
        return b"the key has no role that the listener allows"
    if reason == ZAP_NO_KEY:
        return b"it has no key"
    if reason == ZAP_OTHER_BROKER:
        return b"it expects the key of another broker"
    return b"the identity has as many connections as it may have"


# --- the proof

cdef void proof_write(uint8_t *digits, const proof_t *proof) noexcept nogil:
    cdef uint64_t bits = (
        <uint64_t> proof.salt << (LISTENER_BITS + SERIAL_BITS)
        | <uint64_t> proof.listener << SERIAL_BITS | proof.serial)
    cdef uint32_t i
    for i in range(PROOF_SIZE):
        digits[i] = <uint8_t> DIGITS[(bits >> (60 - 4 * i)) & 0xF]


cdef int digit_of(uint8_t character) noexcept nogil:
    """digit_of returns the value of a hexadecimal digit, small letters only, or -1."""
    cdef int i
    for i in range(16):
        if <uint8_t> DIGITS[i] == character:
            return i
    return -1


cdef bint proof_read(const uint8_t *digits, size_t size, proof_t *proof) noexcept nogil:
    cdef uint64_t bits = 0
    cdef int digit
    cdef size_t i
    if size != PROOF_SIZE:
        return False
    for i in range(PROOF_SIZE):
        digit = digit_of(digits[i])
        if digit < 0:
            return False
        bits = bits << 4 | <uint64_t> digit
    proof.salt = <uint32_t> (bits >> (LISTENER_BITS + SERIAL_BITS))
    proof.listener = <uint8_t> (bits >> SERIAL_BITS & (LISTENERS_MAX - 1))
    proof.serial = <uint32_t> (bits & (SERIALS_MAX - 1))
    return True
