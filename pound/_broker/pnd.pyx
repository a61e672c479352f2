"""What PND peers say: sessions and records (docs/protocol.md is the specification)."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from pound._base.check cimport CHECK
from pound._base.hints cimport fetch, unlikely
from pound._base.table cimport names_get, names_put
from pound._dispatch.dispatcher cimport (
    NONE, OPENED_NAMED, OPENED_OFFERED, PRIORITIES, READY_NEW_ROUTE, READY_SAME_ROUTE, REQ_ACCEPTED,
    REQ_ANSWERED, REQ_BUSY_CLIENTS, REQ_BUSY_WINDOW, REQ_BUSY_WORKERLESS, REQ_HELD, REQ_KEPT,
    REQ_MANY_NAMES, REQ_MANY_OWN_NAMES, REQ_MANY_SERVICES, REQ_NO_MEMORY, REQ_NO_SERVICE, REQ_STALE,
    disp_cancel, disp_client_back, disp_client_close, disp_client_done, disp_clients_full,
    disp_expect, disp_heard, disp_offerable, disp_partial, disp_service_drop, disp_service_refusal,
    disp_worker_leave, disp_worker_ready)
from pound._wire.dialects cimport DIALECT_MDP2, DIALECT_PND, frame_t
from pound._wire.reader cimport header_check
from pound._wire.writer cimport (
    BYE_AGREED, BYE_GOING, BYE_UNKNOWN, CODE_INVALID_ARGUMENT, CODE_NOT_FOUND,
    CODE_PERMISSION_DENIED, CODE_RESOURCE_EXHAUSTED, CODE_UNAVAILABLE, CODE_UNIMPLEMENTED,
    CODE_UNKNOWN, FLAG_ATTACHED, FLAG_DURABLE, FLAG_META, KIND_ACCEPTED, KIND_BYE, KIND_CANCEL,
    KIND_CREDIT, KIND_ERROR, KIND_HEARTBEAT, KIND_HELLO, KIND_PARTIAL, KIND_READY, KIND_REPLY,
    KIND_REQUEST, RECORD_SIZE, SERVICE_BYTES_MAX, WIRE_OK, WIRE_VERSION, kind_known, load_u16,
    load_u64, packet_ids, packet_next, packet_open, packet_t, part_next, part_t, partial_cost,
    put_request, record_t, store_u16, wire_error_text)
from .actions cimport (
    act, client_of, deliver, live_now, lost_forget, service_named, session_end, tell, tell_bye,
    tell_error, tell_welcome, worker_beats, worker_of)
from .credits cimport credit_grant, credit_heard, credits_again
from .flush cimport send_version
from .intake cimport (
    accept, answer, answer_oversized, answer_page, answer_unstored, frames_bytes, partial,
    partial_dropped, store_record, strike)
from .internal_services cimport PAGE_NONE, PAGE_UNKNOWN, page_of
from .peers cimport (
    log_event, peer_address, peer_label, peer_open, peer_release, route_attach, route_closing,
    route_detach, route_native)
from .reasons cimport reason_of
from .records cimport stored_again, stored_clear
from .releases cimport release
from .state cimport (
    C_ANSWERS_UNKNOWN, C_BAD_RECORDS, C_NO_MEMORY, C_ONE_PART_REFUSED, C_RECORDS_IN,
    C_REFUSED_DRAINING, C_RESERVED_SERVICES, C_SESSIONS_REFUSED, C_STALE_REQUESTS,
    C_UNKNOWN_RECORDS, C_UNKNOWN_VERSIONS, HOLE_BAD, HOLE_LOST, HOLE_MEMORY, LOG_WORKER_LEAVES,
    LOG_WORKER_READY, LOG_WORKER_REFUSED, REFUSED_RESERVED, REFUSED_SERVICES, broker_t, peer_t,
    route_t, slot_t, stored_t)

cdef enum:
    SERVICES_MAX = 64        # that one worker may offer
    CAPACITY_MAX = 65535
    TOKENS_MAX = 65535       # of one READY
    FETCHED_MAX = 64         # answers of a packet whose requests are fetched before they act
    WORDS_ROOM = SERVICE_BYTES_MAX + 64  # of an error's text that names a service
    RETRY_BUSY_MS = 100      # a waiting queue of a busy broker moves on in far less
    RETRY_DRAINING_MS = 1000
    RETRY_SLOW_MS = 1000     # what fills the broker leaves in its own time
    PACKET_BYTES_AT_FIRST = 1 << 20  # of peers that were not told WELCOME yet


cdef void packet_message(broker_t *b, route_t *route, uint32_t attached) noexcept nogil:
    cdef packet_t packet
    cdef record_t record
    cdef peer_t *peer
    cdef uint8_t gone = 0
    cdef int error
    if unlikely(b.views[1].size > b.settings.packet_bytes_max) and oversized(b, route):
        return
    error = packet_open(b.views[1].data, b.views[1].size, attached, &packet)
    if error == WIRE_VERSION:
        b.counters[C_UNKNOWN_VERSIONS] += 1
        send_version(b, route)
    if error != WIRE_OK:
        strike(b, route, DIALECT_PND, wire_error_text(error))
        return
    route_native(b, route)
    peer = session_peer(b, route, packet.session)
    if peer == NULL:
        return
    if unlikely(not route.welcomed) and b.now - route.welcomed_at >= b.settings.heartbeat_ns:
        welcome(b, route, peer)
    if packet.done and peer.client != NONE:
        disp_client_done(b.d, peer.client, packet.done)
        act(b)
    if peer.worker != NONE:
        gone = b.d.workers[peer.worker].gone
        disp_heard(b.d, peer.worker, b.now, live_now(b))
        act(b)
        if packet.records > 1:
            answers_fetch(b, &packet)
    while packet_next(&packet, &record):
        b.counters[C_RECORDS_IN] += 1
        record_acts(b, route, peer, &record)
    if unlikely(gone) and not peer.forgotten and not serves(b, peer):
        tell_unknown(b, peer)  # its answers may have counted, but no task will follow


# oversized strikes the route of a packet of several records that is larger than packet_bytes_max:
# 1: it did, and none of them is looked at. A peer that does not know the limit, or was told it less
# than a heartbeat ago, goes by the protocol's default one.
cdef int oversized(broker_t *b, route_t *route) noexcept nogil:
    cdef const uint8_t *data = b.views[1].data
    cdef size_t size = b.views[1].size
    if header_check(data, size) != WIRE_OK or load_u16(data + 4) == 1:
        return 0
    if size <= PACKET_BYTES_AT_FIRST and not (
            route.welcomed and b.now - route.welcomed_at >= b.settings.heartbeat_ns):
        return 0
    session_peer(b, route, data + 8)
    strike(b, route, DIALECT_PND, "a packet of several records above packet_bytes_max")
    return 1


cdef void answers_fetch(broker_t *b, const packet_t *packet) noexcept nogil:
    """Fetch what a worker's answers are about to touch: one after the other, each would wait."""
    cdef uint64_t tokens[FETCHED_MAX]
    cdef uint32_t slots[FETCHED_MAX]
    cdef uint32_t n = packet_ids(packet, tokens, FETCHED_MAX)
    cdef uint32_t i
    disp_expect(b.d, tokens, n, slots)
    for i in range(n):
        if slots[i] != NONE:
            fetch(&b.slots[slots[i]])


