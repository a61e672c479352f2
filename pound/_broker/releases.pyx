"""What becomes of a task that its worker gives back (see releases.pxd for the rules)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_held_request, disp_release
from pound._wire.dialects cimport DIALECT_PND
from pound._wire.packets cimport FLAG_META, part_next, part_t, record_t
from .actions cimport act, live_now
from .kinds cimport LOG_TASKS_RELEASED
from .log_events cimport log_event
from .state cimport broker_t, envelope_t, peer_t, service_name_t, slot_t

cdef enum:
    RELEASES_FREE_MAX = 7
    WORDS_MAX = 160                  # bytes that are kept of a worker's words
    RELEASES_MAX = 65535             # that are counted

cdef int64_t MILLISECOND = 1_000_000
cdef int64_t RETRY_NS_MIN = 10_000_000
cdef int64_t BACKOFF_NS = 100_000_000
cdef int64_t BACKOFF_NS_MAX = 5_000_000_000
cdef int64_t LOG_AGAIN_NS = 30_000_000_000


cdef int release(broker_t *b, peer_t *peer, uint64_t token, const record_t *r) noexcept nogil:
    cdef uint32_t slot = disp_held_request(b.d, peer.worker, token)
    cdef int64_t delay = 0
    cdef bint elsewhere = False
    cdef int result
    if slot != NONE and not b.d.workers[peer.worker].leaving:
        b.slots[slot].record.releases = min(b.slots[slot].record.releases + 1, RELEASES_MAX)
        delay = delay_of(b, slot, r.retry_after_ms if r != NULL else 0, &elsewhere)
        words_keep(&b.slots[slot], r)
        note(b, peer, slot, delay)
    result = disp_release(
        b.d, peer.worker, token, delay, elsewhere, b.now, live_now(b), &slot)
    act(b)
    return result


# delay_of gives for how long, in ns, a request is held back that was just given back once more, and
# whether only if no other worker can take it at once.
cdef int64_t delay_of(
        broker_t *b, uint32_t slot, uint32_t retry_after_ms, bint *elsewhere) noexcept nogil:
    cdef uint32_t workers = b.d.services[b.d.requests[slot].service].workers
    cdef int64_t free_ones = min(max(workers, <uint32_t> 1) - 1, <uint32_t> RELEASES_FREE_MAX)
    cdef int64_t beyond = b.slots[slot].record.releases - free_ones
    if retry_after_ms:
        return max(retry_after_ms * MILLISECOND, RETRY_NS_MIN)
    elsewhere[0] = beyond <= 0
    return min(BACKOFF_NS << min(max(beyond - 1, <int64_t> 0), <int64_t> 8), BACKOFF_NS_MAX)


# words_keep keeps the words of a release for its client, if its dialect has an ERROR; without
# memory those before are as good.
cdef void words_keep(slot_t *slot, const record_t *r) noexcept nogil:
    cdef const uint8_t *at = r.body if r != NULL else NULL
    cdef envelope_t *kept
    cdef part_t words
    cdef uint32_t size
    words.data = NULL
    words.size = 0
    if (slot.dialect != DIALECT_PND or at == NULL
            or not part_next(&at, r.body + r.body_size, &words)):
        return
    if r.flags & FLAG_META and not part_next(&at, r.body + r.body_size, &words):
        return
    if words.size == 0:
        return
    size = min(words.size, <uint32_t> WORDS_MAX)
    while 0 < size < words.size and (words.data[size] & 0xC0) == 0x80:  # not inside a character
        size -= 1
    kept = <envelope_t *> malloc(sizeof(envelope_t) + size)
    if kept == NULL:
        return
    memcpy(kept.parts, words.data, size)
    kept.size = size
    free(slot.envelope)
    slot.envelope = kept


# note logs that a service's tasks are given back, and how many were since it was logged last.
cdef void note(broker_t *b, peer_t *peer, uint32_t slot, int64_t delay) noexcept nogil:
    cdef service_name_t *service = &b.services.at[b.d.requests[slot].service]
    service.released += 1
    if service.released_logged and b.now - service.released_logged < LOG_AGAIN_NS:
        return
    log_event(b, LOG_TASKS_RELEASED, peer, service.name, service.size, service.released,
              delay // MILLISECOND)
    service.released = 0
    service.released_logged = b.now
