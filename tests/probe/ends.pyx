# Handles for mail and engine, for tests only: bodies and mailboxes, and an engine whose end
# only counts and says what it is told to.

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from pound._base.clock cimport clock_ns
from pound._engine.engine cimport engine_command_t, engine_log, engine_post, engine_t
from pound._engine.handle cimport Engine, forks
from pound._engine.link cimport (
    FAR, broker_limits_t, link_greets, link_jitter, link_state_t)
from pound._engine.mailbox cimport (
    LOG_EPOCH_CHANGED, MAIL_PARTIAL, MAIL_REPLY, body_clear, body_fill, body_meta, body_parts,
    body_t, body_value, mail_free, mail_new, mail_t, mailbox_free, mailbox_init, mailbox_put,
    mailbox_put_all, mailbox_t, mailbox_take, mailbox_wait, mails_live, released_drop)
from pound._engine.outbox cimport (
    limits_excess, outbox_hello, outbox_reply, outbox_request)
from pound._wire.packets cimport record_t
from pound._zmq.libzmq cimport zmq_msg_t


def live():
    """Mails and lent buffers of this process, after giving back what can be given back."""
    released_drop()
    return mails_live()


def fork_count():
    return forks()


cdef link_state_t thrower
thrower.dice = 1


def jittered(int64_t ns):
    return link_jitter(&thrower, ns)


cdef class Body:
    """One body, made as a caller's is."""

    cdef body_t body

    def __init__(self, given, meta=None):
        body_fill(&self.body, given, meta)

    def __dealloc__(self):
        body_clear(&self.body)

    def facts(self):
        """Whether its parts are attached, how many they are, their bytes."""
        return self.body.attached != NULL, self.body.parts, self.body.bytes

    def parts(self, share=False):
        return body_parts(&self.body, share)

    def value(self, share=False):
        return body_value(&self.body, share)

    def meta(self):
        return body_meta(&self.body)

    def excess(self, uint32_t body_bytes_max, uint32_t frames_max):
        cdef broker_limits_t limits
        cdef char sentence[200]
        limits.body_bytes_max = body_bytes_max
        limits.frames_max = frames_max
        return sentence[:limits_excess(&limits, &self.body, sentence, sizeof(sentence))]


cdef class Mailbox:
    """A mailbox of numbered mails."""

    cdef mailbox_t box

    def __init__(self, int fd=-1):
        if mailbox_init(&self.box, fd):
            raise OSError("mailbox_init")

    def __dealloc__(self):
        mailbox_free(&self.box)

    def put(self, numbers):
        cdef mail_t *first = NULL
        cdef mail_t *last = NULL
        cdef mail_t *mail
        for number in numbers:
            mail = mail_new(MAIL_PARTIAL, NULL, number)
            if last == NULL:
                first = mail
            else:
                last.next = mail
            last = mail
        with nogil:
            mailbox_put_all(&self.box, first, last)

    def take(self):
        cdef mail_t *mail = mailbox_take(&self.box)
        cdef mail_t *next
        cdef list numbers = []
        while mail != NULL:
            next = mail.next
            numbers.append(mail.number)
            mail_free(mail)
            mail = next
        return numbers

    def wait(self, timeout=None):
        cdef int64_t ns = -1 if timeout is None else <int64_t>(timeout * 1e9)
        cdef int got
        with nogil:
            got = mailbox_wait(&self.box, ns)
        return got


def put_and_forget(int rounds):
    """A thread puts into a box; the other frees it as soon as it has the mail."""
    from threading import Thread
    cdef Mailbox box
    for _ in range(rounds):
        box = Mailbox()
        thread = Thread(target=box.put, args=((1,),))
        thread.start()
        while not box.take():
            pass
        mailbox_free(&box.box)
        thread.join()


# --- an engine -------------------------------------------------------------------------------

cdef struct counts_t:
    body_t label
    body_t reply               # said once it has parts and the link is welcomed
    uint64_t commands
    uint64_t heard
    uint64_t takes
    uint64_t welcomes
    uint64_t epochs
    uint64_t closes
    uint64_t collects
    int64_t beat               # ns between two heartbeats; FAR: none
    uint8_t leaves
    char why[200]

cdef struct noted_t:
    engine_command_t command
    counts_t *counts
    uint8_t leaves


cdef counts_t *counts_of(engine_t *e) noexcept nogil:
    return <counts_t *>e.rules.state


cdef void run_noted(engine_t *e, engine_command_t *command) noexcept nogil:
    cdef noted_t *noted = <noted_t *>command
    noted.counts.commands += 1
    noted.counts.leaves |= noted.leaves
    free(noted)


