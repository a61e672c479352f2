"""CREDIT on its way from a client to the worker that streams to it (rules: credits.pxd)."""

from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from pound._base.array cimport array_room
from pound._base.links cimport links_of, links_t, queue_append, queue_remove
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_held_request, disp_request_of, disp_sent_task
from pound._dispatch.model cimport REQUEST_WAITING, task_t
from pound._wire.dialects cimport DIALECT_PND
from pound._wire.packets cimport (
    CREDIT_SIZE, FLAG_ATTACHED, PACKET_RECORDS_MAX, PARTIAL_SIZE, RECORD_SIZE, STREAM_FIRST,
    load_u16, load_u64, partial_cost, put_credit, record_t)
from pound._zmq.libzmq cimport zmq
from .kinds cimport C_CREDITS_LATE, C_NO_MEMORY
from .queues cimport peer_touch
from .records cimport stored_attached
from .state cimport broker_t, peer_t, stored_t, stream_t

cdef enum:
    CREDIT_BYTES = RECORD_SIZE + CREDIT_SIZE
    GRANTED = 1 << 18        # beyond what was read, to workers of clients that know no CREDIT


cdef inline links_t stream_links(broker_t *b) noexcept nogil:
    return links_of(&b.streams.at[0].link, sizeof(stream_t))


cdef void unlist(broker_t *b, uint32_t slot) noexcept nogil:
    cdef stream_t *stream = &b.streams.at[slot]
    if stream.holder != NULL:
        queue_remove(&stream.holder.credits, stream_links(b), slot)
        stream.holder = NULL


# enlist has the credit of the stream in `slot` sent to a worker.
cdef void enlist(broker_t *b, peer_t *worker, uint32_t slot) noexcept nogil:
    cdef stream_t *stream = &b.streams.at[slot]
    if stream.holder != worker:
        unlist(b, slot)
        stream.holder = worker
        queue_append(&worker.credits, stream_links(b), slot)
    peer_touch(b, worker)


# known says whether a stream is of a run of the request in its slot.
cdef inline bint known(const broker_t *b, uint32_t slot, uint64_t run) noexcept nogil:
    return (slot < b.streams.room and b.streams.at[slot].seq == b.d.requests[slot].seq
            and b.streams.at[slot].run == run)


# stream_of returns the stream of a request's run, begun anew if another had the slot; NULL: no
# memory.
cdef stream_t *stream_of(broker_t *b, uint32_t slot, uint64_t run) noexcept nogil:
    cdef stream_t *stream
    if array_room(<void **> &b.streams.at, &b.streams.room, slot, sizeof(stream_t)):
        b.counters[C_NO_MEMORY] += 1
        return NULL
    stream = &b.streams.at[slot]
    if not known(b, slot, run):
        unlist(b, slot)
        memset(stream, 0, sizeof(stream_t))
        stream.seq = b.d.requests[slot].seq
        stream.run = run
    return stream


# holder_of returns the worker that knows CREDIT and has the run of the request in `slot`; NULL:
# none.
cdef peer_t *holder_of(broker_t *b, uint32_t slot, uint64_t run) noexcept nogil:
    cdef const task_t *task = disp_sent_task(b.d, slot)
    cdef peer_t *worker
    if task == NULL or task.token != run:
        return NULL
    worker = b.peers.of_worker[task.worker]
    return worker if worker.dialect == DIALECT_PND else NULL


