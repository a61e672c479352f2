"""Mail: bodies, and what the engine's thread and Python's threads hand to each other.

The rules are in `mailbox.pxd`. What comes first runs without the GIL, on any thread;
below it bodies become Python objects and Python objects become bodies.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF
from libc.stddef cimport size_t
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from pound._base.check cimport CHECK
from pound._base.clock cimport clock_ns
from pound._base.locks cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock)
from pound._wire.packets cimport (
    FLAG_ATTACHED, FLAG_META, PART_ATTACHED_FROM, load_u32, part_next, part_put, part_t)
from pound._zmq.libzmq cimport zmq

from collections.abc import Sequence

from zmq import Frame

from .values import all_parts, decode_meta, encode_meta

cdef extern from "pound/_base/atomics.h" nogil:
    ctypedef struct pound_shared_t:
        pound_shared_t *next
    void shared_push(pound_shared_t **list, pound_shared_t *item)
    pound_shared_t *shared_take(pound_shared_t **list)
    void count_add(int64_t *count, int64_t change)
    int64_t count_read(int64_t *count)
    void ringing_begin(uint32_t *ringing)
    void ringing_end(uint32_t *ringing)
    uint32_t ringing_read(uint32_t *ringing)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "fcntl.h" nogil:
    int F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, ...)

cdef extern from "unistd.h" nogil:
    int close(int fd)
    ssize_t write(int fd, const void *data, size_t size)

cdef extern from "pythread.h" nogil:
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    void PyThread_release_lock(PyThread_type_lock lock)
    PyLockStatus PyThread_acquire_lock_timed(
        PyThread_type_lock lock, long long microseconds, int interruptible)

cdef enum:
    LOG_MAILS_MAX = 256
    WAIT_US_MAX = 3600000000   # at a time; a lock of Python counts no more than a C long long

cdef struct lent_t:            # a Python buffer that a message shares
    pound_shared_t link
    Py_buffer view             # released under the GIL

cdef pound_shared_t *released = NULL  # buffers that no message needs any more
cdef int64_t live = 0                 # mails and lent buffers


# --- bodies --------------------------------------------------------------------------------

cdef int body_read(body_t *body, const record_t *record, zmq_msg_t *frames) noexcept nogil:
    memset(body, 0, sizeof(body_t))
    if record.parts == 0:
        return 0
    if record.flags & FLAG_ATTACHED:
        if body_attach(body, frames + 1 + record.attached, record.parts):
            return -1
    elif record.body != NULL:
        body.data = <uint8_t *>malloc(record.body_size)
        if body.data == NULL:
            return -1
        memcpy(body.data, record.body, record.body_size)
        body.size = record.body_size
        body.bytes = record.body_size - 4 * <uint64_t>record.parts
    body.parts = record.parts
    body.flags = record.flags & FLAG_META
    return 0


# body_attach moves `parts` messages into a body: 0, or -1: no memory, nothing was moved.
cdef int body_attach(body_t *body, zmq_msg_t *frames, uint16_t parts) noexcept nogil:
    cdef uint32_t i
    body.attached = <zmq_msg_t *>malloc(parts * sizeof(zmq_msg_t))
    if body.attached == NULL:
        return -1
    for i in range(parts):
        zmq.msg_init(&body.attached[i])
        zmq.msg_move(&body.attached[i], &frames[i])
        body.bytes += zmq.msg_size(&body.attached[i])
    return 0


cdef void body_put(const body_t *body, uint8_t *at) noexcept nogil:
    if body.size:
        memcpy(at, body.data, body.size)


cdef void body_clear(body_t *body) noexcept nogil:
    cdef uint32_t i
    if body.attached != NULL:
        for i in range(body.parts):
            zmq.msg_close(&body.attached[i])
        free(body.attached)
    free(body.data)
    memset(body, 0, sizeof(body_t))


# body_drop_first drops the first part, as META's is once it was read.
cdef void body_drop_first(body_t *body) noexcept nogil:
    cdef uint32_t size
    if body.parts == 0:
        return
    body.parts -= 1
    if body.attached != NULL:
        body.bytes -= zmq.msg_size(&body.attached[0])
        zmq.msg_close(&body.attached[0])
        memmove(body.attached, body.attached + 1, body.parts * sizeof(zmq_msg_t))
        return
    size = load_u32(body.data)
    body.bytes -= size
    body.size -= 4 + size
    memmove(body.data, body.data + 4 + size, body.size)


cdef int body_text(body_t *body, const char *text, uint32_t size) noexcept nogil:
    memset(body, 0, sizeof(body_t))
    if size > UINT32_MAX - 4:
        return -1
    body.data = <uint8_t *>malloc(4 + <size_t>size)
    if body.data == NULL:
        return -1
    part_put(body.data, text, size)
    body.size = 4 + size
    body.bytes = size
    body.parts = 1
    return 0


# lent_back is called by libzmq, on any thread, when no message shares the buffer any more.
cdef void lent_back(void *data, void *lent) noexcept nogil:
    shared_push(&released, &(<lent_t *>lent).link)


# --- mails ---------------------------------------------------------------------------------

cdef mail_t *mail_new(uint8_t kind, void *tag, uint64_t number) noexcept nogil:
    cdef mail_t *mail = <mail_t *>calloc(1, sizeof(mail_t))
    if mail != NULL:
        mail.kind = kind
        mail.tag = tag
        mail.number = number
        count_add(&live, 1)
    return mail


cdef void mail_free(mail_t *mail) noexcept nogil:
    if mail != NULL:
        body_clear(&mail.body)
        free(mail)
        count_add(&live, -1)


cdef void mail_log(
    mailbox_t *box, uint16_t event, int64_t a, int64_t b, const char *text, uint32_t size
) noexcept nogil:
    cdef mail_t *mail
    if logs_full(box) and event != LOG_ENGINE_FAILED:
        return
    mail = mail_new(MAIL_LOG, NULL, <uint64_t>a)
    if mail == NULL:
        return
    if body_text(&mail.body, text, size):
        mail_free(mail)
        return
    mail.code = event
    mail.sequence = <uint32_t><uint64_t>b
    mail.retry_after_ms = <uint32_t>(<uint64_t>b >> 32)
    mailbox_put(box, mail)


# logs_full counts a MAIL_LOG to come, or says that too many were not taken: the GIL may be held.
cdef bint logs_full(mailbox_t *box) noexcept nogil:
    cdef bint full
    pthread_mutex_lock(&box.lock)
    full = box.logs >= LOG_MAILS_MAX
    if not full:
        box.logs += 1
    pthread_mutex_unlock(&box.lock)
    return full


cdef int64_t mails_live() noexcept nogil:
    return count_read(&live)


# --- mailboxes -----------------------------------------------------------------------------

cdef int mailbox_init(mailbox_t *box, int fd) noexcept nogil:
    memset(box, 0, sizeof(mailbox_t))
    box.fd = -1
    box.bell = PyThread_allocate_lock()
    if box.bell == NULL:
        return -1
    if fd >= 0:
        box.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        if box.fd < 0:
            PyThread_free_lock(box.bell)
            box.bell = NULL
            return -1
    PyThread_acquire_lock_timed(box.bell, 0, 0)
    pthread_mutex_init(&box.lock, NULL)
    return 0


cdef void mailbox_free(mailbox_t *box) noexcept nogil:
    cdef mail_t *mail
    if box.bell == NULL:
        return
    while ringing_read(&box.ringing):
        sched_yield()
    while box.head != NULL:
        mail = box.head
        box.head = mail.next
        mail_free(mail)
    pthread_mutex_destroy(&box.lock)
    PyThread_free_lock(box.bell)
    if box.fd >= 0:
        close(box.fd)
    box.bell = NULL
    box.fd = -1


cdef void mailbox_put(mailbox_t *box, mail_t *mail) noexcept nogil:
    mailbox_put_all(box, mail, mail)


cdef void mailbox_put_all(mailbox_t *box, mail_t *first, mail_t *last) noexcept nogil:
    cdef bint rings
    CHECK(first != NULL and last != NULL, "no mail to be put")
    last.next = NULL
    pthread_mutex_lock(&box.lock)
    if box.head == NULL:
        box.head = first
    else:
        box.tail.next = first
    box.tail = last
    rings = not box.rung
    if rings:
        box.rung = 1
        ringing_begin(&box.ringing)
    pthread_mutex_unlock(&box.lock)
    if rings:
        ring(box)


# ring wakes the taker, outside the lock, which it will want at once. The mail may be taken
# meanwhile by one who does not wait: then the bell rings once too often, and mailbox_wait looks.
cdef void ring(mailbox_t *box) noexcept nogil:
    cdef uint64_t one = 1  # 8 bytes, as an eventfd wants them
    PyThread_release_lock(box.bell)
    if box.fd >= 0:
        write(box.fd, &one, sizeof(one))
    ringing_end(&box.ringing)


cdef mail_t *mailbox_take(mailbox_t *box) noexcept nogil:
    cdef mail_t *chain
    cdef bint rung
    pthread_mutex_lock(&box.lock)
    chain = box.head
    box.head = box.tail = NULL
    rung = box.rung
    box.rung = 0
    box.logs = 0
    pthread_mutex_unlock(&box.lock)
    if rung:
        PyThread_acquire_lock_timed(box.bell, 0, 0)
    return chain


cdef int mailbox_wait(mailbox_t *box, int64_t timeout_ns) noexcept nogil:
    cdef int64_t until = clock_ns() + timeout_ns if timeout_ns > 0 else 0
    cdef int64_t left = timeout_ns
    while not has_mail(box):
        if timeout_ns >= 0 and left <= 0:
            return 0
        if PyThread_acquire_lock_timed(box.bell, wait_us(left), 1) == PY_LOCK_INTR:
            return -1
        if timeout_ns >= 0:
            left = until - clock_ns()
    return 1


cdef bint has_mail(mailbox_t *box) noexcept nogil:
    cdef bint has
    pthread_mutex_lock(&box.lock)
    has = box.head != NULL
    pthread_mutex_unlock(&box.lock)
    return has


# wait_us rounds up to what a lock of Python takes; -1: no limit.
cdef long long wait_us(int64_t ns) noexcept nogil:
    if ns < 0:
        return -1
    return WAIT_US_MAX if ns >= WAIT_US_MAX * <int64_t>1000 else (ns + 999) // 1000


# --- with the GIL --------------------------------------------------------------------------

@cython.final
cdef class Part:
    """A part of a body in libzmq's memory, for memoryviews that share it."""

    cdef zmq_msg_t message

    def __cinit__(self):
        zmq.msg_init(&self.message)

    def __dealloc__(self):
        zmq.msg_close(&self.message)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(
            view, self, zmq.msg_data(&self.message), zmq.msg_size(&self.message), 1, flags)


