# PND/1: everything about packets in one place. Reading is in reader.pxd, the numbers are in
# format.pxd and codes.pxd, all passed on from here; writing is below.
#
# Invariant: what the writers append is sound framing if the caller fills each body with as many
#            parts as it announced and closes the packet with packet_end.
# Cost:      O(bytes written); a packet's buffer is reused, so no allocation once it is warm.
# Memory:    writers fill a buffer_t of the caller; a pointer that a writer returns is good until
#            the next write to that buffer.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pound._base.buffer cimport buffer_extend, buffer_free, buffer_t
from .codes cimport (
    CODE_ABORTED, CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INTERNAL,
    CODE_INVALID_ARGUMENT, CODE_NOT_FOUND, CODE_PERMISSION_DENIED, CODE_RESOURCE_EXHAUSTED,
    CODE_UNAUTHENTICATED, CODE_UNAVAILABLE, CODE_UNIMPLEMENTED, CODE_UNKNOWN)
from .format cimport (
    BYE_AGREED, BYE_GOING, BYE_UNKNOWN, DURABLE_SIZE, FLAG_ATTACHED, FLAG_DURABLE, FLAG_META,
    FLAG_RETRY, HEADER_SIZE, KIND_ACCEPTED, KIND_BYE, KIND_CANCEL, KIND_CREDIT, KIND_END,
    KIND_ERROR, KIND_HEARTBEAT, KIND_HELLO, KIND_PARTIAL, KIND_READY, KIND_REPLY, KIND_REQUEST,
    KIND_TASK, KIND_WELCOME, PACKET_RECORDS_MAX, PART_ATTACHED_FROM, PUBLIC_ID_SIZE, RECORD_SIZE,
    SERVICE_BYTES_MAX, SESSION_SIZE, STREAM_FIRST, load_u16, load_u32, load_u64, partial_cost,
    store_u16, store_u32, store_u64)
from .reader cimport (
    FLAGS_ALL, WIRE_COUNT, WIRE_FLAGS, WIRE_FRAMES, WIRE_HEAD, WIRE_MAGIC, WIRE_OK, WIRE_PARTS,
    WIRE_RESERVED, WIRE_SHORT, WIRE_SIZE, WIRE_VERSION, kind_flags, kind_has_body, kind_has_id,
    kind_known, named_head_size, packet_ids, packet_next, packet_open, packet_t, part_next, part_t,
    record_check, record_t)


# part_put writes one inline part and returns where the next one goes.
cdef inline uint8_t *part_put(uint8_t *at, const void *data, uint32_t size) noexcept nogil:
    store_u32(at, size)
    if size:
        memcpy(at + 4, data, size)
    return at + 4 + size


# wire_error_text names a wire_error in one word, for logs and errors; a static string.
cdef const char *wire_error_text(int error) noexcept nogil

# packet_begin empties the buffer and writes a header of no records yet: 0, or -1: no memory.
cdef int packet_begin(buffer_t *b, const uint8_t *session, uint64_t done) noexcept nogil


# packet_end enters the number of records, 1..PACKET_RECORDS_MAX, into the header.
cdef inline void packet_end(buffer_t *b, uint32_t records) noexcept nogil:
    store_u16(b.data + 4, <uint16_t>records)


# record_begin appends a record with a zeroed head and room for its body; returns its head,
# NULL: no memory, or a record of 4 GiB and more.
cdef uint8_t *record_begin(
    buffer_t *b, uint8_t kind, uint8_t flags, uint16_t parts, uint64_t id,
    size_t head_size, size_t body_size,
) noexcept nogil

# The writers below append one record. Those that return a pointer give the place of the body,
# body_size bytes to be filled by the caller (part_put), or NULL; the others 0, or -1: no memory.
# With FLAG_DURABLE the 20 bytes before the body are zeros: the place of public id and delay.
cdef uint8_t *put_request(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, uint32_t timeout_ms,
    uint8_t priority, const uint8_t *service, uint16_t service_size, size_t body_size,
) noexcept nogil
cdef uint8_t *put_reply(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, size_t body_size
) noexcept nogil
cdef uint8_t *put_partial(
    buffer_t *b, uint64_t id, uint8_t flags, uint16_t parts, uint32_t sequence, uint8_t attempt,
    size_t body_size,
) noexcept nogil
cdef int put_simple(buffer_t *b, uint8_t kind, uint64_t id) noexcept nogil
cdef uint8_t *put_coded(     # an ERROR or BYE
    buffer_t *b, uint8_t kind, uint64_t id, uint8_t flags, uint16_t parts, uint16_t code,
    uint32_t retry_after_ms, size_t body_size,
) noexcept nogil
cdef int put_error(
    buffer_t *b, uint64_t id, uint16_t code, uint32_t retry_after_ms, const void *text, uint32_t n
) noexcept nogil
cdef int put_bye(buffer_t *b, uint16_t reason, uint32_t retry_after_ms) noexcept nogil
cdef int put_credit(buffer_t *b, uint64_t id, uint8_t attempt, uint64_t credit) noexcept nogil
cdef int put_welcome(
    buffer_t *b, uint32_t heartbeat_ms, uint32_t liveness, uint32_t body_bytes_max,
    uint32_t packet_bytes_max, uint32_t frames_max, uint32_t requests_max,
) noexcept nogil


# put_image appends a stored record as it is and returns its place, for the rewrites below;
# NULL: no memory.
cdef inline uint8_t *put_image(buffer_t *b, const uint8_t *image, uint32_t size) noexcept nogil:
    cdef uint8_t *at = buffer_extend(b, size)
    if at != NULL:
        memcpy(at, image, size)
    return at


# image_to_task turns a sound REQUEST, in place, into the TASK of one attempt.
cdef inline void image_to_task(
    uint8_t *image, uint64_t token, uint32_t remaining_ms, uint8_t attempt
) noexcept nogil:
    image[4] = KIND_TASK
    image[5] &= <uint8_t>~FLAG_RETRY
    store_u64(image + 8, token)
    store_u32(image + 16, remaining_ms)
    image[21] = attempt
    if image[5] & FLAG_DURABLE:
        memset(image + 24 + load_u16(image + 22) + PUBLIC_ID_SIZE, 0, 4)


# image_to_reply gives a worker's REPLY, PARTIAL or ERROR, in place, its client's request id.
cdef inline void image_to_reply(uint8_t *image, uint64_t id) noexcept nogil:
    store_u64(image + 8, id)
