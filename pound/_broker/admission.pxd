# The door: clients, workers and requests of every dialect enter here, and nowhere else.
#
# A dialect parses what a peer sends and checks its form. Whether it is admitted is decided here and
# in the dispatcher, by the same rules in the same order for every dialect. What is refused changes
# only counters. The result is the reason (reasons.pxd); the dialect sends it in its own way, or has
# none.
#
# Cost:   that of the dispatcher's decision, and one copy of what is kept.
# Memory: what is kept of a request is owned by its slot, or freed here.

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from pound._base.pool cimport NONE
from pound._wire.dialects cimport frame_t, message_t
from pound._wire.packets cimport record_t
from .state cimport broker_t, peer_t


cdef struct arrival_t:       # a request as its dialect has read it; nothing in it is owned
    uint64_t id              # its client's number for it
    const uint8_t *service
    uint32_t service_size    # 0: the default service
    uint32_t parts           # of the body
    uint64_t body_bytes
    int64_t timeout_ns       # 0: none
    int64_t hold_ns          # for how long a moved request is held back; 0: it is not one
    uint8_t priority
    uint8_t durable
    uint8_t dialect
    uint8_t page             # PAGE_*: the broker itself answers
    const frame_t *asked     # of a page's request: the last part of its body; NULL: it has none
    const record_t *record   # the request itself, if it is of PND
    const message_t *message  # else

cdef struct ready_t:         # a worker that is ready for services
    const uint32_t *services  # their numbers, by service_to_offer
    uint32_t count
    uint32_t capacity
    const uint64_t *tokens   # of the tasks that it says it holds; NULL: it does not say
    uint32_t tokens_count
    uint8_t how              # READY_*
    uint8_t announced        # it is logged


# admit lets a request in: REQ_ACCEPTED, or what became of it instead (request_result, refusal_t).
# An answer that is there already, or a page, is on its way to the client then.
cdef int admit(broker_t *b, peer_t *peer, const arrival_t *a) noexcept nogil

# service_to_offer gives the number of a service that a worker names: REQ_ACCEPTED, or why not.
# services_drop gives numbers back whose worker did not come in.
cdef int service_to_offer(
    broker_t *b, peer_t *peer, const uint8_t *name, uint32_t size, uint32_t *service) noexcept nogil
cdef void services_drop(broker_t *b, const uint32_t *services, uint32_t count) noexcept nogil

# admit_worker lets a worker in, or takes what it says anew: REQ_ACCEPTED, or why not; then its
# services are dropped, and that is logged.
cdef int admit_worker(broker_t *b, peer_t *peer, const ready_t *offer) noexcept nogil

# worker_refused logs that a worker does not come in, by the name of a service.
cdef void worker_refused(
    broker_t *b, peer_t *peer, const uint8_t *name, size_t size, int why) noexcept nogil

# guide_ready is admit_worker for a worker with one service and a capacity of one task.
cdef void guide_ready(broker_t *b, peer_t *peer, uint32_t service) noexcept nogil

# client_open makes the peer a client, of the `reserve` if all else is full: its number, or NONE.
cdef uint32_t client_open(broker_t *b, peer_t *peer, uint8_t reserve) noexcept nogil


cdef inline uint32_t client_of(broker_t *b, peer_t *peer) noexcept nogil:
    """client_of gives the peer's number as a client, made on first use, or NONE: too many.

    Then another client, long in its grace, has made room: what it referred to may be gone.
    """
    if peer.client != NONE and not b.d.clients[peer.client].reserve:
        return peer.client
    return client_open(b, peer, 0)
