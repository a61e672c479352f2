"""The engine of a client or a worker: one thread that owns its link, without the GIL.

The rules decide what records mean, the link decides which broker to talk to, the outbox packs, the
socket carries packets; this file runs the turns. `handle.pyx` starts it and takes its mail.
"""

from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen

from pound._base.check cimport CHECK
from pound._base.clock cimport clock_ns
from pound._base.hints cimport likely, unlikely
from pound._base.locks cimport pthread_mutex_lock, pthread_mutex_unlock
from pound._base.wake cimport POLLIN, pollfd, signals_leave, wait_for, wake_drain, wake_ring
from pound._wire.codes cimport CODE_PERMISSION_DENIED, CODE_UNAUTHENTICATED
from pound._wire.packets cimport (
    KIND_BYE, KIND_ERROR, KIND_HEARTBEAT, KIND_WELCOME, load_u32, packet_next, packet_t, part_next,
    part_t)
from .curve cimport DENIAL_ROOM
from .link cimport (
    DENIED_RECORD, FAR, finding_t, link_bye, link_close, link_denied, link_looked, link_looks_home,
    link_next_due, link_open, link_packet, link_tick, link_wake, link_welcome)
from .mailbox cimport (
    LOG_REFUSED, MAIL_ALONE, MAIL_AWAY, MAIL_CONNECTED, MAIL_DENIED, MAIL_DISCONNECTED, body_text,
    mail_log, mail_new, mail_t, mailbox_put)
from .outbox cimport (
    outbox_begin, outbox_end, outbox_flushed, outbox_push, outbox_simple, outbox_t)
from .socket cimport (
    link_socket_t, socket_act, socket_close, socket_read, socket_ready_now, socket_watch)

cdef enum:
    MILLISECOND = 1000000        # ns
    LOOK_FIRST_MS = 250          # without a broker, until the first look why there is none
    LOOK_TIMES = 4               # as long each time until the next one
    LOOK_MAX_MS = 16000          # the same, at most
    LINGER_MS = 500              # for the last packet of an orderly close; nobody waits longer
    PACKETS_A_TURN = 256         # read at most so many before writing again
    WAIT_MAX_S = 3600            # a thread that wakes once an hour is still asleep

cdef struct looked_t:
    engine_command_t command
    uint32_t endpoint
    finding_t found

cdef enum:                       # what the thread waits for
    WAKE
    SOCKET
    MONITOR
    WAITED


# --- from any thread -----------------------------------------------------------------------

