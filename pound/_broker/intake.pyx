"""Storing what came in, and handing it to the dispatcher (see intake.pxd for the rules)."""

from libc.stdint cimport UINT16_MAX, int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset, strlen

from pound._base.check cimport CHECK
from pound._base.hints cimport fetch
from pound._dispatch.changes cimport request_find
from pound._dispatch.dispatcher cimport (
    ANS_COUNTED, NONE, OPENED_INTERNAL, REQ_ACCEPTED, REQ_BUSY_CLIENTS, REQ_BUSY_UNREAD, REQ_KEPT,
    REQ_NO_MEMORY, disp_answer, disp_answer_bytes, disp_cancel, disp_request, disp_service_drop)
from pound._wire.dialects cimport (
    DIALECT_BARE, DIALECT_MDP1, DIALECT_MDP2, DIALECT_PLAIN, DIALECT_PND, DIALECT_PPP, frame_t)
from pound._wire.writer cimport (
    CODE_DATA_LOSS, CODE_INTERNAL, FLAG_ATTACHED, PART_ATTACHED_FROM, part_put, put_error,
    put_partial, put_reply, put_request)
from pound._zmq.libzmq cimport zmq, zmq_msg_t
from .actions cimport (
    act, client_open, deliver, leaves_unread, live_now, overflows, service_named, slot_room,
    store_scratch)
from .credits cimport credit_grant_all, credit_grant_stored
from .internal_services cimport (
    PAGE_MMI_SERVICE, PAGE_MMI_UNKNOWN, page_has_rows, page_is_mmi, page_write)
from .peers cimport log_event, log_reason, partial_push, peer_address, peer_touch
from .records cimport slot_clear, stored_attached, stored_bytes, stored_clear, stored_fill
from .releases cimport release
from .state cimport (
    ANSWER_BYTES, C_BAD_MDP1, C_BAD_MDP2, C_BAD_MESSAGES, C_BAD_PLAIN, C_BAD_PND, C_BAD_PPP,
    C_NO_MEMORY, C_PARTIALS, C_PARTIALS_DROPPED, C_STRUCK_ROUTES, C_TURNS, HOLE_MEMORY, HOLE_UNREAD,
    LOG_BAD_MESSAGE, LOG_STRUCK, STRIKES_MAX, broker_t, hole_t, peer_t, route_t, stored_t)

cdef enum:
    PAGES_BYTES = 1 << 20    # of pages that one turn writes: about 3 ms
    LOST_AGAIN_NS = 100_000_000  # between two tries whether lost workers can be reached again


