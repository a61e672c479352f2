"""What the handles of clients and workers share: threads, the context, the mailbox, log lines.

`pound.client`, `pound.worker` and `pound.aio` hold the API. `_engine.client` and `_engine.worker`
fill a `rules_t`, and afterwards only post commands to the engine.

Two threads belong to an engine. The I/O thread runs `engine_run` and takes the GIL neither for logs
nor for results. The events thread, Python's, waits on the main mailbox, logs, and delivers what
else came; where an event loop does that by `events()`, there is none.
"""

from cpython.object cimport Py_TPFLAGS_HEAPTYPE
from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import logging
import os
import threading
import time
from contextlib import suppress

import zmq as pyzmq

from pound._base.locks cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock)
from pound._base.wake cimport wake_close, wake_open
from pound._wire.packets cimport SESSION_SIZE
from .curve cimport curve_fill
from .endpoints cimport endpoints_found
from .engine cimport TROUBLE, engine_abandon, engine_looked, engine_run, engine_trouble
from .link cimport (
    FOUND_FOREIGN, FOUND_FULL, FOUND_NOTHING, FOUND_ROOM, finding_t, link_free, link_init)
from .mailbox cimport (
    LOG_BROKER_FOUND, LOG_BROKER_LOST, LOG_CANNOT_CONNECT, LOG_DENIED, LOG_DRAINING,
    LOG_ENGINE_FAILED, LOG_EPOCH_CHANGED, LOG_GIVEN_BACK, LOG_MALFORMED, LOG_REFUSED,
    LOG_REQUEST_WAITING, LOG_UNDELIVERED, MAIL_ALONE, MAIL_AWAY, MAIL_CLOSED, MAIL_CONNECTED,
    MAIL_DENIED, MAIL_DISCONNECTED, MAIL_LOG, body_parts, mail_free, mail_new, mail_t, mailbox_drop,
    mailbox_free, mailbox_init, mailbox_take, mailbox_wait, released_drop)
from .outbox cimport outbox_free, outbox_init
from .socket cimport socket_free, socket_init

from pound._logging import Repeats, log_event
from pound.errors import ClosedError, ForkError, error_for, error_name
from .checks import check_descriptors
from .reach import addresses_of, troubles_of

cdef enum:
    CHANGES_LINES = 10           # of one event and its texts, in 30 s

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdint.h>

    static uint32_t forks_counted;

    static void forks_count(void) {
        forks_counted++;
    }

    /* forks_watch: 0, or an error: no memory. */
    static int forks_watch(void) {
        return pthread_atfork(0, 0, forks_count);
    }
    """
    uint32_t forks_counted
    int forks_watch() nogil


cdef uint32_t forks() noexcept nogil:
    return forks_counted


# --- with the GIL --------------------------------------------------------------------------

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
    LOG_DENIED: (logging.ERROR, "access denied", (), ("endpoint", "reason")),
    LOG_ENGINE_FAILED: (logging.CRITICAL, "engine failed", (), ("error",)),
    LOG_REQUEST_WAITING: (
        logging.WARNING, "request waiting", (("waited", 0.001), ("requests", 0)),
        ("service", "waits_for")),
    LOG_EPOCH_CHANGED: (logging.WARNING, "epoch changed", (("kept", 0), ("stale", 1)), ()),
    LOG_DRAINING: (logging.INFO, "worker draining", (("held", 0),), ()),
    LOG_GIVEN_BACK: (logging.WARNING, "tasks given back", (("tasks", 0),), ()),
    LOG_UNDELIVERED: (logging.WARNING, "answers not delivered", (("answers", 0),), ()),
}


cdef class Engine:
    """The threads, the context and the main mailbox of a client or a worker; a base class."""

    def __cinit__(self, *args, **options):
        self.born = forks()
        self.e.wake_in = self.e.wake_out = -1
        if not any(issubclass(kind, Engine) and kind is not Engine
                   and not kind.__flags__ & Py_TPFLAGS_HEAPTYPE for kind in type(self).__mro__):
            raise TypeError("an Engine is a client's or a worker's: this class has no rules")

    cdef int make(
        self, object endpoints, object context, double heartbeat, object liveness, bint follows,
        object logger, int events_fd, object key,
    ) except -1:
        if mailbox_init(&self.mailbox, events_fd):
            raise OSError("no memory or no descriptor for the mailbox")
        # All that __dealloc__ frees, before the first line of Python: a signal may raise in any.
        pthread_mutex_init(&self.e.lock, NULL)
        outbox_init(&self.e.outbox, &self.e.link, &self.mailbox)
        socket_init(&self.e.socket, &self.e.link, &self.e.outbox, &self.mailbox)
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
        if key is not None:
            curve_fill(&self.e.socket.key, key)
        name = logger.name.replace(".", "-")
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        if events_fd < 0:
            self.events_thread = threading.Thread(
                target=self._read_events, name=f"{name}-events", daemon=True)
        return 0

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

        One that is interrupted has started nothing: what it had begun ends by itself.

        Raises
        ------
        RuntimeError
            It was started before, or the machine has no more threads.
        ForkError
            This is a child process of the one that made it.
        OSError
            The process has too few descriptors left.
        """
        self.check_fork()
        if self.begun:
            raise RuntimeError(f"this {self.noun} was started before; make a new one")
        check_descriptors(DESCRIPTORS_MIN, self.noun)
        if self.e.wake_in < 0 and wake_open(&self.e.wake_in, &self.e.wake_out):
            raise OSError("no descriptor for the wake pair")
        if self.context is None:
            self.own_context = pyzmq.Context()
        self.e.socket.context = <void *><size_t>(self.own_context or self.context).underlying
        self.begun = 1
        try:
            self.start_threads()
        except BaseException:
            engine_abandon(&self.e)
            raise
        self.started = 1

    cdef int start_threads(self) except -1:
        self.thread.start()
        if self.events_thread is not None:
            self.events_thread.start()
        return 0

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
        Unauthenticated, PermissionDenied
            No broker lets us in; the error says why. It is tried again all the same.
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
        self.check_settled()
        return connected

    def check_settled(self):
        """Raise what there is to say instead of "connected" or "not yet"."""
        denied = self.denied
        if self.has_ended:
            raise self.closed_error()
        if denied is not None:
            raise error_for(denied.code, denied.message)

    def alive(self):
        """Return whether the I/O thread runs."""
        return self.thread.is_alive()

    def on_events_thread(self):
        """Return whether the caller runs on the events thread."""
        return threading.current_thread() is self.events_thread

    def forked(self):
        """Return whether this is a child process of the one that made the engine."""
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
        """Have a thread look why no broker welcomes us, unless one still looks."""
        looker_start(self, self._look, (seconds, answers))

    def look_home(self):
        """Have a thread look at the preferred endpoint, unless one still looks."""
        looker_start(self, self._look_home, ())

    def _look_home(self):
        look_at(self, self.endpoints[:1], False)

    def _look(self, seconds, answers):
        cdef bytes text
        cdef list found = look_at(self, self.endpoints, answers)
        found = [trouble for trouble in found if not trouble.foreign]  # that is a denial
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


