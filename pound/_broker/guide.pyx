"""What the Guide's peers say: plain, PPP, MDP 0.1 and MDP 0.2 messages (docs/dialects.md)."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from pound._base.hints cimport unlikely
from pound._base.pool cimport NONE
from pound._dispatch.dispatcher cimport disp_heard, disp_partial
from pound._dispatch.model cimport ANS_DEAD, REQ_ACCEPTED
from pound._wire.dialects cimport (
    BAD_FRAMES, DIALECT_MDP1, DIALECT_MDP2, DIALECT_PND, SAID_ANSWER, SAID_DISCONNECT,
    SAID_HEARTBEAT, SAID_PARTIAL, SAID_READY, SAID_REQUEST, bad_text, message_t)
from .actions cimport act, live_now
from .admission cimport admit, arrival_t, guide_ready, service_to_offer, worker_refused
from .answers cimport (
    answer, answer_bad, answer_oversized, answer_unstored, partial, partial_dropped)
from .departures cimport lost_forget, session_end, worker_gone
from .heartbeats cimport cancel_heartbeat
from .internal_services cimport PAGE_NONE, page_of
from .kinds cimport (
    C_ANSWERS_UNKNOWN, C_BAD_RECORDS, C_REFUSED_FOREIGN, LOG_REQUESTS_REFUSED, LOG_WORKER_LEAVES,
    LOG_WORKER_READY)
from .log_events cimport log_event
from .peers cimport peer_address, peer_open, route_attach, route_native
from .queues cimport peer_touch
from .reasons cimport REFUSED_BODY, REFUSED_DRAINING
from .records cimport frames_bytes, store_partial, store_reply
from .rights cimport rights_peer
from .state cimport (
    GAP_BAD, GAP_MEMORY, LOST_TRIED, OWE_DISCONNECT, broker_t, peer_t, route_t, service_name_t,
    slot_t, stored_t)
from .violations cimport violation

cdef enum:
    DISCONNECT_NS = 1000000000  # the Guide's workers answer it at once with READY: not more often
    REFUSED_NS = 30_000_000_000  # between two lines that say that a peer's requests are refused
    ENVELOPE_BYTES_MAX = 65536  # addresses of up to 255 bytes: no chain of hops is so long


cdef void guide_message(
        broker_t *b, route_t *route, const message_t *m, uint32_t frames) noexcept nogil:
    cdef peer_t *peer = guide_peer(b, route, m)
    if peer == NULL:
        return
    if m.said == SAID_REQUEST:
        request(b, route, peer, m)
        return
    route_native(b, route)
    worker_speaks(b, peer, m)
    if m.said == SAID_READY:
        ready(b, peer, m)
    elif m.said == SAID_ANSWER:
        final(b, route, peer, m)
    elif m.said == SAID_PARTIAL:
        part(b, route, peer, m)
    elif m.said == SAID_HEARTBEAT:
        heartbeat(b, peer)
    elif m.said == SAID_DISCONNECT and peer.worker != NONE:
        log_event(b, LOG_WORKER_LEAVES, peer, NULL, 0, b.d.workers[peer.worker].held, m.dialect)
        worker_gone(b, peer)


# guide_peer returns the peer of the route, made on its first message; NULL: no memory, or the
# route belongs to a PND session, whose peer does not speak another dialect.
cdef peer_t *guide_peer(broker_t *b, route_t *route, const message_t *m) noexcept nogil:
    cdef peer_t *peer = route.peer
    if peer != NULL:
        if peer.dialect != DIALECT_PND:
            return peer
        violation(b, route, m.dialect, "a message of another dialect on the route of a PND session")
        return NULL
    peer = peer_open(b, m.dialect)
    if peer == NULL:
        return NULL
    route_attach(b, route, peer)
    peer_address(b, peer)
    if unlikely(b.guard != NULL):
        rights_peer(b, peer, route)
    return peer


cdef void guide_bad(
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
    cdef uint32_t first = m.body + 1
    cdef arrival_t a
    cdef int result
    memset(&a, 0, sizeof(arrival_t))
    a.page = page_of(m.service, m.service_size)
    if frames_bytes(&b.incoming, 1, m.envelope) > ENVELOPE_BYTES_MAX:
        violation(b, route, m.dialect, "an envelope of more than 64 KiB")
        return
    if m.parts == 0 and a.page == PAGE_NONE:
        violation(b, route, m.dialect, bad_text(BAD_FRAMES))
        return
    peer.guide.next_request += 1
    a.id = peer.guide.next_request
    a.service = m.service
    a.service_size = m.service_size
    a.parts = m.parts
    a.body_bytes = frames_bytes(&b.incoming, first, m.parts)
    a.dialect = m.dialect
    a.asked = &b.incoming.frame_views[m.body + m.parts] if m.parts else NULL
    a.message = m
    if m.parts >= b.settings.frames_max:
        result = REFUSED_BODY
    else:
        result = admit(b, peer, &a)
    if result == REFUSED_BODY:
        violation(b, route, m.dialect, "a body larger than body_bytes_max or frames_max")
    elif result != REQ_ACCEPTED:
        refused(b, peer, m, result)


# refused says in the log, at most twice a minute for a peer, that a request did not come in: its
# dialect has no ERROR.
cdef void refused(broker_t *b, peer_t *peer, const message_t *m, int why) noexcept nogil:
    cdef const service_name_t *default = &b.services.at[b.services.unnamed]
    if why < REFUSED_DRAINING:
        b.counters[C_REFUSED_FOREIGN] += 1
    if peer.logged.refused_at and b.now - peer.logged.refused_at < REFUSED_NS:
        return
    peer.logged.refused_at = b.now
    if m.service_size:
        log_event(b, LOG_REQUESTS_REFUSED, peer, m.service, m.service_size, why, 0)
    else:
        log_event(b, LOG_REQUESTS_REFUSED, peer, default.name, default.size, why, 0)


# -- workers ----------------------------------------------------------------------------------

cdef int known(broker_t *b, peer_t *peer) noexcept nogil:
    return peer.worker != NONE and not b.d.workers[peer.worker].gone


cdef void worker_speaks(broker_t *b, peer_t *peer, const message_t *m) noexcept nogil:
    """A worker's message: it is there, and it may speak another dialect than before."""
    if peer.lost.state == LOST_TRIED:
        log_event(b, LOG_WORKER_READY, peer, NULL, 0, 1, peer.dialect)
    if peer.lost.state:
        lost_forget(b, peer)
    if peer.dialect != m.dialect:
        if peer.worker != NONE:
            session_end(b, peer)
        cancel_heartbeat(b, peer)
        peer.dialect = m.dialect
    peer.guide.delimited = m.delimited
    if m.said == SAID_READY or m.said == SAID_HEARTBEAT:
        peer.guide.text = m.text