cdef void strike(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil:
    cdef uint64_t reason = log_reason(<const uint8_t *> why, strlen(why))
    cdef bint another = reason != route.struck_for
    b.counters[C_BAD_MESSAGES] += 1
    if dialect == DIALECT_PND:
        b.counters[C_BAD_PND] += 1
    elif dialect == DIALECT_PLAIN or dialect == DIALECT_BARE:
        b.counters[C_BAD_PLAIN] += 1
    elif dialect == DIALECT_PPP:
        b.counters[C_BAD_PPP] += 1
    elif dialect == DIALECT_MDP1:
        b.counters[C_BAD_MDP1] += 1
    elif dialect == DIALECT_MDP2:
        b.counters[C_BAD_MDP2] += 1
    route.struck_for = reason
    route.strikes = strikes_left(b, route) + 1
    route.struck_at = b.now
    if route.hop and route.strikes >= STRIKES_MAX:
        route.strikes = STRIKES_MAX - 1
    if route.strikes >= STRIKES_MAX:
        strike_off(b, route, dialect, why)
    elif route.strikes == 1 or another:
        strike_log(b, route, LOG_BAD_MESSAGE, dialect, why)


cdef void strike_off(broker_t *b, route_t *route, uint8_t dialect, const char *why) noexcept nogil:
    if route.struck:
        return
    route.struck = 1
    b.counters[C_STRUCK_ROUTES] += 1
    strike_log(b, route, LOG_STRUCK, dialect, why)


cdef void strike_log(
        broker_t *b, route_t *route, uint8_t kind, uint8_t dialect, const char *why
        ) noexcept nogil:
    """Log a bad message; a route that has no peer yet is known by its address."""
    cdef peer_t stranger
    cdef peer_t *peer = route.peer
    if peer == NULL:
        memset(&stranger, 0, sizeof(peer_t))
        peer = &stranger
        peer_address(b, peer)
    log_event(b, kind, peer, <const uint8_t *> why, strlen(why), dialect, 0)


cdef uint16_t strikes_left(broker_t *b, route_t *route) noexcept nogil:
    cdef int64_t seconds = (b.now - route.struck_at) // 1_000_000_000
    if route.deaf:
        return STRIKES_MAX
    return <uint16_t> (route.strikes - seconds) if seconds < route.strikes else 0


# -- storing ----------------------------------------------------------------------------------

cdef uint64_t frames_bytes(broker_t *b, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint64_t size = 0
    cdef uint32_t i
    for i in range(first, first + count):
        size += b.views[i].size
    return size


# attaches says whether a foreign body is worth attaching: when one of its frames is.
cdef int attaches(broker_t *b, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(first, first + count):
        if b.views[i].size >= PART_ATTACHED_FROM:
            return 1
    return 0


# attach moves frames into the messages of *out; small ones are copied, since a kept small message
# pins the whole buffer that libzmq received it in. 0, or -1: not all of them.
cdef int attach(broker_t *b, stored_t *out, uint32_t first) noexcept nogil:
    cdef uint32_t i
    cdef zmq_msg_t *to
    for i in range(out.attached):
        to = &stored_attached(out)[i]
        if b.views[first + i].size >= PART_ATTACHED_FROM:
            zmq.msg_move(to, &b.frames[first + i])
        elif zmq.msg_init_size(to, b.views[first + i].size) == 0:
            memcpy(zmq.msg_data(to), b.views[first + i].data, b.views[first + i].size)
        else:
            b.counters[C_NO_MEMORY] += 1
            zmq.msg_init(to)
            return -1
    return 0


# fill_body writes the frames as inline parts to where a record's body begins.
cdef void fill_body(broker_t *b, uint8_t *at, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(first, first + count):
        at = part_put(at, b.views[i].data, <uint32_t> b.views[i].size)


cdef int store_frames(
        broker_t *b, stored_t *out, const uint8_t *image, uint32_t size, uint32_t first,
        uint16_t count) noexcept nogil:
    if stored_fill(b, out, image, size, count):
        return -1
    if attach(b, out, first):
        stored_clear(b, out)
        return -1
    return 0


# store_body ends what store_request, store_reply and store_partial began in b.scratch.
cdef int store_body(
        broker_t *b, stored_t *out, uint8_t *at, uint8_t flags, uint32_t first, uint32_t count
        ) noexcept nogil:
    if at == NULL:
        b.counters[C_NO_MEMORY] += 1
        return -1
    CHECK(count < b.frames_count <= UINT16_MAX + 1, "a body of %u frames", count)
    if flags & FLAG_ATTACHED:
        return store_frames(
            b, out, b.scratch.data, <uint32_t> b.scratch.size, first, <uint16_t> count)
    fill_body(b, at, first, count)
    return stored_fill(b, out, b.scratch.data, <uint32_t> b.scratch.size, 0)


# body_flags and body_size are those of the record that the frames are to become.
cdef uint8_t body_flags(broker_t *b, uint32_t first, uint32_t count) noexcept nogil:
    return FLAG_ATTACHED if attaches(b, first, count) else 0


cdef size_t body_size(
        broker_t *b, uint8_t flags, uint32_t first, uint32_t count) noexcept nogil:
    if flags & FLAG_ATTACHED:
        return 0
    return frames_bytes(b, first, count) + 4 * count


cdef int store_request(
        broker_t *b, stored_t *out, const uint8_t *service, uint32_t size, uint32_t first,
        uint32_t count) noexcept nogil:
    cdef uint8_t flags = body_flags(b, first, count)
    cdef uint8_t *at
    b.scratch.size = 0
    at = put_request(&b.scratch, 0, flags, <uint16_t> count, 0, 0, service, <uint16_t> size,
                     body_size(b, flags, first, count))
    return store_body(b, out, at, flags, first, count)


cdef int store_reply(
        broker_t *b, stored_t *out, uint32_t first, uint32_t count) noexcept nogil:
    cdef uint8_t flags = body_flags(b, first, count)
    cdef uint8_t *at
    b.scratch.size = 0
    at = put_reply(
        &b.scratch, 0, flags, <uint16_t> count, body_size(b, flags, first, count))
    return store_body(b, out, at, flags, first, count)


cdef int store_partial(
        broker_t *b, stored_t *out, uint32_t sequence, uint8_t attempt, uint32_t first,
        uint32_t count) noexcept nogil:
    cdef uint8_t flags = body_flags(b, first, count)
    cdef uint8_t *at
    b.scratch.size = 0
    at = put_partial(&b.scratch, 0, flags, <uint16_t> count, sequence, attempt,
                     body_size(b, flags, first, count))
    return store_body(b, out, at, flags, first, count)


# -- handing over -----------------------------------------------------------------------------

cdef int accept(
        broker_t *b, peer_t *peer, uint64_t id, uint32_t service, uint8_t priority,
        int64_t timeout_ns, slot_t *kept) noexcept nogil:
    cdef uint32_t bytes = <uint32_t> stored_bytes(&kept.record)
    cdef uint32_t slot
    cdef int result = REQ_NO_MEMORY
    if kept.envelope != NULL:
        bytes += kept.envelope.size
    if slot_room(b, b.d.request_pool.fresh):
        disp_service_drop(b.d, service)
    elif leaves_unread(b, peer) and request_find(b.d, peer.client, id) == NONE:
        disp_service_drop(b.d, service)
        b.d.counters.refused += 1
        result = REQ_BUSY_UNREAD
    else:
        result = disp_request(
            b.d, peer.client, id, service, priority, timeout_ns, bytes, 0, b.now, &slot)
    if result == REQ_ACCEPTED:
        b.slots[slot] = kept[0]
        fetch(&b.slots[b.d.request_pool.free])
        b.seek_lost |= b.lost_count > 0 and b.now - b.lost_tried_at >= LOST_AGAIN_NS
    else:
        slot_clear(b, kept)
        if result == REQ_KEPT:
            deliver(b, slot)
    act(b)
    return result


cdef int answer(
        broker_t *b, peer_t *peer, uint64_t token, stored_t *record) noexcept nogil:
    cdef uint32_t slot
    cdef int result = disp_answer(
        b.d, peer.worker, token, <uint32_t> stored_bytes(record) + ANSWER_BYTES, b.now,
        live_now(b), &slot)
    if result == ANS_COUNTED:
        stored_clear(b, &b.slots[slot].record)
        b.slots[slot].record = record[0]
        deliver(b, slot)
    else:
        stored_clear(b, record)
    act(b)
    return result


cdef int answer_oversized(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    return answer_instead(
        b, peer, token, CODE_INTERNAL,
        "the worker's answer is larger than the broker takes (body_bytes_max)")


cdef int answer_bad(
        broker_t *b, peer_t *peer, uint64_t token, const char *why) noexcept nogil:
    cdef char text[160]
    snprintf(text, sizeof(text), "the worker's answer is malformed: %s", why)
    return answer_instead(b, peer, token, CODE_INTERNAL, text)


cdef int answer_unstored(broker_t *b, peer_t *peer, uint64_t token) noexcept nogil:
    return answer_instead(
        b, peer, token, CODE_DATA_LOSS, "the answer was dropped: the broker is out of memory")


cdef int answer_instead(
        broker_t *b, peer_t *peer, uint64_t token, uint8_t code, const char *text) noexcept nogil:
    """End a task by an ERROR; without memory for that, too, it goes to the next worker."""
    cdef stored_t record
    b.scratch.size = 0
    if (put_error(&b.scratch, token, code, 0, text, <uint32_t> strlen(text)) == 0
            and stored_fill(b, &record, b.scratch.data, <uint32_t> b.scratch.size, 0) == 0):
        return answer(b, peer, token, &record)
    return release(b, peer, token, NULL)


cdef void partial(broker_t *b, uint32_t slot, stored_t *record) noexcept nogil:
    cdef peer_t *peer = b.client_peer[b.d.requests[slot].client]
    cdef uint32_t size = <uint32_t> stored_bytes(record) + ANSWER_BYTES
    if not streams(b, slot) or b.slots[slot].hole or overflows(b, peer, size):
        if not streams(b, slot):
            credit_grant_stored(b, slot, record)
        stored_clear(b, record)
        partial_dropped(b, slot, HOLE_UNREAD)
    elif partial_push(b, peer, slot, record, size):
        stored_clear(b, record)
        partial_dropped(b, slot, HOLE_MEMORY)
    else:
        b.counters[C_PARTIALS] += 1
        peer_touch(b, peer)


# streams says whether a request's client is sent partials: others get the final answer only.
cdef bint streams(const broker_t *b, uint32_t slot) noexcept nogil:
    return b.slots[slot].dialect == DIALECT_PND or b.slots[slot].dialect == DIALECT_MDP2


cdef void partial_dropped(broker_t *b, uint32_t slot, hole_t why) noexcept nogil:
    b.counters[C_PARTIALS_DROPPED] += 1
    if not streams(b, slot):
        if why != HOLE_UNREAD:  # what it cost its worker is not known
            credit_grant_all(b, slot)
        return
    if not b.slots[slot].hole:
        b.slots[slot].hole = why
    if b.slots[slot].dialect != DIALECT_PND:
        credit_grant_all(b, slot)
    disp_cancel(b.d, b.d.requests[slot].client, b.d.requests[slot].id, b.now)
    act(b)


# page_waits says whether a page is not to be written in this turn: the client has too much unread,
# or it was sent one with rows, or this turn wrote enough of them. MMI's answers are a few bytes.
cdef int page_waits(broker_t *b, const peer_t *peer, uint8_t page) noexcept nogil:
    if leaves_unread(b, peer):
        return 1
    if page_has_rows(page) and peer.paged_turn == b.counters[C_TURNS]:
        return 1
    return b.page_bytes > PAGES_BYTES and not page_is_mmi(page)


cdef int answer_page(
        broker_t *b, peer_t *peer, uint64_t id, uint8_t page, const uint8_t *name, uint32_t size,
        const frame_t *asked, uint8_t dialect, uint32_t *slot) noexcept nogil:
    cdef uint32_t client = peer.client if peer.client != NONE else client_open(b, peer, 1)
    cdef uint32_t service
    cdef int result
    slot[0] = NONE
    if client == NONE:
        return REQ_BUSY_CLIENTS
    service = service_named(b, name, size, 0, OPENED_INTERNAL, NONE)
    if service == NONE:
        return REQ_NO_MEMORY
    if page_waits(b, peer, page) and request_find(b.d, client, id) == NONE:
        disp_service_drop(b.d, service)
        act(b)
        return REQ_BUSY_UNREAD
    if slot_room(b, b.d.request_pool.fresh):
        disp_service_drop(b.d, service)
        act(b)
        return REQ_NO_MEMORY
    result = disp_request(b.d, client, id, service, 0, 0, 0, 1, b.now, slot)
    if result == REQ_ACCEPTED:
        b.slots[slot[0]].dialect = dialect
        if page == PAGE_MMI_SERVICE and asked == NULL:
            page = PAGE_MMI_UNKNOWN
        if page_write(b, page, asked.data if asked != NULL else NULL,
                      <uint32_t> asked.size if asked != NULL else 0) == 0:
            store_scratch(b, &b.slots[slot[0]].record)
        b.page_bytes += b.scratch.size
        if page_has_rows(page):
            peer.paged_turn = b.counters[C_TURNS]
        disp_answer_bytes(b.d, slot[0], b.slots[slot[0]].record.size + ANSWER_BYTES)
    return result