cdef void collect(engine_t *e, int64_t now) noexcept nogil:
    cdef counts_t *c = counts_of(e)
    c.collects += 1
    if link_greets(&e.link, now):
        outbox_hello(&e.outbox, 0, &c.label)
    if e.link.welcomed and c.reply.parts:
        outbox_request(&e.outbox, 1, 0, 0, 0, NULL, 0, <const uint8_t *>b"echo", 4, &c.reply)
        outbox_reply(&e.outbox, 7, &c.reply)
        body_clear(&c.reply)


cdef int pending(engine_t *e) noexcept nogil:
    return 0


cdef void take(engine_t *e, const record_t *r, zmq_msg_t *frames, int64_t now) noexcept nogil:
    counts_of(e).takes += 1


cdef void heard(engine_t *e) noexcept nogil:
    counts_of(e).heard += 1


cdef void welcomed(engine_t *e, int64_t now) noexcept nogil:
    counts_of(e).welcomes += 1


cdef void epoch_changed(engine_t *e, int64_t now) noexcept nogil:
    counts_of(e).epochs += 1
    engine_log(e, LOG_EPOCH_CHANGED, counts_of(e).epochs, 0, b"", 0)


cdef int64_t next_beat(engine_t *e) noexcept nogil:
    cdef int64_t beat = counts_of(e).beat
    return FAR if beat == FAR else max(e.link.said_at, e.link.beat_at) + beat


cdef void tick(engine_t *e, int64_t now) noexcept nogil:
    pass


cdef int64_t next_due(engine_t *e) noexcept nogil:
    return FAR


cdef uint64_t done(engine_t *e) noexcept nogil:
    return 5


cdef int finished(engine_t *e, int64_t now) noexcept nogil:
    return counts_of(e).leaves


cdef void closed(engine_t *e, const char *why) noexcept nogil:
    cdef counts_t *c = counts_of(e)
    cdef size_t i
    c.closes += 1
    for i in range(sizeof(c.why) - 1):
        c.why[i] = why[i]
        if why[i] == 0:
            break


cdef class Probe(Engine):
    """An engine whose end greets, counts, and says `reply` once."""

    cdef counts_t counts
    cdef list delivered

    def __cinit__(
        self, endpoints, context, heartbeat, liveness, follows, logger, events_fd=-1, *,
        label=b"probe", reply=None, beat=None,
    ):
        self.make(endpoints, context, heartbeat, liveness, follows, logger, events_fd, None)
        memset(&self.counts, 0, sizeof(counts_t))
        body_fill(&self.counts.label, label, None)
        if reply is not None:
            body_fill(&self.counts.reply, reply, None)
        self.counts.beat = FAR if beat is None else <int64_t>(beat * 1e9)
        self.delivered = []
        self.e.rules.state = &self.counts
        self.e.rules.collect = collect
        self.e.rules.pending = pending
        self.e.rules.take = take
        self.e.rules.heard = heard
        self.e.rules.welcomed = welcomed
        self.e.rules.epoch_changed = epoch_changed
        self.e.rules.next_beat = next_beat
        self.e.rules.tick = tick
        self.e.rules.next_due = next_due
        self.e.rules.done = done
        self.e.rules.finished = finished
        self.e.rules.closed = closed

    def __dealloc__(self):
        body_clear(&self.counts.label)
        body_clear(&self.counts.reply)

    def facts(self):
        return {
            "commands": self.counts.commands, "heard": self.counts.heard,
            "takes": self.counts.takes, "welcomes": self.counts.welcomes,
            "epochs": self.counts.epochs, "closes": self.counts.closes,
            "collects": self.counts.collects, "why": self.counts.why.decode(),
        }

    def post(self, leaves=False):
        """Post one command; False: the engine has ended."""
        cdef noted_t *noted = <noted_t *>malloc(sizeof(noted_t))
        cdef int refused
        self.check_fork()
        noted.command.run = run_noted
        noted.counts = &self.counts
        noted.leaves = leaves
        with nogil:
            refused = engine_post(&self.e, &noted.command)
        if refused:
            free(noted)
        return not refused

    def mail(self, object tag):
        """Put a final mail with a reference into the main mailbox, as an end does."""
        Py_INCREF(tag)
        mailbox_put(self.e.main, mail_new(MAIL_REPLY, <void *>tag, 1))

    def checked(self):
        self.check()
        return True

    cdef void deliver(self, mail_t *mails):
        cdef mail_t *next
        while mails != NULL:
            next = mails.next
            if callable(<object>mails.tag):
                (<object>mails.tag)()
            else:
                self.delivered.append(<object>mails.tag)
            Py_DECREF(<object>mails.tag)
            mail_free(mails)
            mails = next

    def taken(self):
        return list(self.delivered)


def now():
    return clock_ns()
