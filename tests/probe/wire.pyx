"""PND/1 for tests: packets in, records out; records in, packets out.

`Record`, `Packet`, `decode`, `encode`, `encode_many` and the broker's two rewrites, by the very C
functions that the broker, the clients and the workers read and write with.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE)
from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX, UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from pound._base.buffer cimport buffer_free, buffer_t
from pound._wire.codes cimport (
    CODE_ABORTED, CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INTERNAL,
    CODE_INVALID_ARGUMENT, CODE_NOT_FOUND, CODE_PERMISSION_DENIED, CODE_RESOURCE_EXHAUSTED,
    CODE_UNAUTHENTICATED, CODE_UNAVAILABLE, CODE_UNIMPLEMENTED, CODE_UNKNOWN)
from pound._wire.packets cimport (
    DURABLE_SIZE, FEATURE_ADOPTION, FEATURE_DURABLE, FLAG_ATTACHED, FLAG_DURABLE, FLAG_META,
    FLAG_MOVED, FLAG_RETRY, HEADER_SIZE, HOLDS_ANSWERED, HOLDS_ENTRY_SIZE, HOLDS_RUNNING,
    HOLDS_SIZE, KEY_SIZE,
    KIND_ACCEPTED, KIND_BYE, KIND_CANCEL, KIND_CREDIT, KIND_ERROR, KIND_HEARTBEAT, KIND_HELLO,
    KIND_HOLDS, KIND_PARTIAL, KIND_READY, KIND_REPLY, KIND_REQUEST, KIND_TASK, KIND_WELCOME,
    PACKET_RECORDS_MAX, PART_ATTACHED_FROM, READY_SIZE, RECORD_SIZE, RUN_SIZE, SERVICE_BYTES_MAX,
    SESSION_SIZE, WIRE_FRAMES, WIRE_OK, WIRE_SIZE, fixed_size, holds_entry, holds_entry_t,
    record_to_reply, record_to_task, kind_flags, kind_has_body, kind_has_id, kind_known, load_u32,
    load_u64, named_head_size, packet_begin, packet_end, packet_next, packet_open, packet_t,
    part_next, part_put, part_t, put_coded, put_credit, put_hello, put_holds, put_partial,
    put_ready, put_request, put_welcome, record_begin, record_check, record_t, store_u32, store_u64,
    wire_error_text)

import enum


class PacketError(ValueError):
    """The framing is broken: the message says what and where, `reason` in one word."""

    def __init__(self, message, reason):
        super().__init__(message)
        self.reason = reason


class Kind(enum.IntEnum):
    """What a record is."""

    REQUEST = KIND_REQUEST
    CANCEL = KIND_CANCEL
    REPLY = KIND_REPLY
    PARTIAL = KIND_PARTIAL
    ERROR = KIND_ERROR
    ACCEPTED = KIND_ACCEPTED
    READY = KIND_READY
    TASK = KIND_TASK
    HEARTBEAT = KIND_HEARTBEAT
    BYE = KIND_BYE
    HELLO = KIND_HELLO
    WELCOME = KIND_WELCOME
    HOLDS = KIND_HOLDS
    CREDIT = KIND_CREDIT


class Code(enum.IntEnum):
    """Why a request ended without an answer: gRPC's canonical numbers."""

    CANCELLED = CODE_CANCELLED
    UNKNOWN = CODE_UNKNOWN
    INVALID_ARGUMENT = CODE_INVALID_ARGUMENT
    DEADLINE_EXCEEDED = CODE_DEADLINE_EXCEEDED
    NOT_FOUND = CODE_NOT_FOUND
    PERMISSION_DENIED = CODE_PERMISSION_DENIED
    RESOURCE_EXHAUSTED = CODE_RESOURCE_EXHAUSTED
    ABORTED = CODE_ABORTED
    UNIMPLEMENTED = CODE_UNIMPLEMENTED
    INTERNAL = CODE_INTERNAL
    UNAVAILABLE = CODE_UNAVAILABLE
    DATA_LOSS = CODE_DATA_LOSS
    UNAUTHENTICATED = CODE_UNAUTHENTICATED


