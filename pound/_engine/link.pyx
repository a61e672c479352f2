"""The dealer: one DEALER towards one endpoint of the list; what is known of the broker behind it.

The rules are in `link.pxd`. libzmq does not say in band that it lost or renewed a connection:
the socket's monitor does. (ZMQ_IMMEDIATE would hold messages back too, but on a disconnect it drops
those that came in and were not read yet: answers, and the broker's BYE.)
"""

from libc.errno cimport EFAULT, EINTR
from libc.stddef cimport size_t
from libc.stdint cimport UINT32_MAX
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset, strchr, strlen, strncmp

import os

from pound._base.buffer cimport buffer_free
from pound._base.check cimport CHECK
from pound._wire.writer cimport (
    FLAG_ATTACHED, KIND_HELLO, KIND_READY, PACKET_RECORDS_MAX, RECORD_SIZE, named_head_size,
    packet_begin, packet_end, packet_open, part_put, put_bye, put_credit, put_error, put_partial,
    put_reply, put_request, put_simple, record_begin, store_u32, store_u64, wire_error_text)
from pound._zmq.libzmq cimport (
    ETERM, ZMQ_DEALER, ZMQ_DONTWAIT, ZMQ_EVENT_CONNECT_RETRIED, ZMQ_EVENT_DISCONNECTED,
    ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_EVENTS, ZMQ_FD, ZMQ_IPV6, ZMQ_LINGER, ZMQ_PAIR, ZMQ_POLLIN,
    ZMQ_POLLOUT, ZMQ_RCVHWM, ZMQ_RECONNECT_IVL, ZMQ_RECONNECT_IVL_MAX, ZMQ_SNDHWM, ZMQ_SNDMORE, zmq)
from .endpoints cimport (
    endpoint_is_name, endpoint_name, endpoint_target, endpoints_free, endpoints_init,
    endpoints_turn)
from .mailbox cimport (
    LOG_BROKER_FOUND, LOG_BROKER_LOST, LOG_CANNOT_CONNECT, LOG_ENGINE_FAILED, LOG_MALFORMED,
    body_put, body_t, mail_log, mailbox_t)

cdef extern from "pound/_base/atomics.h" nogil:
    uint64_t draw(uint64_t *state)

cdef extern from "pound/_base/clock.h" nogil:
    const int64_t FAR "POUND_FAR"

cdef enum:
    HWM = 256                  # messages; one holds many records, and the rest waits in the end
    RECONNECT_MS = 100
    RECONNECT_MAX_MS = 1000
    FRAMES_ROOM_MIN = 16
    LIVENESS_MAX = 1000        # so that no sum of times overflows, whatever a broker says
    TEXT_MAX = 1024            # bytes of a log line's texts
    GREETING_NS = 1000000000   # between two greetings until WELCOME
    REST_NS = 1000000000       # away from a broker that said BYE without saying for how long
    BRIEF_NS = 1000000000      # a connection that is cut sooner after WELCOME: we are turned away
    TURN_PAUSE_NS = 250000000  # that an endpoint is given at least: turning can't become a storm
    MONITORED = (
        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED)

cdef struct refused_t:
    refused_t *next
    uint32_t count             # messages
    zmq_msg_t frames[1]        # `count` of them

cdef const char *NO_MEMORY = b"its engine failed: no memory"
cdef const char *TERMINATED = b"its context was terminated"
cdef uint64_t opened = 0       # sockets of this process: names of their monitors
cdef uint64_t dice


cdef int64_t jitter(int64_t ns) noexcept nogil:
    return ns - ns // 4 + <int64_t>(draw(&dice) % <uint64_t>(ns // 2 + 1))


# --- limits --------------------------------------------------------------------------------

cdef void limits_default(broker_limits_t *limits) noexcept nogil:
    limits.body_bytes_max = 67108864
    limits.packet_bytes_max = 1048576
    limits.frames_max = 1024
    limits.requests_max = 65536


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


# --- begin and end -------------------------------------------------------------------------

