"""The door for clients, workers and requests (see admission.pxd for the rules)."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint8_t
from libc.string cimport memcpy, memset

from pound._base.array cimport array_room
from pound._base.hints cimport fetch, unlikely
from pound._base.pool cimport NONE
from pound._dispatch.changes cimport request_find
from pound._dispatch.dispatcher cimport (
    disp_answer_bytes, disp_client_open, disp_client_room, disp_clients_full, disp_offerable,
    disp_request, disp_service_drop, disp_service_refusal, disp_worker_open, disp_worker_ready)
from pound._dispatch.model cimport (
    LIVENESS_ALWAYS, LIVENESS_IDLE, LIVENESS_NEVER, OPENED_INTERNAL, OPENED_NAMED, OPENED_OFFERED,
    READY_NEW_LIFE, READY_NEW_ROUTE, REQ_ACCEPTED, REQ_BUSY_CLIENTS, REQ_BUSY_UNREAD, REQ_KEPT,
    REQ_MANY_SERVICES, REQ_NO_MEMORY)
from pound._wire.dialects cimport DIALECT_PLAIN, DIALECT_PND, DIALECT_PPP
from pound._wire.packets cimport FLAG_MOVED, put_request, record_t
from .actions cimport act, live_now
from .adoption cimport adoption_claims, adoption_count, adoption_match, adoption_moved
from .delivery cimport deliver, leaves_unread
from .heartbeats cimport heartbeats_start
from .internal_services cimport (
    PAGE_MMI_HIDDEN, PAGE_MMI_SERVICE, PAGE_MMI_UNKNOWN, PAGE_NONE, PAGE_UNKNOWN, page_has_rows,
    page_is_mmi, page_of, page_write)
from .kinds cimport (
    C_NO_MEMORY, C_ONE_PART_REFUSED, C_REFUSED_DRAINING, C_RESERVED_SERVICES, C_SESSIONS_REFUSED,
    C_TURNS, LOG_WORKER_READY, LOG_WORKER_REFUSED)
from .log_events cimport log_event
from .quotas cimport owner_of_client
from .reasons cimport (
    REFUSED_BODY, REFUSED_DRAINING, REFUSED_DURABLE, REFUSED_ONE_PART, REFUSED_RESERVED,
    REFUSED_WORKERS)
from .records cimport (
    slot_clear, slot_room, store_envelope, store_record, store_request, store_scratch, stored_again,
    stored_bytes, stored_clear)
from .rights cimport rights_knows, rights_offer, rights_request
from .services cimport service_named
from .state cimport (
    ANSWER_BYTES, FULL_CLIENTS, FULL_WORKERS, LOST_TRIED, OWE_DISCONNECT, broker_t, peer_t,
    service_name_t, slot_t, stored_t)

cdef enum:
    PAGES_BYTES = 1 << 20    # of pages that one turn writes: about 3 ms
    LOST_AGAIN_NS = 100_000_000  # between two tries whether lost workers can be reached again


# -- roles ------------------------------------------------------------------------------------

cdef uint32_t client_open(broker_t *b, peer_t *peer, uint8_t reserve) noexcept nogil:
    cdef uint32_t client
    disp_client_room(b.d, b.now)
    act(b)
    if peer.client != NONE:  # of the reserve: it comes in by its next request, if there is room
        return peer.client
    if array_room(<void **> &b.peers.of_client, &b.peers.clients_room, b.d.client_pool.fresh,
                  sizeof(peer_t *)):
        b.counters[C_NO_MEMORY] += 1
        return NONE
    client = disp_client_open(b.d, peer.dialect != DIALECT_PND, reserve)
    if client == NONE:
        b.rounds.full |= FULL_CLIENTS
        return NONE
    b.peers.of_client[client] = peer
    peer.client = client
    owner_of_client(b, peer, client)
    return client


# worker_of gives the peer's number as a worker, made on first use, or NONE: too many.
cdef uint32_t worker_of(broker_t *b, peer_t *peer) noexcept nogil:
    cdef uint32_t worker
    cdef uint8_t mode = LIVENESS_IDLE
    cdef int64_t liveness_ns = 0
    if peer.worker != NONE:
        return peer.worker
    if array_room(<void **> &b.peers.of_worker, &b.peers.workers_room, b.d.worker_pool.fresh,
                  sizeof(peer_t *)):
        b.counters[C_NO_MEMORY] += 1
        return NONE
    if peer.dialect == DIALECT_PND:
        mode = LIVENESS_ALWAYS
        liveness_ns = b.settings.heartbeat_ns * b.settings.liveness
    elif peer.dialect == DIALECT_PPP:
        liveness_ns = b.settings.ppp_heartbeat_ns * b.settings.ppp_liveness
    elif peer.dialect == DIALECT_PLAIN:
        mode = LIVENESS_NEVER
    else:
        liveness_ns = b.settings.mdp_heartbeat_ns * b.settings.mdp_liveness
    worker = disp_worker_open(b.d, mode, liveness_ns, peer.dialect == DIALECT_PND, live_now(b))
    if worker == NONE:
        b.rounds.full |= FULL_WORKERS
        return NONE
    b.peers.of_worker[worker] = peer
    peer.worker = worker
    return worker


# -- requests ---------------------------------------------------------------------------------

cdef int admit(broker_t *b, peer_t *peer, const arrival_t *a) noexcept nogil:
    cdef uint32_t service
    cdef slot_t kept
    cdef int why
    if unlikely(b.guard != NULL):
        why = rights_request(b, peer, a.page, a.service, a.service_size)
        if why != REQ_ACCEPTED:
            return why
    if a.durable:
        return REFUSED_DURABLE
    if a.body_bytes > b.settings.body_bytes_max:
        return REFUSED_BODY
    if a.page != PAGE_NONE:
        return admit_page(b, peer, a)
    if b.drain.draining and not (peer.client != NONE and a.id <= b.d.clients[peer.client].highest):
        b.counters[C_REFUSED_DRAINING] += 1
        return REFUSED_DRAINING
    if client_of(b, peer) == NONE:
        b.counters[C_SESSIONS_REFUSED] += 1
        return REQ_BUSY_CLIENTS if disp_clients_full(b.d) else REQ_NO_MEMORY
    service = service_named(
        b, a.service, a.service_size, b.settings.lease_ns, OPENED_NAMED, peer.client)
    if service == NONE:
        return no_service(b, OPENED_NAMED, peer.client)
    if b.services.at[service].one_part and a.parts != 1:
        b.counters[C_ONE_PART_REFUSED] += 1
        return REFUSED_ONE_PART
    memset(&kept, 0, sizeof(slot_t))
    kept.dialect = a.dialect
    if keep(b, service, a, &kept):
        slot_clear(b, &kept)
        disp_service_drop(b.d, service)
        act(b)
        return REQ_NO_MEMORY
    return accept(b, peer, service, a, &kept)


# no_service says why there is no number for a new service.
cdef int no_service(broker_t *b, uint8_t how, uint32_t client) noexcept nogil:
    cdef int result = disp_service_refusal(b.d, how, client)
    act(b)
    return result if result != REQ_ACCEPTED else REQ_NO_MEMORY


# keep stores a request and what is needed to answer it: 0, or -1.
cdef int keep(
        broker_t *b, uint32_t service, const arrival_t *a, slot_t *kept) noexcept nogil:
    cdef const service_name_t *s = &b.services.at[service]
    if a.record != NULL:
        return store_record(b, &kept.record, a.record) or restated(b, s, a.record, &kept.record)
    return (store_request(b, &kept.record, s.name, s.size, a.message.body + 1, a.parts)
            or store_envelope(b, kept, a.message))


# restated rewrites a stored request that its TASK can't be made of in place: one for the default
# service, when that has a name of its own by which its workers know it, and one that says MOVED.
# 0, or -1.
cdef int restated(
        broker_t *b, const service_name_t *s, const record_t *r, stored_t *record) noexcept nogil:
    cdef uint8_t flags = r.flags & <uint8_t> ~FLAG_MOVED
    cdef uint8_t *body
    if r.service_size == s.size and flags == r.flags:
        return 0
    b.scratch.size = 0
    body = put_request(&b.scratch, r.id, flags, r.parts, r.timeout_ms, r.priority, r.key, 0,
                       s.name, <uint16_t> s.size, r.body_size)
    if body == NULL:
        return -1
    if r.body_size:
        memcpy(body, r.body, r.body_size)
    return stored_again(b, record, b.scratch.data, <uint32_t> b.scratch.size)


# accept offers a request to the dispatcher. It counts for the bytes of its record and its envelope.
cdef int accept(
        broker_t *b, peer_t *peer, uint32_t service, const arrival_t *a, slot_t *kept
        ) noexcept nogil:
    cdef uint32_t bytes = <uint32_t> stored_bytes(&kept.record)
    cdef uint32_t slot
    cdef int result = REQ_NO_MEMORY
    if kept.envelope != NULL:
        bytes += kept.envelope.size
    if slot_room(b, b.d.request_pool.fresh):
        disp_service_drop(b.d, service)
    elif leaves_unread(b, peer) and request_find(b.d, peer.client, a.id) == NONE:
        disp_service_drop(b.d, service)
        b.d.counters.refused += 1
        result = REQ_BUSY_UNREAD
    else:
        result = disp_request(
            b.d, peer.client, a.id, service, a.priority, a.timeout_ns, bytes, 0, a.hold_ns, b.now,
            &slot)
    if result == REQ_ACCEPTED:
        b.slots[slot] = kept[0]
        fetch(&b.slots[b.d.request_pool.free])
        b.lost.seek |= b.lost.count > 0 and b.now - b.lost.tried_at >= LOST_AGAIN_NS
        if unlikely(a.hold_ns > 0):
            adoption_moved(b, slot, a.record)
    else:
        slot_clear(b, kept)
        if result == REQ_KEPT:
            deliver(b, slot)
    act(b)
    return result


# -- pages ------------------------------------------------------------------------------------

# page_waits says whether a page is not to be written in this turn: the client has too much unread,
# or it was sent one with rows, or this turn wrote enough of them. MMI's answers are a few bytes.
cdef int page_waits(broker_t *b, const peer_t *peer, uint8_t page) noexcept nogil:
    if leaves_unread(b, peer):
        return 1
    if page_has_rows(page) and peer.logged.paged_turn == b.counters[C_TURNS]:
        return 1
    return b.budget.page_bytes > PAGES_BYTES and not page_is_mmi(page)


# admit_page answers a request for one of the broker's own services.
cdef int admit_page(broker_t *b, peer_t *peer, const arrival_t *a) noexcept nogil:
    cdef uint32_t slot
    cdef int result
    if a.page == PAGE_UNKNOWN:
        b.counters[C_RESERVED_SERVICES] += 1
        return REFUSED_RESERVED
    result = page_request(b, peer, a, &slot)
    if result == REQ_ACCEPTED:
        page_answer(b, peer, a, slot)
    if result == REQ_ACCEPTED or result == REQ_KEPT:
        deliver(b, slot)
    act(b)
    return result


cdef int page_request(
        broker_t *b, peer_t *peer, const arrival_t *a, uint32_t *slot) noexcept nogil:
    cdef uint32_t client = peer.client if peer.client != NONE else client_open(b, peer, 1)
    cdef uint32_t service
    if client == NONE:
        return REQ_BUSY_CLIENTS
    service = service_named(b, a.service, a.service_size, 0, OPENED_INTERNAL, NONE)
    if service == NONE:
        return REQ_NO_MEMORY
    if page_waits(b, peer, a.page) and request_find(b.d, client, a.id) == NONE:
        disp_service_drop(b.d, service)
        return REQ_BUSY_UNREAD
    if slot_room(b, b.d.request_pool.fresh):
        disp_service_drop(b.d, service)
        return REQ_NO_MEMORY
    return disp_request(b.d, client, a.id, service, 0, 0, 0, 1, 0, b.now, slot)


# page_answer writes the page as the request's answer; without memory the slot stays empty.
cdef void page_answer(
        broker_t *b, peer_t *peer, const arrival_t *a, uint32_t slot) noexcept nogil:
    cdef stored_t *record = &b.slots[slot].record
    cdef uint8_t page = a.page
    b.slots[slot].dialect = a.dialect
    if page == PAGE_MMI_SERVICE and a.asked == NULL:
        page = PAGE_MMI_UNKNOWN
    elif page == PAGE_MMI_SERVICE and b.guard != NULL and not rights_knows(
            b, peer, a.asked.data, <uint32_t> a.asked.size):
        page = PAGE_MMI_HIDDEN
    if page_write(b, page, a.asked.data if a.asked != NULL else NULL,
                  <uint32_t> a.asked.size if a.asked != NULL else 0) == 0:
        store_scratch(b, record)
    b.budget.page_bytes += b.scratch.size
    if page_has_rows(page):
        peer.logged.paged_turn = b.counters[C_TURNS]
    disp_answer_bytes(b.d, slot, record.size + ANSWER_BYTES)
    if a.message != NULL and store_envelope(b, &b.slots[slot], a.message):
        stored_clear(b, record)


# -- workers ----------------------------------------------------------------------------------

cdef int service_to_offer(
        broker_t *b, peer_t *peer, const uint8_t *name, uint32_t size, uint32_t *service
        ) noexcept nogil:
    cdef int why = REQ_ACCEPTED
    if unlikely(b.guard != NULL):
        why = rights_offer(b, peer, name, size)
    if why != REQ_ACCEPTED:
        return why
    if page_of(name, size) != PAGE_NONE:
        b.counters[C_RESERVED_SERVICES] += 1
        return REFUSED_RESERVED
    service[0] = service_named(b, name, size, b.settings.lease_ns, OPENED_OFFERED, NONE)
    return REQ_ACCEPTED if service[0] != NONE else no_service(b, OPENED_OFFERED, NONE)


cdef void services_drop(broker_t *b, const uint32_t *services, uint32_t count) noexcept nogil:
    cdef uint32_t i, j
    for i in range(count):
        j = 0
        while services[j] != services[i]:
            j += 1
        if j == i:
            disp_service_drop(b.d, services[i])
    act(b)


cdef void worker_refused(
        broker_t *b, peer_t *peer, const uint8_t *name, size_t size, int why) noexcept nogil:
    log_event(b, LOG_WORKER_REFUSED, peer, name, size, why, 0)


cdef int admit_worker(broker_t *b, peer_t *peer, const ready_t *offer) noexcept nogil:
    cdef const service_name_t *s = &b.services.at[offer.services[0]]
    cdef int why = REQ_ACCEPTED
    cdef bint gone
    if not disp_offerable(b.d, offer.services, offer.count):
        why = REQ_MANY_SERVICES
    elif worker_of(b, peer) == NONE:
        b.counters[C_SESSIONS_REFUSED] += 1
        why = REFUSED_WORKERS
    if why != REQ_ACCEPTED:
        worker_refused(b, peer, s.name, s.size, why)
        services_drop(b, offer.services, offer.count)
        return why
    if offer.announced:
        log_event(b, LOG_WORKER_READY, peer, s.name, s.size, offer.capacity, peer.dialect)
    peer.capacity = offer.capacity
    if offer.how == READY_NEW_ROUTE:
        peer.tasks.count = 0
    gone = b.d.workers[peer.worker].gone  # such a one has claims again once it is back
    if not gone:
        adoption_claims(b, peer, offer.capacity)
    disp_worker_ready(
        b.d, peer.worker, offer.capacity, offer.services, offer.count, offer.tokens,
        offer.tokens_count - (adoption_count(peer) if gone else 0), offer.how, b.now, live_now(b))
    if gone:
        adoption_claims(b, peer, offer.capacity)
    adoption_match(b, peer)
    act(b)
    if not peer.heartbeat.scheduled:
        heartbeats_start(b, peer)
    return REQ_ACCEPTED


# guide_denied refuses a worker that may not serve: 1, it did. What is no READY in its dialect may
# count as one.
cdef int guide_denied(broker_t *b, peer_t *peer, uint32_t service) noexcept nogil:
    cdef const service_name_t *s = &b.services.at[service]
    cdef int why = rights_offer(b, peer, s.name, s.size)
    if why == REQ_ACCEPTED:
        return 0
    worker_refused(b, peer, s.name, s.size, why)
    peer.guide.refused = 1
    disp_service_drop(b.d, service)
    act(b)
    return 1


cdef void guide_ready(broker_t *b, peer_t *peer, uint32_t service) noexcept nogil:
    cdef int known = peer.worker != NONE and not b.d.workers[peer.worker].gone
    cdef ready_t offer
    if unlikely(b.guard != NULL) and guide_denied(b, peer, service):
        return
    memset(&offer, 0, sizeof(ready_t))
    offer.services = &service
    offer.count = offer.capacity = 1
    offer.how = READY_NEW_LIFE
    offer.announced = not known and peer.lost.state != LOST_TRIED
    peer.guide.refused = admit_worker(b, peer, &offer) != REQ_ACCEPTED
    if not peer.guide.refused:
        peer.control.owed &= <uint8_t> ~OWE_DISCONNECT
        peer.guide.service = service