ATTACHED, DURABLE, RETRY, META = FLAG_ATTACHED, FLAG_DURABLE, FLAG_RETRY, FLAG_META
MOVED = FLAG_MOVED
ATTACH_FROM = PART_ATTACHED_FROM
ADOPTION, STORE = FEATURE_ADOPTION, FEATURE_DURABLE
RUNNING, ANSWERED = HOLDS_RUNNING, HOLDS_ANSWERED

# What the word of a wire_error means, for people.
_REASONS = {
    "short": "the packet ends early",
    "magic": "the packet does not start with PND",
    "version": "the version is not 1",
    "reserved": "a reserved byte is not 0",
    "count": "no record, or bytes after the last one",
    "size": "its size is below 16 or beyond the packet",
    "flags": "a flag that its kind does not have",
    "head": "its head does not fit",
    "parts": "its parts do not fill it, or are none or some against the rules",
    "frames": "not as many attached frames as the records claim",
}

# Bits of each number of a Record, to name the one that does not fit.
_BITS = {
    "kind": 8, "id": 64, "flags": 8, "timeout_ms": 32, "priority": 8, "attempt": 8,
    "sequence": 32, "code": 16, "retry_after_ms": 32, "capacity": 32, "delay_ms": 32,
    "heartbeat_ms": 32, "liveness": 32, "body_bytes_max": 32, "packet_bytes_max": 32,
    "frames_max": 32, "requests_max": 32, "credit": 64, "run": 64,
    "features": 32,
}


@cython.final
@cython.freelist(256)
cdef class Record:
    """One record of a packet; a field that its kind does not have is ignored when encoding.

    Parameters
    ----------
    kind : int
        A `Kind`; a decoded record may have one that this version does not know.
    id : int
        The request's number or the task's token.
    flags : int
        `ATTACHED` is set by decoding and ignored by encoding, which decides for itself.
    parts : list of bytes-like
        The body. The list is kept, not copied.
    **fields
        The fields of the heads, as in docs/protocol.md; times in milliseconds. `holds` is a list
        of (token, key, attempt, state).

    Raises
    ------
    OverflowError
        A number does not fit into its field; the message names it.
    """

    cdef public uint8_t kind, flags, priority, attempt
    cdef public uint16_t code
    cdef public uint32_t timeout_ms
    cdef public uint32_t delay_ms
    cdef public uint32_t sequence
    cdef public uint32_t retry_after_ms
    cdef public uint32_t capacity
    cdef public uint32_t heartbeat_ms
    cdef public uint32_t liveness
    cdef public uint32_t body_bytes_max
    cdef public uint32_t packet_bytes_max
    cdef public uint32_t frames_max
    cdef public uint32_t requests_max
    cdef public uint32_t features
    cdef public uint64_t id, credit, run
    cdef public list parts, tokens, holds
    cdef public bytes service, key, epoch

    def __init__(
        self, kind, *, id=0, flags=0, parts=None, service=b"", timeout_ms=0, priority=0,
        attempt=0, sequence=0, code=0, retry_after_ms=0, capacity=0, tokens=None, holds=None,
        key=bytes(16), epoch=bytes(16), features=0, delay_ms=0, heartbeat_ms=0, liveness=0,
        body_bytes_max=0, packet_bytes_max=0, frames_max=0, requests_max=0, credit=0, run=0,
    ):
        try:
            self.kind = kind
            self.id = id
            self.flags = flags
            self.timeout_ms = timeout_ms
            self.priority = priority
            self.attempt = attempt
            self.sequence = sequence
            self.code = code
            self.retry_after_ms = retry_after_ms
            self.capacity = capacity
            self.delay_ms = delay_ms
            self.heartbeat_ms = heartbeat_ms
            self.liveness = liveness
            self.body_bytes_max = body_bytes_max
            self.packet_bytes_max = packet_bytes_max
            self.frames_max = frames_max
            self.requests_max = requests_max
            self.credit = credit
            self.run = run
            self.features = features
        except OverflowError:
            raise _overflow(locals()) from None
        self.parts = [] if parts is None else _as_list(parts)
        self.tokens = [] if tokens is None else _as_list(tokens)
        self.holds = [] if holds is None else _as_list(holds)
        self.service = service
        self.key = key
        self.epoch = epoch

    def _state(self):
        return (
            self.kind, self.flags, self.id, self.service, self.key, self.tokens,
            self.holds, self.epoch, self.features,
            self.timeout_ms, self.priority, self.attempt, self.delay_ms, self.sequence,
            self.code, self.retry_after_ms, self.capacity, self.heartbeat_ms, self.liveness,
            self.body_bytes_max, self.packet_bytes_max, self.frames_max, self.requests_max,
            self.credit, self.run, [bytes(part) for part in self.parts],
        )

    def __eq__(self, other):
        if not isinstance(other, Record):
            return NotImplemented
        return self._state() == other._state()

    def __repr__(self):
        name = Kind(self.kind).name if kind_known(self.kind) else f"kind {self.kind}"
        sizes = ", ".join(str(_size_of(part)) for part in self.parts)
        return f"<Record {name} id={self.id} flags={self.flags} parts=[{sizes}]>"


