"""How far the worker of a stream may go: what was read, and a window more (rules: streams.pxd)."""

from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pound._base.pool cimport NONE
from pound._wire.packets cimport FLAG_ATTACHED, STREAM_FIRST, partial_cost, record_t
from pound._zmq.libzmq cimport zmq, zmq_msg_t
from .outbox cimport outbox_credit, outbox_t
from .requests cimport (
    client_request_t, request_credited, request_credits, requests_t, stream_state_t)

cdef extern from *:
    """
    #define load_ordered(at) __atomic_load_n(at, __ATOMIC_SEQ_CST)
    #define add_ordered(at, more) __atomic_add_fetch(at, more, __ATOMIC_SEQ_CST)
    #define store_ordered(at, value) __atomic_store_n(at, value, __ATOMIC_SEQ_CST)
    #define swap_ordered(at, value) __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST)
    """
    uint64_t load_ordered(const uint64_t *at) nogil
    uint64_t add_ordered(uint64_t *at, uint64_t more) nogil
    void store_ordered(uint64_t *at, uint64_t value) nogil
    uint32_t swap_ordered(uint32_t *at, uint32_t value) nogil

cdef enum:
    WINDOW_MAX = 1 << 20           # of one stream: cost of partials granted beyond what was read
    WINDOWS_BYTES = 4 << 20        # of all streams together, as long as each has STREAM_FIRST


cdef void stream_looked(requests_t *q, uint32_t r) noexcept nogil:
    swap_ordered(&q.all[r].stream.asked, 0)
    request_credits(q, r)


# window returns how far a stream may run ahead of its reader. The broker has to hold that much of
# each if this process stops, so that many streams have to do with less.
cdef uint64_t window(const requests_t *q) noexcept nogil:
    cdef uint64_t share = WINDOWS_BYTES // max(q.streams, <uint32_t> 1)
    return min(max(share, <uint64_t> STREAM_FIRST), <uint64_t> WINDOW_MAX)


# run_of returns the run whose partials a request has seen; 0: none.
cdef inline uint64_t run_of(const client_request_t *request) noexcept nogil:
    return request.run if request.stream == NULL else request.stream.run


# next_of returns the sequence of the next partial of that run.
cdef inline uint32_t next_of(const client_request_t *request) noexcept nogil:
    return request.skipped_next if request.stream == NULL else request.stream.expected


# used_of returns what of that run was read.
cdef uint64_t used_of(const client_request_t *request) noexcept nogil:
    cdef stream_state_t *stream = request.stream
    if stream == NULL:
        return request.skipped
    return max(load_ordered(&stream.read_bytes), stream.begun_at) - stream.begun_at


# credit writes how far the worker of a request may go, unless that was sent already.
cdef void credit(outbox_t *out, requests_t *q, client_request_t *request) noexcept nogil:
    cdef uint64_t used = used_of(request)
    cdef uint64_t more = window(q)
    if run_of(request) == 0 or used == 0:
        return
    if request.stream != NULL:
        store_ordered(&request.stream.due_at, request.stream.begun_at + used + more // 4)
    if request.credit < used + more:
        request.credit = used + more
        outbox_credit(out, request.id, run_of(request), request.credit, next_of(request))


cdef uint64_t stream_run(const client_request_t *request) noexcept nogil:
    return run_of(request)


cdef void stream_repeat(outbox_t *out, const client_request_t *request) noexcept nogil:
    if run_of(request):
        outbox_credit(out, request.id, run_of(request), request.credit, next_of(request))


cdef void streams_collect(requests_t *q, outbox_t *out) noexcept nogil:
    cdef uint32_t r
    while q.credits.head != NONE:
        r = q.credits.head
        request_credited(q, r)
        if q.all[r].id:
            credit(out, q, &q.all[r])


cdef void stream_skip(
    requests_t *q, uint32_t r, const record_t *record, zmq_msg_t *frames
) noexcept nogil:
    cdef client_request_t *request = &q.all[r]
    cdef uint64_t granted
    if record.run > request.run:
        request.run = record.run
        request.skipped = request.credit = request.skipped_next = 0
    if record.run < request.run or record.sequence < request.skipped_next:
        return
    request.skipped_next = record.sequence + 1
    request.skipped += partial_cost(record_bytes(record, frames), record.parts)
    granted = window(q) if request.credit else STREAM_FIRST
    if max(request.credit, granted) < request.skipped + granted - granted // 4:
        request_credits(q, r)


# record_bytes returns the bytes of a record's parts.
cdef uint64_t record_bytes(const record_t *record, zmq_msg_t *frames) noexcept nogil:
    cdef uint64_t bytes = 0
    cdef uint32_t i
    if not record.flags & FLAG_ATTACHED:
        return record.body_size - 4 * <uint64_t> record.parts
    for i in range(record.parts):
        bytes += zmq.msg_size(&frames[1 + record.attached + i])
    return bytes


cdef void stream_begin(
    client_request_t *request, uint64_t run, uint8_t attempt
) noexcept nogil:
    cdef stream_state_t *stream = request.stream
    request.credit = 0
    if not (stream.resumed and attempt == stream.numbered):
        stream.attempt += stream.attempt < 255
        stream.expected = 0
    stream.run = run
    stream.numbered = attempt
    stream.again = 0
    stream.again_end = stream.expected
    stream.begun_at = stream.put_bytes
    store_ordered(&stream.due_at, stream.begun_at + STREAM_FIRST // 4)


cdef void stream_again(
    requests_t *q, uint32_t r, const record_t *record, zmq_msg_t *frames
) noexcept nogil:
    cdef stream_state_t *stream = q.all[r].stream
    cdef uint64_t cost = partial_cost(record_bytes(record, frames), record.parts)
    if (record.run != stream.run or record.sequence != stream.again
            or stream.again == stream.again_end):
        return
    stream.again += 1
    stream.put_bytes += cost
    if add_ordered(&stream.read_bytes, cost) >= load_ordered(&stream.due_at):
        request_credits(q, r)


cdef uint64_t stream_unread(const stream_state_t *stream) noexcept nogil:
    return stream.put_bytes - max(load_ordered(&stream.read_bytes), stream.begun_at)


cdef int stream_read(stream_state_t *stream, uint64_t bytes) noexcept nogil:
    cdef uint64_t read = add_ordered(&stream.read_bytes, bytes)
    return read >= load_ordered(&stream.due_at) and swap_ordered(&stream.asked, 1) == 0
