"""The socket of a link: carries out its actions, reports its events (rules: socket.pxd).

libzmq does not say in band that it lost or renewed a connection: the socket's monitor does.
(ZMQ_IMMEDIATE would hold messages back too, but on a disconnect it drops those that came in and
were not read yet: answers, and the broker's BYE.)
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memset, strchr, strlen

from pound._wire.packets cimport packet_open, packet_t, wire_error_text
from pound._zmq.libzmq cimport (
    ZMQ_DEALER, ZMQ_EVENT_CONNECT_RETRIED, ZMQ_EVENT_DISCONNECTED,
    ZMQ_EVENT_HANDSHAKE_FAILED_AUTH, ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL, ZMQ_EVENT_HANDSHAKE_SUCCEEDED, ZMQ_EVENTS, ZMQ_FD,
    ZMQ_IPV6, ZMQ_LINGER, ZMQ_PAIR, ZMQ_POLLIN, ZMQ_POLLOUT,
    ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, ZMQ_RCVHWM, ZMQ_RECONNECT_IVL,
    ZMQ_RECONNECT_IVL_MAX, ZMQ_SNDHWM, zmq, zmq_msg_t)
from pound._zmq.receive cimport monitor_next, receive_now
from .curve cimport DENIAL_ROOM, curve_configure, curve_denial, curve_wipe
from .endpoints cimport endpoint_name, endpoint_target
from .link cimport (
    DENIED_KEY, DENIED_MECHANISM, DENIED_NOW, LINK_CLOSE, LINK_DENIED, LINK_DROP, LINK_LOG_FOUND,
    LINK_LOG_LOST, LINK_OPEN, LINK_PART, draw, link_action_t, link_connected, link_denied,
    link_disconnected, link_failed, link_open_failed, link_refused, link_state_t)
from .mailbox cimport (
    LOG_BROKER_FOUND, LOG_BROKER_LOST, LOG_CANNOT_CONNECT, LOG_DENIED, LOG_MALFORMED, mail_log,
    mailbox_t)
from .outbox cimport (
    frames_reserve, outbox_connect, outbox_drop, outbox_failed, outbox_starve, outbox_t)

cdef enum:
    HWM = 256                  # messages; one holds many records, the rest waits in the rules
    RECONNECT_MS = 100
    RECONNECT_MAX_MS = 1000
    PART_MS = 500              # for the last packet to a broker that we leave
    TEXT_MAX = 1024            # bytes of a log line's texts
    NOT_YOU = 400              # what ZAP says of a key that does not come in
    MONITORED = (
        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED
        | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)

cdef uint64_t opened = 0       # sockets of this process: names of their monitors


cdef void socket_init(
    link_socket_t *s, link_state_t *link, outbox_t *outbox, mailbox_t *main
) noexcept nogil:
    memset(s, 0, sizeof(link_socket_t))
    s.link = link
    s.outbox = outbox
    s.main = main
    s.fd = s.monitor_fd = -1


cdef void socket_free(link_socket_t *s) noexcept nogil:
    socket_close(s, 0)
    heard_clear(s)
    free(s.heard)
    s.heard = NULL
    curve_wipe(&s.key)


# --- actions -------------------------------------------------------------------------------

cdef void socket_act(link_socket_t *s, int64_t now) noexcept nogil:
    cdef uint32_t i = 0
    cdef link_action_t *action
    while i < s.link.actions_count:  # a failed LINK_OPEN adds none
        action = &s.link.actions[i]
        if action.kind == LINK_OPEN:
            open(s, now)
        elif action.kind == LINK_CLOSE:
            socket_close(s, 0)
        elif action.kind == LINK_PART:
            socket_close(s, PART_MS)
        elif action.kind == LINK_DROP:
            outbox_drop(s.outbox)
        elif action.kind == LINK_LOG_FOUND:
            mail_log(s.main, LOG_BROKER_FOUND, 0, 0, action.endpoint,
                     <uint32_t>strlen(action.endpoint))
        elif action.kind == LINK_LOG_LOST:
            log_texts(s, LOG_BROKER_LOST, action.endpoint, action.reason, action.brief)
        elif action.kind == LINK_DENIED:
            curve_denial(
                s.denial, DENIAL_ROOM, action.denial, action.endpoint, &s.key, s.said)
            log_texts(s, LOG_DENIED, action.endpoint, s.denial, 0)
        i += 1
    s.link.actions_count = 0


cdef void open(link_socket_t *s, int64_t now) noexcept nogil:
    s.socket = zmq.socket(s.context, ZMQ_DEALER)
    outbox_connect(s.outbox, s.socket)
    if s.socket == NULL:
        log_failure(s)
        link_open_failed(s.link, now)
        return
    configure(s)
    s.fd = descriptor(s.socket)
    s.readable = 1
    s.outbox.touched = 1
    if (
        curve_configure(&s.key, s.socket)
        or watch_start(s)
        or zmq.connect(s.socket, endpoint_target(&s.link.endpoints))
    ):
        log_failure(s)
    s.monitor_readable = s.monitor != NULL


cdef void socket_close(link_socket_t *s, int linger_ms) noexcept nogil:
    s.readable = s.monitor_readable = 0
    outbox_connect(s.outbox, NULL)
    if s.socket != NULL:
        zmq.socket_monitor(s.socket, NULL, 0)
        set_option(s.socket, ZMQ_LINGER, linger_ms)
        zmq.close(s.socket)
    if s.monitor != NULL:
        zmq.close(s.monitor)
    s.socket = s.monitor = NULL
    s.fd = s.monitor_fd = -1


cdef void set_option(void *socket, int option, int value) noexcept nogil:
    zmq.setsockopt(socket, option, &value, sizeof(value))


cdef int descriptor(void *socket) noexcept nogil:
    cdef int fd = -1
    cdef size_t size = sizeof(fd)
    return -1 if zmq.getsockopt(socket, ZMQ_FD, &fd, &size) else fd


cdef void configure(link_socket_t *s) noexcept nogil:
    set_option(s.socket, ZMQ_LINGER, 0)
    set_option(s.socket, ZMQ_SNDHWM, HWM)
    set_option(s.socket, ZMQ_RCVHWM, HWM)
    set_option(s.socket, ZMQ_RECONNECT_IVL, RECONNECT_MS)
    set_option(s.socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    if s.link.endpoints.six or strchr(endpoint_target(&s.link.endpoints), c"[") != NULL:
        set_option(s.socket, ZMQ_IPV6, 1)


# watch_start makes the monitor's socket; -1: zmq_errno says why.
cdef int watch_start(link_socket_t *s) noexcept nogil:
    cdef char name[64]
    snprintf(name, sizeof(name), b"inproc://pound-link-%llx-%llx",
             <unsigned long long><size_t>s, <unsigned long long>draw(&opened))
    if zmq.socket_monitor(s.socket, name, MONITORED):
        return -1
    s.monitor = zmq.socket(s.context, ZMQ_PAIR)
    if s.monitor == NULL:
        return -1
    set_option(s.monitor, ZMQ_LINGER, 0)
    set_option(s.monitor, ZMQ_RCVHWM, 0)
    if zmq.connect(s.monitor, name):
        return -1
    s.monitor_fd = descriptor(s.monitor)
    return 0


# --- what is logged ------------------------------------------------------------------------

cdef void log_texts(
    link_socket_t *s, uint16_t event, const char *first, const char *second, uint8_t brief
) noexcept nogil:
    cdef char text[TEXT_MAX]
    cdef int size = snprintf(text, sizeof(text), b"%s%c%s", first, 0, second)
    mail_log(s.main, event, brief, 0, text, min(size, TEXT_MAX - 1))


cdef void log_malformed(link_socket_t *s, int error, size_t byte) noexcept nogil:
    cdef char text[64]
    cdef int size = snprintf(
        text, sizeof(text), b"%s at byte %llu", wire_error_text(error), <unsigned long long>byte)
    mail_log(s.main, LOG_MALFORMED, 0, 0, text, size)


cdef void log_failure(link_socket_t *s) noexcept nogil:
    outbox_failed(s.outbox)
    if s.outbox.over != NULL:
        return
    log_texts(
        s, LOG_CANNOT_CONNECT, endpoint_name(&s.link.endpoints), zmq.strerror(zmq.errnum()), 0)


# --- events --------------------------------------------------------------------------------

cdef void socket_watch(link_socket_t *s, int64_t now) noexcept nogil:
    cdef zmq_msg_t message
    cdef uint16_t event
    cdef uint32_t value
    zmq.msg_init(&message)
    while s.monitor_readable and s.monitor != NULL:
        if not monitor_next(s.monitor, &message, &event, &value):
            outbox_failed(s.outbox)
            s.monitor_readable = 0
            break
        if event == ZMQ_EVENT_DISCONNECTED:
            link_disconnected(s.link, now)
        elif event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            link_connected(s.link, now)
        elif event == ZMQ_EVENT_CONNECT_RETRIED:
            link_refused(s.link, now)
        else:
            watch_handshake(s, event, value, now)
        socket_act(s, now)
    zmq.msg_close(&message)


# watch_handshake reports one that failed. After all but those without a reason libzmq gives the
# socket up.
cdef void watch_handshake(
    link_socket_t *s, uint16_t event, uint32_t value, int64_t now
) noexcept nogil:
    if event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        link_denied(s.link, DENIED_KEY if value == NOT_YOU else DENIED_NOW, now)
    elif event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        link_failed(s.link, s.key.used, now)
    elif value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        link_denied(s.link, DENIED_MECHANISM, now)


cdef int socket_read(link_socket_t *s, packet_t *packet) noexcept nogil:
    cdef int error
    cdef const uint8_t *data
    if not s.readable or not read_message(s):
        return 0
    data = <const uint8_t *>zmq.msg_data(&s.heard[0])
    error = packet_open(data, zmq.msg_size(&s.heard[0]), s.heard_count - 1, packet)
    if error:
        log_malformed(s, error, packet.at - data)
        return -1
    return 1


# read_message reads all frames of a message: 1; 0: there is none, or no memory.
cdef int read_message(link_socket_t *s) noexcept nogil:
    heard_clear(s)
    while True:
        if frames_reserve(&s.heard, &s.heard_room, s.heard_count + 1):
            outbox_starve(s.outbox)
            return 0
        zmq.msg_init(&s.heard[s.heard_count])
        if receive_now(&s.heard[s.heard_count], s.socket) < 0:
            outbox_failed(s.outbox)
            zmq.msg_close(&s.heard[s.heard_count])
            s.readable = 0
            s.outbox.touched = 0
            return 0
        s.heard_count += 1
        if not zmq.msg_more(&s.heard[s.heard_count - 1]):
            return 1


cdef void heard_clear(link_socket_t *s) noexcept nogil:
    while s.heard_count:
        s.heard_count -= 1
        zmq.msg_close(&s.heard[s.heard_count])


cdef int socket_ready_now(link_socket_t *s) noexcept nogil:
    cdef int events = 0
    cdef size_t size = sizeof(events)
    if s.socket == NULL:
        return 0
    if s.readable or s.monitor_readable:
        return 1  # not read to the end, and what is here already raises no event
    if not s.outbox.touched:
        return 0
    if zmq.getsockopt(s.socket, ZMQ_EVENTS, &events, &size):
        outbox_failed(s.outbox)
        return s.outbox.over != NULL
    s.outbox.touched = 0
    s.readable = events & ZMQ_POLLIN != 0
    return s.readable or (s.link.wants_out and s.link.up and events & ZMQ_POLLOUT)
