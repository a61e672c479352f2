"""Small PND records on their way to a peer (see control.pxd for the rules)."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport strlen

from pound._wire.packets cimport put_bye, put_error, put_simple, put_welcome
from .kinds cimport C_CONTROL_DROPPED, C_NO_MEMORY
from .queues cimport ask_again, control_counts, peer_touch
from .state cimport broker_t, peer_t

cdef enum:
    CONTROL_BYTES_MAX = 1 << 18  # small records that wait for a peer


cdef int queued(broker_t *b, peer_t *peer, int failed) noexcept nogil:
    if failed:
        b.counters[C_NO_MEMORY] += 1
        ask_again(peer)
        return -1
    peer.control.count += 1
    control_counts(b, peer)
    peer_touch(b, peer)
    return 0


# control_opens says whether one more small record may wait for the peer. Nothing that a peer is
# owed is dropped while it reads: when much waits for it, nothing more is read until that has been
# sent, and only the records of the message that is being read go beyond the bound. A peer that does
# not read asks again for all that it lacks, once it does.
cdef int control_opens(broker_t *b, peer_t *peer) noexcept nogil:
    if peer.control.records.size - peer.control.sent < CONTROL_BYTES_MAX and not peer.dead:
        return 1
    if not (peer.dead or peer.blocked.waits or peer.route == NULL):
        b.loop.flush_first = 1
        return 1
    b.counters[C_CONTROL_DROPPED] += 1
    ask_again(peer)
    return 0


cdef void notify(broker_t *b, peer_t *peer, uint8_t kind, uint64_t id) noexcept nogil:
    if control_opens(b, peer):
        queued(b, peer, put_simple(&peer.control.records, kind, id))


cdef void notify_error(
        broker_t *b, peer_t *peer, uint64_t id, uint16_t code, uint32_t retry_after_ms,
        const char *text) noexcept nogil:
    if control_opens(b, peer):
        queued(b, peer, put_error(
            &peer.control.records, id, code, retry_after_ms, text, <uint32_t> strlen(text)))


cdef void notify_bye(
        broker_t *b, peer_t *peer, uint16_t reason, uint32_t retry_after_ms) noexcept nogil:
    if control_opens(b, peer):
        queued(b, peer, put_bye(&peer.control.records, reason, retry_after_ms))


cdef int notify_welcome(broker_t *b, peer_t *peer) noexcept nogil:
    if not control_opens(b, peer):
        return -1
    return queued(b, peer, put_welcome(
        &peer.control.records, <uint32_t> (b.settings.heartbeat_ns // 1000000), b.settings.liveness,
        b.settings.body_bytes_max, b.settings.packet_bytes_max, b.settings.frames_max,
        b.settings.requests_max, b.settings.features))