cdef void record_acts(
        broker_t *b, route_t *route, peer_t *peer, const record_t *r) noexcept nogil:
    """Let one sound record act: one branch, one call."""
    if r.kind == KIND_REQUEST:
        request(b, peer, r)
    elif r.kind == KIND_REPLY or r.kind == KIND_ERROR:
        final(b, peer, r)
    elif r.kind == KIND_HEARTBEAT:
        heartbeat(b, route, peer)
    elif r.kind == KIND_PARTIAL:
        part(b, peer, r)
    elif r.kind == KIND_CANCEL:
        if peer.client != NONE:
            disp_cancel(b.d, peer.client, r.id, b.now)
            act(b)
    elif r.kind == KIND_CREDIT:
        credit_heard(b, peer, r)
    elif r.kind == KIND_READY:
        ready(b, route, peer, r)
    elif r.kind == KIND_HELLO:
        hello(b, route, peer, r)
    elif r.kind == KIND_BYE:
        bye(b, peer, r)
    elif kind_known(r.kind):
        refuse(b, peer, 0, CODE_INVALID_ARGUMENT,
               "ACCEPTED, TASK and WELCOME are the broker's to send")
    else:
        b.counters[C_UNKNOWN_RECORDS] += 1


# refuse answers a sound record that has a wrong value.
cdef void refuse(
        broker_t *b, peer_t *peer, uint64_t id, uint16_t code, const char *text) noexcept nogil:
    b.counters[C_BAD_RECORDS] += 1
    tell_error(b, peer, id, code, 0, text)


