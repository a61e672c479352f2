# Small PND records, which carry no body: they notify a peer at the next flush.
#
# Nothing is dropped while the peer reads: when much waits for it, the loop reads nothing more until
# that has been sent. A peer that does not read is made to ask again (ask_again).
#
# Cost:   amortised O(1) a record.
# Memory: peer.control.records, bounded for peers that do not read.

from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from .state cimport broker_t, peer_t


cdef void notify(broker_t *b, peer_t *peer, uint8_t kind, uint64_t id) noexcept nogil
cdef void notify_error(
    broker_t *b, peer_t *peer, uint64_t id, uint16_t code, uint32_t retry_after_ms,
    const char *text) noexcept nogil
cdef void notify_bye(
    broker_t *b, peer_t *peer, uint16_t reason, uint32_t retry_after_ms) noexcept nogil
cdef int notify_welcome(broker_t *b, peer_t *peer) noexcept nogil  # 0, or -1: not now