cdef int body_fill(body_t *body, object given, object meta) except -1:
    cdef list parts
    memset(body, 0, sizeof(body_t))
    if not meta and PyBytes_CheckExact(given) and PyBytes_GET_SIZE(given) < PART_ATTACHED_FROM:
        if body_text(body, PyBytes_AS_STRING(given), <uint32_t>PyBytes_GET_SIZE(given)):
            raise MemoryError
        return 0
    parts = split(given)
    if meta:
        parts = all_parts([encode_meta(meta), *parts])
    body.flags = FLAG_META if meta else 0
    try:
        if any(size_of(part) >= PART_ATTACHED_FROM for part in parts):
            fill_attached(body, parts)
        else:
            fill_inline(body, parts)
    except BaseException:
        body_clear(body)
        raise
    return 0


# split returns the parts of what the caller gave, each `bytes` or a contiguous read-only view.
cdef list split(object given):
    if isinstance(given, str):
        raise TypeError("a body is bytes-like, not str: encode the text first")
    if PyObject_CheckBuffer(given):
        return [solid(given)]
    if not isinstance(given, Sequence):
        raise TypeError(f"a body is bytes-like or a sequence of those, not {type(given).__name__}")
    return [solid(part) for part in all_parts(given)]


# solid returns one part as something that nobody will change: itself, a view of it, or a copy.
cdef object solid(object part):
    if PyBytes_CheckExact(part):
        return part
    if not PyObject_CheckBuffer(part):
        hint = ": encode the text first" if isinstance(part, str) else ""
        raise TypeError(f"a part of a body is bytes-like, not {type(part).__name__}{hint}")
    view = memoryview(part)
    if view.nbytes >= PART_ATTACHED_FROM and view.c_contiguous:
        if view.readonly or isinstance(part, Frame):
            return view
    return view.tobytes()


