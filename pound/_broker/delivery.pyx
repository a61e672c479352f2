"""Answers on their way to a client's queue (see delivery.pxd for the rules)."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport strlen

from pound._base.check cimport CHECK, POUND_CHECKS
from pound._dispatch.dispatcher cimport disp_answer_bytes, disp_delivered, disp_undeliverable
from pound._dispatch.model cimport request_t
from pound._wire.codes cimport CODE_CANCELLED, CODE_DATA_LOSS
from pound._wire.dialects cimport DIALECT_PND
from pound._wire.packets cimport KIND_ERROR, load_u16, put_error
from .failures cimport FAILURE_BYTES, failure_code, failure_text
from .kinds cimport (
    C_ANSWERS_DEFERRED, C_FAILED_FOREIGN, C_UNDELIVERABLE, C_UNDELIVERED_BYTES, LOG_REQUEST_FAILED,
    LOG_REQUEST_UNANSWERABLE)
from .log_events cimport log_event
from .queues cimport (
    ask_again, item_at, item_lives, item_pop, item_push, peer_defer, peer_stalled, peer_taken,
    peer_touch)
from .records cimport store_scratch, stored_bytes, stored_clear
from .state cimport ANSWER_BYTES, broker_t, item_t, peer_t, service_name_t, stored_t

cdef enum:
    DEFER_NS = 1_000_000     # after which deferred answers are due
    STALL_NS = 100_000_000   # a blocked client that read nothing for so long does not read
    READING_TIMES = 6        # those that may read: so many times undelivered_bytes_max, in all
    READING_SHARE = 4        # and never more than this part of memory_max
    LOSSES_MAX = 1024        # losses that a client is notified of, whatever else waits for it
    DEFER_BYTES = 16384      # of a peer's answers: a message of that size need not grow


cdef void fail(broker_t *b, uint32_t slot, uint16_t code, uint32_t holder) noexcept nogil:
    """Store an ERROR as the answer of a request that no worker answered, and deliver it."""
    cdef service_name_t *service = &b.services.at[b.d.requests[slot].service]
    cdef char text[FAILURE_BYTES]
    cdef int size
    code = failure_code(&b.slots[slot], code)
    size = min(
        failure_text(b, slot, code, holder, text, sizeof(text)), <int> sizeof(text) - 1)
    b.scratch.size = 0
    if (put_error(&b.scratch, 0, code, 0, text, <uint32_t> size)
            or store_scratch(b, &b.slots[slot].record)):
        stored_clear(b, &b.slots[slot].record)
    if code != CODE_CANCELLED:
        log_event(b, LOG_REQUEST_FAILED, b.peers.of_client[b.d.requests[slot].client], service.name,
                  service.size, code, b.d.requests[slot].attempts)
    disp_answer_bytes(b.d, slot, b.slots[slot].record.size + ANSWER_BYTES)
    deliver(b, slot)


cdef void deliver(broker_t *b, uint32_t slot) noexcept nogil:
    """Queue the answer in `slot` for its client, or account for why it can't be delivered.

    The dispatcher knows its size already.
    """
    cdef peer_t *peer = b.peers.of_client[b.d.requests[slot].client]
    cdef stored_t *record = &b.slots[slot].record
    cdef service_name_t *service = &b.services.at[b.d.requests[slot].service]
    if record.bytes == NULL:
        ask_again(peer)
        disp_undeliverable(b.d, slot)
    elif record.bytes[4] == KIND_ERROR and b.slots[slot].dialect != DIALECT_PND:
        b.counters[C_FAILED_FOREIGN] += 1
        log_event(b, LOG_REQUEST_UNANSWERABLE, peer, service.name, service.size,
                  load_u16(record.bytes + 16), 0)
        disp_undeliverable(b.d, slot)
    elif b.slots[slot].gap and b.slots[slot].dialect != DIALECT_PND:
        b.counters[C_UNDELIVERABLE] += 1  # its stream has gaps, and its dialect no error
        disp_undeliverable(b.d, slot)
    elif overflows(b, peer, answer_size(b, slot)):
        deliver_loss(b, peer, slot)
    elif item_push(b, peer, slot):
        ask_again(peer)
        if b.slots[slot].dialect == DIALECT_PND:
            disp_delivered(b.d, slot)
        else:
            disp_undeliverable(b.d, slot)
    elif may_defer(b, peer, slot):
        b.counters[C_ANSWERS_DEFERRED] += 1
        peer_defer(b, peer, DEFER_NS)
    else:
        peer_touch(b, peer)


cdef uint32_t answer_size(const broker_t *b, uint32_t slot) noexcept nogil:
    """Give what an answer counts for, as the dispatcher knows it."""
    cdef uint32_t bytes = b.d.requests[slot].bytes
    if POUND_CHECKS:
        CHECK(bytes == <uint32_t> stored_bytes(&b.slots[slot].record) + ANSWER_BYTES,
              "answer of slot %u: %u bytes", slot, bytes)
    return bytes


cdef int may_defer(broker_t *b, const peer_t *peer, uint32_t slot) noexcept nogil:
    """Whether an answer may wait for others, so that fewer messages carry them.

    So it is while requests of its priority or a higher one wait for the same service: its workers
    are what is short, and the next request of this client would only wait, too. No ERROR is held
    back, nor an answer that is the client's last, nor so many bytes of them that the send is worth
    its price.
    """
    cdef const request_t *answered = &b.d.requests[slot]
    return (b.d.services[answered.service].filled >> answered.priority
            and b.d.clients[answered.client].open > 0
            and peer.items_bytes < DEFER_BYTES
            and b.slots[slot].record.bytes[4] != KIND_ERROR)


cdef uint64_t reading_bytes(const broker_t *b, const peer_t *peer) noexcept nogil:
    """How many bytes may wait for a client that is seen to read.

    What was sent may still lie in the system's buffers: only one that was sent more than its bound
    is known to read. For those that are not, the first that needs it has one allowance.
    """
    cdef uint64_t bound = b.settings.undelivered_bytes_max
    cdef uint64_t taken = peer_taken(peer)
    cdef uint64_t most = bound
    if b.counters[C_UNDELIVERED_BYTES] < READING_TIMES * bound:
        most = READING_TIMES * bound
    if taken > bound:
        most = max(most, bound + 2 * taken)
    return max(bound, min(most, b.settings.memory_max // READING_SHARE))


cdef int overflows_now(broker_t *b, peer_t *peer, uint64_t size) noexcept nogil:
    """Whether so many bytes more are too many for a client that does not read, or is away.

    One answer may always wait for it. While it is seen to read it may have more than its bound, up
    to a quarter of the memory. Once all of that is used up it has its own bound, and those that
    don't read none.
    """
    cdef uint64_t most = b.settings.undelivered_bytes_max
    if peer.route == NULL or not peer.route.alive:
        return 1
    if peer.blocked.since == 0:
        return 0
    if not b.budget.over:
        most = reading_bytes(b, peer)
    return peer.items_bytes + size > most or peer_stalled(b, peer, STALL_NS)


cdef void deliver_loss(broker_t *b, peer_t *peer, uint32_t slot) noexcept nogil:
    """Drop the answer of a client that does not read: it is notified, or asks again."""
    cdef const char *text = "the answer was dropped: too many bytes waited for this client, " \
                            "which did not read (undelivered_bytes_max, memory_max)"
    b.counters[C_UNDELIVERABLE] += 1
    b.scratch.size = 0
    if (b.slots[slot].dialect != DIALECT_PND
            or (peer.items_bytes - peer.reading.pipe_noted > 2 * b.settings.undelivered_bytes_max
                and peer.items_count > LOSSES_MAX)
            or put_error(&b.scratch, 0, CODE_DATA_LOSS, 0, text, <uint32_t> strlen(text))
            or store_scratch(b, &b.slots[slot].record)):
        ask_again(peer)
        disp_undeliverable(b.d, slot)
        return
    disp_answer_bytes(b.d, slot, b.slots[slot].record.size + ANSWER_BYTES)
    if item_push(b, peer, slot):
        ask_again(peer)
        disp_undeliverable(b.d, slot)
    else:
        peer_touch(b, peer)


cdef void items_drop(broker_t *b, peer_t *peer) noexcept nogil:
    """Give up what a client has not read for too long; when it reads, it may ask again."""
    cdef item_t *item
    ask_again(peer)
    while peer.items_count:
        item = item_at(peer, 0)
        if item.partial == NULL and item_lives(b, item):
            b.counters[C_UNDELIVERABLE] += 1
            disp_undeliverable(b.d, item.slot)
        item_pop(b, peer)