cdef int dealer_init(
    dealer_t *d, const char **endpoints, uint32_t count, int64_t heartbeat, uint32_t liveness,
    uint8_t follows, const uint8_t *session, mailbox_t *main,
) noexcept nogil:
    memset(d, 0, sizeof(dealer_t))
    d.main = main
    d.fd = d.monitor_fd = -1
    d.greet_at = FAR
    d.heartbeat = d.own_heartbeat = heartbeat
    d.own_liveness = liveness
    d.silence = heartbeat * liveness
    d.follows = follows
    memcpy(d.session, session, sizeof(d.session))
    limits_default(&d.limits)
    return endpoints_init(&d.endpoints, endpoints, count)


cdef void dealer_free(dealer_t *d) noexcept nogil:
    dealer_close(d, 0)
    heard_clear(d)
    endpoints_free(&d.endpoints)
    free(d.frames)
    free(d.heard)
    buffer_free(&d.packet)
    d.frames = d.heard = NULL


# fail notes, if so, that the call that failed can't be followed by another: its context has ended.
cdef void fail(dealer_t *d) noexcept nogil:
    if zmq.errnum() == ETERM or zmq.errnum() == EFAULT:
        d.over = TERMINATED


# starve ends the engine: a record that can't be written would be lost without a word.
cdef void starve(dealer_t *d) noexcept nogil:
    if d.over == NULL:
        d.over = NO_MEMORY
        mail_log(d.main, LOG_ENGINE_FAILED, 0, 0, NO_MEMORY, <uint32_t>strlen(NO_MEMORY))


# --- the socket ----------------------------------------------------------------------------

cdef void dealer_open(dealer_t *d, int64_t now) noexcept nogil:
    dealer_close(d, 0)
    d.opened_at = d.heard_at = d.greet_at = now
    d.resting_until = 0
    d.handshakes = 0
    d.reopen = 0
    d.socket = zmq.socket(d.context, ZMQ_DEALER)
    if d.socket == NULL:
        log_failure(d)
        rest(d, now + REST_NS)
        return
    configure(d)
    d.fd = descriptor(d.socket)
    d.readable = 1
    d.fd_speaks = 0
    if watch_start(d) or zmq.connect(d.socket, endpoint_target(&d.endpoints)):
        log_failure(d)
    d.monitor_readable = d.monitor != NULL
    d.up = d.is_inproc = strncmp(endpoint(d), b"inproc:", 7) == 0


cdef void dealer_close(dealer_t *d, int linger_ms) noexcept nogil:
    d.up = d.welcomed = d.readable = d.monitor_readable = 0
    d.lives += 1
    d.records = 0
    refused_clear(d)
    frames_clear(d)
    if d.socket != NULL:
        zmq.socket_monitor(d.socket, NULL, 0)
        set_option(d.socket, ZMQ_LINGER, linger_ms)
        zmq.close(d.socket)
    if d.monitor != NULL:
        zmq.close(d.monitor)
    d.socket = d.monitor = NULL
    d.fd = d.monitor_fd = -1


cdef const char *endpoint(const dealer_t *d) noexcept nogil:
    return endpoint_name(&d.endpoints)


cdef void set_option(void *socket, int option, int value) noexcept nogil:
    zmq.setsockopt(socket, option, &value, sizeof(value))


cdef int descriptor(void *socket) noexcept nogil:
    cdef int fd = -1
    cdef size_t size = sizeof(fd)
    return -1 if zmq.getsockopt(socket, ZMQ_FD, &fd, &size) else fd


