# Mail: bodies, and what the engine's thread and Python's threads hand to each other.
#
# body_t     a body in C: inline parts as they are on the wire, or attached messages.
# mail_t     one thing that goes to Python: an answer, a partial, an error, an event of the link.
# mailbox_t  a queue of mails with one taker at a time and any number of putters.
#
# Invariant: a request's tag travels to exactly one final mail (MAIL_REPLY or MAIL_ERROR); the taker
#            of that mail gives the reference back. A mail is in one mailbox or in one hand.
# Cost:      putting is O(1), one lock; a taker gets everything at once and is woken once for it.
# Memory:    mails and bodies are malloc'd and owned by whoever holds them; mail_free and body_clear
#            need no GIL. Buffers of Python objects that bodies share are released by the
#            next `released_drop` under the GIL, since libzmq's thread may be the last to let go.

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from pound._base.locks cimport pthread_mutex_t
from pound._wire.packets cimport record_t
from pound._zmq.libzmq cimport zmq_msg_t

cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock

cdef enum mail_kind:
    MAIL_REPLY = 1           # final: body
    MAIL_ERROR               # final: code, retry_after_ms, sentence in `body`'s one part
    MAIL_PARTIAL             # body, attempt, sequence
    MAIL_LOG                 # log, code, numbers; sentence in `body`
    MAIL_CONNECTED           # a broker has welcomed us
    MAIL_DISCONNECTED
    MAIL_CLOSED              # the engine has ended; nothing follows in its main mailbox
    MAIL_DENIED              # no endpoint lets us in: code, sentence in `body`; 0: not any more
    MAIL_ALONE               # no broker has welcomed us: number (ms), code (a connection stands)
    MAIL_AWAY                # another broker than the preferred one has: it is to be looked at

cdef enum log_event:         # `code` of a MAIL_LOG; their words and levels: LOGS of handle.pyx
    LOG_BROKER_FOUND = 1     # texts: endpoint
    LOG_BROKER_LOST          # texts: endpoint, reason
    LOG_CANNOT_CONNECT       # texts: endpoint, error
    LOG_MALFORMED            # texts: error
    LOG_REFUSED              # numbers: code; texts: words
    LOG_DENIED               # texts: endpoint, reason
    LOG_ENGINE_FAILED        # texts: error
    LOG_REQUEST_WAITING      # numbers: waited (ms), requests; texts: service, waits_for
    LOG_EPOCH_CHANGED        # numbers: kept, stale
    LOG_GIVEN_BACK           # numbers: tasks
    LOG_DRAINING             # numbers: held
    LOG_UNDELIVERED          # numbers: answers
    LOG_EVENTS

cdef struct body_t:          # all zero: no parts
    uint8_t *data            # malloc'd, owned: inline parts as on the wire (u32 size, bytes)
    zmq_msg_t *attached      # malloc'd, owned, `parts` messages; NULL: inline
    uint64_t bytes           # of all parts, without their sizes
    uint32_t size            # of `data`
    uint16_t parts
    uint8_t flags            # FLAG_META or 0

cdef struct mail_t:
    mail_t *next
    void *tag                # a Python reference, owned by the mail if it is final; else borrowed
    uint64_t number          # the request's or the task's
    body_t body
    uint32_t sequence
    uint32_t retry_after_ms
    uint16_t code            # of MAIL_ERROR; of MAIL_LOG its event
    uint8_t kind             # mail_kind
    uint8_t attempt

cdef struct mailbox_t:
    pthread_mutex_t lock     # guards head, tail, rung
    mail_t *head
    mail_t *tail
    PyThread_type_lock bell  # released by the first put, taken by who waits
    int fd                   # owned, a duplicate; written 8 bytes by the first put; -1: none
    uint32_t ringing         # atomic: putters that still ring; mailbox_free waits for them
    uint32_t logs            # MAIL_LOGs put since the last take; under the lock
    uint8_t rung             # something was put since the last take

# --- bodies: every function without the GIL

# body_read takes a record's body out of its packet: inline parts are copied, attached frames moved
# (`frames` is the message's frames, 0 the packet itself). 0, or -1: no memory.
cdef int body_read(body_t *body, const record_t *record, zmq_msg_t *frames) noexcept nogil
# body_put writes the body's inline parts at `at` (body.size bytes, from a put_* writer).
cdef void body_put(const body_t *body, uint8_t *at) noexcept nogil
cdef void body_clear(body_t *body) noexcept nogil
# body_text makes a body of one inline part.
cdef int body_text(body_t *body, const char *text, uint32_t size) noexcept nogil

# --- mails

cdef mail_t *mail_new(uint8_t kind, void *tag, uint64_t number) noexcept nogil
cdef void mail_free(mail_t *mail) noexcept nogil   # not its tag: that needs the GIL
# mail_log puts a MAIL_LOG: up to two numbers, and texts with a NUL between one and the next.
# Without memory there is no line, and none while LOG_MAILS_MAX of them were not taken.
cdef void mail_log(
    mailbox_t *box, uint16_t event, int64_t a, int64_t b, const char *text, uint32_t size
) noexcept nogil
# mails_live counts the mails, and the shared buffers not yet given back, of this process.
cdef int64_t mails_live() noexcept nogil

# --- mailboxes

# mailbox_init: 0, or -1: no memory or no descriptor left. `fd` (an eventfd, a pipe's or socket's
# end, -1: none) is for a taker that is an event loop; whoever waits on its other end must read it
# empty *before* it takes. It is duplicated, so the caller may close his at any time.
cdef int mailbox_init(mailbox_t *box, int fd) noexcept nogil
cdef void mailbox_free(mailbox_t *box) noexcept nogil            # frees mails too, not their tags
cdef void mailbox_put(mailbox_t *box, mail_t *mail) noexcept nogil
# mailbox_put_all appends a chain that ends in `last` by one lock and at most one wake-up.
cdef void mailbox_put_all(mailbox_t *box, mail_t *first, mail_t *last) noexcept nogil
cdef mail_t *mailbox_take(mailbox_t *box) noexcept nogil         # the whole chain, or NULL
# mailbox_wait waits for mail, `timeout_ns` < 0: without limit. 1: there is some; 0: timed out;
# -1: a signal came (the caller runs PyErr_CheckSignals under the GIL and waits again).
cdef int mailbox_wait(mailbox_t *box, int64_t timeout_ns) noexcept nogil

# --- with the GIL

# body_fill makes a C body of Python's: `body` bytes-like or a sequence of those, `meta` a mapping
# or None. If any part has ATTACH_FROM bytes the parts are attached, and read-only buffers (bytes,
# a Frame, memoryview.toreadonly()) are shared, not copied; writable ones are copied once.
# Raises TypeError (no bytes-like objects, META not of strings), ValueError (more than 65535 parts).
cdef int body_fill(body_t *body, object given, object meta) except -1
# body_parts returns the parts as list, META's part included. `share`: attached parts come as
# read-only memoryviews of libzmq's memory; otherwise everything is bytes. Empties the body.
cdef list body_parts(body_t *body, bint share)
# body_value returns (body, meta): body is the one part, or a list of them.
# Raises ProtocolError for a malformed META.
cdef object body_value(body_t *body, bint share)    # the body alone when META isn't asked for
cdef dict body_meta(body_t *body)                   # META decoded and removed; {} if none
cdef void released_drop()                           # gives back buffers that nobody shares any more
# mailbox_drop frees the mails that nobody took, with the references that final ones own.
cdef void mailbox_drop(mailbox_t *box)
