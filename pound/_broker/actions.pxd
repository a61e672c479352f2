# What follows from a decision: the dispatcher's actions carried out on peers, slots and queues.
#
# Nothing here sends: what is to be sent is queued at its peer, which is put on the dirty list.
# Rule: `act` is called after every call of the dispatcher, before the next one from a new input.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._dispatch.dispatcher cimport NONE, disp_actions
from .state cimport broker_t, peer_t, route_t, stored_t

# For the functions below, where there is something to do: act_all for act, slots_grow for
# slot_room, client_open for client_of.
cdef void act_all(broker_t *b) noexcept nogil
cdef int slots_grow(broker_t *b) noexcept nogil
cdef uint32_t client_open(broker_t *b, peer_t *peer, uint8_t reserve) noexcept nogil


cdef inline void act(broker_t *b) noexcept nogil:
    """act carries out what the dispatcher has decided."""
    if disp_actions(b.d):
        act_all(b)


# live_now is the clock of liveness: monotonic ns less the broker's own pauses.
cdef inline int64_t live_now(broker_t *b) noexcept nogil:
    return b.now - b.paused


cdef inline int slot_room(broker_t *b, uint32_t slot) noexcept nogil:
    """slot_room makes room for a slot, at most one more than there is room for; 0, or -1."""
    return 0 if slot < b.slots_room else slots_grow(b)


# store_scratch replaces *record by a copy of the one record in b.scratch; 0, or -1.
cdef int store_scratch(broker_t *b, stored_t *record) noexcept nogil

# overflows_now is overflows for a client that has much waiting.
cdef int overflows_now(broker_t *b, peer_t *peer, uint64_t size) noexcept nogil


cdef inline int overflows(broker_t *b, peer_t *peer, uint64_t size) noexcept nogil:
    """overflows says whether `size` more bytes are too many for a client that does not read.

    One answer may always wait for it, whatever its size, unless the memory for all is used up.
    """
    if not b.over and (
            peer.items_bytes + size <= b.settings.undelivered_bytes_max or peer.items_count == 0):
        return 0
    return overflows_now(b, peer, size)


cdef inline bint leaves_unread(const broker_t *b, const peer_t *peer) noexcept nogil:
    """leaves_unread says whether a client has so much unread that it had better ask for no more."""
    return peer.blocked_since != 0 and peer.items_bytes > b.settings.undelivered_bytes_max


cdef void deliver(broker_t *b, uint32_t slot) noexcept nogil

# What a peer is told by small PND records, at the next flush.
cdef void tell(broker_t *b, peer_t *peer, uint8_t kind, uint64_t id) noexcept nogil
cdef void tell_error(
    broker_t *b, peer_t *peer, uint64_t id, uint16_t code, uint32_t retry_after_ms,
    const char *text) noexcept nogil
cdef void tell_bye(
    broker_t *b, peer_t *peer, uint16_t reason, uint32_t retry_after_ms) noexcept nogil
cdef int tell_welcome(broker_t *b, peer_t *peer) noexcept nogil  # 0, or -1: it can't be told now


cdef inline uint32_t client_of(broker_t *b, peer_t *peer) noexcept nogil:
    """client_of gives the peer's number as a client, made on first use, or NONE: too many.

    Then another client, long in its grace, has made room: what it referred to may be gone.
    """
    if peer.client != NONE and not b.d.clients[peer.client].reserve:
        return peer.client
    return client_open(b, peer, 0)


# worker_of gives the peer's number as a worker, likewise.
cdef uint32_t worker_of(broker_t *b, peer_t *peer) noexcept nogil

# service_find returns NONE for an unknown name; service_named makes it, NONE when there are too
# many (disp_service_refusal) or there is no memory. `client` asks for it, or NONE. Who then has no
# use for it says disp_service_drop, or it stays.
cdef uint32_t service_find(broker_t *b, const uint8_t *name, uint32_t size) noexcept nogil
cdef uint32_t service_named(
    broker_t *b, const uint8_t *name, uint32_t size, int64_t lease_ns, uint8_t how,
    uint32_t client) noexcept nogil

# worker_beats sets when a worker's heartbeat is looked at next: twice in its dialect's interval.
# One that was sent anything since the last look needs none; so no silence outlasts the interval.
cdef void worker_beats(broker_t *b, peer_t *peer) noexcept nogil

cdef void foreign_ready(broker_t *b, peer_t *peer, uint32_t service, uint8_t how) noexcept nogil
cdef void route_lost(broker_t *b, route_t *route) noexcept nogil
cdef void session_end(broker_t *b, peer_t *peer) noexcept nogil
cdef void lost_seek(broker_t *b) noexcept nogil
cdef void lost_forget(broker_t *b, peer_t *peer) noexcept nogil

# refuse_foreign counts a request whose dialect has no way to be told, and says so in the log, at
# most twice a minute for a peer.
cdef void refuse_foreign(
    broker_t *b, peer_t *peer, uint32_t counter, const uint8_t *service, size_t size,
    int64_t why) noexcept nogil
cdef void items_drop(broker_t *b, peer_t *peer) noexcept nogil
