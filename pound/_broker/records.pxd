# The records that are kept, and the frames attached to them.
#
# A record is kept as PND has it, ready to be sent: its bytes in one block, behind them the
# zmq_msg_t's of its attached parts, whose data stay libzmq's. A slot has one record, and what else
# its answer needs. Records are made from the message being read, b.incoming, whose first frame is
# the routing id; attaching moves a frame out of it.
#
# Invariant: a record with bytes is counted (C_STORED_RECORDS), and owned by one stored_t alone.
# Cost:      one copy of the bytes; nothing for attached parts.
# Memory:    blocks of the broker's free list (_base/freelist.pxd).

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from pound._base.freelist cimport freelist_give, freelist_take
from pound._base.hints cimport unlikely
from pound._wire.dialects cimport message_t
from pound._wire.packets cimport FLAG_ATTACHED, record_t
from pound._zmq.libzmq cimport zmq, zmq_msg_t
from .kinds cimport C_STORED_RECORDS
from .state cimport broker_t, incoming_t, slot_t, stored_t

# stored_again replaces the bytes of a record: 0, or -1: no memory (nothing changes).
cdef int stored_again(
    broker_t *b, stored_t *record, const uint8_t *record_bytes, uint32_t size) noexcept nogil

# For the functions below: what they do where there are attached parts, or no memory.
cdef void attached_init(const stored_t *record) noexcept nogil
cdef void attached_close(const stored_t *record) noexcept nogil
cdef int stored_failed(broker_t *b, stored_t *record) noexcept nogil


cdef inline size_t bytes_room(const stored_t *record) noexcept nogil:
    """bytes_room gives the bytes before a record's attached parts: a multiple of 8."""
    return (<size_t> record.size + 7) // 8 * 8


cdef inline zmq_msg_t *stored_attached(const stored_t *record) noexcept nogil:
    """stored_attached gives a record's attached parts: as many as it says."""
    return <zmq_msg_t *> (record.bytes + bytes_room(record))


cdef inline uint64_t stored_bytes(const stored_t *record) noexcept nogil:
    """stored_bytes gives the bytes of a record, those of its attached parts included."""
    cdef uint64_t size = record.size
    cdef uint32_t i
    for i in range(record.attached):
        size += zmq.msg_size(&stored_attached(record)[i])
    return size


cdef inline size_t stored_block(const stored_t *record) noexcept nogil:
    """stored_block gives the bytes of the block that a record lies in."""
    if record.attached == 0:
        return record.size
    return bytes_room(record) + record.attached * sizeof(zmq_msg_t)


cdef inline int stored_fill(
    broker_t *b, stored_t *record, const uint8_t *record_bytes, uint32_t size, uint16_t attached
) noexcept nogil:
    """stored_fill gives an empty record a copy of these bytes, and empty messages: 0, or -1."""
    record.size = size
    record.attached = attached
    record.releases = 0
    record.bytes = <uint8_t *> freelist_take(&b.freelist, stored_block(record))
    if unlikely(record.bytes == NULL):
        return stored_failed(b, record)
    memcpy(record.bytes, record_bytes, size)
    if attached:
        attached_init(record)
    b.counters[C_STORED_RECORDS] += 1
    return 0


cdef inline void stored_clear(broker_t *b, stored_t *record) noexcept nogil:
    """stored_clear frees what a record owns and leaves it empty."""
    if record.bytes == NULL:
        return
    if record.attached:
        attached_close(record)
    b.counters[C_STORED_RECORDS] -= 1
    freelist_give(&b.freelist, record.bytes, stored_block(record))
    memset(record, 0, sizeof(stored_t))


cdef inline void slot_clear(broker_t *b, slot_t *slot) noexcept nogil:
    """slot_clear frees what a slot owns and leaves it empty."""
    stored_clear(b, &slot.record)
    if slot.envelope != NULL:
        free(slot.envelope)
    memset(slot, 0, sizeof(slot_t))


cdef int slots_grow(broker_t *b) noexcept nogil  # for slot_room


cdef inline int slot_room(broker_t *b, uint32_t slot) noexcept nogil:
    """slot_room makes room for a slot, at most one more than there is room for; 0, or -1."""
    return 0 if slot < b.slots_room else slots_grow(b)


# store_scratch replaces *record by a copy of the one record in b.scratch; 0, or -1.
cdef int store_scratch(broker_t *b, stored_t *record) noexcept nogil

# frames_bytes sums the sizes of `count` frames from `first` on.
cdef uint64_t frames_bytes(const incoming_t *m, uint32_t first, uint32_t count) noexcept nogil

# store_request, store_reply and store_partial fill *out with the record of a Guide body,
# the frames from `first` on; 0, or -1.
cdef int store_request(
    broker_t *b, stored_t *out, const uint8_t *service, uint32_t size, uint32_t first,
    uint32_t count) noexcept nogil

cdef int store_reply(
    broker_t *b, stored_t *out, uint32_t first, uint32_t count) noexcept nogil

cdef int store_partial(
    broker_t *b, stored_t *out, uint64_t token, uint32_t sequence, uint8_t attempt, uint32_t first,
    uint32_t count
) noexcept nogil

# store_frames fills *out with a record and the frames attached to it, from `first` on; 0, or -1.
cdef int store_frames(
    broker_t *b, stored_t *out, const uint8_t *record_bytes, uint32_t size, uint32_t first,
    uint16_t count) noexcept nogil


cdef inline int store_record(broker_t *b, stored_t *out, const record_t *r) noexcept nogil:
    """store_record fills *out with a PND record and the frames that it claims; 0, or -1."""
    if r.flags & FLAG_ATTACHED:
        return store_frames(b, out, r.bytes, r.size, r.attached + 2, r.parts)
    return stored_fill(b, out, r.bytes, r.size, 0)


# store_envelope keeps what goes before the answer of a Guide client; 0, or -1: no memory, and the
# answer would be sent astray. One empty frame needs no memory.
cdef int store_envelope(broker_t *b, slot_t *slot, const message_t *m) noexcept nogil
