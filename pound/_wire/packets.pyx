"""PND/1: the writers of records (rules: packets.pxd)."""

from libc.stdint cimport UINT32_MAX


cdef const char *wire_error_text(int error) noexcept nogil:
    if error == WIRE_SHORT:
        return b"short"
    elif error == WIRE_MAGIC:
        return b"magic"
    elif error == WIRE_VERSION:
        return b"version"
    elif error == WIRE_RESERVED:
        return b"reserved"
    elif error == WIRE_COUNT:
        return b"count"
    elif error == WIRE_SIZE:
        return b"size"
    elif error == WIRE_FLAGS:
        return b"flags"
    elif error == WIRE_HEAD:
        return b"head"
    elif error == WIRE_PARTS:
        return b"parts"
    return b"frames" if error == WIRE_FRAMES else b"sound"


cdef int packet_begin(buffer_t *b, const uint8_t *session, uint64_t done) noexcept nogil:
    cdef uint8_t *at
    b.size = 0
    at = buffer_extend(b, HEADER_SIZE)
    if at == NULL:
        return -1
    memcpy(at, b"PND\x01\0\0\0\0", 8)
    memcpy(at + 8, session, SESSION_SIZE)
    store_u64(at + 24, done)
    return 0


cdef uint8_t *record_begin(
    buffer_t *b, uint8_t kind, uint8_t flags, uint16_t parts, uint64_t id,
    size_t head_size, size_t body_size,
) noexcept nogil:
    cdef uint8_t *at
    if body_size > UINT32_MAX or head_size > UINT32_MAX - RECORD_SIZE - body_size:
        return NULL
    at = buffer_extend(b, RECORD_SIZE + head_size + body_size)
    if at == NULL:
        return NULL
    store_u32(at, <uint32_t>(RECORD_SIZE + head_size + body_size))
    at[4] = kind
    at[5] = flags
    store_u16(at + 6, parts)
    store_u64(at + 8, id)
    memset(at + RECORD_SIZE, 0, head_size)
    return at + RECORD_SIZE


cdef uint8_t *put_request(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, uint32_t timeout_ms,
    uint8_t priority, const uint8_t *key, uint64_t run, const uint8_t *service,
    uint16_t service_size, size_t body_size,
) noexcept nogil:
    cdef size_t head_size = named_head_size(flags, service_size)
    cdef uint8_t *head = record_begin(b, KIND_REQUEST, flags, parts, id, head_size, body_size)
    if head == NULL:
        return NULL
    store_u32(head, timeout_ms)
    head[4] = priority
    store_u16(head + 6, service_size)
    if key != NULL:
        memcpy(head + 8, key, KEY_SIZE)
    if service_size:
        memcpy(head + NAMED_SIZE, service, service_size)
    if flags & FLAG_MOVED:
        store_u64(head + head_size - RUN_SIZE, run)
    return head + head_size


cdef uint8_t *put_reply(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, size_t body_size
) noexcept nogil:
    return record_begin(b, KIND_REPLY, flags, parts, id, 0, body_size)


cdef uint8_t *put_partial(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, uint32_t sequence, uint8_t attempt,
    size_t body_size,
) noexcept nogil:
    cdef uint8_t *head = record_begin(
        b, KIND_PARTIAL, flags, parts, id, PARTIAL_SIZE, body_size)
    if head == NULL:
        return NULL
    store_u32(head, sequence)
    head[4] = attempt
    store_u64(head + 8, id)
    return head + PARTIAL_SIZE


cdef int put_simple(buffer_t *b, uint8_t kind, uint64_t id) noexcept nogil:
    return -1 if record_begin(b, kind, 0, 0, id, 0, 0) == NULL else 0


cdef uint8_t *put_coded(
    buffer_t *b, uint8_t kind, uint64_t id, uint8_t flags, uint16_t parts, uint16_t code,
    uint32_t retry_after_ms, size_t body_size,
) noexcept nogil:
    cdef uint8_t *head = record_begin(b, kind, flags, parts, id, 8, body_size)
    if head == NULL:
        return NULL
    store_u16(head, code)
    store_u32(head + 4, retry_after_ms)
    return head + 8


