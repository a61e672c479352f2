"""What PND peers say: sessions and records (docs/protocol.md is the specification)."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from pound._base.check cimport CHECK
from pound._base.hints cimport fetch, unlikely
from pound._base.pool cimport NONE
from pound._base.table cimport names_get, names_put
from pound._dispatch.dispatcher cimport (
    disp_cancel, disp_client_back, disp_client_close, disp_client_done, disp_prefetch, disp_heard,
    disp_partial, disp_quota_wait, disp_worker_leave)
from pound._dispatch.model cimport (
    ANS_DEAD, PRIORITIES, READY_NEW_ROUTE, READY_SAME_ROUTE, REQ_ACCEPTED, REQ_ANSWERED,
    REQ_BUSY_CLIENTS, REQ_BUSY_WINDOW, REQ_BUSY_WORKERLESS, REQ_HELD, REQ_KEPT, REQ_MANY_NAMES,
    REQ_MANY_OWN_NAMES, REQ_NO_MEMORY, REQ_NO_SERVICE, REQ_QUOTA_RATE, REQ_SERVICE_QUOTA_RATE,
    REQ_STALE)
from pound._wire.codes cimport (
    CODE_INVALID_ARGUMENT, CODE_NOT_FOUND, CODE_PERMISSION_DENIED, CODE_RESOURCE_EXHAUSTED,
    CODE_UNAVAILABLE, CODE_UNIMPLEMENTED, CODE_UNKNOWN)
from pound._wire.dialects cimport DIALECT_MDP2, DIALECT_PND, frame_t
from pound._wire.packets cimport (
    BYE_AGREED, BYE_GOING, BYE_UNKNOWN, FLAG_ATTACHED, FLAG_DURABLE, FLAG_META, FLAG_MOVED,
    KIND_ACCEPTED, KIND_BYE, KIND_CANCEL, KIND_CREDIT, KIND_ERROR, KIND_HEARTBEAT, KIND_HELLO,
    KIND_HOLDS, KIND_PARTIAL, KIND_READY, KIND_REPLY, KIND_REQUEST, RECORD_SIZE,
    SERVICE_BYTES_MAX, SESSION_SIZE, WIRE_OK, WIRE_VERSION, header_check, kind_known, load_u16,
    load_u64, packet_ids, packet_next, packet_open, packet_t, part_next, part_t, partial_cost,
    record_t, store_u16, wire_error_text)
from pound.security.table cimport identity_known, identity_t
from .actions cimport act, live_now
from .admission cimport (
    admit, admit_worker, arrival_t, client_of, ready_t, service_to_offer, services_drop,
    worker_refused)
from .adoption cimport (
    adoption_count, adoption_forget, adoption_heard, adoption_hold, adoption_over, adoption_tokens)
from .answers cimport answer, answer_oversized, answer_unstored, partial, partial_dropped
from .control cimport notify, notify_bye, notify_error, notify_welcome
from .credits cimport credit_grant, credit_heard, credits_again
from .denials cimport deny_packet
from .departures cimport lost_forget, session_end
from .flush cimport send_version
from .internal_services cimport PAGE_NONE, page_of
from .kinds cimport (
    C_ANSWERS_UNKNOWN, C_BAD_RECORDS, C_NO_MEMORY, C_RECORDS_IN, C_STALE_REQUESTS,
    C_UNKNOWN_RECORDS, C_UNKNOWN_VERSIONS, LOG_DENIED, LOG_WORKER_LEAVES)
from .log_events cimport log_event
from .peers cimport (
    peer_address, peer_label, peer_open, peer_release, route_attach, route_closing, route_detach,
    route_native)
from .reasons cimport (
    REFUSED_BODY, REFUSED_DRAINING, REFUSED_DURABLE, REFUSED_ONE_PART, REFUSED_RESERVED,
    REFUSED_SERVICE, REFUSED_SESSION, denial_code, is_denial, reason_of)
from .records cimport frames_bytes, store_record
from .releases cimport release
from .rights cimport rights_greet, rights_peer, rights_session
from .services cimport service_find
from .state cimport GAP_BAD, GAP_LOST, GAP_MEMORY, broker_t, peer_t, route_t, slot_t, stored_t
from .violations cimport violation

cdef enum:
    SERVICES_MAX = 64        # that one worker may offer
    CAPACITY_MAX = 65535
    TOKENS_MAX = 65535       # of one READY
    FETCHED_MAX = 64         # answers of a packet whose requests are fetched before they act
    WORDS_ROOM = SERVICE_BYTES_MAX + 192  # of an error's text that names a service and a peer
    RETRY_BUSY_MS = 100      # a waiting queue of a busy broker moves on in far less
    RETRY_DRAINING_MS = 1000
    RETRY_SLOW_MS = 1000     # what fills the broker leaves in its own time
    RETRY_RATE_MS_MAX = 3600 * 1000  # of a client that asks too often
    PACKET_BYTES_AT_FIRST = 1 << 20  # of peers that were sent no WELCOME yet


cdef void packet_message(broker_t *b, route_t *route, uint32_t attached) noexcept nogil:
    cdef const frame_t *frame = &b.incoming.frame_views[1]
    cdef packet_t packet
    cdef record_t record
    cdef peer_t *peer
    cdef uint8_t gone = 0
    cdef int error
    if unlikely(frame.size > b.settings.packet_bytes_max) and oversized(b, route, attached):
        return
    error = packet_open(frame.data, frame.size, attached, &packet)
    if error == WIRE_VERSION:
        b.counters[C_UNKNOWN_VERSIONS] += 1
        send_version(b, route)
    if error != WIRE_OK:
        violation(b, route, DIALECT_PND, wire_error_text(error))
        return
    route_native(b, route)
    peer = session_peer(b, route, packet.session, attached)
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
    if unlikely(gone) and not peer.pnd.forgotten and not serves(b, peer):
        notify_unknown(b, peer)  # its answers may have counted, but no task will follow


# oversized is a violation of a packet of several records that is larger than packet_bytes_max:
# 1: it did, and none of them is looked at. A peer that does not know the limit, or was sent it less
# than a heartbeat ago, goes by the protocol's default one.
cdef int oversized(broker_t *b, route_t *route, uint32_t attached) noexcept nogil:
    cdef const uint8_t *data = b.incoming.frame_views[1].data
    cdef size_t size = b.incoming.frame_views[1].size
    if header_check(data, size) != WIRE_OK or load_u16(data + 4) == 1:
        return 0
    if size <= PACKET_BYTES_AT_FIRST and not (
            route.welcomed and b.now - route.welcomed_at >= b.settings.heartbeat_ns):
        return 0
    session_peer(b, route, data + 8, attached)
    violation(b, route, DIALECT_PND, "a packet of several records above packet_bytes_max")
    return 1


cdef void answers_fetch(broker_t *b, const packet_t *packet) noexcept nogil:
    """Fetch what a worker's answers are about to touch: one after the other, each would wait."""
    cdef uint64_t tokens[FETCHED_MAX]
    cdef uint32_t slots[FETCHED_MAX]
    cdef uint32_t n = packet_ids(packet, tokens, FETCHED_MAX)
    cdef uint32_t i
    disp_prefetch(b.d, tokens, n, slots)
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
    elif r.kind == KIND_HOLDS:
        adoption_heard(b, peer, r)
    elif kind_known(r.kind):
        refuse(b, peer, 0, CODE_INVALID_ARGUMENT,
               "ACCEPTED, TASK and WELCOME are the broker's to send")
    else:
        b.counters[C_UNKNOWN_RECORDS] += 1