@cython.final
@cython.freelist(16)
cdef class Packet:
    """A decoded packet: `session` (16 bytes), `done`, and its `records` in order.

    The session is a secret between its owner and the broker, so it does not show in the repr.
    """

    cdef readonly bytes session
    cdef readonly uint64_t done
    cdef readonly list records

    def __repr__(self):
        return f"<Packet done={self.done} records={self.records!r}>"


cdef list _as_list(values):
    return values if type(values) is list else list(values)


cdef object _overflow(dict values):
    for name, bits in _BITS.items():
        if not 0 <= values[name] < 1 << bits:
            return OverflowError(f"{name}: {values[name]} is not in 0..2**{bits}-1")
    return OverflowError("a number does not fit into its field")


cdef uint64_t _u64(object value, str name) except? 0:
    if not 0 <= value < 1 << 64:
        raise OverflowError(f"{name}: {value} is not in 0..2**64-1")
    return value


# _size_of returns the bytes of anything with a contiguous buffer.
cdef Py_ssize_t _size_of(part) except -1:
    cdef Py_buffer view
    cdef Py_ssize_t size
    if PyBytes_CheckExact(part):
        return PyBytes_GET_SIZE(part)
    PyObject_GetBuffer(part, &view, PyBUF_SIMPLE)
    size = view.len
    PyBuffer_Release(&view)
    return size


def decode(frames):
    """Read one message.

    Parameters
    ----------
    frames : sequence of bytes-like
        The packet frame and its attached frames, without a routing id.

    Returns
    -------
    Packet
        Inline parts are bytes; attached parts are the very objects of `frames`.

    Raises
    ------
    PacketError
        The framing is broken; the message says what and where.
    """
    cdef Py_buffer view
    if len(frames) == 0:
        raise PacketError("a message without frames", "short")
    PyObject_GetBuffer(frames[0], &view, PyBUF_SIMPLE)
    try:
        return _decode(<const uint8_t *>view.buf, view.len, frames)
    finally:
        PyBuffer_Release(&view)


cdef Packet _decode(const uint8_t *data, Py_ssize_t size, frames):
    cdef packet_t p
    cdef record_t r
    cdef Packet packet
    cdef int error = packet_open(data, size, <uint32_t>(len(frames) - 1), &p)
    if error:
        raise _refusal(error, data, &p)
    packet = Packet.__new__(Packet)
    packet.session = PyBytes_FromStringAndSize(<const char *>p.session, SESSION_SIZE)
    packet.done = p.done
    packet.records = []
    while packet_next(&p, &r):
        packet.records.append(_record(&r, frames))
    return packet


