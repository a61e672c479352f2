# Tasks that their workers give back (ERROR 14): where they go, and when.
#
# A release means "not here, not now". Without a delay of its own (retry_after 0) the task goes to
# another worker that can take it at once, as often as the service has other workers,
# RELEASES_FREE_MAX times at most. If there is none, and after that, it is delayed by BACKOFF_NS,
# and by twice as long each further time, up to BACKOFF_NS_MAX. A delay of its own is at least
# RETRY_NS_MIN. So no request is passed round in a busy loop, whatever its workers do. What a
# leaving worker gives back waits as if it had not been sent.
#
# The number of releases is kept with the request's record. For PND clients the words of the last
# one are kept in the place of the envelope, which these clients do not have. A service's releases
# are logged once in LOG_AGAIN_NS.
#
# Cost:   O(log n) a release; nothing for other requests.
# Memory: WORDS_MAX bytes of a released request, freed with its slot.

from libc.stdint cimport uint64_t

from pound._wire.packets cimport record_t
from .state cimport broker_t, peer_t

# release takes a task that its worker gives back by the record `r`, or, if that is NULL, whose
# answer found no memory; the result is an ANS_*.
cdef int release(broker_t *b, peer_t *peer, uint64_t token, const record_t *r) noexcept nogil
