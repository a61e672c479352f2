"""What foreign peers say: plain, PPP, MDP 0.1 and MDP 0.2 messages (docs/dialects.md)."""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memset

from pound._dispatch.dispatcher cimport (
    ANS_DEAD, NONE, OPENED_NAMED, OPENED_OFFERED, READY_NEW_LIFE, REQ_ACCEPTED, REQ_BUSY_CLIENTS,
    disp_heard, disp_offerable, disp_partial, disp_service_drop, disp_service_refusal,
    disp_worker_gone)
from pound._wire.dialects cimport (
    BAD_FRAMES, DIALECT_MDP1, DIALECT_MDP2, DIALECT_PND, SAID_ANSWER, SAID_DISCONNECT,
    SAID_HEARTBEAT, SAID_PARTIAL, SAID_READY, SAID_REQUEST, bad_text, frame_t, message_t)
from pound._wire.writer cimport part_put
from .actions cimport (
    act, client_of, deliver, foreign_ready, live_now, lost_forget, refuse_foreign, service_named,
    session_end)
from .intake cimport (
    accept, answer, answer_bad, answer_oversized, answer_page, answer_unstored, frames_bytes,
    partial, partial_dropped, store_partial, store_reply, store_request, strike)
from .internal_services cimport PAGE_NONE, PAGE_UNKNOWN, page_of
from .peers cimport (
    log_event, peer_address, peer_open, peer_rests, peer_touch, route_attach, route_native)
from .records cimport slot_clear, stored_clear
from .state cimport (
    C_ANSWERS_UNKNOWN, C_BAD_RECORDS, C_NO_MEMORY, C_ONE_PART_REFUSED, C_REFUSED_DRAINING,
    C_REFUSED_FOREIGN, C_RESERVED_SERVICES, C_SESSIONS_REFUSED, FORM_DELIMITED, FORM_WORKER_NUMBERS,
    HOLE_BAD, HOLE_MEMORY, LOG_WORKER_LEAVES, LOG_WORKER_READY, LOG_WORKER_REFUSED, LOST_TRIED,
    OWE_DISCONNECT, REFUSED_RESERVED, REFUSED_SERVICES, WHY_DRAINING, WHY_ONE_PART, WHY_RESERVED,
    WHY_RESULT, broker_t, envelope_t, peer_t, route_t, slot_t, stored_t)

cdef enum:
    DISCONNECT_NS = 1000000000  # the Guide's workers answer it at once with READY: not more often
    ENVELOPE_BYTES_MAX = 65536  # addresses of up to 255 bytes: no chain of hops is so long


cdef void foreign_message(
        broker_t *b, route_t *route, const message_t *m, uint32_t frames) noexcept nogil:
    cdef peer_t *peer = foreign_peer(b, route, m)
    if peer == NULL:
        return
    if m.said == SAID_REQUEST:
        request(b, route, peer, m)
        return
    route_native(b, route)
    worker_speaks(b, peer, m)
    if m.said == SAID_READY:
        ready(b, route, peer, m)
    elif m.said == SAID_ANSWER:
        final(b, route, peer, m)
    elif m.said == SAID_PARTIAL:
        part(b, route, peer, m)
    elif m.said == SAID_HEARTBEAT:
        heartbeat(b, peer)
    elif m.said == SAID_DISCONNECT and peer.worker != NONE:
        log_event(b, LOG_WORKER_LEAVES, peer, NULL, 0, b.d.workers[peer.worker].held, m.dialect)
        peer_rests(b, peer)
        disp_worker_gone(b.d, peer.worker, b.now)
        act(b)


# foreign_peer returns the peer of the route, made on its first message; NULL: no memory, or the
# route belongs to a PND session, whose peer does not speak another dialect.
cdef peer_t *foreign_peer(broker_t *b, route_t *route, const message_t *m) noexcept nogil:
    cdef peer_t *peer = route.peer
    if peer != NULL:
        if peer.dialect != DIALECT_PND:
            return peer
        strike(b, route, m.dialect, "a foreign message on the route of a PND session")
        return NULL
    peer = peer_open(b, m.dialect)
    if peer == NULL:
        return NULL
    route_attach(b, route, peer)
    peer_address(b, peer)
    return peer


cdef void foreign_bad(
        broker_t *b, route_t *route, const message_t *m, const char *why) noexcept nogil:
    cdef peer_t *peer = route.peer
    if peer == NULL or peer.dialect == DIALECT_PND or peer.worker == NONE or not m.token_sound:
        return
    if m.said == SAID_PARTIAL:
        part_bad(b, peer, m.token)
    elif answer_bad(b, peer, m.token, why) == ANS_DEAD:
        speaks_as_ready(b, peer)


# -- clients ----------------------------------------------------------------------------------

