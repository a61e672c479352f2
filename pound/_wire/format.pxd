# PND/1 in numbers: sizes, kinds, flags, and integers as they are on the wire. The error codes are
# in codes.pxd, passed on from here.
#
# Holds:     constants and loads and stores, nothing else; docs/protocol.md is the specification.
# Cost:      compilers make one move of each load and store.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .codes cimport (
    CODE_ABORTED, CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INTERNAL,
    CODE_INVALID_ARGUMENT, CODE_NOT_FOUND, CODE_PERMISSION_DENIED, CODE_RESOURCE_EXHAUSTED,
    CODE_UNAUTHENTICATED, CODE_UNAVAILABLE, CODE_UNIMPLEMENTED, CODE_UNKNOWN)

cdef enum:
    HEADER_SIZE = 32         # bytes before the first record
    RECORD_SIZE = 16         # bytes of a record before its head
    SESSION_SIZE = 16        # bytes
    PUBLIC_ID_SIZE = 16      # bytes
    DURABLE_SIZE = 20        # bytes that DURABLE adds to a head: public id, delay_ms
    PACKET_RECORDS_MAX = 65535  # the header's count is a u16
    PART_ATTACHED_FROM = 4096  # bytes; below, a copy is cheaper than a frame of its own
    SERVICE_BYTES_MAX = 255  # a longer name is a wrong value, not broken framing
    STREAM_FIRST = 65536     # what a task's partials may cost in all before its first CREDIT
    PARTIAL_COST = 64        # of a partial and of each of its parts, beside their bytes

cdef enum kind_t:
    KIND_REQUEST = 1
    KIND_CANCEL
    KIND_REPLY
    KIND_PARTIAL
    KIND_ERROR
    KIND_ACCEPTED
    KIND_READY
    KIND_TASK
    KIND_HEARTBEAT
    KIND_BYE
    KIND_HELLO
    KIND_WELCOME
    KIND_HOLE                # 13 is reserved: unknown to this version
    KIND_CREDIT
    KIND_END                 # one above the last kind

cdef enum flag_t:
    FLAG_ATTACHED = 1        # the body is in attached frames
    FLAG_DURABLE = 2         # the head carries a public id
    FLAG_RETRY = 4           # sent before, as far as the sender knows
    FLAG_META = 8            # part 0 is metadata for the two ends

cdef enum bye_t:
    BYE_UNKNOWN = 0          # "you are unknown to me": HELLO or READY again
    BYE_GOING = 1            # going away: another endpoint, or again after retry_after_ms
    BYE_AGREED = 2           # the answer to a worker's BYE


# Little-endian integers at any address, on any machine.
cdef inline uint16_t load_u16(const uint8_t *p) noexcept nogil:
    return <uint16_t>(p[0] | p[1] << 8)


cdef inline uint32_t load_u32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24)


cdef inline uint64_t load_u64(const uint8_t *p) noexcept nogil:
    return <uint64_t>load_u32(p) | <uint64_t>load_u32(p + 4) << 32


cdef inline void store_u16(uint8_t *p, uint16_t value) noexcept nogil:
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)


cdef inline void store_u32(uint8_t *p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>value
    p[1] = <uint8_t>(value >> 8)
    p[2] = <uint8_t>(value >> 16)
    p[3] = <uint8_t>(value >> 24)


cdef inline void store_u64(uint8_t *p, uint64_t value) noexcept nogil:
    store_u32(p, <uint32_t>value)
    store_u32(p + 4, <uint32_t>(value >> 32))


# partial_cost is what a PARTIAL counts against its stream's credit, given its parts' bytes.
cdef inline uint64_t partial_cost(uint64_t bytes, uint32_t parts) noexcept nogil:
    return bytes + PARTIAL_COST * (1 + <uint64_t>parts)
