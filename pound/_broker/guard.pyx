"""Who is let in (see guard.pxd for the rules)."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen

from pound._base.clock cimport wall_ns
from pound._base.wake cimport POLLIN, pollfd, wait_for
from pound._zmq.libzmq cimport ZMQ_SNDMORE, zmq, zmq_msg_t
from pound._zmq.receive cimport receive_now
from pound.security.table cimport (
    KEY_TEXT_SIZE, PUBLIC_SIZE, key_text, keytable_delete, keytable_next_expiry,
    keytable_t)
from pound.security.zap cimport (
    LISTENERS_MAX, ZAP_ADDRESS, ZAP_FRAMES_MAX, ZAP_GRANTED, ZAP_KEY, ZAP_NO_KEY, ZAP_OTHER_BROKER,
    ZAP_REPLY_FRAMES, verdict_t, zap_frame_t, zap_judge, zap_reply, zap_reply_t)
from .arrivals cimport arrivals_add, arrivals_free, arrivals_init, arrivals_tick
from .denials cimport denials_tick
from .ip cimport IP_TEXT_ROOM, ip_of_peer, ip_text
from .kinds cimport C_CONNECTIONS_REFUSED
from .log_events cimport log_refused
from .quotas cimport quotas_take
from .revocation cimport revocation_walk
from .state cimport NO_IDENTITY, broker_t, connection_t, guard_t

cdef extern from *:
    """
    #define table_exchange(at, table) __atomic_exchange_n(at, table, __ATOMIC_ACQ_REL)
    #define table_waits(at) (__atomic_load_n(at, __ATOMIC_RELAXED) != NULL)
    """
    keytable_t *table_exchange(keytable_t **at, keytable_t *table) nogil
    bint table_waits(keytable_t **at) nogil

cdef enum:
    ANSWERS_MAX = 64         # requests answered in a turn: the sockets and the timers get theirs
    CRYPTOGRAPHIC = 0x11000001       # ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
    MECHANISM_MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH


cdef guard_t *guard_new(keytable_t *table, uint32_t salt) noexcept nogil:
    cdef guard_t *guard = <guard_t *> calloc(1, sizeof(guard_t))
    if guard == NULL:
        return NULL
    guard.zap_fd = -1
    guard.rules.salt = salt
    guard.cut_at = INT64_MAX
    arrivals_init(&guard.arrivals)
    use(guard, table)
    return guard


cdef void use(guard_t *guard, keytable_t *table) noexcept nogil:
    guard.table = table
    guard.rules.table = table
    guard.wall_at = wall_ns()
    guard.expires_at = keytable_next_expiry(table, guard.wall_at)
    guard.timed = keytable_next_expiry(table, INT64_MIN) != INT64_MAX


cdef void guard_free(guard_t *guard) noexcept nogil:
    if guard != NULL:
        keytable_delete(guard.table)
        arrivals_free(&guard.arrivals)
        keytable_delete(table_exchange(&guard.next, NULL))
        free(guard)


cdef int guard_listener(
    guard_t *guard, bint curve, uint8_t roles, uint8_t dialects
) noexcept nogil:
    cdef uint32_t number = guard.rules.n_listeners
    if number == LISTENERS_MAX:
        return -1
    guard.rules.listeners[number].curve = curve
    guard.rules.listeners[number].roles = roles
    guard.dialects[number] = dialects
    guard.rules.n_listeners += 1
    return <int> number


cdef void guard_give(guard_t *guard, keytable_t *table) noexcept nogil:
    keytable_delete(table_exchange(&guard.next, table))


cdef void guard_turn(broker_t *b) noexcept nogil:
    cdef guard_t *guard = b.guard
    cdef keytable_t *before = guard.table
    if table_waits(&guard.next):
        use(guard, table_exchange(&guard.next, NULL))
        quotas_take(b)
        revocation_walk(b)
        keytable_delete(before)
    elif guard.timed and has_expired(guard):
        revocation_walk(b)
    denials_tick(b)
    arrivals_tick(b)
    if guard.zap_readable:
        answer_all(b)


# has_expired returns whether a key has expired since the last turn, or counts again: whoever sets
# the clock back lets expired keys in once more, and they expire once more.
cdef bint has_expired(guard_t *guard) noexcept nogil:
    cdef int64_t before = guard.expires_at
    cdef int64_t now = wall_ns()
    if now >= guard.expires_at or now < guard.wall_at:
        guard.expires_at = keytable_next_expiry(guard.table, now)
    guard.wall_at = now
    return guard.expires_at != before


cdef int64_t guard_wait(const guard_t *guard) noexcept nogil:
    if guard.zap_readable:
        return 0
    if guard.expires_at == INT64_MAX:
        return INT64_MAX
    return max(<int64_t> 0, guard.expires_at - wall_ns())


cdef void guard_test(broker_t *b, int wait_ms) noexcept nogil:
    cdef pollfd fd
    b.guard.testing = 1
    fd.fd = b.guard.zap_fd
    fd.events = POLLIN
    fd.revents = 0
    wait_for(&fd, 1, wait_ms * <int64_t> 1_000_000)
    answer_all(b)


# -- refused by libzmq itself -----------------------------------------------------------------

cdef void guard_accepted(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef connection_t *connection
    if fd < b.sides[side].connections_room:
        connection = &b.sides[side].connections[fd]
        connection.family = ip_of_peer(fd, connection.address)


cdef void guard_failed(broker_t *b, uint8_t side, uint32_t error) noexcept nogil:
    if error == MECHANISM_MISMATCH:
        b.guard.failed[side] = ZAP_NO_KEY
    elif error == CRYPTOGRAPHIC:
        b.guard.failed[side] = ZAP_OTHER_BROKER


cdef void guard_closed(broker_t *b, uint8_t side, int fd) noexcept nogil:
    cdef uint8_t reason = b.guard.failed[side]
    cdef connection_t *connection
    cdef char text[IP_TEXT_ROOM]
    b.guard.failed[side] = 0
    if reason == 0 or b.guard.testing or fd >= b.sides[side].connections_room:
        return
    connection = &b.sides[side].connections[fd]
    ip_text(connection.family, connection.address, text)
    b.counters[C_CONNECTIONS_REFUSED] += 1
    log_refused(b, NULL, 0, NO_IDENTITY, <const uint8_t *> text, strlen(text), reason)


# -- ZAP --------------------------------------------------------------------------------------

cdef void answer_all(broker_t *b) noexcept nogil:
    cdef int _
    for _ in range(ANSWERS_MAX):
        if not answer_one(b):
            b.guard.zap_readable = 0
            return


# answer_one answers a request of libzmq's: 1, or 0: there is none.
cdef int answer_one(broker_t *b) noexcept nogil:
    cdef zmq_msg_t messages[ZAP_FRAMES_MAX]
    cdef zap_frame_t frames[ZAP_FRAMES_MAX]
    cdef uint32_t held = 0
    cdef uint32_t n = request_read(b.guard.zap, messages, frames, &held)
    cdef uint32_t i
    if n:
        judge(b, frames, n)
    for i in range(held):
        zmq.msg_close(&messages[i])
    return n != 0


# request_read reads a request: how many frames it has, 0: there is none. `held` of them are kept.
cdef uint32_t request_read(
    void *zap, zmq_msg_t *messages, zap_frame_t *frames, uint32_t *held
) noexcept nogil:
    cdef zmq_msg_t *message
    cdef zmq_msg_t rest
    cdef uint32_t n = 0
    cdef int more = 1
    zmq.msg_init(&rest)
    while more:
        message = &messages[n] if n < ZAP_FRAMES_MAX else &rest
        if n < ZAP_FRAMES_MAX:
            zmq.msg_init(message)
            held[0] += 1
        if receive_now(message, zap) < 0:
            n = 0
            break
        if n < ZAP_FRAMES_MAX:
            frames[n].data = <const uint8_t *> zmq.msg_data(message)
            frames[n].size = zmq.msg_size(message)
        more = zmq.msg_more(message)
        n += 1
    zmq.msg_close(&rest)
    return n


cdef void judge(broker_t *b, const zap_frame_t *frames, uint32_t n) noexcept nogil:
    cdef verdict_t verdict = zap_judge(&b.guard.rules, frames, n, wall_ns())
    cdef zap_reply_t reply
    cdef uint32_t i
    if verdict.reason != ZAP_GRANTED and not b.guard.testing:
        refused(b, &verdict, frames, n)
    elif verdict.key != NULL:
        arrivals_add(
            b, verdict.key, verdict.listener, frames[ZAP_ADDRESS].data,
            frames[ZAP_ADDRESS].size)
    zap_reply(&b.guard.rules, &verdict, frames, n, &reply)
    for i in range(ZAP_REPLY_FRAMES):
        send(b.guard.zap, &reply.frames[i], i + 1 < ZAP_REPLY_FRAMES)


# refused counts and logs a connection that is not let in.
cdef void refused(
    broker_t *b, const verdict_t *verdict, const zap_frame_t *frames, uint32_t n
) noexcept nogil:
    cdef uint32_t identity = NO_IDENTITY if verdict.key == NULL else verdict.key.identity
    cdef uint8_t text[KEY_TEXT_SIZE]
    cdef size_t size = 0
    cdef zap_frame_t address
    b.counters[C_CONNECTIONS_REFUSED] += 1
    address.data = NULL
    address.size = 0
    if n > ZAP_ADDRESS:
        address = frames[ZAP_ADDRESS]
    if n > ZAP_KEY and frames[ZAP_KEY].size == PUBLIC_SIZE:
        key_text(text, frames[ZAP_KEY].data)
        size = KEY_TEXT_SIZE
    log_refused(b, text, size, identity, address.data, address.size, verdict.reason)


# send sends a frame of a reply; one for which there is no memory is empty, so that the reply ends.
cdef void send(void *zap, const zap_frame_t *frame, bint more) noexcept nogil:
    cdef int flags = ZMQ_SNDMORE if more else 0
    if zmq.send(zap, frame.data, frame.size, flags) < 0:
        zmq.send(zap, NULL, 0, flags)