# -- sessions ---------------------------------------------------------------------------------

# session_peer returns the peer whose session the packet names, with the route as its current one
# when it is new to it; NULL: no memory.
cdef peer_t *session_peer(
        broker_t *b, route_t *route, const uint8_t *session) noexcept nogil:
    cdef peer_t *peer = route.peer
    cdef uint32_t number
    if peer != NULL and peer.dialect == DIALECT_PND and memcmp(peer.session, session, 16) == 0:
        return peer
    if peer != NULL:
        if peer.lost:
            lost_forget(b, peer)
        session_end(b, peer)
        route_detach(b, route)
        peer_release(b, peer)
    number = names_get(&b.sessions, session, 16)
    peer = <peer_t *> b.peers.at[number] if number != NONE else session_open(b, session)
    if peer == NULL:
        return NULL
    route_attach(b, route, peer)
    if peer.client != NONE:
        disp_client_back(b.d, peer.client)
        act(b)
    welcome(b, route, peer)
    return peer


cdef void welcome(broker_t *b, route_t *route, peer_t *peer) noexcept nogil:
    route.welcomed = tell_welcome(b, peer) == 0
    route.welcomed_at = b.now
    peer.forgotten = 0


# tell_unknown asks a peer for HELLO or READY. From then on it waits for WELCOME, as on a new route.
cdef void tell_unknown(broker_t *b, peer_t *peer) noexcept nogil:
    peer.forgotten = 1
    if peer.route != NULL:
        peer.route.ready = 0
    tell_bye(b, peer, BYE_UNKNOWN, 0)


# known_again says WELCOME to a peer that was told that it is unknown, and greeted.
cdef void known_again(broker_t *b, route_t *route, peer_t *peer) noexcept nogil:
    if peer.forgotten:
        welcome(b, route, peer)


cdef peer_t *session_open(broker_t *b, const uint8_t *session) noexcept nogil:
    cdef peer_t *peer = peer_open(b, DIALECT_PND)
    if peer == NULL:
        return NULL
    memcpy(peer.session, session, 16)
    peer_address(b, peer)
    if names_put(&b.sessions, session, 16, peer.number):
        peer.client = NONE
        peer_release(b, peer)
        return NULL
    return peer


# label takes over the name that a peer gives itself; without one it is known by its address.
cdef void label(peer_t *peer, const part_t *name) noexcept nogil:
    if name.size:
        peer_label(peer, name.data, name.size)


cdef void hello(
        broker_t *b, route_t *route, peer_t *peer, const record_t *r) noexcept nogil:
    cdef const uint8_t *at = r.body
    cdef part_t name
    if r.body != NULL and part_next(&at, r.body + r.body_size, &name):
        label(peer, &name)
    if client_of(b, peer) != NONE:  # else its requests are refused, but for the broker's own
        known_again(b, route, peer)