# refuse answers a sound record that has a wrong value.
cdef void refuse(
        broker_t *b, peer_t *peer, uint64_t id, uint16_t code, const char *text) noexcept nogil:
    b.counters[C_BAD_RECORDS] += 1
    notify_error(b, peer, id, code, 0, text)


# -- sessions ---------------------------------------------------------------------------------

# session_peer returns the peer whose session the packet names, with the route as its current one
# when it is new to it; NULL: no memory, or another key's session, which is refused.
cdef peer_t *session_peer(
        broker_t *b, route_t *route, const uint8_t *session, uint32_t attached) noexcept nogil:
    cdef peer_t *peer = route.peer
    cdef uint32_t number
    if peer != NULL and peer.dialect == DIALECT_PND and memcmp(peer.pnd.session, session, 16) == 0:
        return peer
    number = names_get(&b.peers.sessions, session, 16)
    if unlikely(b.guard != NULL) and number != NONE and not rights_session(
            b, route, <peer_t *> b.peers.all.at[number]):
        deny_packet(b, route, attached, REFUSED_SESSION)
        return NULL
    if peer != NULL:
        if peer.lost.state:
            lost_forget(b, peer)
        session_end(b, peer)
        route_detach(b, route)
        peer_release(b, peer)
    peer = <peer_t *> b.peers.all.at[number] if number != NONE else session_open(b, session)
    if peer == NULL:
        return NULL
    route_attach(b, route, peer)
    if unlikely(b.guard != NULL):
        rights_peer(b, peer, route)
    if peer.client != NONE:
        disp_client_back(b.d, peer.client)
        act(b)
    welcome(b, route, peer)
    return peer