cdef void request(
        broker_t *b, route_t *route, peer_t *peer, const message_t *m) noexcept nogil:
    cdef uint32_t service = b.default_service
    cdef const uint8_t *name = m.service
    cdef uint32_t size = m.service_size
    cdef uint32_t first = m.body + 1
    cdef uint8_t page = page_of(name, size)
    cdef slot_t kept
    cdef int result
    if frames_bytes(b, 1, m.envelope) > ENVELOPE_BYTES_MAX:
        strike(b, route, m.dialect, "an envelope of more than 64 KiB")
        return
    if page != PAGE_NONE:
        request_page(b, peer, m, page)
        return
    if m.parts == 0:
        strike(b, route, m.dialect, bad_text(BAD_FRAMES))
        return
    if b.draining:
        refuse_foreign(b, peer, C_REFUSED_DRAINING, name, size, WHY_DRAINING)
        return
    if (frames_bytes(b, first, m.parts) > b.settings.body_bytes_max
            or m.parts >= b.settings.frames_max):
        strike(b, route, m.dialect, "a body larger than body_bytes_max or frames_max")
        return
    if client_of(b, peer) == NONE:
        b.counters[C_SESSIONS_REFUSED] += 1
        refuse_foreign(b, peer, C_REFUSED_FOREIGN, name, size, WHY_RESULT + REQ_BUSY_CLIENTS)
        return
    if size:
        service = service_named(b, name, size, b.settings.lease_ns, OPENED_NAMED, peer.client)
    else:
        name = b.services[service].name
        size = b.services[service].size
    if service == NONE:
        refuse_foreign(b, peer, C_REFUSED_FOREIGN, name, size, WHY_RESULT + disp_service_refusal(
            b.d, OPENED_NAMED, peer.client))
        return
    if b.services[service].one_part and m.parts != 1:
        refuse_foreign(b, peer, C_ONE_PART_REFUSED, name, size, WHY_ONE_PART)
        return
    memset(&kept, 0, sizeof(slot_t))
    kept.dialect = m.dialect
    if (store_request(b, &kept.record, name, size, first, m.parts)
            or store_envelope(b, &kept, m)):
        slot_clear(b, &kept)
        disp_service_drop(b.d, service)
        act(b)
        return
    peer.next_request += 1
    result = accept(b, peer, peer.next_request, service, 0, 0, &kept)
    if result != REQ_ACCEPTED:
        refuse_foreign(b, peer, C_REFUSED_FOREIGN, m.service, m.service_size, WHY_RESULT + result)


# store_envelope keeps what goes before the answer; 0, or -1: no memory, and the answer would be
# sent astray. One empty frame needs no memory.
cdef int store_envelope(broker_t *b, slot_t *slot, const message_t *m) noexcept nogil:
    cdef uint32_t size = 0
    cdef uint32_t i
    cdef uint8_t *at
    slot.form = FORM_DELIMITED if m.envelope > 0 else 0
    if m.worker_numbers:
        slot.form |= FORM_WORKER_NUMBERS
    if m.envelope <= 1:
        return 0
    for i in range(m.envelope):
        size += 4 + <uint32_t> b.views[1 + i].size
    slot.envelope = <envelope_t *> malloc(sizeof(envelope_t) + size)
    if slot.envelope == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    slot.envelope.size = size
    at = slot.envelope.parts
    for i in range(m.envelope):
        at = part_put(at, b.views[1 + i].data, <uint32_t> b.views[1 + i].size)
    return 0


cdef void request_page(
        broker_t *b, peer_t *peer, const message_t *m, uint8_t page) noexcept nogil:
    """Answer one of the broker's own services."""
    cdef const frame_t *last = &b.views[m.body + m.parts] if m.parts else NULL
    cdef uint32_t slot
    if page == PAGE_UNKNOWN:
        refuse_foreign(b, peer, C_RESERVED_SERVICES, m.service, m.service_size, WHY_RESERVED)
        return
    peer.next_request += 1
    if answer_page(b, peer, peer.next_request, page, m.service, m.service_size, last, m.dialect,
                   &slot) == REQ_ACCEPTED:
        if store_envelope(b, &b.slots[slot], m):
            stored_clear(b, &b.slots[slot].record)
        deliver(b, slot)
    else:
        b.counters[C_REFUSED_FOREIGN] += 1
    act(b)


# -- workers ----------------------------------------------------------------------------------

cdef int known(broker_t *b, peer_t *peer) noexcept nogil:
    return peer.worker != NONE and not b.d.workers[peer.worker].gone


cdef void worker_speaks(broker_t *b, peer_t *peer, const message_t *m) noexcept nogil:
    """A worker's message: it is there, and it may speak another dialect than before."""
    if peer.lost == LOST_TRIED:
        log_event(b, LOG_WORKER_READY, peer, NULL, 0, 1, peer.dialect)
    if peer.lost:
        lost_forget(b, peer)
    if peer.dialect != m.dialect:
        if peer.worker != NONE:
            session_end(b, peer)
        peer_rests(b, peer)
        peer.dialect = m.dialect
    peer.delimited = m.delimited
    if m.said == SAID_READY or m.said == SAID_HEARTBEAT:
        peer.text = m.text