# _refusal says what is wrong with a packet, and where: in which record, counted from 0.
cdef object _refusal(int error, const uint8_t *data, packet_t *p):
    cdef const uint8_t *at = data + HEADER_SIZE
    cdef uint32_t index = 0
    reason = (<bytes>wire_error_text(error)).decode()
    text = _REASONS[reason]
    if p.records == 0 or error == WIRE_FRAMES:
        return PacketError(text, reason)
    while at != p.at:
        at += load_u32(at)
        index += 1
    return PacketError(f"record {index} at byte {p.at - data}: {text}", reason)


cdef Record _record(const record_t *r, frames):
    cdef Record record = Record.__new__(Record)
    cdef uint32_t i
    record.kind = r.kind
    record.flags = r.flags
    record.id = r.id
    record.timeout_ms = r.timeout_ms
    record.priority = r.priority
    record.attempt = r.attempt
    record.delay_ms = r.delay_ms
    record.sequence = r.sequence
    record.code = r.code
    record.retry_after_ms = r.retry_after_ms
    record.capacity = r.capacity
    record.heartbeat_ms = r.heartbeat_ms
    record.liveness = r.liveness
    record.body_bytes_max = r.body_bytes_max
    record.packet_bytes_max = r.packet_bytes_max
    record.frames_max = r.frames_max
    record.requests_max = r.requests_max
    record.credit = r.credit
    record.run = r.run
    record.features = r.features
    record.service = PyBytes_FromStringAndSize(<const char *>r.service, r.service_size)
    record.key = _bytes_16(r.key)
    record.epoch = _bytes_16(r.epoch)
    record.holds = [_entry(r.holds_list, i) for i in range(r.holds)]
    record.tokens = [load_u64(r.token_list + 8 * <size_t>i) for i in range(r.tokens)]
    record.parts = _parts(r, frames)
    return record


# _bytes_16 copies a key or an epoch; NULL is all 0, as in a record whose kind has none.
cdef bytes _bytes_16(const uint8_t *at):
    return bytes(KEY_SIZE) if at == NULL else PyBytes_FromStringAndSize(<const char *>at, KEY_SIZE)


cdef tuple _entry(const uint8_t *entries, uint32_t i):
    cdef holds_entry_t entry
    holds_entry(entries, i, &entry)
    return entry.token, _bytes_16(entry.key), entry.attempt, entry.state


cdef list _parts(const record_t *r, frames):
    cdef const uint8_t *at = r.body
    cdef part_t part
    cdef list parts = []
    cdef uint32_t i
    if r.flags & FLAG_ATTACHED:
        for i in range(r.parts):
            parts.append(frames[1 + r.attached + i])
    elif at != NULL:
        while part_next(&at, r.body + r.body_size, &part):
            parts.append(PyBytes_FromStringAndSize(<const char *>part.data, part.size))
    return parts


def encode(session, done, records):
    """Write one packet.

    Parameters
    ----------
    session : bytes
        16 bytes: the sender's own id.
    done : int
        From a client: every request id below it is finished; else 0.
    records : sequence of Record
        1..65535 of them.

    Returns
    -------
    list of bytes-like
        The packet frame, then the attached frames: the very parts of those records that have a
        part of `ATTACH_FROM` bytes or more.

    Raises
    ------
    ValueError, OverflowError
        A value is out of its range; the message names it.
    """
    packets = _pack(session, done, records, SIZE_MAX, SIZE_MAX)
    if len(packets) != 1:
        raise ValueError(f"records: {len(records)} of them, a packet holds 1..{PACKET_RECORDS_MAX}")
    return packets[0]


