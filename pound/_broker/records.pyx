"""Records that are kept, and bodies made records (see records.pxd for the rules)."""

from libc.stdint cimport UINT16_MAX, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset

from pound._base.array cimport array_grow
from pound._base.check cimport CHECK
from pound._wire.dialects cimport frame_t, message_t
from pound._wire.packets cimport (
    FLAG_ATTACHED, PART_ATTACHED_FROM, part_put, put_partial, put_reply, put_request)
from pound._zmq.libzmq cimport zmq, zmq_msg_t
from .kinds cimport C_NO_MEMORY
from .state cimport (
    FORM_DELIMITED, FORM_WORKER_NUMBERS, broker_t, envelope_t, incoming_t, slot_t, stored_t)

cdef enum:
    SLOTS_MIN = 16


cdef int stored_failed(broker_t *b, stored_t *record) noexcept nogil:
    record.size = record.attached = 0
    b.counters[C_NO_MEMORY] += 1
    return -1


cdef void attached_init(const stored_t *record) noexcept nogil:
    cdef uint32_t i
    for i in range(record.attached):
        zmq.msg_init(&stored_attached(record)[i])


cdef void attached_close(const stored_t *record) noexcept nogil:
    cdef uint32_t i
    for i in range(record.attached):
        zmq.msg_close(&stored_attached(record)[i])


cdef int stored_again(
        broker_t *b, stored_t *record, const uint8_t *record_bytes, uint32_t size) noexcept nogil:
    cdef stored_t fresh
    cdef uint32_t i
    if stored_fill(b, &fresh, record_bytes, size, record.attached):
        return -1
    for i in range(record.attached):
        zmq.msg_move(&stored_attached(&fresh)[i], &stored_attached(record)[i])
    stored_clear(b, record)
    record[0] = fresh
    return 0


# -- slots ------------------------------------------------------------------------------------

cdef int slots_grow(broker_t *b) noexcept nogil:
    cdef size_t room = b.slots_room
    cdef size_t wanted = 2 * room if room else SLOTS_MIN
    if array_grow(<void **> &b.slots, &b.slots_block, room * sizeof(slot_t),
                  wanted * sizeof(slot_t)):
        b.counters[C_NO_MEMORY] += 1
        return -1
    memset(&b.slots[room], 0, (wanted - room) * sizeof(slot_t))
    b.slots_room = <uint32_t> wanted
    return 0


cdef int store_scratch(broker_t *b, stored_t *record) noexcept nogil:
    cdef stored_t stored
    if stored_fill(b, &stored, b.scratch.data, <uint32_t> b.scratch.size, 0):
        return -1
    stored_clear(b, record)
    record[0] = stored
    return 0


# -- bodies that came as frames ---------------------------------------------------------------