cdef void ready(broker_t *b, peer_t *peer, const message_t *m) noexcept nogil:
    cdef uint32_t service = b.services.unnamed
    cdef int why = REQ_ACCEPTED
    if m.service_size:
        why = service_to_offer(b, peer, m.service, m.service_size, &service)
    if why != REQ_ACCEPTED:
        worker_refused(b, peer, m.service, m.service_size, why)
        peer.guide.refused = 1
    else:
        guide_ready(b, peer, service)
    if peer.guide.refused:
        ready_refused(b, peer)


# ready_refused leaves a READY unanswered: the Guide's workers answer DISCONNECT with a new
# connection and READY, at once and forever. Heartbeats of the worker are not answered either;
# after some silence it comes again.
cdef void ready_refused(broker_t *b, peer_t *peer) noexcept nogil:
    if known(b, peer):
        worker_gone(b, peer)


cdef void disconnect(broker_t *b, peer_t *peer) noexcept nogil:
    """Send DISCONNECT to an MDP worker that is not known; other dialects have none."""
    if peer.guide.refused:
        return
    if peer.guide.disconnect_sent and b.now - peer.guide.disconnect_sent < DISCONNECT_NS:
        return
    peer.guide.disconnect_sent = b.now
    peer.control.owed |= OWE_DISCONNECT
    peer_touch(b, peer)


cdef void speaks_as_ready(broker_t *b, peer_t *peer) noexcept nogil:
    """A worker that is not known here, or whose answer counts for nothing, is free."""
    if peer.dialect == DIALECT_MDP1 or peer.dialect == DIALECT_MDP2:
        if known(b, peer) and b.d.workers[peer.worker].held:
            # It answered something, so it is free, and what it was sent is not being worked on.
            worker_gone(b, peer)
        if not known(b, peer):
            disconnect(b, peer)
    else:
        guide_ready(b, peer, b.services.unnamed)


cdef void final(
        broker_t *b, route_t *route, peer_t *peer, const message_t *m) noexcept nogil:
    cdef stored_t record
    cdef int dead = 1
    if not m.token_sound:
        violation(b, route, m.dialect, "an answer whose address is not one that the broker gave")
    elif peer.worker == NONE:
        b.counters[C_ANSWERS_UNKNOWN] += 1
    elif frames_bytes(&b.incoming, m.body + 1, m.parts) > b.settings.body_bytes_max:
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
    cdef uint8_t attempt
    if not known(b, peer):
        speaks_as_ready(b, peer)
        return
    disp_heard(b.d, peer.worker, b.now, live_now(b))
    act(b)
    if not m.token_sound:
        violation(b, route, m.dialect, "a partial whose address is not one that the broker gave")
        return
    if frames_bytes(&b.incoming, m.body + 1, m.parts) > b.settings.body_bytes_max:
        b.counters[C_BAD_RECORDS] += 1
        part_bad(b, peer, m.token)
        return
    number = disp_partial(b.d, peer.worker, m.token)
    if number == NONE:
        return
    slot = &b.slots[number]
    attempt = b.d.requests[number].attempts
    if slot.partial_attempt != attempt:
        slot.partial_attempt = attempt
        slot.partials = 0
    if store_partial(
            b, &record, m.token, slot.partials, attempt, m.body + 1, m.parts) == 0:
        slot.partials += 1
        partial(b, number, &record)
    else:
        partial_dropped(b, number, GAP_MEMORY)


# part_bad ends a request whose partial can't be taken: what follows would have a gap.
cdef void part_bad(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    cdef uint32_t slot = disp_partial(b.d, peer.worker, token)
    if slot != NONE:
        partial_dropped(b, slot, GAP_BAD)


cdef void heartbeat(broker_t *b, peer_t *peer) noexcept nogil:
    if known(b, peer):
        disp_heard(b.d, peer.worker, b.now, live_now(b))
        act(b)
    else:
        speaks_as_ready(b, peer)