cdef void bye(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    if r.code != BYE_GOING:
        return
    if peer.worker != NONE:
        log_event(b, LOG_WORKER_LEAVES, peer, NULL, 0, b.d.workers[peer.worker].held,
                  peer.dialect)
        peer.tasks_count = 0
        disp_worker_leave(b.d, peer.worker, b.now)
        act(b)
        tell_bye(b, peer, BYE_AGREED, 0)
    if peer.client != NONE:
        disp_client_close(b.d, peer.client, b.now)
        act(b)
        if peer.worker == NONE and peer.route.fd < 0:
            route_closing(b, peer.route)


cdef int serves(const broker_t *b, const peer_t *peer) noexcept nogil:
    return peer.worker != NONE and not b.d.workers[peer.worker].gone


cdef void heartbeat(broker_t *b, const route_t *route, peer_t *peer) noexcept nogil:
    if serves(b, peer):
        if not route.ready:  # there was no memory for its READY
            tell_unknown(b, peer)
        return
    if peer.client != NONE and not route.ready:
        tell(b, peer, KIND_HEARTBEAT, 0)
    else:  # it is neither client nor worker, or a client that was a worker, too
        tell_unknown(b, peer)


# -- clients ----------------------------------------------------------------------------------

cdef void request(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    cdef uint32_t service
    cdef uint8_t page = page_of(r.service, r.service_size)
    cdef slot_t kept
    cdef int result
    if request_refused(b, peer, r):
        return
    if page != PAGE_NONE:
        request_page(b, peer, r, page)
        return
    if b.draining and not (peer.client != NONE and r.id <= b.d.clients[peer.client].highest):
        b.counters[C_REFUSED_DRAINING] += 1
        tell_error(b, peer, r.id, CODE_UNAVAILABLE, RETRY_DRAINING_MS,
                   "the broker is draining and takes no requests")
        return
    if client_of(b, peer) == NONE:
        b.counters[C_SESSIONS_REFUSED] += 1
        refused(b, peer, r, REQ_BUSY_CLIENTS if disp_clients_full(b.d) else REQ_NO_MEMORY)
        return
    service = service_named(b, r.service, r.service_size, b.settings.lease_ns, OPENED_NAMED,
                            peer.client)
    if service == NONE:
        refused(b, peer, r, no_service(b, OPENED_NAMED, peer.client))
        return
    if b.services[service].one_part and r.parts != 1 + ((r.flags & FLAG_META) != 0):
        b.counters[C_ONE_PART_REFUSED] += 1
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT,
               "this service takes bodies of exactly one part (one_part)")
        return
    memset(&kept, 0, sizeof(slot_t))
    kept.dialect = DIALECT_PND
    if store_record(b, &kept.record, r) or named(b, service, r, &kept.record):
        disp_service_drop(b.d, service)
        act(b)
        refused(b, peer, r, REQ_NO_MEMORY)
        return
    result = accept(
        b, peer, r.id, service, r.priority, <int64_t> r.timeout_ms * 1000000, &kept)
    if result != REQ_ACCEPTED:
        refused(b, peer, r, result)


# no_service says why there is no new service.
cdef int no_service(broker_t *b, uint8_t how, uint32_t client) noexcept nogil:
    cdef int result = disp_service_refusal(b.d, how, client)
    return result if result != REQ_ACCEPTED else REQ_NO_MEMORY


# request_refused answers a request whose values are wrong; 1: it did.
cdef int request_refused(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    if r.priority >= PRIORITIES:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT, "priority is above 9")
    elif r.service_size > SERVICE_BYTES_MAX:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT, "the service name is longer than 255 bytes")
    elif r.flags & FLAG_DURABLE:
        refuse(b, peer, r.id, CODE_UNIMPLEMENTED,
               "this broker keeps no durable requests; send it without DURABLE")
    elif record_bytes(b, r) > b.settings.body_bytes_max:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT,
               "the body is larger than the broker takes (body_bytes_max)")
    else:
        return 0
    return 1


