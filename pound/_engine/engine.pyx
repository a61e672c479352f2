"""The engine of a client or a worker: one thread that owns its link, without the GIL.

`pound.client`, `pound.worker` and `pound.aio` hold the API. `_engine.client` and `_engine.worker`
fill a `rules_t`, and afterwards only post commands to the engine. The rules decide what records
mean, the link decides which broker to talk to, the outbox packs, the socket carries packets; this
file runs the turns.

Two threads belong to an engine. The I/O thread runs `engine_run` and takes the GIL neither for logs
nor for results. The events thread, Python's, waits on the main mailbox, logs, and delivers what
else came; where an event loop does that by `events()`, there is none.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.stdio cimport snprintf
from libc.string cimport memcpy

import logging
import os
import threading
import time
from contextlib import suppress

import zmq as pyzmq

from pound._base.check cimport CHECK
from pound._wire.reader cimport packet_next, packet_t, part_next, part_t
from pound._wire.writer cimport (
    KIND_BYE, KIND_ERROR, KIND_HEARTBEAT, KIND_WELCOME, SESSION_SIZE, load_u32)
from .endpoints cimport endpoints_found
from .link cimport (
    FAR, link_bye, link_close, link_free, link_init, link_next_due, link_open, link_packet,
    link_tick, link_wake, link_welcome)
from .mailbox cimport (
    LOG_BROKER_FOUND, LOG_BROKER_LOST, LOG_CANNOT_CONNECT, LOG_DRAINING, LOG_ENGINE_FAILED,
    LOG_EPOCH_CHANGED, LOG_GIVEN_BACK, LOG_MALFORMED, LOG_REFUSED, LOG_REQUEST_WAITING,
    LOG_UNDELIVERED, MAIL_ALONE, MAIL_CLOSED, MAIL_CONNECTED, MAIL_DISCONNECTED, MAIL_LOG,
    body_parts, mail_free, mail_log, mail_new, mail_t, mailbox_drop, mailbox_free, mailbox_init,
    mailbox_put, mailbox_take, mailbox_wait, pthread_mutex_t, released_drop)
from .outbox cimport (
    outbox_begin, outbox_end, outbox_flushed, outbox_free, outbox_init, outbox_push, outbox_simple,
    outbox_t)
from .socket cimport (
    link_socket_t, socket_act, socket_close, socket_free, socket_init, socket_read,
    socket_ready_now, socket_watch)

from pound._logging import Repeats, log_event
from pound.errors import ClosedError, ForkError
from .checks import check_descriptors
from .reach import addresses_of, troubles_of

cdef extern from "pound/_base/clock.h" nogil:
    int64_t clock_ns()

cdef extern from "pound/_base/wake.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    void signals_leave()
    uint32_t forks_counted
    int forks_watch()
    int wake_open(int *wake_in, int *wake_out)
    void wake_close(int wake_in, int wake_out)
    void wake_ring(int wake_in)
    void wake_drain(int wake_out)
    void wait_for(pollfd *fds, int count, int64_t ns)

cdef extern from "pthread.h" nogil:
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)

cdef enum:
    MILLISECOND = 1000000        # ns
    LOOK_FIRST_MS = 250          # without a broker, until the first look why there is none
    LOOK_TIMES = 4               # as long each time until the next one
    LOOK_MAX_MS = 16000          # the same, at most
    LINGER_MS = 500              # for the last packet of an orderly close; nobody waits longer
    CHANGES_LINES = 10           # of one event and its texts, in 30 s
    PACKETS_A_TURN = 256         # read at most so many before writing again
    WAIT_MAX_S = 3600            # a thread that wakes once an hour is still asleep

cdef enum:                       # what the thread waits for
    WAKE
    SOCKET
    MONITOR
    WAITED


cdef int64_t clock_now() noexcept nogil:
    return clock_ns()


cdef uint32_t forks() noexcept nogil:
    return forks_counted


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


cdef void engine_log(
    engine_t *e, uint16_t event, int64_t a, int64_t b, const char *text, uint32_t size
) noexcept nogil:
    mail_log(e.main, event, a, b, text, size)


# --- the thread ----------------------------------------------------------------------------

cdef void engine_run(engine_t *e) noexcept nogil:
    signals_leave()
    link_open(&e.link, clock_now())
    socket_act(&e.socket, clock_now())
    e.alone_since = clock_now()
    e.look_at = e.alone_since + LOOK_FIRST_MS * MILLISECOND
    while e.outbox.over == NULL and not e.rules.finished(e, clock_now()):
        turn(e)
    finish(e)


cdef void turn(engine_t *e) noexcept nogil:
    cdef int64_t planned = wait(e)
    cdef int64_t now = clock_now()
    link_wake(&e.link, planned, now)
    run_commands(e)
    socket_watch(&e.socket, now)
    read_packets(e, now)
    link_tick(&e.link, now)
    socket_act(&e.socket, now)
    e.rules.tick(e, now)
    flush(e, now)
    note_connected(e)
    if now >= e.look_at:
        look(e, now)


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
    return min(max(due - clock_now(), 0), WAIT_MAX_S * <int64_t>1000000000)


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
    e.alone_since = clock_now()
    e.look_at = FAR if e.connected else e.alone_since + LOOK_FIRST_MS * MILLISECOND


# look has Python find out why no broker has welcomed us: libzmq does not say.
cdef void look(engine_t *e, int64_t now) noexcept nogil:
    cdef int64_t alone = now - e.alone_since
    cdef mail_t *mail = NULL
    if not e.link.leaving:
        mail = mail_new(MAIL_ALONE, NULL, <uint64_t>(alone // MILLISECOND))
    if mail != NULL:
        mail.code = e.link.up and not e.link.is_inproc
        mailbox_put(e.main, mail)
    e.look_at = now + min(alone * (LOOK_TIMES - 1), <int64_t>LOOK_MAX_MS * MILLISECOND)


cdef int engine_trouble(engine_t *e, char *to, size_t room) noexcept nogil:
    cdef int size
    pthread_mutex_lock(&e.lock)
    size = snprintf(to, room, b"%s", e.trouble)
    pthread_mutex_unlock(&e.lock)
    return size


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
        log_refused(e, record)
        return
    if current and record.kind == KIND_BYE:
        link_bye(&e.link, record.code, record.retry_after_ms, now)
    e.rules.take(e, record, e.socket.heard, now)


cdef void log_refused(engine_t *e, const record_t *record) noexcept nogil:
    cdef const uint8_t *at = record.body
    cdef part_t words
    words.data = NULL
    words.size = 0
    if at != NULL:
        part_next(&at, record.body + record.body_size, &words)
    engine_log(e, LOG_REFUSED, record.code, 0, <const char *>words.data, words.size)


# --- the Python face -----------------------------------------------------------------------

CERTAIN_AFTER = 0.9             # seconds without a broker until what is likely is logged, too
DESCRIPTORS_MIN = 14            # of a context, a socket, its monitor and a connection
LOG_TROUBLE_EVERY = 30.0               # seconds between two lines with the same reason
HEARTBEAT_MAX, LIVENESS_MAX = 86400.0 * 30, 1000  # so that no sum of times overflows

# level, event, numbers (name, unit; 0: as it is), texts.
LOGS = {
    LOG_BROKER_FOUND: (logging.INFO, "broker found", (), ("endpoint",)),
    LOG_BROKER_LOST: (logging.WARNING, "broker lost", (), ("endpoint", "reason")),
    LOG_CANNOT_CONNECT: (logging.ERROR, "cannot connect", (), ("endpoint", "error")),
    LOG_MALFORMED: (logging.WARNING, "malformed packet dropped", (), ("error",)),
    LOG_REFUSED: (logging.ERROR, "refused", (("code", 0),), ("words",)),
    LOG_ENGINE_FAILED: (logging.CRITICAL, "engine failed", (), ("error",)),
    LOG_REQUEST_WAITING: (
        logging.WARNING, "request waiting", (("waited", 0.001), ("requests", 0)),
        ("service", "waits_for")),
    LOG_EPOCH_CHANGED: (logging.WARNING, "epoch changed", (("stale", 0),), ()),
    LOG_DRAINING: (logging.INFO, "worker draining", (("held", 0),), ()),
    LOG_GIVEN_BACK: (logging.WARNING, "tasks given back", (("tasks", 0),), ()),
    LOG_UNDELIVERED: (logging.WARNING, "answers not delivered", (("answers", 0),), ()),
}


cdef class Engine:
    """The threads, the context and the main mailbox of a client or a worker; a base class.

    Parameters
    ----------
    endpoints : tuple of str
        Checked ones, tried in turn.
    context : zmq.Context or None
        None: the engine makes its own and terminates it at its end.
    heartbeat : float
        Seconds.
    liveness : int
        A broker silent for heartbeat x liveness is left for the next endpoint.
    follows : bool
        True for a worker, which judges silence by the rates that WELCOME told, because that is
        how often the broker speaks; a client asks at its own rate and is answered.
    logger : logging.Logger
        Its name also gives the threads theirs, and its last word tells errors what this is.
    events_fd : int
        An event loop reads this eventfd, or the other end of this pipe or socket, empty and then
        calls `events`; -1: a thread does that.
    """

    def __cinit__(self):
        self.born = forks()
        self.e.wake_in = self.e.wake_out = -1

    def __init__(
        self, endpoints, context, heartbeat, liveness, follows, logger, events_fd=-1,
    ):
        if self.e.main != NULL:
            raise RuntimeError("it was made before")
        if mailbox_init(&self.mailbox, events_fd):
            raise OSError("no memory or no descriptor for the mailbox")
        pthread_mutex_init(&self.e.lock, NULL)
        self.e.main = &self.mailbox
        self.endpoints = endpoints
        self.context = context
        self.logger = logger
        self.repeats = Repeats()
        self.noun = logger.name.rpartition(".")[2]
        self.connected = threading.Event()
        self.settled = threading.Event()
        self.reported = {}
        self.e.last_mail = mail_new(MAIL_CLOSED, NULL, 0)
        if self.e.last_mail == NULL:
            raise MemoryError
        link_make(self, heartbeat, liveness, follows)
        name = logger.name.replace(".", "-")
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        if events_fd < 0:
            self.events_thread = threading.Thread(
                target=self._read_events, name=f"{name}-events", daemon=True)

    def __dealloc__(self):
        """Give everything back; in a child of a fork the threads' half of it can't be touched."""
        wake_close(self.e.wake_in, self.e.wake_out)
        if self.e.main == NULL or self.born != forks():
            return
        mailbox_drop(&self.mailbox)
        mail_free(self.e.last_mail)
        socket_free(&self.e.socket)
        outbox_free(&self.e.outbox)
        link_free(&self.e.link)
        mailbox_free(&self.mailbox)
        pthread_mutex_destroy(&self.e.lock)

    cdef int check(self) except -1:
        self.check_fork()
        if self.e.closed:
            raise self.closed_error()
        return 0

    # -- the life of the threads ---------------------------------------------------------

    def start(self):
        """Make the wake pair and the context, and start the threads, once.

        Raises
        ------
        RuntimeError
            It was started before.
        ForkError
            This is a child process of the one that made it.
        OSError
            The process has too few descriptors left.
        """
        self.check_fork()
        if self.started:
            raise RuntimeError(f"this {self.noun} was started before; make a new one")
        check_descriptors(DESCRIPTORS_MIN, self.noun)
        if self.e.wake_in < 0 and wake_open(&self.e.wake_in, &self.e.wake_out):
            raise OSError("no descriptor for the wake pair")
        if self.context is None:
            self.own_context = pyzmq.Context()
        self.e.socket.context = <void *><size_t>(self.own_context or self.context).underlying
        self.thread.start()
        self.started = 1
        if self.events_thread is not None:
            self.events_thread.start()

    def _run(self):
        with nogil:
            engine_run(&self.e)
        if self.own_context is not None:
            self.own_context.term()

    def join(self, timeout=None):
        """Wait until the threads have ended; True when they have, or were never started.

        Called on the events thread itself, it waits for the other one only.
        """
        if not self.started:
            return True
        until = None if timeout is None else time.monotonic() + timeout
        self.thread.join(timeout)
        if self.events_thread is not None and not self.on_events_thread():
            self.events_thread.join(None if until is None else max(0.0, until - time.monotonic()))
            return not (self.thread.is_alive() or self.events_thread.is_alive())
        return not self.thread.is_alive()

    def wait_connected(self, timeout=None):
        """Wait until a broker has welcomed us; True when one has.

        Raises
        ------
        ClosedError
            It is closed, or was meanwhile.
        ForkError
            This is a child process of the one that made it.
        RuntimeError
            A callback of a future called: the thread that it holds up would hear of it.
        """
        self.check()
        if self.on_events_thread() and not self.settled.is_set():
            raise RuntimeError("a callback of a future can't wait for a broker")
        connected = self.settled.wait(timeout)
        if self.has_ended:
            raise self.closed_error()
        return connected

    def alive(self):
        """Tell whether the I/O thread runs."""
        return self.thread.is_alive()

    def on_events_thread(self):
        """Tell whether the caller runs on the events thread."""
        return threading.current_thread() is self.events_thread

    def forked(self):
        """Tell whether this is a child process of the one that made the engine."""
        return self.born != forks()

    def check_fork(self):
        """Raise ForkError in a child process: sockets and threads don't cross a fork."""
        if self.born != forks():
            raise ForkError("made before a fork and used in the child: make a new one there")

    def closed_error(self):
        """Return what to raise where the engine would have to be open."""
        return ClosedError(f"this {self.noun} is closed; make a new one")

    # -- why there is no broker ----------------------------------------------------------

    @property
    def trouble(self):
        """Why no broker is reached, as far as that is known; empty if it is not, or one is."""
        cdef char text[TROUBLE]
        cdef int size = engine_trouble(&self.e, text, TROUBLE)
        return text[:size].decode(errors="replace")

    def look(self, seconds, answers):
        """Have a thread look why no broker welcomes us, unless one still does."""
        if self.looker is None or not self.looker.is_alive():
            self.looker = threading.Thread(
                target=self._look, args=(seconds, answers), daemon=True,
                name=f"{self.logger.name.replace('.', '-')}-look")
            with suppress(RuntimeError):  # no more threads: then it is not known
                self.looker.start()

    def _look(self, seconds, answers):
        cdef list found
        cdef bytes text
        self.resolve()
        found = troubles_of(self.endpoints, answers, self.own_context is not None)
        if seconds < CERTAIN_AFTER:  # a busy machine: what is only slow is no trouble yet
            found = [trouble for trouble in found if trouble.certain]
        text = "; ".join(trouble.sentence for trouble in found).encode(errors="replace")
        if self.e.closed or self.connected.is_set():
            return
        pthread_mutex_lock(&self.e.lock)
        snprintf(self.e.trouble, TROUBLE, b"%s", <const char *>text)
        pthread_mutex_unlock(&self.e.lock)
        for trouble in found:
            self.log_trouble(trouble)

    def resolve(self):
        """Have each address of an endpoint's name tried, if libzmq would not."""
        cdef bytes texts
        cdef char *copy
        cdef uint32_t i
        for i, endpoint in enumerate(self.endpoints):
            found = addresses_of(endpoint)
            if not found:
                continue
            texts = b"".join(os.fsencode(address) + b"\0" for address in found)
            copy = <char *>malloc(len(texts) + 1)  # with the NUL that ends any bytes
            if copy != NULL:
                memcpy(copy, <const char *>texts, len(texts) + 1)
                endpoints_found(&self.e.link.endpoints, i, copy)

    def log_trouble(self, trouble):
        """Log why an endpoint is not reached: once for a reason, then every 30 s."""
        now = time.monotonic()
        reason, at = self.reported.get(trouble.endpoint, ("", 0.0))
        if reason != trouble.reason or now - at >= LOG_TROUBLE_EVERY:
            self.reported[trouble.endpoint] = trouble.reason, now
            log_event(
                self.logger, logging.WARNING, "no broker, trying again",
                endpoint=trouble.endpoint, reason=trouble.reason)

    # -- events ----------------------------------------------------------------------------

    @property
    def ended(self):
        """Whether the engine's last word was taken: no more events will come."""
        return self.has_ended != 0

    def events(self):
        """Take what is in the main mailbox: log it, or hand it over."""
        cdef mail_t *chain = self.take_events()
        if chain != NULL:
            self.deliver(chain)

    def _read_events(self):
        cdef mail_t *chain
        while not self.has_ended:
            with nogil:
                mailbox_wait(&self.mailbox, -1)
            chain = self.take_events()
            if chain == NULL:
                continue
            try:
                self.deliver(chain)
            except BaseException:  # whatever a callback raises: this thread has others to call
                log_event(self.logger, logging.CRITICAL, "engine failed", exc_info=True)

    cdef mail_t *take_events(self):
        cdef mail_t *mail = mailbox_take(&self.mailbox)
        cdef mail_t *first = NULL
        cdef mail_t *last = NULL
        cdef mail_t *next
        while mail != NULL:
            next = mail.next
            mail.next = NULL
            if mail.kind < MAIL_LOG:
                if last == NULL:
                    first = mail
                else:
                    last.next = mail
                last = mail
            else:
                event_note(self, mail)
                mail_free(mail)
            mail = next
        released_drop()
        return first

    cdef void deliver(self, mail_t *mails):
        cdef mail_t *next
        while mails != NULL:
            next = mails.next
            mail_free(mails)
            mails = next


