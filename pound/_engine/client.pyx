"""The Python handle of a client's end: bodies in, answers out.

`ClientEngine` posts requests to the engine's thread, a `ReplyQueue` holds their answers until they
are taken, a `StreamState` counts what was read of a stream. Nothing is decided here: what becomes
of a request is in client_rules.pyx.
Invariant: a tag, and the ReplyQueue that its answer comes to, are referenced from the submission
           until the request's final mail is taken. The ClientEngine references the ReplyQueue:
           mails that nobody takes are freed with the two.
"""

cimport cython
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from pound._base.clock cimport clock_ns
from pound._base.locks cimport pthread_mutex_lock, pthread_mutex_unlock
from pound._wire.codes cimport CODE_INTERNAL
from pound._wire.packets cimport partial_cost
from .client_rules cimport (
    client_free, client_init, client_live, run_cancel, run_leave, run_look, run_submit)
from .client_state cimport (
    REFUSAL, WANTS_ANSWER, WANTS_BODY, WANTS_STREAM, cancel_t, look_t, submit_t)
from .engine cimport engine_command_t, engine_post
from .handle cimport Engine, forks
from .link cimport FAR
from .mailbox cimport (
    MAIL_ERROR, MAIL_PARTIAL, MAIL_REPLY, body_fill, body_meta, body_parts, body_text,
    body_value, mail_free, mail_new, mail_t, mailbox_drop, mailbox_free, mailbox_init, mailbox_t,
    mailbox_take, mailbox_wait, mails_live, released_drop)
from .pace cimport pace_name
from .requests cimport shared_name_t
from .streams cimport stream_read

cdef enum:
    NS = 1000000000                # in a second
    PRIORITY_MAX = 9                  # of priority
    TIMEOUT_MAX = 1000000000       # seconds; longer ones, of 30 years, are none
    QUICK_NS = 1000000             # an answer that came sooner was quick
    AWAKE_NS = 300000              # of the wait for a quick answer, in which the caller stays awake
    LATE_NS = 1000000              # of a yield, longer than the threads of an answer need to go on
    SLEEPY_NS = 100000000          # after a late one

cdef extern from "sched.h" nogil:
    int sched_yield()


# stay_awake waits a little for mail without sleeping. An answer passes a dozen threads in three
# processes, and to wake one on a core that has gone idle takes several times as long as to switch
# to it; a caller that yields gives its core away and keeps it from going idle.
# 0: a yield came back late: somebody computes on this core, and who slept would be preferred.
cdef bint stay_awake(mailbox_t *box, int64_t now) noexcept nogil:
    cdef int64_t until = now + AWAKE_NS
    cdef int64_t before = now
    while now < until and mailbox_wait(box, 0) == 0:
        before = now
        sched_yield()
        now = clock_ns()
    return now - before < LATE_NS


# drain takes mails, which nobody wants, until so many ends of requests have come. Their tags are
# no references.
cdef void drain(mailbox_t *box, uint32_t open) noexcept nogil:
    cdef mail_t *mail
    cdef mail_t *next
    while open:
        mailbox_wait(box, -1)
        mail = mailbox_take(box)
        while mail != NULL:
            next = mail.next
            open -= mail.kind == MAIL_REPLY or mail.kind == MAIL_ERROR
            mail_free(mail)
            mail = next


# --- with the GIL --------------------------------------------------------------------------

import logging
from collections import deque
from concurrent.futures import InvalidStateError

from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.ref cimport Py_DECREF, Py_INCREF

from pound.errors import ClosedError, ForkError, ProtocolError, error_for
from .checks import check_seconds, check_whole
from .values import Answer, Partial, multipart_error, service_name

Event = tuple                    # (tag, ok, value): what a mail says, see the stub
LOGGER = logging.getLogger("pound.client")
# What a client made from now on goes by.
EAGER_BYTES = 65536             # sent before WELCOME: enough for a call, little to send twice
LOG_AFTER = 30.0                # seconds of waiting without a timeout until one line says for what
LEAVE_WITHIN = 0.5              # seconds for BYE and its answer
STREAM_BYTES_MAX = 64 << 20     # of one stream, not yet read by the caller