cdef Py_ssize_t size_of(object part) except -1:
    return PyBytes_GET_SIZE(part) if PyBytes_CheckExact(part) else part.nbytes


cdef int fill_inline(body_t *body, list parts) except -1:
    cdef uint64_t size = 0
    cdef uint8_t *at
    for part in parts:
        size += <uint64_t>PyBytes_GET_SIZE(part)
    body.data = at = <uint8_t *>malloc(size + 4 * len(parts) + 1)
    if at == NULL:
        raise MemoryError
    for part in parts:
        at = part_put(at, PyBytes_AS_STRING(part), <uint32_t>PyBytes_GET_SIZE(part))
    body.bytes = size
    body.size = <uint32_t>(size + 4 * <uint64_t>len(parts))
    body.parts = <uint16_t>len(parts)
    return 0


# fill_attached leaves in body.parts how many messages are made, so that body_clear can undo it.
cdef int fill_attached(body_t *body, list parts) except -1:
    cdef zmq_msg_t *message
    released_drop()
    body.attached = <zmq_msg_t *>malloc(len(parts) * sizeof(zmq_msg_t))
    if body.attached == NULL:
        raise MemoryError
    for part in parts:
        message = &body.attached[body.parts]
        if size_of(part) >= PART_ATTACHED_FROM:
            lend(message, part)
        else:
            if zmq.msg_init_size(message, PyBytes_GET_SIZE(part)):
                raise MemoryError
            memcpy(zmq.msg_data(message), PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
        body.bytes += zmq.msg_size(message)
        body.parts += 1
    return 0


# lend makes a message that shares the memory of `part`.
cdef int lend(zmq_msg_t *message, object part) except -1:
    cdef lent_t *lent = <lent_t *>malloc(sizeof(lent_t))
    if lent == NULL:
        raise MemoryError
    try:
        PyObject_GetBuffer(part, &lent.view, PyBUF_SIMPLE)
    except BaseException:
        free(lent)
        raise
    if zmq.msg_init_data(message, lent.view.buf, lent.view.len, lent_back, lent):
        PyBuffer_Release(&lent.view)
        free(lent)
        raise MemoryError
    count_add(&live, 1)
    return 0


cdef void released_drop():
    cdef pound_shared_t *item = shared_take(&released)
    cdef pound_shared_t *next
    while item != NULL:
        next = item.next
        PyBuffer_Release(&(<lent_t *>item).view)
        free(item)
        count_add(&live, -1)
        item = next


cdef void mailbox_drop(mailbox_t *box):
    cdef mail_t *mail = mailbox_take(box)
    cdef mail_t *next
    while mail != NULL:
        next = mail.next
        if mail.tag != NULL and (mail.kind == MAIL_REPLY or mail.kind == MAIL_ERROR):
            Py_DECREF(<object>mail.tag)
        mail_free(mail)
        mail = next
    released_drop()


cdef list body_parts(body_t *body, bint share):
    cdef const uint8_t *at = body.data
    cdef part_t part
    cdef list parts = []
    cdef uint32_t i
    if body.attached != NULL:
        for i in range(body.parts):
            parts.append(taken(&body.attached[i], share))
    elif body.size:
        while part_next(&at, body.data + body.size, &part):
            parts.append(PyBytes_FromStringAndSize(<const char *>part.data, part.size))
    body_clear(body)
    return parts


# taken returns a message's content; if that is wanted and worth it, as a view of its memory.
cdef object taken(zmq_msg_t *message, bint share):
    cdef size_t size = zmq.msg_size(message)
    cdef Part part
    if not share or size < PART_ATTACHED_FROM:
        return PyBytes_FromStringAndSize(<const char *>zmq.msg_data(message), size)
    part = Part.__new__(Part)
    zmq.msg_move(&part.message, message)
    return memoryview(part)


cdef object body_value(body_t *body, bint share):
    cdef list parts
    cdef object value
    if body.flags & FLAG_META:
        body_meta(body)
    if body.parts == 1 and body.attached == NULL:
        value = PyBytes_FromStringAndSize(<const char *>body.data + 4, body.size - 4)
        body_clear(body)
        return value
    parts = body_parts(body, share)
    return parts[0] if len(parts) == 1 else parts


cdef dict body_meta(body_t *body):
    cdef bytes first
    if not body.flags & FLAG_META:
        return {}
    if body.attached != NULL:
        first = taken(&body.attached[0], False)
    else:
        first = PyBytes_FromStringAndSize(<const char *>body.data + 4, load_u32(body.data))
    body.flags = 0
    body_drop_first(body)
    return decode_meta(first)