def encode_many(session, done, records, packet_bytes_max, frames_max):
    """Write as many packets as the receiver's limits ask for, in order.

    A packet of more than one record stays within `packet_bytes_max` bytes and `frames_max` frames;
    a record that is larger by itself goes alone, and one of more parts than frames goes inline.

    Parameters
    ----------
    session, done, records
        As for `encode`; no record gives no packet.
    packet_bytes_max, frames_max : int
        From the broker's WELCOME.

    Returns
    -------
    list of list of bytes-like
        One list of frames per packet.

    Raises
    ------
    ValueError, OverflowError
        A value is out of its range; the message names it.
    """
    if frames_max < 1:
        raise ValueError(f"frames_max: {frames_max} leaves no frame for the packet")
    return _pack(session, done, records, packet_bytes_max, frames_max - 1)


cdef struct plan_t:      # how one record will be written
    size_t size          # bytes of the whole record
    size_t body_size     # bytes of its inline parts
    size_t attached      # frames that it claims
    uint8_t flags


cdef list _pack(bytes session, done, records, size_t bytes_max, size_t attached_max):
    cdef list packets = [], attached = []
    cdef buffer_t b
    cdef plan_t plan
    cdef Record record
    cdef uint64_t done_below
    cdef uint32_t count = 0
    if session is None or len(session) != SESSION_SIZE:
        raise ValueError(f"session: not {SESSION_SIZE} bytes")
    done_below = _u64(done, "done")
    memset(&b, 0, sizeof(buffer_t))
    try:
        for record in records:
            _plan(record, attached_max, &plan)
            if count and (
                count == PACKET_RECORDS_MAX
                or b.size + plan.size > bytes_max
                or <size_t>len(attached) + plan.attached > attached_max
            ):
                packets.append(_finished(&b, count, attached))
                attached = []
                count = 0
            if count == 0 and packet_begin(&b, session, done_below):
                raise MemoryError
            _write(&b, record, &plan)
            if plan.attached:
                attached.extend(record.parts)
            count += 1
        if count:
            packets.append(_finished(&b, count, attached))
    finally:
        buffer_free(&b)
    return packets


cdef list _finished(buffer_t *b, uint32_t count, list attached):
    packet_end(b, count)
    return [PyBytes_FromStringAndSize(<const char *>b.data, b.size), *attached]


# _plan measures a record, decides whether its body is attached, and refuses what cannot be said.
cdef int _plan(Record record, size_t attached_max, plan_t *plan) except -1:
    cdef size_t inline = 0
    cdef Py_ssize_t size
    cdef bint large = False
    if record is None:
        raise TypeError("records: None is not a Record")
    for part in record.parts:
        size = _size_of(part)
        large = large or size >= PART_ATTACHED_FROM
        inline += 4 + <size_t>size
    plan.flags = record.flags & <uint8_t>~FLAG_ATTACHED
    _refuse(record, plan.flags)
    plan.attached = 0
    if large and kind_flags(record.kind) & FLAG_ATTACHED:
        if <size_t>len(record.parts) <= attached_max:
            plan.attached = len(record.parts)
            plan.flags |= FLAG_ATTACHED
            inline = 0
    plan.body_size = inline
    plan.size = RECORD_SIZE + _head_size(record) + inline
    if plan.size > UINT32_MAX:
        raise ValueError(f"parts: a record of {plan.size} bytes, 2**32-1 are possible")
    return 0


# _refuse raises ValueError for a record that would not be sound, or whose values no peer accepts.
cdef int _refuse(Record record, uint8_t flags) except -1:
    cdef uint8_t kind = record.kind
    if not kind_known(kind):
        raise ValueError(f"kind: {kind} is not a kind of record")
    if flags & ~kind_flags(kind):
        raise ValueError(f"flags: {flags} are not for {Kind(kind).name}")
    if len(record.parts) > 65535:
        raise ValueError(f"parts: {len(record.parts)} of them, a body has up to 65535")
    if record.parts and not kind_has_body(kind):
        raise ValueError(f"parts: {Kind(kind).name} has no body")
    if flags & FLAG_META and not record.parts:
        raise ValueError("flags: META without a part for the metadata")
    if kind == KIND_REQUEST or kind == KIND_TASK:
        if record.service is None or len(record.service) > SERVICE_BYTES_MAX:
            raise ValueError(f"service: a name has 0..{SERVICE_BYTES_MAX} bytes")
        if record.priority > 9:
            raise ValueError(f"priority: {record.priority} is not in 0..9")
        if len(record.key) != KEY_SIZE:
            raise ValueError(f"key: not {KEY_SIZE} bytes")
    elif kind == KIND_READY and not 1 <= record.capacity <= 65535:
        raise ValueError(f"capacity: {record.capacity} is not in 1..65535")
    elif kind == KIND_READY and len(record.epoch) != SESSION_SIZE:
        raise ValueError(f"epoch: not {SESSION_SIZE} bytes")
    return 0