def live():
    """Return the structs of this process that are in use: requests, mails and shared buffers."""
    return client_live() + mails_live()


cdef int64_t nanoseconds(double seconds) noexcept:
    return <int64_t> ((seconds if seconds < TIMEOUT_MAX else TIMEOUT_MAX) * NS)


# --- mails as values

cdef object mail_error(mail_t *mail):
    """mail_error returns the exception that a mail reports."""
    words = b" ".join(body_parts(&mail.body, False)).decode(errors="replace")
    if mail.code == 0:
        return ClosedError(words)
    return error_for(mail.code, words, mail.retry_after_ms / 1000.0)


cdef object mail_value(mail_t *mail, bint share):
    """mail_value returns what a mail holds, an exception instead if it can't; empties its body."""
    try:
        if mail.kind == MAIL_ERROR:
            return mail_error(mail)
        if mail.kind == MAIL_PARTIAL or mail.code == WANTS_STREAM:
            return (<StreamState> mail.tag).partial(mail, share)
        if mail.code == WANTS_BODY:
            value = body_value(&mail.body, share)
            if not PyList_CheckExact(value):
                return value
            return multipart_error(value) if value else b""
        meta = body_meta(&mail.body)
        return Answer(body_value(&mail.body, share), meta)
    except ProtocolError as error:
        return error_for(CODE_INTERNAL, str(error))
    except BaseException as error:  # an interrupt among them: the mail is lost, its taker gets this
        return error


cdef list mails_values(mail_t *mails, bint share, uint32_t *ends):
    """mails_values returns (tag, ok, value) of each mail, counts those that end a request."""
    cdef list values = []
    cdef mail_t *mail
    while mails != NULL:
        mail = mails
        mails = mail.next
        tag = <object> mail.tag
        value = mail_value(mail, share)
        ok = None if mail.kind == MAIL_PARTIAL else not isinstance(value, BaseException)
        values.append((tag, ok, value))
        if ok is not None:
            Py_DECREF(tag)
            ends[0] += 1
        mail_free(mail)
    released_drop()
    return values


@cython.final
cdef class StreamState:
    """How far a stream is: the tag of its request. It counts what was read."""

    def __cinit__(self, owner=None):
        self.owner = owner
        self.sizes = deque()

    cdef object partial(self, mail_t *mail, bint share):
        cdef uint64_t size = partial_cost(mail.body.bytes, mail.body.parts)
        meta = body_meta(&mail.body)
        value = Partial(
            body_value(&mail.body, share), mail.attempt, mail.sequence,
            mail.kind == MAIL_REPLY, meta)
        self.sizes.append(size)
        return value

    def read(self):
        """Note that the caller has read the oldest partial; True: call `ClientEngine.grant`."""
        return bool(stream_read(&self.stream, self.sizes.popleft()))


@cython.final
cdef class ReplyQueue:
    """A mailbox of its own for the answers to some requests."""

    def __cinit__(self, bint share=False, int fd=-1):
        self.share = share
        self.born = forks()
        if mailbox_init(&self.mailbox, fd) < 0:
            raise OSError("no memory or no descriptor for a mailbox")

    def __dealloc__(self):
        if self.born == forks() and self.mailbox.bell != NULL:
            mailbox_drop(&self.mailbox)  # a child of a fork may have got its locks locked
            mailbox_free(&self.mailbox)

    cdef int check(self) except -1:
        if self.born != forks():
            raise ForkError("made before a fork: its answers come to the parent")
        return 0

    cdef int await_mail(self, int64_t timeout_ns) except -1:
        cdef int64_t until = clock_ns() + timeout_ns
        cdef int came = -1
        self.check()
        while came < 0:
            with nogil:
                came = mailbox_wait(&self.mailbox, timeout_ns)
            if came < 0:
                PyErr_CheckSignals()
                if timeout_ns >= 0:
                    timeout_ns = max(0, until - clock_ns())
        return came

    @cython.critical_section
    cdef int hold(self, ClientEngine engine, uint32_t requests) except -1:
        """hold has the client keep this box until so many more requests have ended."""
        if self.open and self.keeper is not engine.awaited:
            raise ValueError("answers of another client are to come to this queue")
        engine.awaited.add(self)
        self.keeper = engine.awaited
        self.open += requests
        return 0

    @cython.critical_section
    cdef int let_go(self, uint32_t requests) except -1:
        keeper = self.keeper
        self.open -= requests
        if self.open == 0 and keeper is not None:
            self.keeper = None
            keeper.discard(self)  # the section is left while this waits: it may be held again
            if self.open:
                keeper.add(self)
        return 0

    cdef list tell(self, mail_t *mails):
        cdef uint32_t ends = 0
        values = mails_values(mails, self.share, &ends)
        self.let_go(ends)
        return values

    def take(self, timeout=0.0):
        """Return what has come, as (tag, ok, value); wait for it up to `timeout` seconds."""
        cdef mail_t *mails
        self.check()
        mails = mailbox_take(&self.mailbox)
        if mails == NULL and (timeout is None or timeout > 0):
            self.await_mail(-1 if timeout is None else nanoseconds(timeout))
            mails = mailbox_take(&self.mailbox)
        return self.tell(mails)

    def drain(self):
        """Wait for every request that answers here, and drop what comes. Cancel them before."""
        while self.open:
            with nogil:
                mailbox_wait(&self.mailbox, -1)
            self.tell(mailbox_take(&self.mailbox))