cdef void welcome(broker_t *b, route_t *route, peer_t *peer) noexcept nogil:
    route.welcomed = notify_welcome(b, peer) == 0
    route.welcomed_at = b.now
    peer.pnd.forgotten = 0


# notify_unknown asks a peer for HELLO or READY. From then on it waits for WELCOME, as on a new
# route.
cdef void notify_unknown(broker_t *b, peer_t *peer) noexcept nogil:
    peer.pnd.forgotten = 1
    if peer.route != NULL:
        peer.route.ready = 0
    notify_bye(b, peer, BYE_UNKNOWN, 0)


# known_again says WELCOME to a peer that was sent BYE 0, and greeted.
cdef void known_again(broker_t *b, route_t *route, peer_t *peer) noexcept nogil:
    if peer.pnd.forgotten:
        welcome(b, route, peer)


cdef peer_t *session_open(broker_t *b, const uint8_t *session) noexcept nogil:
    cdef peer_t *peer = peer_open(b, DIALECT_PND)
    if peer == NULL:
        return NULL
    memcpy(peer.pnd.session, session, 16)
    peer_address(b, peer)
    if names_put(&b.peers.sessions, session, 16, peer.number):
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
    cdef int why = REQ_ACCEPTED
    if r.body != NULL and part_next(&at, r.body + r.body_size, &name):
        label(peer, &name)
    if unlikely(b.guard != NULL):
        why = rights_greet(b, peer)
    if why != REQ_ACCEPTED:
        denial_notify(b, peer, 0, NULL, 0, why)
    elif client_of(b, peer) != NONE:  # else its requests are refused, but for the broker's own
        known_again(b, route, peer)