cdef int link_make(Engine self, double heartbeat, object liveness, bint follows) except -1:
    cdef list encoded = [os.fsencode(endpoint) for endpoint in self.endpoints]
    cdef bytes session = os.urandom(SESSION_SIZE)
    cdef int64_t heartbeat_ns = <int64_t>(min(heartbeat, HEARTBEAT_MAX) * 1e9)
    cdef const char **names = <const char **>calloc(len(encoded), sizeof(char *))
    cdef Py_ssize_t i
    cdef int failed
    if names == NULL:
        raise MemoryError
    for i in range(len(encoded)):
        names[i] = <bytes>encoded[i]
    failed = link_init(
        &self.e.link, names, <uint32_t>len(encoded), heartbeat_ns,
        <uint32_t>min(liveness, LIVENESS_MAX), follows, session,
        int.from_bytes(os.urandom(8), "little"))
    free(names)
    outbox_init(&self.e.outbox, &self.e.link, &self.mailbox)
    socket_init(&self.e.socket, &self.e.link, &self.e.outbox, &self.mailbox)
    if failed:
        raise MemoryError
    return 0


# event_note acts on events of the engine's own.
cdef void event_note(Engine self, mail_t *mail):
    if mail.kind == MAIL_LOG:
        event_log(self, mail)
    elif mail.kind == MAIL_CONNECTED:
        self.connected.set()
        self.settled.set()
    elif mail.kind == MAIL_DISCONNECTED:
        self.connected.clear()
        self.settled.clear()
    elif mail.kind == MAIL_ALONE:
        self.look(mail.number / 1000, mail.code != 0)
    elif mail.kind == MAIL_CLOSED:
        event_log_rest(self)
        self.has_ended = 1
        self.settled.set()


