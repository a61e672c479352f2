# Tasks that their workers give back (ERROR 14): where they go, and when.
#
# A release says "not here, not now". Without a time of its own (retry_after 0) the task goes to
# another worker that could take it at once, as many times as the service has other workers,
# RELEASES_FREE_MAX at most. If there is none, and from then on, it is held back for BACKOFF_NS, and
# for twice as long each further time, up to BACKOFF_NS_MAX. With a time it is held back for so
# long, RETRY_NS_MIN at least. So no request goes round in a loop, whatever its workers do. A worker
# that leaves can't get it again: what it gives back waits as if it had not been sent.
#
# The number of releases is kept with the request's record; the words of the last one, for a client
# that can be told, in the place of the envelope, which a PND client does not have. One line in
# LOG_AGAIN_NS tells of a service's releases.
#
# Cost:   O(log n) a release; nothing for other requests.
# Memory: WORDS_MAX bytes of a released request, freed with its slot.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf

from pound._wire.dialects cimport DIALECT_PND
from pound._wire.writer cimport record_t
from .state cimport broker_t, peer_t, slot_t

# release takes a task that its worker gives back by the record `r`, or, if that is NULL, whose
# answer found no memory; the result is an ANS_*.
cdef int release(broker_t *b, peer_t *peer, uint64_t token, const record_t *r) noexcept nogil


cdef inline int releases_text(const slot_t *slot, char *text, size_t room) noexcept nogil:
    """releases_text writes what is said of a request that was given back: its length."""
    cdef uint32_t releases = slot.record.releases
    cdef const char *plural = b"" if releases == 1 else b"s"
    if slot.envelope == NULL or slot.dialect != DIALECT_PND:
        return snprintf(text, room, "given back by its workers, %u time%s", releases, plural)
    return snprintf(text, room, "given back by its workers, %u time%s; the last one said: %.*s",
                    releases, plural, <int> slot.envelope.size,
                    <const char *> slot.envelope.parts)