# record_bytes gives the bytes of a record's body as every dialect counts them: without the sizes of
# inline parts.
cdef uint64_t record_bytes(broker_t *b, const record_t *r) noexcept nogil:
    if r.flags & FLAG_ATTACHED:
        return frames_bytes(b, r.attached + 2, r.parts)
    return r.body_size - (4 * r.parts if r.body != NULL else 0)


# named rewrites a stored request for the default service when that has a name of its own: its
# workers know it by that. 0, or -1.
cdef int named(
        broker_t *b, uint32_t service, const record_t *r, stored_t *record) noexcept nogil:
    cdef const uint8_t *name = b.services[service].name
    cdef uint32_t size = b.services[service].size
    cdef uint8_t *body
    if r.service_size == size:
        return 0
    b.scratch.size = 0
    body = put_request(&b.scratch, r.id, r.flags, r.parts, r.timeout_ms, r.priority, name,
                       <uint16_t> size, r.body_size)
    if body != NULL and r.body_size:
        memcpy(body, r.body, r.body_size)
    if body == NULL or stored_again(b, record, b.scratch.data, <uint32_t> b.scratch.size):
        stored_clear(b, record)
        return -1
    return 0


cdef void refused(broker_t *b, peer_t *peer, const record_t *r, int result) noexcept nogil:
    """Tell a client what became of a request that was not accepted as a new one."""
    if result == REQ_HELD:
        tell(b, peer, KIND_ACCEPTED, r.id)
    elif result == REQ_STALE:
        b.counters[C_STALE_REQUESTS] += 1
    elif result == REQ_NO_SERVICE:
        tell_error(b, peer, r.id, CODE_NOT_FOUND, 0, reason_of(result))
    elif result != REQ_ANSWERED and result != REQ_KEPT:
        tell_error(b, peer, r.id, CODE_RESOURCE_EXHAUSTED, retry_after(result), reason_of(result))


# retry_after says when a refused request is to come again, in ms: a full queue moves on in far less
# than what takes a person.
cdef uint32_t retry_after(int result) noexcept nogil:
    if (result == REQ_NO_MEMORY or result == REQ_BUSY_CLIENTS or result == REQ_MANY_NAMES
            or result == REQ_MANY_OWN_NAMES or result == REQ_BUSY_WINDOW
            or result == REQ_BUSY_WORKERLESS):
        return RETRY_SLOW_MS
    return RETRY_BUSY_MS


cdef void request_page(
        broker_t *b, peer_t *peer, const record_t *r, uint8_t page) noexcept nogil:
    """Answer one of the broker's own services."""
    cdef frame_t asked
    cdef int has_body
    cdef uint32_t slot
    cdef int result
    cdef char text[WORDS_ROOM]
    if page == PAGE_UNKNOWN:
        b.counters[C_RESERVED_SERVICES] += 1
        snprintf(text, WORDS_ROOM, "the broker has no service '%.*s' of its own",
                 <int> r.service_size, <const char *> r.service)
        tell_error(b, peer, r.id, CODE_NOT_FOUND, 0, text)
        return
    has_body = last_part(b, r, &asked)
    result = answer_page(b, peer, r.id, page, r.service, r.service_size,
                         &asked if has_body else NULL, DIALECT_PND, &slot)
    if result == REQ_ACCEPTED or result == REQ_KEPT:
        deliver(b, slot)
    else:
        refused(b, peer, r, result)
    act(b)


# last_part gives the last part of a record's body, META not counted; 0: there is none.
cdef int last_part(broker_t *b, const record_t *r, frame_t *last) noexcept nogil:
    cdef const uint8_t *at = r.body
    cdef part_t part
    if r.parts <= (1 if r.flags & FLAG_META else 0):
        return 0
    if r.flags & FLAG_ATTACHED:
        last[0] = b.views[r.attached + r.parts + 1]
        return 1
    while part_next(&at, r.body + r.body_size, &part):
        last.data = part.data
        last.size = part.size
    return 1


# -- workers ----------------------------------------------------------------------------------