cdef int engine_post(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef bint rings
    CHECK(command.run != NULL, "a command without a function")
    pthread_mutex_lock(&e.lock)
    if e.closed:
        pthread_mutex_unlock(&e.lock)
        return -1
    command.next = NULL
    if e.first == NULL:
        e.first = command
    else:
        e.last.next = command
    e.last = command
    rings = e.asleep
    e.asleep = 0
    pthread_mutex_unlock(&e.lock)
    if rings:
        wake_ring(e.wake_in)
    return 0


cdef void engine_looked(engine_t *e, uint32_t endpoint, finding_t found) noexcept nogil:
    cdef looked_t *looked = <looked_t *>malloc(sizeof(looked_t))
    if looked == NULL:
        return
    looked.command.run = run_looked
    looked.endpoint = endpoint
    looked.found = found
    if engine_post(e, &looked.command) < 0:
        free(looked)


cdef void engine_abandon(engine_t *e) noexcept nogil:
    e.abandon.run = run_abandon
    engine_post(e, &e.abandon)


cdef void engine_log(
    engine_t *e, uint16_t event, int64_t a, int64_t b, const char *text, uint32_t size
) noexcept nogil:
    mail_log(e.main, event, a, b, text, size)


# --- the thread ----------------------------------------------------------------------------

cdef void engine_run(engine_t *e) noexcept nogil:
    signals_leave()
    link_open(&e.link, clock_ns())
    socket_act(&e.socket, clock_ns())
    e.alone_since = clock_ns()
    e.look_at = e.alone_since + LOOK_FIRST_MS * MILLISECOND
    while e.outbox.over == NULL and not e.rules.finished(e, clock_ns()):
        turn(e)
    finish(e)


cdef void turn(engine_t *e) noexcept nogil:
    cdef int64_t planned = wait(e)
    cdef int64_t now = clock_ns()
    link_wake(&e.link, planned, now)
    run_commands(e)
    socket_watch(&e.socket, now)
    read_packets(e, now)
    link_tick(&e.link, now)
    socket_act(&e.socket, now)
    note_denied(e)
    e.rules.tick(e, now)
    if unlikely(e.link.actions_count):
        socket_act(&e.socket, now)
    flush(e, now)
    note_connected(e)
    if now >= e.look_at:
        look(e, now)
    if link_looks_home(&e.link, now):
        look_home(e)


# wait waits for something to do; returns for how long at most, in ns.
cdef int64_t wait(engine_t *e) noexcept nogil:
    cdef link_socket_t *s = &e.socket
    cdef pollfd fds[WAITED]
    cdef int64_t planned = time_left(e)
    cdef int64_t ns = planned
    cdef int i
    if ns > 0 and (socket_ready_now(s) or not falls_asleep(e)):
        ns = 0
    fds[WAKE].fd = e.wake_out
    fds[SOCKET].fd = s.fd
    fds[MONITOR].fd = s.monitor_fd
    for i in range(WAITED):
        fds[i].events = POLLIN
        fds[i].revents = 0
    wait_for(fds, WAITED, ns)
    if fds[WAKE].revents:
        wake_drain(e.wake_out)
    s.readable |= fds[SOCKET].revents != 0
    s.monitor_readable |= fds[MONITOR].revents != 0
    return planned


# time_left returns the ns until something is due by itself.
cdef int64_t time_left(engine_t *e) noexcept nogil:
    cdef int64_t due = min(min(link_next_due(&e.link), e.look_at), e.rules.next_due(e))
    if not e.link.wants_out:
        if e.rules.pending(e):
            return 0
        due = min(due, e.rules.next_beat(e))
    return min(max(due - clock_ns(), 0), WAIT_MAX_S * <int64_t>1000000000)


# falls_asleep asks posters for a ring; 0: there is a command already.
cdef bint falls_asleep(engine_t *e) noexcept nogil:
    pthread_mutex_lock(&e.lock)
    e.asleep = e.first == NULL
    pthread_mutex_unlock(&e.lock)
    return e.asleep


cdef void run_commands(engine_t *e) noexcept nogil:
    cdef engine_command_t *command
    cdef engine_command_t *next
    pthread_mutex_lock(&e.lock)
    e.asleep = 0
    command = e.first
    e.first = e.last = NULL
    pthread_mutex_unlock(&e.lock)
    while command != NULL:
        next = command.next
        command.run(e, command)
        command = next


cdef void flush(engine_t *e, int64_t now) noexcept nogil:
    cdef outbox_t *out = &e.outbox
    cdef bint beats = now >= e.rules.next_beat(e)
    if beats:
        e.link.beat_at = now  # one that can't be sent is skipped, never queued
    e.link.wants_out = not outbox_push(out)
    if e.link.wants_out:
        return
    outbox_begin(out, e.rules.done(e))
    e.rules.collect(e, now)
    if beats and e.link.welcomed:
        outbox_simple(out, KIND_HEARTBEAT, 0)
    outbox_end(out, now)
    e.link.wants_out = not outbox_flushed(out)


cdef void note_connected(engine_t *e) noexcept nogil:
    cdef mail_t *mail
    if e.link.welcomed == e.connected:
        return
    mail = mail_new(MAIL_CONNECTED if e.link.welcomed else MAIL_DISCONNECTED, NULL, 0)
    if mail != NULL:
        e.connected = e.link.welcomed
        mailbox_put(e.main, mail)
        note_alone(e)


cdef void note_alone(engine_t *e) noexcept nogil:
    pthread_mutex_lock(&e.lock)
    e.trouble[0] = 0
    pthread_mutex_unlock(&e.lock)
    e.alone_since = clock_ns()
    e.look_at = FAR if e.connected else e.alone_since + LOOK_FIRST_MS * MILLISECOND


# note_denied reports that every endpoint denies us, why, and that they don't any more.
cdef void note_denied(engine_t *e) noexcept nogil:
    cdef bint barred = e.link.door.barred
    cdef const char *why = b""
    cdef mail_t *mail
    if likely(barred == e.barred and (not barred or e.link.door.denied_at == e.denied_at)):
        return
    mail = mail_new(MAIL_DENIED, NULL, 0)
    if mail == NULL:
        return
    e.barred = barred
    e.denied_at = e.link.door.denied_at
    if barred:
        mail.code = engine_denied(e)
        why = e.socket.denial
    body_text(&mail.body, why, <uint32_t>strlen(why))  # without memory: an error without words
    pthread_mutex_lock(&e.lock)
    snprintf(e.denial, DENIAL_ROOM, b"%s", why)
    pthread_mutex_unlock(&e.lock)
    mailbox_put(e.main, mail)


cdef uint16_t engine_denied(const engine_t *e) noexcept nogil:
    return e.socket.said_code if e.link.door.denial == DENIED_RECORD else CODE_UNAUTHENTICATED


# look has Python find out why no broker has welcomed us: libzmq does not say.
cdef void look(engine_t *e, int64_t now) noexcept nogil:
    cdef int64_t alone = now - e.alone_since
    cdef mail_t *mail = NULL
    if not e.link.leaving and (not e.link.door.barred or looks_on(e)):
        mail = mail_new(MAIL_ALONE, NULL, <uint64_t>(alone // MILLISECOND))
    if mail != NULL:
        mail.code = e.link.up and not e.link.is_inproc
        mailbox_put(e.main, mail)
    e.look_at = now + min(alone * (LOOK_TIMES - 1), <int64_t>LOOK_MAX_MS * MILLISECOND)


# look_home has Python look at the preferred endpoint.
cdef void look_home(engine_t *e) noexcept nogil:
    cdef mail_t *mail = NULL
    if not e.link.leaving:
        mail = mail_new(MAIL_AWAY, NULL, 0)
    if mail != NULL:
        mailbox_put(e.main, mail)


# looks_on says whether a barred link's endpoint is looked at all the same: what a look has found,
# another one has to take back.
cdef bint looks_on(const engine_t *e) noexcept nogil:
    return e.link.endpoints.all[e.link.endpoints.at].foreign


cdef void run_looked(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef looked_t *looked = <looked_t *>command
    cdef int64_t now = clock_ns()
    link_looked(&e.link, looked.endpoint, looked.found, now)
    socket_act(&e.socket, now)
    free(looked)


cdef int engine_trouble(engine_t *e, char *to, size_t room) noexcept nogil:
    cdef const char *why
    cdef int size
    pthread_mutex_lock(&e.lock)
    why = e.trouble
    if e.denial[0]:
        why = e.denial
    size = snprintf(to, room, b"%s", why)
    pthread_mutex_unlock(&e.lock)
    return size


cdef void run_abandon(engine_t *e, engine_command_t *command) noexcept nogil:
    if e.outbox.over == NULL:
        e.outbox.over = b"its start was interrupted"


cdef void finish(engine_t *e) noexcept nogil:
    cdef const char *why = e.outbox.over
    if why == NULL:
        why = b"the client was closed before the answer came"
    pthread_mutex_lock(&e.lock)
    e.closed = 1
    pthread_mutex_unlock(&e.lock)
    run_commands(e)
    e.rules.closed(e, why)
    socket_close(&e.socket, LINGER_MS)
    link_close(&e.link)
    socket_act(&e.socket, 0)
    note_connected(e)
    mailbox_put(e.main, e.last_mail)
    e.last_mail = NULL


# --- what is heard -------------------------------------------------------------------------

cdef void read_packets(engine_t *e, int64_t now) noexcept nogil:
    cdef packet_t packet
    cdef int left = PACKETS_A_TURN
    cdef int got = 1
    while got and left:
        got = socket_read(&e.socket, &packet)
        if got > 0:
            open_packet(e, &packet, now)
        left -= 1


cdef void open_packet(engine_t *e, packet_t *packet, int64_t now) noexcept nogil:
    cdef uint32_t life = e.link.lives
    cdef record_t record
    if link_packet(&e.link, packet.session, now):
        socket_act(&e.socket, now)
        e.rules.epoch_changed(e, now)
    if not has_welcome(packet):
        e.rules.heard(e)
    while packet_next(packet, &record):
        take(e, &record, now, e.link.lives == life)
    socket_act(&e.socket, now)


cdef bint has_welcome(const packet_t *packet) noexcept nogil:
    cdef const uint8_t *at = packet.at
    while at != packet.end:
        if at[4] == KIND_WELCOME:
            return True
        at += load_u32(at)
    return False


# take acts on what a record says of the route, unless a record before it made us leave that
# (`current`), and passes the other ones on.
cdef void take(engine_t *e, const record_t *record, int64_t now, bint current) noexcept nogil:
    if record.kind == KIND_WELCOME:
        if current and link_welcome(&e.link, record, now):
            e.rules.welcomed(e, now)
        return
    if record.kind == KIND_ERROR and record.id == 0:
        if current and denies(e, record):
            note_words(e, record)
            link_denied(&e.link, DENIED_RECORD, now)
        else:
            log_refused(e, record)
        return
    if current and record.kind == KIND_BYE:
        link_bye(&e.link, record.code, record.retry_after_ms, now)
    e.rules.take(e, record, e.socket.heard, now)


# denies says that an error is about ourselves: a key that ended, or a READY with a service that the
# key may not offer, which the broker has welcomed all the same.
cdef bint denies(const engine_t *e, const record_t *record) noexcept nogil:
    if record.code == CODE_PERMISSION_DENIED:
        return e.link.rates.follows
    return record.code == CODE_UNAUTHENTICATED


# note_words keeps an error's code and words for whom they concern.
cdef void note_words(engine_t *e, const record_t *record) noexcept nogil:
    cdef part_t words = words_of(record)
    cdef size_t size = min(<size_t>words.size, <size_t>(DENIAL_ROOM - 1))
    if size:
        memcpy(e.socket.said, words.data, size)
    e.socket.said[size] = 0
    e.socket.said_code = record.code


# words_of returns the first part of an error's body; empty if there is none.
cdef part_t words_of(const record_t *record) noexcept nogil:
    cdef const uint8_t *at = record.body
    cdef part_t words
    words.data = NULL
    words.size = 0
    if at != NULL:
        part_next(&at, record.body + record.body_size, &words)
    return words


cdef void log_refused(engine_t *e, const record_t *record) noexcept nogil:
    cdef part_t words = words_of(record)
    engine_log(e, LOG_REFUSED, record.code, 0, <const char *>words.data, words.size)
