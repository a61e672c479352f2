"""Packets on their way out (rules: outbox.pxd)."""

from libc.errno cimport EFAULT, EINTR
from libc.stddef cimport size_t
from libc.stdint cimport UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset, strlen

from pound._base.buffer cimport buffer_free
from pound._base.check cimport CHECK
from pound._wire.packets cimport (
    CREDIT_SIZE, FLAG_ATTACHED, HELLO_SIZE, HOLDS_ENTRY_SIZE, HOLDS_SIZE, PACKET_RECORDS_MAX,
    PARTIAL_SIZE, READY_SIZE, RECORD_SIZE, holds_entry_t, named_head_size, packet_begin, packet_end,
    part_put, put_bye, put_credit, put_error, put_hello, put_holds, put_partial, put_ready,
    put_reply, put_request, put_simple)
from pound._zmq.libzmq cimport ETERM, ZMQ_DONTWAIT, ZMQ_SNDMORE, zmq, zmq_msg_t
from .link cimport broker_limits_t, limits_allow, link_state_t
from .mailbox cimport LOG_ENGINE_FAILED, body_put, body_t, mail_log, mailbox_t

cdef enum:
    FRAMES_ROOM_MIN = 16

cdef struct refused_t:
    refused_t *next
    uint32_t count             # messages
    zmq_msg_t frames[1]        # `count` of them

cdef const char *NO_MEMORY = b"its engine failed: no memory"
cdef const char *TERMINATED = b"its context was terminated"


cdef void outbox_init(outbox_t *o, link_state_t *link, mailbox_t *main) noexcept nogil:
    memset(o, 0, sizeof(outbox_t))
    o.link = link
    o.main = main


cdef void outbox_free(outbox_t *o) noexcept nogil:
    outbox_connect(o, NULL)
    free(o.frames)
    buffer_free(&o.packet)
    o.frames = NULL


cdef void outbox_connect(outbox_t *o, void *socket) noexcept nogil:
    o.records = 0
    outbox_drop(o)
    frames_clear(o)
    o.socket = socket


cdef void outbox_failed(outbox_t *o) noexcept nogil:
    if zmq.errnum() == ETERM or zmq.errnum() == EFAULT:
        o.over = TERMINATED


cdef void outbox_starve(outbox_t *o) noexcept nogil:
    if o.over == NULL:
        o.over = NO_MEMORY
        mail_log(o.main, LOG_ENGINE_FAILED, 0, 0, NO_MEMORY, <uint32_t>strlen(NO_MEMORY))


cdef uint32_t limits_excess(
    const broker_limits_t *limits, const body_t *body, char *sentence, uint32_t room
) noexcept nogil:
    cdef int size = 0
    if body.bytes > limits.body_bytes_max:
        size = snprintf(
            sentence, room, b"a body of %llu bytes exceeds the broker's body_bytes_max of %u",
            <unsigned long long>body.bytes, <unsigned>limits.body_bytes_max)
    elif body.attached != NULL and body.parts >= limits.frames_max:
        size = snprintf(
            sentence, room, b"a body of %u attached parts exceeds the broker's frames_max of %u",
            <unsigned>body.parts, <unsigned>limits.frames_max)
    return min(<uint32_t>size, room - 1)


# frames_reserve makes room for `count` messages; they may be moved, being plain bytes to libzmq.
cdef int frames_reserve(zmq_msg_t **frames, uint32_t *room, uint32_t count) noexcept nogil:
    cdef uint32_t more = room[0] if room[0] else FRAMES_ROOM_MIN
    cdef void *bigger
    if count <= room[0]:
        return 0
    while more < count:
        more *= 2
    bigger = realloc(frames[0], more * sizeof(zmq_msg_t))
    if bigger == NULL:
        return -1
    frames[0] = <zmq_msg_t *>bigger
    room[0] = more
    return 0


# --- sending -------------------------------------------------------------------------------

cdef int outbox_push(outbox_t *o) noexcept nogil:
    if not o.link.up or o.socket == NULL:
        return 0
    while o.refused != NULL and push(o, o.refused):
        refused_pop(o)
    return o.refused == NULL


# send_frame sends one frame: 1, or 0: refused, the frame is unchanged.
cdef int send_frame(outbox_t *o, zmq_msg_t *frame, bint more) noexcept nogil:
    cdef int flags = ZMQ_DONTWAIT | (ZMQ_SNDMORE if more else 0)
    cdef int sent = zmq.msg_send(frame, o.socket, flags)
    o.touched = 1
    while sent < 0 and zmq.errnum() == EINTR:
        sent = zmq.msg_send(frame, o.socket, flags)
    if sent < 0:
        outbox_failed(o)
    return sent >= 0