cdef void ready(
        broker_t *b, route_t *route, peer_t *peer, const record_t *r) noexcept nogil:
    cdef uint32_t services[SERVICES_MAX]  # ready_sound lets no more parts pass
    cdef uint64_t *tokens
    cdef uint32_t count = 0
    cdef uint8_t how = READY_SAME_ROUTE
    if not ready_sound(b, peer, r):
        return
    if not ready_services(b, peer, r, services, &count):
        ready_drop(b, services, count)
        return
    if peer.worker == NONE or not route.ready or b.d.workers[peer.worker].gone:
        how = READY_NEW_ROUTE
    tokens = ready_tokens(b, r)
    if tokens == NULL or worker_of(b, peer) == NONE:
        free(tokens)
        b.counters[C_SESSIONS_REFUSED] += tokens != NULL
        refuse(b, peer, 0, CODE_RESOURCE_EXHAUSTED,
               "READY: the broker has as many workers as it takes (sessions_max), or is out of "
               "memory")
        ready_drop(b, services, count)
        return
    if peer.capacity != r.capacity or how == READY_NEW_ROUTE:
        log_event(b, LOG_WORKER_READY, peer, b.services[services[0]].name,
                  b.services[services[0]].size, r.capacity, DIALECT_PND)
    peer.capacity = r.capacity
    route.ready = 1
    if how == READY_NEW_ROUTE:
        peer.tasks_count = 0
    disp_worker_ready(b.d, peer.worker, r.capacity, services, count, tokens, r.tokens, how, b.now,
                      live_now(b))
    credits_again(b, peer, tokens, r.tokens)
    free(tokens)
    act(b)
    known_again(b, route, peer)
    if not peer.beating:
        worker_beats(b, peer)


# ready_drop gives up the services of a READY that is refused, unless others use them.
cdef void ready_drop(broker_t *b, const uint32_t *services, uint32_t count) noexcept nogil:
    cdef uint32_t i, j
    for i in range(count):
        j = 0
        while services[j] != services[i]:
            j += 1
        if j == i:
            disp_service_drop(b.d, services[i])
    act(b)