cdef uint64_t frames_bytes(const incoming_t *m, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint64_t size = 0
    cdef uint32_t i
    for i in range(first, first + count):
        size += m.frame_views[i].size
    return size


# attaches says whether a Guide body is worth attaching: when one of its frames is.
cdef int attaches(const incoming_t *m, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(first, first + count):
        if m.frame_views[i].size >= PART_ATTACHED_FROM:
            return 1
    return 0


# attach moves frames into the messages of *out; small ones are copied, since a kept small message
# pins the whole buffer that libzmq received it in. 0, or -1: not all of them.
cdef int attach(broker_t *b, stored_t *out, uint32_t first) noexcept nogil:
    cdef const frame_t *view
    cdef zmq_msg_t *to
    cdef uint32_t i
    for i in range(out.attached):
        to = &stored_attached(out)[i]
        view = &b.incoming.frame_views[first + i]
        if view.size >= PART_ATTACHED_FROM:
            zmq.msg_move(to, &b.incoming.frames[first + i])
        elif zmq.msg_init_size(to, view.size) == 0:
            memcpy(zmq.msg_data(to), view.data, view.size)
        else:
            b.counters[C_NO_MEMORY] += 1
            zmq.msg_init(to)
            return -1
    return 0


# fill_body writes the frames as inline parts to where a record's body begins.
cdef void fill_body(
        const incoming_t *m, uint8_t *at, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(first, first + count):
        at = part_put(at, m.frame_views[i].data, <uint32_t> m.frame_views[i].size)


cdef int store_frames(
        broker_t *b, stored_t *out, const uint8_t *record_bytes, uint32_t size, uint32_t first,
        uint16_t count) noexcept nogil:
    if stored_fill(b, out, record_bytes, size, count):
        return -1
    if attach(b, out, first):
        stored_clear(b, out)
        return -1
    return 0


# store_body ends what store_request, store_reply and store_partial began in b.scratch.
cdef int store_body(
        broker_t *b, stored_t *out, uint8_t *at, uint8_t flags, uint32_t first, uint32_t count
        ) noexcept nogil:
    if at == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    CHECK(count < b.incoming.room <= UINT16_MAX + 1, "a body of %u frames", count)
    if flags & FLAG_ATTACHED:
        return store_frames(
            b, out, b.scratch.data, <uint32_t> b.scratch.size, first, <uint16_t> count)
    fill_body(&b.incoming, at, first, count)
    return stored_fill(b, out, b.scratch.data, <uint32_t> b.scratch.size, 0)


# body_flags and body_size are those of the record that the frames are to become.
cdef uint8_t body_flags(const incoming_t *m, uint32_t first, uint32_t count) noexcept nogil:
    return FLAG_ATTACHED if attaches(m, first, count) else 0


cdef size_t body_size(
        const incoming_t *m, uint8_t flags, uint32_t first, uint32_t count) noexcept nogil:
    if flags & FLAG_ATTACHED:
        return 0
    return frames_bytes(m, first, count) + 4 * count


cdef int store_request(
        broker_t *b, stored_t *out, const uint8_t *service, uint32_t size, uint32_t first,
        uint32_t count) noexcept nogil:
    cdef uint8_t flags = body_flags(&b.incoming, first, count)
    cdef uint8_t *at
    b.scratch.size = 0
    at = put_request(&b.scratch, 0, flags, <uint16_t> count, 0, 0, NULL, 0, service,
                     <uint16_t> size, body_size(&b.incoming, flags, first, count))
    return store_body(b, out, at, flags, first, count)


cdef int store_reply(
        broker_t *b, stored_t *out, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint8_t flags = body_flags(&b.incoming, first, count)
    cdef uint8_t *at
    b.scratch.size = 0
    at = put_reply(
        &b.scratch, 0, flags, <uint16_t> count, body_size(&b.incoming, flags, first, count))
    return store_body(b, out, at, flags, first, count)


cdef int store_partial(
        broker_t *b, stored_t *out, uint64_t token, uint32_t sequence, uint8_t attempt,
        uint32_t first, uint32_t count) noexcept nogil:
    cdef uint8_t flags = body_flags(&b.incoming, first, count)
    cdef uint8_t *at
    b.scratch.size = 0
    at = put_partial(&b.scratch, token, flags, <uint16_t> count, sequence, attempt,
                     body_size(&b.incoming, flags, first, count))
    return store_body(b, out, at, flags, first, count)


cdef int store_envelope(broker_t *b, slot_t *slot, const message_t *m) noexcept nogil:
    cdef const frame_t *views = b.incoming.frame_views + 1
    cdef uint32_t size = 0
    cdef uint32_t i
    cdef uint8_t *at
    slot.form = FORM_DELIMITED if m.envelope > 0 else 0
    if m.worker_numbers:
        slot.form |= FORM_WORKER_NUMBERS
    if m.envelope <= 1:
        return 0
    for i in range(m.envelope):
        size += 4 + <uint32_t> views[i].size
    slot.envelope = <envelope_t *> malloc(sizeof(envelope_t) + size)
    if slot.envelope == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    slot.envelope.size = size
    at = slot.envelope.parts
    for i in range(m.envelope):
        at = part_put(at, views[i].data, <uint32_t> views[i].size)
    return 0