# looker_start starts a thread that looks, unless one still does.
cdef void looker_start(Engine self, object look, tuple arguments):
    if self.looker is None or not self.looker.is_alive():
        name = f"{self.logger.name.replace('.', '-')}-look"
        self.looker = threading.Thread(target=look, args=arguments, daemon=True, name=name)
        with suppress(RuntimeError):  # no more threads: then it is not known
            self.looker.start()


# look_at says what is wrong with the first endpoints of the list, and has the link hear of it.
cdef list look_at(Engine self, object endpoints, bint answers):
    cdef uint32_t i
    cdef list found
    resolve(self, endpoints)
    found = troubles_of(
        endpoints, answers, self.own_context is not None, self.e.socket.key.used != 0)
    for i, trouble in enumerate(found):
        engine_looked(&self.e, i, finding_of(trouble))
    return found


# resolve has each address of an endpoint's name tried, if libzmq would not.
cdef void resolve(Engine self, object endpoints):
    cdef bytes texts
    cdef char *copy
    cdef uint32_t i
    for i, endpoint in enumerate(endpoints):
        found = addresses_of(endpoint)
        if not found:
            continue
        texts = b"".join(os.fsencode(address) + b"\0" for address in found)
        copy = <char *>malloc(len(texts) + 1)  # with the NUL that ends any bytes
        if copy != NULL:
            memcpy(copy, <const char *>texts, len(texts) + 1)
            endpoints_found(&self.e.link.endpoints, i, copy)


cdef finding_t finding_of(object trouble) except? FOUND_NOTHING:
    if trouble.foreign:
        return FOUND_FOREIGN
    if trouble.has_room is None:
        return FOUND_NOTHING
    return FOUND_ROOM if trouble.has_room else FOUND_FULL


cdef int link_make(Engine self, double heartbeat, object liveness, bint follows) except -1:
    cdef list encoded = [os.fsencode(endpoint) for endpoint in self.endpoints]
    cdef bytes session = os.urandom(SESSION_SIZE)
    cdef uint64_t dice = int.from_bytes(os.urandom(8), "little")
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
        <uint32_t>min(liveness, LIVENESS_MAX), follows, session, dice)
    free(names)
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
    elif mail.kind == MAIL_DENIED:
        event_denied(self, mail)
    elif mail.kind == MAIL_DISCONNECTED:
        self.connected.clear()
        if self.denied is None:
            self.settled.clear()
    elif mail.kind == MAIL_ALONE:
        self.look(mail.number / 1000, mail.code != 0)
    elif mail.kind == MAIL_AWAY:
        self.look_home()
    elif mail.kind == MAIL_CLOSED:
        event_log_rest(self)
        self.has_ended = 1
        self.settled.set()


# event_denied notes whether brokers let us in. The error itself is never raised: its trace would
# grow.
cdef void event_denied(Engine self, mail_t *mail):
    self.denied = None
    if mail.code:
        words = b"".join(body_parts(&mail.body, False))
        self.denied = error_for(mail.code, words.decode(errors="replace"))
        self.settled.set()
    elif not self.connected.is_set():
        self.settled.clear()


# event_log has a line written: by another thread, since the log's reader may have stopped.
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
        fields["error"] = error_name(first)
        repeated = self.repeats.pass_one((code, first))
    elif code == LOG_MALFORMED:  # by the kind of fault, wherever in the packet it is
        repeated = self.repeats.pass_one((code, said[0].partition(b" at byte ")[0]))
    elif code == LOG_CANNOT_CONNECT or code == LOG_DENIED:
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