cdef int ready_sound(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    """Whether the READY's numbers are right; says so when they are not."""
    if r.capacity < 1 or r.capacity > CAPACITY_MAX:
        refuse(b, peer, 0, CODE_INVALID_ARGUMENT, "READY: capacity is not 1..65535")
    elif r.tokens > TOKENS_MAX:
        refuse(b, peer, 0, CODE_INVALID_ARGUMENT, "READY: more than 65535 tokens")
    elif r.flags & FLAG_ATTACHED or r.parts < 2 or r.parts > SERVICES_MAX + 1:
        refuse(b, peer, 0, CODE_INVALID_ARGUMENT, "READY: not a label and 1..64 service names")
    else:
        return 1
    return 0


cdef int ready_services(
        broker_t *b, peer_t *peer, const record_t *r, uint32_t *services, uint32_t *count
        ) noexcept nogil:
    """Read the label and look up the services; 0: one can't be offered, and the peer was told."""
    cdef const uint8_t *at = r.body
    cdef const uint8_t *end = r.body + r.body_size
    cdef part_t name
    name.data = NULL
    name.size = 0
    part_next(&at, end, &name)
    label(peer, &name)
    while part_next(&at, end, &name):
        if page_of(name.data, name.size) != PAGE_NONE:
            b.counters[C_RESERVED_SERVICES] += 1
            log_event(b, LOG_WORKER_REFUSED, peer, name.data, name.size, REFUSED_RESERVED, 0)
            refuse(b, peer, 0, CODE_PERMISSION_DENIED,
                   "READY: mmi.* and pound.* are the broker's own services")
            return 0
        if name.size > SERVICE_BYTES_MAX:
            refuse(b, peer, 0, CODE_INVALID_ARGUMENT,
                   "READY: a service name is longer than 255 bytes")
            return 0
        CHECK(count[0] < SERVICES_MAX, "%u services of a READY", count[0])
        services[count[0]] = service_named(
            b, name.data, name.size, b.settings.lease_ns, OPENED_OFFERED, NONE)
        if services[count[0]] == NONE:
            ready_refused(b, peer, &name, no_service(b, OPENED_OFFERED, NONE))
            return 0
        count[0] += 1
    if not disp_offerable(b.d, services, count[0]):
        ready_refused(b, peer, &name, REQ_MANY_SERVICES)
        return 0
    return 1


cdef void ready_refused(
        broker_t *b, peer_t *peer, const part_t *name, int result) noexcept nogil:
    log_event(b, LOG_WORKER_REFUSED, peer, name.data, name.size,
              REFUSED_SERVICES, 0)
    refuse(b, peer, 0, CODE_RESOURCE_EXHAUSTED, reason_of(result))


# ready_tokens returns a copy of the READY's tokens, aligned; NULL: no memory.
cdef uint64_t *ready_tokens(broker_t *b, const record_t *r) noexcept nogil:
    cdef uint64_t *tokens = <uint64_t *> malloc((r.tokens + 1) * sizeof(uint64_t))
    cdef uint32_t i
    if tokens == NULL:
        b.counters[C_NO_MEMORY] += 1
        return NULL
    for i in range(r.tokens):
        tokens[i] = load_u64(r.token_list + 8 * i)
    return tokens


cdef void answers_nothing(broker_t *b, peer_t *peer) noexcept nogil:
    b.counters[C_ANSWERS_UNKNOWN] += 1
    if peer.client == NONE and not peer.forgotten:
        tell_unknown(b, peer)


cdef void final(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    """A worker's REPLY or ERROR."""
    cdef stored_t record
    cdef uint8_t code = 0
    if peer.worker == NONE:
        answers_nothing(b, peer)
        return
    if r.kind == KIND_ERROR:
        code = <uint8_t> r.code if 0 < r.code <= 16 else CODE_UNKNOWN
    if record_bytes(b, r) > b.settings.body_bytes_max:
        b.counters[C_BAD_RECORDS] += 1
        answer_oversized(b, peer, r.id)
    elif code == CODE_UNAVAILABLE:
        release(b, peer, r.id, r)
    elif store_record(b, &record, r) == 0:
        if r.kind == KIND_ERROR:
            store_u16(record.image + RECORD_SIZE, code)
        answer(b, peer, r.id, &record)
    else:
        answer_unstored(b, peer, r.id)


cdef void part(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    cdef stored_t record
    cdef uint32_t slot
    if peer.worker == NONE:
        answers_nothing(b, peer)
        return
    if record_bytes(b, r) > b.settings.body_bytes_max:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT,
               "the partial is larger than the broker takes (body_bytes_max)")
        slot = disp_partial(b.d, peer.worker, r.id)
        if slot != NONE:
            partial_dropped(b, slot, HOLE_BAD)
        return
    slot = disp_partial(b.d, peer.worker, r.id)
    if slot == NONE or (b.slots[slot].dialect == DIALECT_MDP2 and not follows(b, slot, r)):
        return
    if store_record(b, &record, r) == 0:
        partial(b, slot, &record)
    else:
        partial_dropped(b, slot, HOLE_MEMORY)


# follows says whether a partial for an MDP 0.2 client is the next one: that dialect has no numbers.
# One that came before is passed over, as its worker may send it again; a gap ends the stream.
cdef bint follows(broker_t *b, uint32_t slot, const record_t *r) noexcept nogil:
    cdef slot_t *s = &b.slots[slot]
    if s.partial_attempt != b.d.requests[slot].attempts:
        s.partial_attempt = b.d.requests[slot].attempts
        s.partials = 0
    if r.sequence > s.partials:
        partial_dropped(b, slot, HOLE_LOST)
    if r.sequence != s.partials:
        credit_grant(b, slot, r.attempt, partial_cost(
            record_bytes(b, r) - (0 if r.flags & FLAG_ATTACHED else 4 * <uint64_t> r.parts),
            r.parts))
        return False
    s.partials += 1
    return True
