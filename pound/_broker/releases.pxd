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
# whose dialect has an ERROR, in the place of the envelope, which a PND client does not have. One
# line in LOG_AGAIN_NS reports a service's releases.
#
# Cost:   O(log n) a release; nothing for other requests.
# Memory: WORDS_MAX bytes of a released request, freed with its slot.

from libc.stdint cimport uint64_t

from pound._wire.writer cimport record_t
from .state cimport broker_t, peer_t

# release takes a task that its worker gives back by the record `r`, or, if that is NULL, whose
# answer found no memory; the result is an ANS_*.
cdef int release(broker_t *b, peer_t *peer, uint64_t token, const record_t *r) noexcept nogil