# --- submitting

cdef double timeout_seconds(object given) except -1:
    """timeout_seconds returns a timeout; what is no plain one is looked at in full."""
    cdef double seconds = 0
    cdef int overflow
    if given is None:
        return INFINITY
    if PyFloat_CheckExact(given):
        seconds = PyFloat_AS_DOUBLE(given)
    elif PyLong_CheckExact(given):
        seconds = PyLong_AsLongAndOverflow(given, &overflow)
    return seconds if seconds > 0 else check_seconds("timeout", given)


cdef int priority_level(object given) except -1:
    """priority_level returns a priority; what is no plain one is looked at in full."""
    cdef int overflow
    cdef long level = -1
    if PyLong_CheckExact(given):
        level = PyLong_AsLongAndOverflow(given, &overflow)
    if 0 <= level <= PRIORITY_MAX:
        return <int> level
    return check_whole("priority", given, 0, PRIORITY_MAX)


cdef shared_name_t *service_new(object service) except NULL:
    """service_new returns a name that no request has a share of yet."""
    cdef bytes encoded = service_name(service)
    cdef Py_ssize_t size = len(encoded)
    cdef shared_name_t *made = <shared_name_t *> malloc(sizeof(shared_name_t) + size)
    if made == NULL:
        raise MemoryError
    made.refs = 0
    made.size = <uint16_t> size
    memcpy(made.name, <const char *> encoded, size)
    made.hash = pace_name(made.name, made.size)
    return made


cdef int submit_add(
    submit_t *submit, void *tag, object body, object meta, uint8_t wants
) except -1:
    """submit_add adds one request to those of one command; the tag is stored as it is."""
    cdef mail_t *mail = mail_new(MAIL_REPLY, tag, 0)
    if mail == NULL:
        raise MemoryError
    try:
        body_fill(&mail.body, body, meta)
    except BaseException:
        mail_free(mail)
        raise
    mail.code = wants
    mail.next = NULL
    if submit.first == NULL:
        submit.first = mail
    else:
        submit.last.next = mail
    submit.last = mail
    submit.count += 1
    submit.service.refs += 1
    return 0


cdef void submit_free(submit_t *submit):
    """submit_free forgets requests that were not posted; their tags were not taken."""
    cdef mail_t *mail = submit.first
    cdef mail_t *next
    while mail != NULL:
        next = mail.next
        mail_free(mail)
        mail = next
    free(submit.service)
    free(submit)