cdef void credit_heard(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    cdef uint32_t slot = NONE
    cdef peer_t *worker = NULL
    cdef stream_t *stream
    if peer.client != NONE:
        slot = disp_request_of(b.d, peer.client, r.id)
    if slot != NONE:
        worker = holder_of(b, slot, r.run)
    if worker == NULL and (slot == NONE or b.d.requests[slot].state != REQUEST_WAITING):
        b.counters[C_CREDITS_LATE] += 1
        return
    stream = stream_of(b, slot, r.run)
    if stream == NULL:
        peer.route.welcomed = 0  # so that it says all again
    elif r.credit > stream.credit or r.sequence > stream.sequence:
        stream.credit = max(stream.credit, r.credit)
        stream.sequence = max(stream.sequence, r.sequence)
        if worker != NULL:
            enlist(b, worker, slot)


cdef void credit_grant(broker_t *b, uint32_t slot, uint64_t run, uint64_t cost) noexcept nogil:
    cdef peer_t *worker = holder_of(b, slot, run)
    cdef stream_t *stream
    if worker == NULL:
        return
    stream = stream_of(b, slot, run)
    if stream == NULL:
        return
    stream.taken = min(stream.taken, UINT64_MAX // 4) + min(cost, UINT64_MAX // 4)
    if max(stream.credit, <uint64_t> STREAM_FIRST) < stream.taken + GRANTED - GRANTED // 4:
        stream.credit = stream.taken + GRANTED
        enlist(b, worker, slot)


cdef void credit_grant_stored(broker_t *b, uint32_t slot, const stored_t *partial) noexcept nogil:
    credit_grant(b, slot, load_u64(partial.bytes + 8), cost(partial))


cdef void credit_grant_all(broker_t *b, uint32_t slot) noexcept nogil:
    cdef const task_t *task = disp_sent_task(b.d, slot)
    if task != NULL:
        credit_grant(b, slot, task.token, UINT64_MAX)


# cost returns what a stored PARTIAL counts for.
cdef uint64_t cost(const stored_t *partial) noexcept nogil:
    cdef uint32_t parts = load_u16(partial.bytes + 6)
    cdef uint64_t bytes = 0
    cdef uint32_t i
    if not partial.bytes[5] & FLAG_ATTACHED:
        return partial_cost(
            partial.size - RECORD_SIZE - PARTIAL_SIZE - 4 * <uint64_t> parts, parts)
    for i in range(partial.attached):
        bytes += zmq.msg_size(&stored_attached(partial)[i])
    return partial_cost(bytes, parts)


cdef void credit_adopted(broker_t *b, peer_t *peer, uint32_t slot, uint64_t run) noexcept nogil:
    if known(b, slot, run):
        enlist(b, peer, slot)


cdef void credits_again(
        broker_t *b, peer_t *peer, const uint64_t *tokens, uint32_t n) noexcept nogil:
    cdef uint32_t i, slot
    if b.streams.at == NULL:
        return
    for i in range(n):
        slot = disp_held_request(b.d, peer.worker, tokens[i])
        if slot != NONE and known(b, slot, tokens[i]):
            enlist(b, peer, slot)


cdef uint32_t credits_put(
        broker_t *b, peer_t *peer, uint32_t records, uint32_t *looked, uint8_t *starved
        ) noexcept nogil:
    cdef uint32_t slot = peer.credits.head
    cdef uint32_t put = 0
    cdef stream_t *stream
    while slot != NONE and records + put < PACKET_RECORDS_MAX and (
            records + put == 0
            or b.outbound.packet.size + CREDIT_BYTES <= b.settings.packet_bytes_max):
        stream = &b.streams.at[slot]
        if known(b, slot, stream.run) and holder_of(b, slot, stream.run) == peer:
            if put_credit(&b.outbound.packet, stream.run, stream.run, stream.credit,
                          stream.sequence):
                b.counters[C_NO_MEMORY] += 1
                starved[0] = 1
                break
            put += 1
        looked[0] += 1
        slot = stream.link.next
    return put


cdef void credits_drop(broker_t *b, peer_t *peer, uint32_t n) noexcept nogil:
    cdef uint32_t _
    for _ in range(n):
        unlist(b, peer.credits.head)


cdef void credits_clear(broker_t *b, peer_t *peer) noexcept nogil:
    while peer.credits.head != NONE:
        unlist(b, peer.credits.head)