# send_rest sends the attached frames behind a packet. A refusal here means that the connection
# broke and libzmq rolled the message back: the other frames are sent into the void, or libzmq would
# take the next message for theirs. What was in it is sent again after the reconnect.
cdef void send_rest(outbox_t *o, zmq_msg_t *frames, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        send_frame(o, &frames[i], i + 1 < count)
        zmq.msg_close(&frames[i])


# push offers a refused message to libzmq again: 1: it is gone, its frames are closed; 0: refused.
cdef int push(outbox_t *o, refused_t *message) noexcept nogil:
    if not send_frame(o, &message.frames[0], message.count > 1):
        return 0
    zmq.msg_close(&message.frames[0])
    send_rest(o, message.frames + 1, message.count - 1)
    message.count = 0
    return 1


# keep puts the packet that is written among the refused messages.
cdef void keep(outbox_t *o) noexcept nogil:
    cdef size_t size = sizeof(refused_t) + o.frames_count * sizeof(zmq_msg_t)
    cdef refused_t *message = <refused_t *>malloc(size)
    if message == NULL or zmq.msg_init_size(&message.frames[0], o.packet.size):
        free(message)
        outbox_starve(o)
        return
    memcpy(zmq.msg_data(&message.frames[0]), o.packet.data, o.packet.size)
    if o.frames_count:
        memcpy(&message.frames[1], o.frames, o.frames_count * sizeof(zmq_msg_t))
    message.count = 1 + o.frames_count
    message.next = NULL
    o.frames_count = 0
    if o.refused == NULL:
        o.refused = message
    else:
        o.refused_last.next = message
    o.refused_last = message


cdef void refused_pop(outbox_t *o) noexcept nogil:
    cdef refused_t *message = o.refused
    cdef uint32_t i
    for i in range(message.count):
        zmq.msg_close(&message.frames[i])
    o.refused = message.next
    free(message)


cdef void outbox_drop(outbox_t *o) noexcept nogil:
    while o.refused != NULL:
        refused_pop(o)


cdef void frames_clear(outbox_t *o) noexcept nogil:
    while o.frames_count:
        o.frames_count -= 1
        zmq.msg_close(&o.frames[o.frames_count])


# --- writing -------------------------------------------------------------------------------

cdef void outbox_begin(outbox_t *o, uint64_t done) noexcept nogil:
    CHECK(o.records == 0 and o.frames_count == 0, "%u records were never sent", o.records)
    o.done = done
    o.said = 0


cdef void outbox_end(outbox_t *o, int64_t now) noexcept nogil:
    finish(o)
    if o.said:
        o.link.said_at = now


# finish hands the packet that is written to libzmq, which copies it, or keeps it if that refuses.
cdef void finish(outbox_t *o) noexcept nogil:
    cdef int flags = ZMQ_DONTWAIT | (ZMQ_SNDMORE if o.frames_count else 0)
    cdef int sent
    if o.records == 0:
        return
    packet_end(&o.packet, o.records)
    o.records = 0
    if o.refused != NULL:
        keep(o)
        return
    o.touched = 1
    sent = zmq.send(o.socket, o.packet.data, o.packet.size, flags)
    while sent < 0 and zmq.errnum() == EINTR:
        sent = zmq.send(o.socket, o.packet.data, o.packet.size, flags)
    if sent < 0:
        outbox_failed(o)
        keep(o)
        return
    send_rest(o, o.frames, o.frames_count)
    o.frames_count = 0


# room makes sure that a record of `size` bytes and `attached` frames may follow in the packet:
# within the broker's limits, beyond them only alone. -1: no memory.
cdef int room(outbox_t *o, size_t size, uint32_t attached) noexcept nogil:
    if o.records and (
        o.records == PACKET_RECORDS_MAX
        or not limits_allow(&o.link.limits, o.packet.size, o.frames_count, size, attached)
    ):
        finish(o)
    if o.records == 0 and packet_begin(&o.packet, o.link.session, o.done):
        outbox_starve(o)
        return -1
    if frames_reserve(&o.frames, &o.frames_room, o.frames_count + attached):
        outbox_starve(o)
        return -1
    return 0


# is_attached: whether a body's parts travel as frames. More of them than a packet may have, by the
# limits of a broker that came after the body was judged, go inline.
cdef bint is_attached(const outbox_t *o, const body_t *body) noexcept nogil:
    return body.attached != NULL and (
        body.parts < o.link.limits.frames_max or body.bytes > UINT32_MAX - 1048576)


# inline_size returns the bytes of a body in its packet's first frame.
cdef size_t inline_size(const outbox_t *o, const body_t *body) noexcept nogil:
    if body.attached == NULL:
        return body.size
    return 0 if is_attached(o, body) else body.bytes + 4 * <size_t>body.parts


# begin makes room for a record with this body: its flags, or -1: no memory.
cdef int begin(outbox_t *o, size_t head_size, const body_t *body) noexcept nogil:
    cdef bint attached = is_attached(o, body)
    if room(o, RECORD_SIZE + head_size + inline_size(o, body), body.parts if attached else 0):
        return -1
    return body.flags | (FLAG_ATTACHED if attached else 0)


# put_body writes a record's body, `at` its place in the packet (NULL: there was no memory), and
# counts the record.
cdef void put_body(outbox_t *o, uint8_t *at, const body_t *body) noexcept nogil:
    cdef uint32_t i
    if at == NULL:
        outbox_starve(o)
        return
    o.records += 1
    o.said = 1
    if body.attached == NULL:
        body_put(body, at)
        return
    for i in range(body.parts):
        if is_attached(o, body):
            zmq.msg_init(&o.frames[o.frames_count])
            zmq.msg_copy(&o.frames[o.frames_count], &body.attached[i])
            o.frames_count += 1
        else:
            at = part_put(at, zmq.msg_data(&body.attached[i]),
                          <uint32_t>zmq.msg_size(&body.attached[i]))


cdef void put_whole(outbox_t *o, int failed) noexcept nogil:
    if failed:
        outbox_starve(o)
        return
    o.records += 1
    o.said = 1


cdef void outbox_request(
    outbox_t *o, uint64_t id, uint8_t flags, uint32_t timeout_ms, uint8_t priority,
    const uint8_t *key, uint64_t run, const uint8_t *service, uint16_t service_size,
    const body_t *body,
) noexcept nogil:
    cdef int own = begin(o, named_head_size(flags, service_size), body)
    if own < 0:
        return
    put_body(o, put_request(
        &o.packet, id, <uint8_t>(own | flags), body.parts, timeout_ms, priority, key, run,
        service, service_size, inline_size(o, body)), body)


cdef void outbox_reply(outbox_t *o, uint64_t token, const body_t *body) noexcept nogil:
    cdef int flags = begin(o, 0, body)
    if flags < 0:
        return
    put_body(o, put_reply(
        &o.packet, token, <uint8_t>flags, body.parts, inline_size(o, body)), body)


cdef void outbox_partial(
    outbox_t *o, uint64_t token, uint32_t sequence, uint8_t attempt, const body_t *body
) noexcept nogil:
    cdef int flags = begin(o, PARTIAL_SIZE, body)
    if flags < 0:
        return
    put_body(o, put_partial(
        &o.packet, token, <uint8_t>flags, body.parts, sequence, attempt, inline_size(o, body)),
        body)


cdef void outbox_error(
    outbox_t *o, uint64_t token, uint16_t code, uint32_t retry_after_ms, const body_t *sentence
) noexcept nogil:
    cdef const uint8_t *text = NULL
    cdef uint32_t size = 0
    if sentence.parts == 1 and sentence.data != NULL:
        text = sentence.data + 4
        size = sentence.size - 4
    if room(o, RECORD_SIZE + 12 + <size_t>size, 0) == 0:
        put_whole(o, put_error(&o.packet, token, code, retry_after_ms, text, size))


cdef void outbox_simple(outbox_t *o, uint8_t kind, uint64_t id) noexcept nogil:
    if room(o, RECORD_SIZE, 0) == 0:
        put_whole(o, put_simple(&o.packet, kind, id))


cdef void outbox_bye(outbox_t *o, uint16_t reason) noexcept nogil:
    if room(o, RECORD_SIZE + 8, 0) == 0:
        put_whole(o, put_bye(&o.packet, reason, 0))


cdef void outbox_credit(
    outbox_t *o, uint64_t id, uint64_t run, uint64_t credit, uint32_t sequence
) noexcept nogil:
    if room(o, RECORD_SIZE + CREDIT_SIZE, 0) == 0:
        put_whole(o, put_credit(&o.packet, id, run, credit, sequence))


cdef void outbox_holds(
    outbox_t *o, const holds_entry_t *entries, uint32_t count
) noexcept nogil:
    if room(o, RECORD_SIZE + HOLDS_SIZE + HOLDS_ENTRY_SIZE * <size_t>count, 0) == 0:
        put_whole(o, put_holds(&o.packet, entries, count))


cdef void outbox_hello(outbox_t *o, uint32_t features, const body_t *label) noexcept nogil:
    if room(o, RECORD_SIZE + HELLO_SIZE + <size_t>label.size, 0) == 0:
        put_body(o, put_hello(&o.packet, label.parts, features, label.size), label)


cdef void outbox_ready(
    outbox_t *o, uint32_t capacity, uint32_t features, const uint8_t *epoch,
    const uint64_t *tokens, uint32_t count, const body_t *names,
) noexcept nogil:
    if room(o, RECORD_SIZE + READY_SIZE + 8 * <size_t>count + names.size, 0) == 0:
        put_body(o, put_ready(
            &o.packet, names.parts, capacity, features, epoch, tokens, count, names.size), names)