cdef void configure(dealer_t *d) noexcept nogil:
    set_option(d.socket, ZMQ_LINGER, 0)
    set_option(d.socket, ZMQ_SNDHWM, HWM)
    set_option(d.socket, ZMQ_RCVHWM, HWM)
    set_option(d.socket, ZMQ_RECONNECT_IVL, RECONNECT_MS)
    set_option(d.socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    if d.endpoints.six or strchr(endpoint_target(&d.endpoints), c"[") != NULL:
        set_option(d.socket, ZMQ_IPV6, 1)


# watch_start makes the monitor's socket; -1: zmq_errno tells why not.
cdef int watch_start(dealer_t *d) noexcept nogil:
    cdef char name[64]
    snprintf(name, sizeof(name), b"inproc://pound-end-%llx-%llx",
             <unsigned long long><size_t>d, <unsigned long long>draw(&opened))
    if zmq.socket_monitor(d.socket, name, MONITORED):
        return -1
    d.monitor = zmq.socket(d.context, ZMQ_PAIR)
    if d.monitor == NULL:
        return -1
    set_option(d.monitor, ZMQ_LINGER, 0)
    set_option(d.monitor, ZMQ_RCVHWM, 0)
    if zmq.connect(d.monitor, name):
        return -1
    d.monitor_fd = descriptor(d.monitor)
    return 0


# --- what is logged ------------------------------------------------------------------------

cdef void log_texts(
    dealer_t *d, uint16_t event, const char *first, const char *second, uint8_t brief
) noexcept nogil:
    cdef char text[TEXT_MAX]
    cdef int size = snprintf(text, sizeof(text), b"%s%c%s", first, 0, second)
    mail_log(d.main, event, brief, 0, text, min(size, TEXT_MAX - 1))


cdef void log_found(dealer_t *d) noexcept nogil:
    mail_log(d.main, LOG_BROKER_FOUND, 0, 0, endpoint(d), <uint32_t>strlen(endpoint(d)))


cdef void log_malformed(dealer_t *d, int error, size_t byte) noexcept nogil:
    cdef char text[64]
    cdef int size = snprintf(
        text, sizeof(text), b"%s at byte %llu", wire_error_text(error), <unsigned long long>byte)
    mail_log(d.main, LOG_MALFORMED, 0, 0, text, size)


cdef void log_failure(dealer_t *d) noexcept nogil:
    fail(d)
    if d.over != NULL:
        return
    log_texts(d, LOG_CANNOT_CONNECT, endpoint(d), zmq.strerror(zmq.errnum()), 0)


cdef void lose(dealer_t *d, const char *reason) noexcept nogil:
    if d.welcomed:
        d.lost = reason
        if not d.leaving:
            log_texts(d, LOG_BROKER_LOST, endpoint(d), reason, d.brief)
    d.welcomed = 0


# --- what is heard -------------------------------------------------------------------------

cdef void dealer_watch(dealer_t *d, int64_t now) noexcept nogil:
    cdef int event
    while d.monitor_readable and d.monitor != NULL:
        event = monitor_event(d)
        if event == 0:
            d.monitor_readable = 0
            return
        if event == ZMQ_EVENT_DISCONNECTED:
            d.up = 0
            d.brief = d.brief or (d.welcomed and now - d.welcomed_at < BRIEF_NS)
            lose(d, b"disconnected")
        elif event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            d.up = 1
            d.handshakes += 1
            if d.handshakes > 1:
                refused_clear(d)
                dealer_forgotten(d, now, b"reconnected")
        elif event == ZMQ_EVENT_CONNECT_RETRIED:
            if d.handshakes == 0 and (
                    d.endpoints.count > 1 or endpoint_is_name(&d.endpoints)):
                turn(d, now, b"refused")


# monitor_event reads one event of the monitor; 0: there is none.
cdef int monitor_event(dealer_t *d) noexcept nogil:
    cdef zmq_msg_t message
    cdef uint16_t event = 0
    cdef bint first = True
    cdef bint more = True
    zmq.msg_init(&message)
    while more and receive(d, d.monitor, &message) >= 0:
        if first and zmq.msg_size(&message) >= 2:
            memcpy(&event, zmq.msg_data(&message), 2)  # in the machine's own order
        first = False
        more = zmq.msg_more(&message)
    zmq.msg_close(&message)
    return event


# receive reads one frame: its size, or -1: there is none.
cdef int receive(dealer_t *d, void *socket, zmq_msg_t *message) noexcept nogil:
    cdef int size = zmq.msg_recv(message, socket, ZMQ_DONTWAIT)
    while size < 0 and zmq.errnum() == EINTR:
        size = zmq.msg_recv(message, socket, ZMQ_DONTWAIT)
    if size < 0:
        fail(d)
    return size


cdef int dealer_read(dealer_t *d, packet_t *packet, int64_t now) noexcept nogil:
    cdef int error
    cdef const uint8_t *data
    if not d.readable or not read_message(d):
        return 0
    data = <const uint8_t *>zmq.msg_data(&d.heard[0])
    error = packet_open(data, zmq.msg_size(&d.heard[0]), d.heard_count - 1, packet)
    if error:
        log_malformed(d, error, packet.at - data)
        return -1
    if d.welcomed:
        d.heard_at = now
    return 1


# read_message reads all frames of a message: 1; 0: there is none, or no memory.
cdef int read_message(dealer_t *d) noexcept nogil:
    heard_clear(d)
    while True:
        if frames_reserve(&d.heard, &d.heard_room, d.heard_count + 1):
            starve(d)
            return 0
        zmq.msg_init(&d.heard[d.heard_count])
        if receive(d, d.socket, &d.heard[d.heard_count]) < 0:
            zmq.msg_close(&d.heard[d.heard_count])
            d.readable = 0
            d.fd_speaks = 1
            return 0
        d.heard_count += 1
        if not zmq.msg_more(&d.heard[d.heard_count - 1]):
            return 1


cdef void heard_clear(dealer_t *d) noexcept nogil:
    while d.heard_count:
        d.heard_count -= 1
        zmq.msg_close(&d.heard[d.heard_count])


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


cdef void dealer_welcome(dealer_t *d, const record_t *record, int64_t now) noexcept nogil:
    cdef int64_t told = record.heartbeat_ms * <int64_t>1000000
    if not d.welcomed:
        d.welcomed_at = now
        if not d.brief:
            log_found(d)
    d.welcomed = 1
    d.heard_at = now
    d.resting_until = 0
    d.reopen = 0
    d.greet_at = FAR
    d.limits.body_bytes_max = record.body_bytes_max
    d.limits.packet_bytes_max = max(1, record.packet_bytes_max)
    d.limits.frames_max = max(2, record.frames_max)
    d.limits.requests_max = max(1, record.requests_max)
    if told == 0:
        told = d.own_heartbeat
    d.heartbeat = min(d.own_heartbeat, told)
    d.silence = d.heartbeat * d.own_liveness
    if d.follows:
        d.silence = told * min(max(record.liveness, 1), LIVENESS_MAX)


cdef void dealer_forgotten(dealer_t *d, int64_t now, const char *reason) noexcept nogil:
    lose(d, reason)
    d.resting_until = 0
    d.reopen = d.socket == NULL
    d.greet_at = now


cdef void dealer_told_bye(dealer_t *d, int64_t now, uint32_t retry_after_ms) noexcept nogil:
    if d.endpoints.count > 1:
        turn(d, now, b"bye")
    elif retry_after_ms:
        rest(d, now + jitter(retry_after_ms * <int64_t>1000000))
    else:
        rest(d, now + jitter(REST_NS))


# --- silence and turning -------------------------------------------------------------------

cdef void dealer_tick(dealer_t *d, int64_t now) noexcept nogil:
    if d.brief and d.welcomed and now - d.welcomed_at >= BRIEF_NS:
        d.brief = 0
        log_found(d)
    if dealer_resting(d, now):
        return
    if d.reopen:
        dealer_open(d, now)
    elif now - d.heard_at >= d.silence:
        turn(d, now, b"silent")


# turn leaves this endpoint for another address of its name, for the next one, or for itself when it
# is the only one.
cdef void turn(dealer_t *d, int64_t now, const char *reason) noexcept nogil:
    lose(d, reason)
    if endpoints_turn(&d.endpoints):
        d.brief = 0
    dealer_close(d, 0)
    rest(d, d.opened_at + TURN_PAUSE_NS)
    dealer_tick(d, now)


cdef void rest(dealer_t *d, int64_t until) noexcept nogil:
    d.resting_until = until
    d.reopen = 1
    d.greet_at = FAR


cdef int dealer_resting(const dealer_t *d, int64_t now) noexcept nogil:
    return now < d.resting_until


cdef int64_t dealer_next_due(const dealer_t *d) noexcept nogil:
    cdef int64_t due = d.heard_at + d.silence
    if d.reopen:
        return d.resting_until
    if d.brief and d.welcomed:
        due = min(due, d.welcomed_at + BRIEF_NS)
    return due if d.wants_out else min(due, d.greet_at)


# --- greeting ------------------------------------------------------------------------------

cdef int dealer_greets(dealer_t *d, int64_t now) noexcept nogil:
    if now < d.greet_at:
        return 0
    d.greet_at = FAR if d.welcomed else now + jitter(GREETING_NS)
    return 1


cdef void dealer_greet_again(dealer_t *d, int64_t now) noexcept nogil:
    d.greet_at = min(d.greet_at, now)


# --- sending -------------------------------------------------------------------------------

cdef int dealer_writable(dealer_t *d) noexcept nogil:
    if not d.up or d.socket == NULL:
        return 0
    while d.refused != NULL and push(d, d.refused):
        refused_pop(d)
    return d.refused == NULL


cdef int dealer_flushed(const dealer_t *d) noexcept nogil:
    return d.refused == NULL


cdef int dealer_ready_now(dealer_t *d) noexcept nogil:
    cdef int events = 0
    cdef size_t size = sizeof(events)
    if d.socket == NULL:
        return 0
    if d.readable or d.monitor_readable:
        return 1  # not read to the end, and no news will be told of what is here already
    if d.fd_speaks:
        return 0
    if zmq.getsockopt(d.socket, ZMQ_EVENTS, &events, &size):
        fail(d)
        return d.over != NULL
    d.fd_speaks = 1
    d.readable = events & ZMQ_POLLIN != 0
    return d.readable or (d.wants_out and d.up and events & ZMQ_POLLOUT)


# send_frame sends one frame: 1, or 0: refused, the frame is unchanged.
cdef int send_frame(dealer_t *d, zmq_msg_t *frame, bint more) noexcept nogil:
    cdef int flags = ZMQ_DONTWAIT | (ZMQ_SNDMORE if more else 0)
    cdef int sent = zmq.msg_send(frame, d.socket, flags)
    d.fd_speaks = 0
    while sent < 0 and zmq.errnum() == EINTR:
        sent = zmq.msg_send(frame, d.socket, flags)
    if sent < 0:
        fail(d)
    return sent >= 0


# send_rest sends the attached frames behind a packet. A refusal here means that the connection
# broke and libzmq rolled the message back: the other frames are sent into the void, or libzmq would
# take the next message for theirs. What was in it is sent again after the reconnect.
cdef void send_rest(dealer_t *d, zmq_msg_t *frames, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        send_frame(d, &frames[i], i + 1 < count)
        zmq.msg_close(&frames[i])


# push offers a refused message to libzmq again: 1: it is gone, its frames are closed; 0: refused.
cdef int push(dealer_t *d, refused_t *message) noexcept nogil:
    if not send_frame(d, &message.frames[0], message.count > 1):
        return 0
    zmq.msg_close(&message.frames[0])
    send_rest(d, message.frames + 1, message.count - 1)
    message.count = 0
    return 1


# keep puts the packet that is written among the refused messages.
cdef void keep(dealer_t *d) noexcept nogil:
    cdef size_t size = sizeof(refused_t) + d.frames_count * sizeof(zmq_msg_t)
    cdef refused_t *message = <refused_t *>malloc(size)
    if message == NULL or zmq.msg_init_size(&message.frames[0], d.packet.size):
        free(message)
        starve(d)
        return
    memcpy(zmq.msg_data(&message.frames[0]), d.packet.data, d.packet.size)
    if d.frames_count:
        memcpy(&message.frames[1], d.frames, d.frames_count * sizeof(zmq_msg_t))
    message.count = 1 + d.frames_count
    message.next = NULL
    d.frames_count = 0
    if d.refused == NULL:
        d.refused = message
    else:
        d.refused_last.next = message
    d.refused_last = message


cdef void refused_pop(dealer_t *d) noexcept nogil:
    cdef refused_t *message = d.refused
    cdef uint32_t i
    for i in range(message.count):
        zmq.msg_close(&message.frames[i])
    d.refused = message.next
    free(message)


cdef void refused_clear(dealer_t *d) noexcept nogil:
    while d.refused != NULL:
        refused_pop(d)


cdef void frames_clear(dealer_t *d) noexcept nogil:
    while d.frames_count:
        d.frames_count -= 1
        zmq.msg_close(&d.frames[d.frames_count])


# --- writing -------------------------------------------------------------------------------

cdef void dealer_begin(dealer_t *d, uint64_t done) noexcept nogil:
    CHECK(d.records == 0 and d.frames_count == 0, "%u records were never sent", d.records)
    d.done = done
    d.said = 0


cdef void dealer_end(dealer_t *d, int64_t now) noexcept nogil:
    finish(d)
    if d.said:
        d.said_at = now


# finish hands the packet that is written to libzmq, which copies it, or keeps it if that refuses.
cdef void finish(dealer_t *d) noexcept nogil:
    cdef int flags = ZMQ_DONTWAIT | (ZMQ_SNDMORE if d.frames_count else 0)
    cdef int sent
    if d.records == 0:
        return
    packet_end(&d.packet, d.records)
    d.records = 0
    if d.refused != NULL:
        keep(d)
        return
    d.fd_speaks = 0
    sent = zmq.send(d.socket, d.packet.data, d.packet.size, flags)
    while sent < 0 and zmq.errnum() == EINTR:
        sent = zmq.send(d.socket, d.packet.data, d.packet.size, flags)
    if sent < 0:
        fail(d)
        keep(d)
        return
    send_rest(d, d.frames, d.frames_count)
    d.frames_count = 0


# room makes sure that a record of `size` bytes and `attached` frames may follow in the packet:
# within the broker's limits, beyond them only alone. -1: no memory.
cdef int room(dealer_t *d, size_t size, uint32_t attached) noexcept nogil:
    if d.records and (
        d.records == PACKET_RECORDS_MAX
        or d.packet.size + size > d.limits.packet_bytes_max
        or d.frames_count + attached > d.limits.frames_max - 1
    ):
        finish(d)
    if d.records == 0 and packet_begin(&d.packet, d.session, d.done):
        starve(d)
        return -1
    if frames_reserve(&d.frames, &d.frames_room, d.frames_count + attached):
        starve(d)
        return -1
    return 0


# is_attached: whether a body's parts travel as frames. More of them than a packet may have, by the
# limits of a broker that came after the body was judged, go inline.
cdef bint is_attached(const dealer_t *d, const body_t *body) noexcept nogil:
    return body.attached != NULL and (
        body.parts < d.limits.frames_max or body.bytes > UINT32_MAX - 1048576)


# inline_size returns the bytes of a body in its packet's first frame.
cdef size_t inline_size(const dealer_t *d, const body_t *body) noexcept nogil:
    if body.attached == NULL:
        return body.size
    return 0 if is_attached(d, body) else body.bytes + 4 * <size_t>body.parts


# begin makes room for a record with this body: its flags, or -1: no memory.
cdef int begin(dealer_t *d, size_t head_size, const body_t *body) noexcept nogil:
    cdef bint attached = is_attached(d, body)
    if room(d, RECORD_SIZE + head_size + inline_size(d, body), body.parts if attached else 0):
        return -1
    return body.flags | (FLAG_ATTACHED if attached else 0)


# put_body writes a record's body, `at` its place in the packet (NULL: there was no memory), and
# counts the record.
cdef void put_body(dealer_t *d, uint8_t *at, const body_t *body) noexcept nogil:
    cdef uint32_t i
    if at == NULL:
        starve(d)
        return
    d.records += 1
    d.said = 1
    if body.attached == NULL:
        body_put(body, at)
        return
    for i in range(body.parts):
        if is_attached(d, body):
            zmq.msg_init(&d.frames[d.frames_count])
            zmq.msg_copy(&d.frames[d.frames_count], &body.attached[i])
            d.frames_count += 1
        else:
            at = part_put(at, zmq.msg_data(&body.attached[i]),
                          <uint32_t>zmq.msg_size(&body.attached[i]))


cdef void put_whole(dealer_t *d, int failed) noexcept nogil:
    if failed:
        starve(d)
        return
    d.records += 1
    d.said = 1


cdef void dealer_request(
    dealer_t *d, uint64_t id, uint8_t flags, uint32_t timeout_ms, uint8_t priority,
    const uint8_t *service, uint16_t service_size, const body_t *body,
) noexcept nogil:
    cdef int own = begin(d, named_head_size(0, service_size), body)
    if own < 0:
        return
    put_body(d, put_request(
        &d.packet, id, <uint8_t>(own | flags), body.parts, timeout_ms, priority, service,
        service_size, inline_size(d, body)), body)


cdef void dealer_reply(dealer_t *d, uint64_t token, const body_t *body) noexcept nogil:
    cdef int flags = begin(d, 0, body)
    if flags < 0:
        return
    put_body(d, put_reply(
        &d.packet, token, <uint8_t>flags, body.parts, inline_size(d, body)), body)


cdef void dealer_partial(
    dealer_t *d, uint64_t token, uint32_t sequence, uint8_t attempt, const body_t *body
) noexcept nogil:
    cdef int flags = begin(d, 8, body)
    if flags < 0:
        return
    put_body(d, put_partial(
        &d.packet, token, <uint8_t>flags, body.parts, sequence, attempt, inline_size(d, body)),
        body)


cdef void dealer_error(
    dealer_t *d, uint64_t token, uint16_t code, uint32_t retry_after_ms, const body_t *sentence
) noexcept nogil:
    cdef const uint8_t *text = NULL
    cdef uint32_t size = 0
    if sentence.parts == 1 and sentence.data != NULL:
        text = sentence.data + 4
        size = sentence.size - 4
    if room(d, RECORD_SIZE + 12 + <size_t>size, 0) == 0:
        put_whole(d, put_error(&d.packet, token, code, retry_after_ms, text, size))


cdef void dealer_simple(dealer_t *d, uint8_t kind, uint64_t id) noexcept nogil:
    if room(d, RECORD_SIZE, 0) == 0:
        put_whole(d, put_simple(&d.packet, kind, id))


cdef void dealer_bye(dealer_t *d, uint16_t reason) noexcept nogil:
    if room(d, RECORD_SIZE + 8, 0) == 0:
        put_whole(d, put_bye(&d.packet, reason, 0))


cdef void dealer_credit(
    dealer_t *d, uint64_t id, uint8_t attempt, uint64_t credit
) noexcept nogil:
    if room(d, RECORD_SIZE + 16, 0) == 0:
        put_whole(d, put_credit(&d.packet, id, attempt, credit))


cdef void dealer_hello(dealer_t *d, const body_t *label) noexcept nogil:
    if room(d, RECORD_SIZE + <size_t>label.size, 0) == 0:
        put_body(d, record_begin(
            &d.packet, KIND_HELLO, 0, label.parts, 0, 0, label.size), label)


cdef void dealer_ready(
    dealer_t *d, uint32_t capacity, const uint64_t *tokens, uint32_t count, const body_t *names
) noexcept nogil:
    cdef size_t head_size = 8 + 8 * <size_t>count
    cdef uint8_t *head
    cdef uint32_t i
    if room(d, RECORD_SIZE + head_size + names.size, 0):
        return
    head = record_begin(&d.packet, KIND_READY, 0, names.parts, 0, head_size, names.size)
    if head != NULL:
        store_u32(head, capacity)
        store_u32(head + 4, count)
        for i in range(count):
            store_u64(head + 8 + 8 * <size_t>i, tokens[i])
        head += head_size
    put_body(d, head, names)


# --- the Python face -----------------------------------------------------------------------

dice = int.from_bytes(os.urandom(8), "little")
