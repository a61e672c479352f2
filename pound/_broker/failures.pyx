"""Why a request failed, in words (see failures.pxd)."""

from libc.stdint cimport uint16_t, uint32_t
from libc.stdio cimport snprintf

from pound._base.pool cimport NONE
from pound._wire.codes cimport (
    CODE_ABORTED, CODE_CANCELLED, CODE_DATA_LOSS, CODE_DEADLINE_EXCEEDED, CODE_INTERNAL,
    CODE_NOT_FOUND, CODE_RESOURCE_EXHAUSTED)
from pound._wire.dialects cimport DIALECT_PND
from .state cimport GAP_BAD, GAP_UNREAD, broker_t, peer_t, slot_t

cdef enum:
    SENTENCE_PART = 128      # bytes of a part of a sentence


cdef uint16_t failure_code(const slot_t *slot, uint16_t code) noexcept nogil:
    if slot.gap == 0:
        return code
    if slot.gap == GAP_BAD:
        return CODE_INTERNAL
    return CODE_RESOURCE_EXHAUSTED if slot.gap == GAP_UNREAD else CODE_DATA_LOSS


cdef int failure_text(
        broker_t *b, uint32_t slot, uint16_t code, uint32_t holder, char *text, size_t room
        ) noexcept nogil:
    """Say why the request failed, for a person; returns the length."""
    cdef int attempts = b.d.requests[slot].attempts
    cdef int size
    if code == CODE_CANCELLED:
        return snprintf(text, room, "cancelled by the client")
    if code == CODE_DEADLINE_EXCEEDED and holder != NONE:
        return held_text(b, slot, b.peers.of_worker[holder], text, room)
    if code == CODE_DEADLINE_EXCEEDED:
        if b.slots[slot].record.releases:
            size = snprintf(text, room, "deadline exceeded: ")
            return size + releases_text(&b.slots[slot], text + size, room - size)
        return unserved_text(b, slot, "deadline exceeded", "now", text, room)
    if code == CODE_NOT_FOUND:
        return unserved_text(b, slot, "given up", "within the broker's service_wait", text, room)
    if code == CODE_ABORTED:
        return snprintf(text, room, "given up after %d attempts: each worker was lost%s while it "
                        "held this request", attempts, lease_words(b, slot))
    if code == CODE_INTERNAL:
        return snprintf(text, room, "a partial answer of the worker is larger than the broker "
                        "takes (body_bytes_max, frames_max)")
    if code == CODE_DATA_LOSS:
        return snprintf(text, room, "a partial answer was dropped: the broker is out of memory")
    return snprintf(text, room, "the client does not read its partial answers: too many bytes "
                    "are waiting for it (undelivered_bytes_max)")


cdef int releases_text(const slot_t *slot, char *text, size_t room) noexcept nogil:
    """Write what is said of a request that was given back; returns the length."""
    cdef uint32_t releases = slot.record.releases
    cdef const char *plural = b"" if releases == 1 else b"s"
    if slot.envelope == NULL or slot.dialect != DIALECT_PND:
        return snprintf(text, room, "given back by its workers, %u time%s", releases, plural)
    return snprintf(text, room, "given back by its workers, %u time%s; the last one said: %.*s",
                    releases, plural, <int> slot.envelope.size,
                    <const char *> slot.envelope.parts)


cdef int held_text(
        broker_t *b, uint32_t slot, const peer_t *holder, char *text, size_t room) noexcept nogil:
    """Say that a worker had the request at its deadline; NULL: it has gone meanwhile."""
    cdef int attempts = b.d.requests[slot].attempts
    cdef char before[SENTENCE_PART]
    before[0] = 0
    if attempts > 1:
        snprintf(before, sizeof(before), "; %d before it %s lost%s", attempts - 1,
                 either(attempts == 2, "was", "were"), lease_words(b, slot))
    if holder == NULL:
        return snprintf(text, room, "deadline exceeded: sent to a worker (attempt %d), not "
                        "answered in time%s", attempts, before)
    return snprintf(
        text, room, "deadline exceeded: sent to worker %.*s (attempt %d), not answered in time%s",
        <int> holder.label.size, <const char *> holder.label.bytes, attempts, before)


cdef int unserved_text(
        broker_t *b, uint32_t slot, const char *what, const char *wait, char *text, size_t room
        ) noexcept nogil:
    """Say that no worker had the request at its end, and why."""
    cdef int attempts = b.d.requests[slot].attempts
    cdef unsigned int workers = b.d.services[b.d.requests[slot].service].workers
    cdef char lost[SENTENCE_PART]
    lost[0] = 0
    if attempts:
        snprintf(lost, sizeof(lost), "%d worker%s with this request %s lost%s, and ", attempts,
                 either(attempts == 1, "", "s"),
                 either(attempts == 1, "was", "were"), lease_words(b, slot))
    if workers:
        return snprintf(text, room, "%s: %sno worker was free in time (%u offer%s this service)",
                        what, lost, workers, either(workers == 1, "s", ""))
    if attempts:
        return snprintf(text, room, "%s: %sno other offers this service %s", what, lost, wait)
    return snprintf(text, room, "%s: no worker offers this service %s; `pound services` lists "
                    "those that are offered", what, wait)


cdef const char *either(int first, const char *this, const char *that) noexcept nogil:
    return this if first else that


# lease_words says that a worker may also have been too slow, where it may.
cdef const char *lease_words(const broker_t *b, uint32_t slot) noexcept nogil:
    if b.d.services[b.d.requests[slot].service].lease_ns:
        return " or kept it beyond its lease"
    return ""