# event_log has a line written: by another thread, since whoever reads the log may have stopped.
cdef void event_log(Engine self, mail_t *mail) noexcept:
    cdef int64_t first = <int64_t>mail.number
    cdef int64_t second = mail.sequence | <int64_t>mail.retry_after_ms << 32
    cdef int code = mail.code
    level, event, numbers, texts = LOGS[code]
    fields = {
        name: round(number * unit, 1) if unit else number
        for (name, unit), number in zip(numbers, (first, second))
    }
    said = (<bytes>body_parts(&mail.body, False)[0]).rsplit(b"\0", max(0, len(texts) - 1))
    fields.update(zip(texts, (text.decode(errors="replace") for text in said)))
    if code == LOG_REFUSED:
        repeated = self.repeats.pass_one((code, first))
    elif code == LOG_MALFORMED:  # by the kind of fault, wherever in the packet it is
        repeated = self.repeats.pass_one((code, said[0].partition(b" at byte ")[0]))
    elif code == LOG_CANNOT_CONNECT:
        repeated = self.repeats.pass_one((code, said[0]))
    else:
        brief = code == LOG_BROKER_LOST and first
        repeated = self.repeats.pass_one((code, *said), 1 if brief else CHANGES_LINES)
    if repeated is None:
        return
    if repeated:
        fields["repeated"] = repeated
    log_event(self.logger, level, event, **fields)


# event_log_rest says how many lines were held back that no line counted.
cdef void event_log_rest(Engine self) noexcept:
    untold = self.repeats.held_back()
    if untold:
        log_event(self.logger, logging.WARNING, "log lines held back", lines=untold)


if forks_watch():
    raise MemoryError("forks can't be watched")
