"""Answers and partials of workers, handed to the dispatcher (see answers.pxd for the rules)."""

from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from pound._dispatch.dispatcher cimport disp_answer, disp_cancel
from pound._dispatch.model cimport ANS_COUNTED
from pound._wire.codes cimport CODE_DATA_LOSS, CODE_INTERNAL
from pound._wire.dialects cimport DIALECT_MDP2, DIALECT_PND
from pound._wire.packets cimport put_error
from .actions cimport act, live_now
from .credits cimport credit_grant_all, credit_grant_stored
from .delivery cimport deliver, overflows
from .kinds cimport C_PARTIALS, C_PARTIALS_DROPPED
from .queues cimport partial_push, peer_touch
from .records cimport stored_bytes, stored_clear, stored_fill
from .releases cimport release
from .state cimport ANSWER_BYTES, GAP_MEMORY, GAP_UNREAD, broker_t, gap_t, peer_t, stored_t

cdef int answer(
        broker_t *b, peer_t *peer, uint64_t token, stored_t *record) noexcept nogil:
    cdef uint32_t slot
    cdef int result = disp_answer(
        b.d, peer.worker, token, <uint32_t> stored_bytes(record) + ANSWER_BYTES, b.now,
        live_now(b), &slot)
    if result == ANS_COUNTED:
        stored_clear(b, &b.slots[slot].record)
        b.slots[slot].record = record[0]
        deliver(b, slot)
    else:
        stored_clear(b, record)
    act(b)
    return result


cdef int answer_oversized(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    return answer_instead(
        b, peer, token, CODE_INTERNAL,
        "the worker's answer is larger than the broker takes (body_bytes_max)")


cdef int answer_bad(
        broker_t *b, peer_t *peer, uint64_t token, const char *why) noexcept nogil:
    cdef char text[160]
    snprintf(text, sizeof(text), "the worker's answer is malformed: %s", why)
    return answer_instead(b, peer, token, CODE_INTERNAL, text)


cdef int answer_unstored(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    return answer_instead(
        b, peer, token, CODE_DATA_LOSS, "the answer was dropped: the broker is out of memory")


cdef int answer_instead(
        broker_t *b, peer_t *peer, uint64_t token, uint8_t code, const char *text) noexcept nogil:
    """End a task by an ERROR; without memory for that, too, it goes to the next worker."""
    cdef stored_t record
    b.scratch.size = 0
    if (put_error(&b.scratch, token, code, 0, text, <uint32_t> strlen(text)) == 0
            and stored_fill(b, &record, b.scratch.data, <uint32_t> b.scratch.size, 0) == 0):
        return answer(b, peer, token, &record)
    return release(b, peer, token, NULL)


cdef void partial(broker_t *b, uint32_t slot, stored_t *record) noexcept nogil:
    cdef peer_t *peer = b.peers.of_client[b.d.requests[slot].client]
    cdef uint32_t size = <uint32_t> stored_bytes(record) + ANSWER_BYTES
    if not streams(b, slot) or b.slots[slot].gap or overflows(b, peer, size):
        if not streams(b, slot):
            credit_grant_stored(b, slot, record)
        stored_clear(b, record)
        partial_dropped(b, slot, GAP_UNREAD)
    elif partial_push(b, peer, slot, record, size):
        stored_clear(b, record)
        partial_dropped(b, slot, GAP_MEMORY)
    else:
        b.counters[C_PARTIALS] += 1
        peer_touch(b, peer)


# streams says whether a request's client is sent partials: others get the final answer only.
cdef bint streams(const broker_t *b, uint32_t slot) noexcept nogil:
    return b.slots[slot].dialect == DIALECT_PND or b.slots[slot].dialect == DIALECT_MDP2


cdef void partial_dropped(broker_t *b, uint32_t slot, gap_t why) noexcept nogil:
    b.counters[C_PARTIALS_DROPPED] += 1
    if not streams(b, slot):
        if why != GAP_UNREAD:  # what it cost its worker is not known
            credit_grant_all(b, slot)
        return
    if not b.slots[slot].gap:
        b.slots[slot].gap = why
    if b.slots[slot].dialect != DIALECT_PND:
        credit_grant_all(b, slot)
    disp_cancel(b.d, b.d.requests[slot].client, b.d.requests[slot].id, b.now)
    act(b)