cdef void ready(
        broker_t *b, route_t *route, peer_t *peer, const message_t *m) noexcept nogil:
    cdef uint32_t service = b.default_service
    if m.service_size:
        if page_of(m.service, m.service_size) != PAGE_NONE:
            b.counters[C_RESERVED_SERVICES] += 1
            ready_refused(b, peer, m, REFUSED_RESERVED)
            return
        service = service_named(
            b, m.service, m.service_size, b.settings.lease_ns, OPENED_OFFERED, NONE)
    if service != NONE and not disp_offerable(b.d, &service, 1):
        disp_service_drop(b.d, service)
        act(b)
        service = NONE
    if service == NONE:
        ready_refused(b, peer, m, REFUSED_SERVICES)
        return
    foreign_ready(b, peer, service, READY_NEW_LIFE)
    if peer.worker == NONE:
        disp_service_drop(b.d, service)
        act(b)


# ready_refused leaves a READY unanswered: the Guide's workers answer DISCONNECT with a new
# connection and READY, at once and for ever. Heartbeats of the worker are not answered either;
# after some silence it comes again.
cdef void ready_refused(
        broker_t *b, peer_t *peer, const message_t *m, int64_t why) noexcept nogil:
    peer.refused = 1
    log_event(b, LOG_WORKER_REFUSED, peer, m.service, m.service_size, why, 0)
    if known(b, peer):
        peer_rests(b, peer)
        disp_worker_gone(b.d, peer.worker, b.now)
        act(b)


cdef void disconnect(broker_t *b, peer_t *peer) noexcept nogil:
    """Tell an MDP worker that it is not known here; others have no word for it."""
    if peer.refused:
        return
    if peer.disconnect_sent and b.now - peer.disconnect_sent < DISCONNECT_NS:
        return
    peer.disconnect_sent = b.now
    peer.owed |= OWE_DISCONNECT
    peer_touch(b, peer)


cdef void speaks_as_ready(broker_t *b, peer_t *peer) noexcept nogil:
    """A worker that is not known here, or whose answer counts for nothing, is free."""
    if peer.dialect == DIALECT_MDP1 or peer.dialect == DIALECT_MDP2:
        if known(b, peer) and b.d.workers[peer.worker].held:
            # It answered something, so it is free, and what it was sent is not being worked on.
            peer_rests(b, peer)
            disp_worker_gone(b.d, peer.worker, b.now)
            act(b)
        if not known(b, peer):
            disconnect(b, peer)
    else:
        foreign_ready(b, peer, b.default_service, READY_NEW_LIFE)


cdef void final(
        broker_t *b, route_t *route, peer_t *peer, const message_t *m) noexcept nogil:
    cdef stored_t record
    cdef int dead = 1
    if not m.token_sound:
        strike(b, route, m.dialect, "an answer whose address is not one that the broker gave")
    elif peer.worker == NONE:
        b.counters[C_ANSWERS_UNKNOWN] += 1
    elif frames_bytes(b, m.body + 1, m.parts) > b.settings.body_bytes_max:
        dead = answer_oversized(b, peer, m.token) == ANS_DEAD
    elif store_reply(b, &record, m.body + 1, m.parts) == 0:
        dead = answer(b, peer, m.token, &record) == ANS_DEAD
    else:
        dead = answer_unstored(b, peer, m.token) == ANS_DEAD
    if dead or not known(b, peer):
        speaks_as_ready(b, peer)


cdef void part(
        broker_t *b, route_t *route, peer_t *peer, const message_t *m) noexcept nogil:
    """A PARTIAL of MDP 0.2: it carries no number of its own."""
    cdef stored_t record
    cdef slot_t *slot
    cdef uint32_t number
    if not known(b, peer):
        speaks_as_ready(b, peer)
        return
    disp_heard(b.d, peer.worker, b.now, live_now(b))
    act(b)
    if not m.token_sound:
        strike(b, route, m.dialect, "a partial whose address is not one that the broker gave")
        return
    if frames_bytes(b, m.body + 1, m.parts) > b.settings.body_bytes_max:
        b.counters[C_BAD_RECORDS] += 1
        part_bad(b, peer, m.token)
        return
    number = disp_partial(b.d, peer.worker, m.token)
    if number == NONE:
        return
    slot = &b.slots[number]
    if slot.partial_attempt != b.d.requests[number].attempts:
        slot.partial_attempt = b.d.requests[number].attempts
        slot.partials = 0
    if store_partial(b, &record, slot.partials, slot.partial_attempt, m.body + 1, m.parts) == 0:
        slot.partials += 1
        partial(b, number, &record)
    else:
        partial_dropped(b, number, HOLE_MEMORY)


# part_bad ends a request whose partial can't be taken: what follows would have a hole.
cdef void part_bad(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    cdef uint32_t slot = disp_partial(b.d, peer.worker, token)
    if slot != NONE:
        partial_dropped(b, slot, HOLE_BAD)


cdef void heartbeat(broker_t *b, peer_t *peer) noexcept nogil:
    if known(b, peer):
        disp_heard(b.d, peer.worker, b.now, live_now(b))
        act(b)
    else:
        speaks_as_ready(b, peer)