cdef int put_error(
    buffer_t *b, uint64_t id, uint16_t code, uint32_t retry_after_ms, const void *text, uint32_t n
) noexcept nogil:
    cdef uint8_t *body = put_coded(
        b, KIND_ERROR, id, 0, 1, code, retry_after_ms, 4 + <size_t>n
    )
    if body == NULL:
        return -1
    part_put(body, text, n)
    return 0


cdef int put_bye(buffer_t *b, uint16_t reason, uint32_t retry_after_ms) noexcept nogil:
    return -1 if put_coded(b, KIND_BYE, 0, 0, 0, reason, retry_after_ms, 0) == NULL else 0


cdef int put_credit(
    buffer_t *b, uint64_t id, uint64_t run, uint64_t credit, uint32_t sequence
) noexcept nogil:
    cdef uint8_t *head = record_begin(b, KIND_CREDIT, 0, 0, id, CREDIT_SIZE, 0)
    if head == NULL:
        return -1
    store_u64(head, credit)
    store_u64(head + 8, run)
    store_u32(head + 16, sequence)
    return 0


cdef uint8_t *put_hello(
    buffer_t *b, uint16_t parts, uint32_t features, size_t body_size
) noexcept nogil:
    cdef uint8_t *head = record_begin(b, KIND_HELLO, 0, parts, 0, HELLO_SIZE, body_size)
    if head == NULL:
        return NULL
    store_u32(head, features)
    return head + HELLO_SIZE


cdef uint8_t *put_ready(
    buffer_t *b, uint16_t parts, uint32_t capacity, uint32_t features, const uint8_t *epoch,
    const uint64_t *tokens, uint32_t count, size_t body_size,
) noexcept nogil:
    cdef size_t head_size = READY_SIZE + 8 * <size_t>count
    cdef uint8_t *head = record_begin(b, KIND_READY, 0, parts, 0, head_size, body_size)
    cdef uint32_t i
    if head == NULL:
        return NULL
    store_u32(head, capacity)
    store_u32(head + 4, count)
    store_u32(head + 8, features)
    memcpy(head + 12, epoch, SESSION_SIZE)
    for i in range(count):
        store_u64(head + READY_SIZE + 8 * <size_t>i, tokens[i])
    return head + head_size


cdef int put_holds(buffer_t *b, const holds_entry_t *entries, uint32_t count) noexcept nogil:
    cdef size_t head_size = HOLDS_SIZE + HOLDS_ENTRY_SIZE * <size_t>count
    cdef uint8_t *at = record_begin(b, KIND_HOLDS, 0, 0, 0, head_size, 0)
    cdef uint32_t i
    if at == NULL:
        return -1
    store_u32(at, count)
    at += HOLDS_SIZE
    for i in range(count):
        store_u64(at, entries[i].token)
        memcpy(at + 8, entries[i].key, KEY_SIZE)
        at[24] = entries[i].attempt
        at[25] = entries[i].state
        at += HOLDS_ENTRY_SIZE
    return 0


cdef int put_welcome(
    buffer_t *b, uint32_t heartbeat_ms, uint32_t liveness, uint32_t body_bytes_max,
    uint32_t packet_bytes_max, uint32_t frames_max, uint32_t requests_max, uint32_t features,
) noexcept nogil:
    cdef uint8_t *head = record_begin(b, KIND_WELCOME, 0, 0, 0, WELCOME_SIZE, 0)
    if head == NULL:
        return -1
    store_u32(head, heartbeat_ms)
    store_u32(head + 4, liveness)
    store_u32(head + 8, body_bytes_max)
    store_u32(head + 12, packet_bytes_max)
    store_u32(head + 16, frames_max)
    store_u32(head + 20, requests_max)
    store_u32(head + 24, features)
    return 0