cdef void bye(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    if r.code != BYE_GOING:
        return
    if peer.worker != NONE:
        log_event(b, LOG_WORKER_LEAVES, peer, NULL, 0, b.d.workers[peer.worker].held,
                  peer.dialect)
        peer.tasks.count = 0
        disp_worker_leave(b.d, peer.worker, b.now)
        act(b)
        notify_bye(b, peer, BYE_AGREED, 0)
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
            notify_unknown(b, peer)
        return
    if peer.client != NONE and not route.ready:
        notify(b, peer, KIND_HEARTBEAT, 0)
    else:  # it is neither client nor worker, or a client that was a worker, too
        notify_unknown(b, peer)


# -- clients ----------------------------------------------------------------------------------

cdef void request(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    cdef arrival_t a
    cdef frame_t asked
    cdef int result
    if request_refused(b, peer, r):
        return
    a.id = r.id
    a.service = r.service
    a.service_size = r.service_size
    a.parts = r.parts - ((r.flags & FLAG_META) != 0)
    a.body_bytes = record_bytes(b, r)
    a.timeout_ns = <int64_t> r.timeout_ms * 1000000
    a.hold_ns = adoption_hold(b, r) if unlikely(r.flags & FLAG_MOVED) else 0
    a.priority = r.priority
    a.durable = (r.flags & FLAG_DURABLE) != 0
    a.dialect = DIALECT_PND
    a.page = page_of(r.service, r.service_size)
    a.asked = NULL
    a.record = r
    a.message = NULL
    if unlikely(a.page != PAGE_NONE) and last_part(b, r, &asked):
        a.asked = &asked
    result = admit(b, peer, &a)
    if result != REQ_ACCEPTED:
        refused(b, peer, r, result)


# request_refused answers a request whose values are wrong; 1: it did.
cdef int request_refused(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    if r.priority >= PRIORITIES:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT, "priority is above 9")
    elif r.service_size > SERVICE_BYTES_MAX:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT, "the service name is longer than 255 bytes")
    else:
        return 0
    return 1


# record_bytes gives the bytes of a record's body as every dialect counts them: without the sizes of
# inline parts.
cdef uint64_t record_bytes(broker_t *b, const record_t *r) noexcept nogil:
    if r.flags & FLAG_ATTACHED:
        return frames_bytes(&b.incoming, r.attached + 2, r.parts)
    return r.body_size - (4 * r.parts if r.body != NULL else 0)


cdef void refused(broker_t *b, peer_t *peer, const record_t *r, int result) noexcept nogil:
    """Answer a client's request that was not accepted as a new one: what became of it."""
    cdef char text[WORDS_ROOM]
    if result == REQ_HELD:
        notify(b, peer, KIND_ACCEPTED, r.id)
    elif result == REQ_STALE:
        b.counters[C_STALE_REQUESTS] += 1
    elif result == REFUSED_BODY or result == REFUSED_ONE_PART:
        refuse(b, peer, r.id, CODE_INVALID_ARGUMENT, reason_of(result))
    elif result == REFUSED_DURABLE:
        refuse(b, peer, r.id, CODE_UNIMPLEMENTED, reason_of(result))
    elif result == REFUSED_DRAINING:
        notify_error(b, peer, r.id, CODE_UNAVAILABLE, RETRY_DRAINING_MS, reason_of(result))
    elif result == REFUSED_RESERVED:
        snprintf(text, WORDS_ROOM, "the broker has no service '%.*s' of its own",
                 <int> r.service_size, <const char *> r.service)
        notify_error(b, peer, r.id, CODE_NOT_FOUND, 0, text)
    elif is_denial(result):
        denial_notify(b, peer, r.id, r.service, r.service_size, result)
    elif result == REQ_NO_SERVICE:
        notify_error(b, peer, r.id, CODE_NOT_FOUND, 0, reason_of(result))
    elif result != REQ_ANSWERED and result != REQ_KEPT:
        notify_error(b, peer, r.id, CODE_RESOURCE_EXHAUSTED,
                     retry_at_rate(b, peer, r) if result in (REQ_QUOTA_RATE, REQ_SERVICE_QUOTA_RATE)
                     else retry_after(result), reason_of(result))


# denial_notify says to a peer, and in the log, that it may not do what it wants to.
cdef void denial_notify(
        broker_t *b, peer_t *peer, uint64_t id, const uint8_t *service, uint32_t size, int why
        ) noexcept nogil:
    log_event(b, LOG_DENIED, peer, service, size, why, DIALECT_PND)
    denial_say(b, peer, id, service, size, why)


# denial_say is for the peer alone: the name is that of its own key.
cdef void denial_say(
        broker_t *b, peer_t *peer, uint64_t id, const uint8_t *service, uint32_t size, int why
        ) noexcept nogil:
    cdef const identity_t *identity
    cdef char text[WORDS_ROOM]
    if why != REFUSED_SERVICE or not identity_known(b.guard.table, peer.rights.identity):
        notify_error(b, peer, id, denial_code(why), 0, reason_of(why))
        return
    identity = &b.guard.table.identities[peer.rights.identity]
    snprintf(text, WORDS_ROOM, "the key of %.*s may not use %s%.*s%s: add it to 'services' of this "
             "peer in peers.toml",
             <int> identity.name_size, <const char *> identity.name,
             b"the service '" if size else b"the default service",
             <int> size, <const char *> service, b"'" if size else b"")
    notify_error(b, peer, id, denial_code(why), 0, text)


# retry_after says when a refused request is to come again, in ms: a full queue moves on in far less
# than what takes a person.
cdef uint32_t retry_after(int result) noexcept nogil:
    if (result == REQ_NO_MEMORY or result == REQ_BUSY_CLIENTS or result == REQ_MANY_NAMES
            or result == REQ_MANY_OWN_NAMES or result == REQ_BUSY_WINDOW
            or result == REQ_BUSY_WORKERLESS):
        return RETRY_SLOW_MS
    return RETRY_BUSY_MS


# retry_at_rate says when a client's rates allow the next request for a service, in ms; at least 1,
# since 0 says nothing.
cdef uint32_t retry_at_rate(broker_t *b, const peer_t *peer, const record_t *r) noexcept nogil:
    cdef uint32_t service = service_find(b, r.service, r.service_size)
    cdef int64_t wait_ns = disp_quota_wait(b.d, peer.client, service, b.now)
    return <uint32_t> min(wait_ns // 1000000 + 1, <int64_t> RETRY_RATE_MS_MAX)


# last_part gives the last part of a record's body, META not counted; 0: there is none.
cdef int last_part(broker_t *b, const record_t *r, frame_t *last) noexcept nogil:
    cdef const uint8_t *at = r.body
    cdef part_t part
    if r.parts <= (1 if r.flags & FLAG_META else 0):
        return 0
    if r.flags & FLAG_ATTACHED:
        last[0] = b.incoming.frame_views[r.attached + r.parts + 1]
        return 1
    while part_next(&at, r.body + r.body_size, &part):
        last.data = part.data
        last.size = part.size
    return 1


# -- workers ----------------------------------------------------------------------------------

# ready acts on a READY and on the HOLDS before it.
cdef void ready(
        broker_t *b, route_t *route, peer_t *peer, const record_t *r) noexcept nogil:
    if unlikely(elsewhere(b, r)):
        welcome(b, route, peer)
    elif ready_sound(b, peer, r):
        ready_admit(b, route, peer, r)
    adoption_forget(b, peer)


cdef void ready_admit(
        broker_t *b, route_t *route, peer_t *peer, const record_t *r) noexcept nogil:
    cdef uint32_t services[SERVICES_MAX]  # ready_sound lets no more parts pass
    cdef uint64_t *tokens
    cdef ready_t offer
    cdef int why
    offer.count = 0
    tokens = ready_tokens(b, peer, r)
    if tokens == NULL:
        refuse(b, peer, 0, CODE_RESOURCE_EXHAUSTED, reason_of(REQ_NO_MEMORY))
        return
    if not ready_services(b, peer, r, services, &offer.count):
        services_drop(b, services, offer.count)
        free(tokens)
        return
    offer.how = READY_SAME_ROUTE
    if peer.worker == NONE or not route.ready or b.d.workers[peer.worker].gone:
        offer.how = READY_NEW_ROUTE
    offer.services = services
    offer.capacity = r.capacity
    offer.tokens = tokens
    offer.tokens_count = r.tokens + adoption_count(peer)
    offer.announced = peer.capacity != r.capacity or offer.how == READY_NEW_ROUTE
    why = admit_worker(b, peer, &offer)
    if why == REQ_ACCEPTED:
        route.ready = 1
        credits_again(b, peer, tokens, offer.tokens_count)
        known_again(b, route, peer)
    else:
        refuse(b, peer, 0, ready_code(why), reason_of(why))
    free(tokens)


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
    """Read the label and look up the services; 0: one is refused, and the peer notified."""
    cdef const uint8_t *at = r.body
    cdef const uint8_t *end = r.body + r.body_size
    cdef part_t name
    cdef int why
    name.data = NULL
    name.size = 0
    part_next(&at, end, &name)
    label(peer, &name)
    while part_next(&at, end, &name):
        if name.size > SERVICE_BYTES_MAX:
            refuse(b, peer, 0, CODE_INVALID_ARGUMENT,
                   "READY: a service name is longer than 255 bytes")
            return 0
        CHECK(count[0] < SERVICES_MAX, "%u services of a READY", count[0])
        why = service_to_offer(b, peer, name.data, name.size, &services[count[0]])
        if why != REQ_ACCEPTED:
            worker_refused(b, peer, name.data, name.size, why)
            if is_denial(why):  # it was counted as such
                denial_say(b, peer, 0, name.data, name.size, why)
            else:
                refuse(b, peer, 0, ready_code(why), reason_of(why))
            return 0
        count[0] += 1
    return 1


# ready_code gives the error code for a READY that is refused.
cdef uint16_t ready_code(int why) noexcept nogil:
    return CODE_PERMISSION_DENIED if why == REFUSED_RESERVED else CODE_RESOURCE_EXHAUSTED


# elsewhere says whether a worker still names another epoch: what it holds from there is to come by
# HOLDS, once it knows ours. It may have no place for a task until then.
cdef bint elsewhere(const broker_t *b, const record_t *r) noexcept nogil:
    cdef uint64_t known = load_u64(r.epoch) | load_u64(r.epoch + 8)
    return known != 0 and memcmp(r.epoch, b.epoch, SESSION_SIZE) != 0


# ready_tokens returns the READY's tokens, and those of the HOLDS before it; NULL: no memory.
cdef uint64_t *ready_tokens(broker_t *b, const peer_t *peer, const record_t *r) noexcept nogil:
    cdef size_t count = <size_t> r.tokens + adoption_count(peer)
    cdef uint64_t *tokens = <uint64_t *> malloc((count + 1) * sizeof(uint64_t))
    cdef uint32_t i
    if tokens == NULL:
        b.counters[C_NO_MEMORY] += 1
        return NULL
    for i in range(r.tokens):
        tokens[i] = load_u64(r.token_list + 8 * i)
    adoption_tokens(peer, tokens + r.tokens)
    return tokens


cdef void answers_nothing(broker_t *b, peer_t *peer) noexcept nogil:
    b.counters[C_ANSWERS_UNKNOWN] += 1
    if peer.client == NONE and not peer.pnd.forgotten:
        notify_unknown(b, peer)


cdef void final(broker_t *b, peer_t *peer, const record_t *r) noexcept nogil:
    """A worker's REPLY or ERROR."""
    cdef stored_t record
    cdef uint8_t code = 0
    cdef int result
    if peer.worker == NONE:
        answers_nothing(b, peer)
        return
    if r.kind == KIND_ERROR:
        code = <uint8_t> r.code if 0 < r.code <= 16 else CODE_UNKNOWN
    if record_bytes(b, r) > b.settings.body_bytes_max:
        b.counters[C_BAD_RECORDS] += 1
        result = answer_oversized(b, peer, r.id)
    elif code == CODE_UNAVAILABLE:
        result = release(b, peer, r.id, r)
    elif store_record(b, &record, r) == 0:
        if r.kind == KIND_ERROR:
            store_u16(record.bytes + RECORD_SIZE, code)
        result = answer(b, peer, r.id, &record)
    else:
        result = answer_unstored(b, peer, r.id)
    if unlikely(result == ANS_DEAD):
        adoption_over(b, peer, r.id)


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
            partial_dropped(b, slot, GAP_BAD)
        return
    slot = disp_partial(b.d, peer.worker, r.id)
    if slot == NONE or (b.slots[slot].dialect == DIALECT_MDP2 and not follows(b, slot, r)):
        return
    if store_record(b, &record, r) == 0:
        partial(b, slot, &record)
    else:
        partial_dropped(b, slot, GAP_MEMORY)


# follows says whether a partial for an MDP 0.2 client is the next one: that dialect has no numbers.
# One that came before is passed over, as its worker may send it again; a gap ends the stream.
cdef bint follows(broker_t *b, uint32_t slot, const record_t *r) noexcept nogil:
    cdef slot_t *s = &b.slots[slot]
    cdef uint8_t attempt = b.d.requests[slot].attempts
    if s.partial_attempt != attempt:
        s.partial_attempt = attempt
        s.partials = 0
    if r.sequence > s.partials:
        partial_dropped(b, slot, GAP_LOST)
    if r.sequence != s.partials:
        credit_grant(b, slot, r.id, partial_cost(record_bytes(b, r), r.parts))
        return False
    s.partials += 1
    return True