cdef class ClientEngine(Engine):
    """The engine of a client."""

    def __cinit__(
        self, endpoints, context, heartbeat, liveness, bytes label not None, bint waits,
        bint share=False, int events_fd=-1, key=None,
    ):
        self.next_number = 1
        self.queues = []
        self.awaited = set()
        self.make(endpoints, context, heartbeat, liveness, False, LOGGER, events_fd, key)
        client_init(&self.a, &self.e.rules)
        self.share = share
        self.a.waits = waits
        self.a.eager_bytes = self.a.eager_bytes_max = EAGER_BYTES
        self.a.log_after = <int64_t> (<double> LOG_AFTER * NS)
        self.a.leave_within = <int64_t> (<double> LEAVE_WITHIN * NS)
        self.a.stream_bytes_max = STREAM_BYTES_MAX
        if body_text(&self.a.label, label, <uint32_t> len(label)) < 0:
            raise MemoryError

    def __dealloc__(self):
        if self.born == forks():
            client_free(&self.a)

    @property
    def refusal(self):
        """The broker's words for the last request that it did not take at once; empty: none."""
        cdef char text[REFUSAL]
        pthread_mutex_lock(&self.e.lock)
        memcpy(text, self.a.refusal, REFUSAL)
        pthread_mutex_unlock(&self.e.lock)
        return (<bytes> text).decode(errors="replace")

    cdef submit_t *new_submit(
        self, mailbox_t *box, object service, object timeout, object priority
    ) except NULL:
        cdef double seconds = timeout_seconds(timeout)
        cdef uint8_t level = priority_level(priority)
        cdef submit_t *submit
        self.check()
        submit = <submit_t *> malloc(sizeof(submit_t))
        if submit == NULL:
            raise MemoryError
        memset(submit, 0, sizeof(submit_t))
        submit.command.run = run_submit
        submit.box = box
        submit.priority = level
        submit.timeout = nanoseconds(seconds) if seconds < TIMEOUT_MAX else FAR
        try:
            submit.service = service_new(service)
        except BaseException:
            free(submit)
            raise
        return submit

    cdef uint64_t post_submit(self, submit_t *submit) except 0:
        """post_submit posts the requests; returns the number of the first, the others follow."""
        cdef uint64_t first = self.post_numbered(submit)
        if first == 0:
            submit_free(submit)
            raise self.closed_error()
        return first

    @cython.critical_section
    cdef uint64_t post_numbered(self, submit_t *submit) noexcept:
        """post_numbered posts them in the order of their numbers; 0: the client is closed."""
        cdef uint64_t first = self.next_number
        cdef mail_t *mail = submit.first
        while mail != NULL:
            mail.number = self.next_number
            self.next_number += 1
            mail = mail.next
        submit.since = clock_ns()
        return first if engine_post(&self.e, &submit.command) == 0 else 0

    cdef uint64_t post_to(self, ReplyQueue queue, submit_t *submit) except 0:
        """post_to posts requests whose answers are taken from the queue, which is held for them."""
        cdef uint32_t count = submit.count
        try:
            queue.hold(self, count)
        except BaseException:
            submit_free(submit)
            raise
        try:
            return self.post_submit(submit)
        except BaseException:
            queue.let_go(count)
            raise

    def submit(
        self, ReplyQueue queue, tag, service, body, timeout, priority, meta, bint full=False
    ):
        """Ask; the answer comes to `queue`, or to the main mailbox, as (tag, ok, value)."""
        cdef bint stream = isinstance(tag, StreamState)
        cdef uint8_t wants = WANTS_STREAM if stream else WANTS_ANSWER if full else WANTS_BODY
        cdef submit_t *submit = self.new_submit(
            &self.mailbox if queue is None else &queue.mailbox, service, timeout, priority)
        try:
            submit_add(submit, <void *> tag, body, meta, wants)
        except BaseException:
            submit_free(submit)
            raise
        if stream:
            submit.stream = &(<StreamState> tag).stream
        Py_INCREF(tag)  # the answer may be taken, and the reference with it, before this returns
        try:
            return self.post_submit(submit) if queue is None else self.post_to(queue, submit)
        except BaseException:
            Py_DECREF(tag)
            raise

    def submit_many(self, ReplyQueue queue not None, first_tag, service, bodies, timeout, priority):
        """Ask with each of `bodies` by one wake-up; tags count up from `first_tag`."""
        cdef submit_t *submit
        cdef uint64_t number
        tags = [first_tag + n for n in range(len(bodies))]
        if not tags:
            return range(0)
        submit = self.new_submit(&queue.mailbox, service, timeout, priority)
        try:
            for tag, body in zip(tags, bodies):
                submit_add(submit, <void *> tag, body, None, WANTS_BODY)
        except BaseException:
            submit_free(submit)
            raise
        for tag in tags:
            Py_INCREF(tag)
        try:
            number = self.post_to(queue, submit)
        except BaseException:
            for tag in tags:
                Py_DECREF(tag)
            raise
        return range(number, number + len(tags))

    def ask(self, service, body, timeout, priority, meta, bint full):
        """Ask and wait for the answer."""
        cdef ReplyQueue queue
        cdef submit_t *submit
        cdef mail_t *mail
        cdef uint64_t number
        if self.on_events_thread():
            raise RuntimeError("a callback of a future can't wait for an answer: use submit()")
        try:
            queue = self.queues.pop()
        except IndexError:
            queue = ReplyQueue()
        submit = self.new_submit(&queue.mailbox, service, timeout, priority)
        try:
            submit_add(submit, NULL, body, meta, WANTS_ANSWER if full else WANTS_BODY)
        except BaseException:
            submit_free(submit)
            raise
        number = self.post_submit(submit)
        try:
            self.await_answer(queue)
        except BaseException:
            try:
                self.cancel_some(&number, 1)
            finally:
                with nogil:
                    drain(&queue.mailbox, 1)
            raise
        mail = mailbox_take(&queue.mailbox)
        value = mail_value(mail, self.share)
        mail_free(mail)
        released_drop()
        self.queues.append(queue)
        if isinstance(value, BaseException):
            raise value
        return value

    cdef int await_answer(self, ReplyQueue queue) except -1:
        """await_answer waits for one answer, awake at first if the last one was quick."""
        cdef int64_t began = clock_ns()
        cdef bint punctual
        if self.quick and not self.awake and began >= self.awake_from:
            self.awake = True
            with nogil:
                punctual = stay_awake(&queue.mailbox, began)
            self.awake = False
            if not punctual:
                self.awake_from = clock_ns() + SLEEPY_NS
        queue.await_mail(-1)
        self.quick = clock_ns() - began < QUICK_NS
        return 0

    cdef int cancel_some(self, const uint64_t *numbers, uint32_t count) except -1:
        """cancel_some ends requests, those that have not ended; nothing if the client is closed."""
        cdef cancel_t *cancel = <cancel_t *> malloc(sizeof(cancel_t) + count * sizeof(uint64_t))
        if cancel == NULL:
            raise MemoryError
        cancel.command.run = run_cancel
        cancel.count = count
        memcpy(cancel.numbers, numbers, count * sizeof(uint64_t))
        if engine_post(&self.e, &cancel.command) < 0:
            free(cancel)
        return 0

    def cancel(self, uint64_t number):
        """End a request, if it has not ended; its mail follows at once."""
        if not self.forked():
            self.cancel_some(&number, 1)

    def grant(self, uint64_t number):
        """Let the worker of a stream go further; nothing if the client is closed."""
        cdef look_t *look = <look_t *> malloc(sizeof(look_t))
        if look == NULL:
            raise MemoryError
        look.command.run = run_look
        look.number = number
        if engine_post(&self.e, &look.command) < 0:
            free(look)

    def leave(self):
        """Say BYE and finish; nothing if it has ended, or has not begun."""
        cdef engine_command_t *command
        self.check_fork()
        if not self.started:
            return
        command = <engine_command_t *> malloc(sizeof(engine_command_t))
        if command == NULL:
            raise MemoryError
        command.run = run_leave
        if engine_post(&self.e, command) < 0:
            free(command)

    # -- events

    def events(self):
        """Take what is in the main mailbox: log it, or return it as (tag, ok, value)."""
        cdef uint32_t ends = 0
        cdef mail_t *mails = self.take_events()
        return mails_values(mails, self.share, &ends)

    cdef void deliver(self, mail_t *mails):
        """deliver resolves futures: without an event loop they are the tags in the main mailbox."""
        cdef uint32_t ends = 0
        for future, ok, value in mails_values(mails, self.share, &ends):
            try:
                if not future.set_running_or_notify_cancel():
                    continue
                if ok:
                    future.set_result(value)
                else:
                    future.set_exception(value)
            except (RuntimeError, InvalidStateError):  # its owner has set it before
                pass
            except BaseException:  # a callback's: the other futures are owed their answers
                self.logger.exception("a callback of a future failed")