cdef size_t _head_size(Record record):
    cdef uint8_t kind = record.kind
    if kind == KIND_REQUEST or kind == KIND_TASK:
        return named_head_size(record.flags, <uint32_t>len(record.service))
    elif kind == KIND_READY:
        return READY_SIZE + 8 * <size_t>len(record.tokens)
    elif kind == KIND_HOLDS:
        return HOLDS_SIZE + HOLDS_ENTRY_SIZE * <size_t>len(record.holds)
    return fixed_size(kind)


# _write appends a planned record to the packet.
cdef int _write(buffer_t *b, Record record, const plan_t *plan) except -1:
    cdef uint8_t kind = record.kind
    cdef uint64_t id = record.id if kind_has_id(kind) else 0
    cdef uint16_t parts = <uint16_t>len(record.parts)
    cdef uint8_t *body
    cdef int failed
    if kind == KIND_REQUEST or kind == KIND_TASK:
        body = _write_named(b, record, plan)
    elif kind == KIND_PARTIAL:
        body = _write_partial(b, record, parts, plan)
    elif kind == KIND_ERROR or kind == KIND_BYE:
        body = put_coded(
            b, kind, id, plan.flags, parts, record.code, record.retry_after_ms, plan.body_size
        )
    elif kind == KIND_READY:
        body = _write_ready(b, record, parts, plan.body_size)
    elif kind == KIND_HELLO:
        body = put_hello(b, parts, record.features, plan.body_size)
    elif kind == KIND_HOLDS:
        body = _write_holds(b, record)
    elif kind == KIND_WELCOME:
        body = _write_welcome(b, record)
    elif kind == KIND_CREDIT:
        failed = put_credit(b, id, record.run, record.credit, record.sequence)
        body = NULL if failed else b.data + b.size
    else:
        body = record_begin(b, kind, plan.flags, parts, id, 0, plan.body_size)
    if body == NULL:
        raise MemoryError
    if not plan.attached:
        _write_parts(body, b.data + b.size, record.parts)
    return 0


# _write_parts fills [at, end) with inline parts. Taking a buffer may run code of its owner, which
# might change it: what was planned is checked again before each byte is written.
cdef int _write_parts(uint8_t *at, const uint8_t *end, list parts) except -1:
    cdef Py_buffer view
    for part in parts:
        PyObject_GetBuffer(part, &view, PyBUF_SIMPLE)
        try:
            if end - at < 4 or view.len > end - at - 4:
                raise ValueError("parts: a part grew while it was encoded")
            at = part_put(at, view.buf, <uint32_t>view.len)
        finally:
            PyBuffer_Release(&view)
    if at != end:
        raise ValueError("parts: a part shrank while it was encoded")
    return 0


# _write_partial writes the run that the record names, as its client gets it, else its own id.
cdef uint8_t *_write_partial(buffer_t *b, Record record, uint16_t parts, const plan_t *plan):
    cdef uint8_t *body = put_partial(
        b, record.id, plan.flags, parts, record.sequence, record.attempt, plan.body_size)
    if body != NULL and record.run:
        store_u64(body - RUN_SIZE, record.run)
    return body


cdef uint8_t *_write_named(buffer_t *b, Record record, const plan_t *plan):
    cdef uint16_t n = <uint16_t>len(record.service)
    cdef uint8_t *body = put_request(
        b, record.id, plan.flags, <uint16_t>len(record.parts), record.timeout_ms,
        record.priority, <const uint8_t *>PyBytes_AS_STRING(record.key), record.run,
        <const uint8_t *>PyBytes_AS_STRING(record.service), n, plan.body_size,
    )
    if body == NULL:
        return NULL
    if plan.flags & FLAG_DURABLE:
        store_u32(
            body - (RUN_SIZE if plan.flags & FLAG_MOVED else 0) - DURABLE_SIZE, record.delay_ms)
    if record.kind == KIND_TASK:
        record_to_task(body - RECORD_SIZE - named_head_size(plan.flags, n),
                       record.id, record.timeout_ms, record.attempt)
    return body


cdef uint8_t *_write_ready(
    buffer_t *b, Record record, uint16_t parts, size_t body_size
) except? NULL:
    cdef uint32_t count = <uint32_t>len(record.tokens), i = 0
    cdef uint64_t *tokens = <uint64_t *>malloc((count + 1) * sizeof(uint64_t))
    if tokens == NULL:
        return NULL
    try:
        for token in record.tokens:
            if i == count:
                raise ValueError("tokens: the list grew while it was encoded")
            tokens[i] = _u64(token, "tokens")
            i += 1
        return put_ready(
            b, parts, record.capacity, record.features,
            <const uint8_t *>PyBytes_AS_STRING(record.epoch), tokens, i, body_size)
    finally:
        free(tokens)


cdef uint8_t *_write_holds(buffer_t *b, Record record) except? NULL:
    cdef uint32_t count = <uint32_t>len(record.holds), i
    cdef holds_entry_t *entries = <holds_entry_t *>malloc((count + 1) * sizeof(holds_entry_t))
    cdef bytes key
    cdef list kept = []
    if entries == NULL:
        return NULL
    try:
        for i in range(count):
            token, key, attempt, state = record.holds[i]
            if len(key) != KEY_SIZE:
                raise ValueError(f"key: not {KEY_SIZE} bytes")
            kept.append(key)
            entries[i].token = _u64(token, "token")
            entries[i].key = <const uint8_t *>PyBytes_AS_STRING(key)
            entries[i].attempt = attempt
            entries[i].state = state
        return NULL if put_holds(b, entries, count) else b.data + b.size
    finally:
        free(entries)


cdef uint8_t *_write_welcome(buffer_t *b, Record record):
    if put_welcome(
        b, record.heartbeat_ms, record.liveness, record.body_bytes_max,
        record.packet_bytes_max, record.frames_max, record.requests_max, record.features,
    ) != 0:
        return NULL
    return b.data + b.size


# _judged raises PacketError unless `record` is one sound record, its attached frames elsewhere.
cdef int _judged(bytes record) except -1:
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(record)
    cdef uint32_t claimed = 0
    cdef int error = record_check(at, len(record), &claimed)
    if error == WIRE_OK and load_u32(at) != <size_t>len(record):
        error = WIRE_SIZE
    if error:
        reason = (<bytes>wire_error_text(error)).decode()
        raise PacketError(_REASONS[reason], reason)
    return 0


def as_task(bytes record, uint64_t token, uint32_t remaining_ms, uint8_t attempt):
    """The TASK that the broker makes of a REQUEST's bytes, by its own rewrite in place."""
    _judged(record)
    if record[4] != KIND_REQUEST or record[5] & FLAG_MOVED:
        raise ValueError("record: not a REQUEST without MOVED")
    task = bytes(bytearray(record))
    record_to_task(<uint8_t *>PyBytes_AS_STRING(task), token, remaining_ms, attempt)
    return task


def as_reply(bytes record, uint64_t id):
    """A worker's REPLY, PARTIAL or ERROR as its client gets it, by the broker's own rewrite."""
    _judged(record)
    reply = bytes(bytearray(record))
    record_to_reply(<uint8_t *>PyBytes_AS_STRING(reply), id)
    return reply
