"""`Client.map`: the answers to many bodies, in the order of the bodies.

A Map keeps a window of requests: asked from `delivered` on, up to `asked`, none further than
`window` ahead; answers[n % window] is the answer to body n once it has come. Whenever a quarter of
the window is free it is filled: by batches, one post to the engine each, if the bodies are at hand
(a list or a tuple); else one by one, since the next body may depend on an answer, or never come.
Answers are taken from the mailbox all at once: per body there is no future and seldom a wake-up.
Invariant: delivered <= asked <= delivered + window; `open` of the requests asked have not come
           back.
Cost:      O(1) a body.
Memory:    a Map owns its mailbox, and frees it only after every request has come back: what is open
           at the end is cancelled, and the engine answers that at once.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pound._base.clock cimport clock_ns
from .client cimport ClientEngine, ReplyQueue, drain, mail_value, submit_add, submit_free
from .client_state cimport WANTS_ANSWER, WANTS_BODY, submit_t
from .mailbox cimport mail_free, mail_t, mailbox_take, released_drop

from .checks import check_whole
from .values import service_name

cdef enum:
    FILLS = 4                      # of a window
    BATCH_MAX = 256                # bodies; more are not asked with any faster
    WINDOW_MAX = 1 << 24
    SLOW_NS = 1000000              # of sending ahead, after which an answer that has come is next


@cython.final
cdef class Map:
    """An iterator over the answers.

    Parameters
    ----------
    engine : ClientEngine
    service : str
    bodies : iterable
    window : int
        At most so many bodies are asked with before the answer to the first of them is taken.
    timeout : float or None
        Seconds, of each request.
    priority : int
    meta : dict of str to str, or None
        Of each request.
    full : bool
        Whether answers come as `Answer`.
    """

    cdef ClientEngine engine
    cdef ReplyQueue box
    cdef object bodies             # None: exhausted
    cdef object service, timeout, priority, meta
    cdef uint8_t wants             # WANTS_BODY, or WANTS_ANSWER: META and several parts
    cdef uint32_t window
    cdef uint32_t fill             # free places of the window that are worth filling
    cdef uint32_t batch            # bodies that are asked with by one post
    cdef uint32_t open             # requests that have not come back
    cdef uint64_t delivered
    cdef uint64_t asked
    cdef mail_t **answers          # owned, `window` of them
    cdef uint64_t *numbers         # owned, `window` of them: the requests' numbers
    cdef bint busy                 # a thread is inside

    def __cinit__(
        self, ClientEngine engine not None, service, bodies, window, timeout, priority, meta,
        bint full=False,
    ):
        self.engine = engine
        service_name(service)      # refused here, not at the first answer
        if isinstance(bodies, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"bodies is an iterable of bodies, not one {type(bodies).__name__}")
        self.service, self.bodies = service, iter(bodies)
        self.timeout, self.priority, self.meta = timeout, priority, meta
        self.wants = WANTS_ANSWER if full else WANTS_BODY
        self.window = check_whole("window", window, 1, WINDOW_MAX)
        self.fill = max(1, self.window // FILLS)
        self.batch = min(self.fill, BATCH_MAX) if isinstance(bodies, (list, tuple)) else 1
        self.answers = <mail_t **> calloc(self.window, sizeof(mail_t *))
        self.numbers = <uint64_t *> calloc(self.window, sizeof(uint64_t))
        if self.answers == NULL or self.numbers == NULL:
            raise MemoryError
        self.box = ReplyQueue(engine.share)

    def __del__(self):
        self.end()

    def __dealloc__(self):
        free(self.answers)
        free(self.numbers)

    def __iter__(self):
        return self

    def __next__(self):
        self.enter()
        try:
            return self.step()
        except BaseException:
            self.end()
            raise
        finally:
            self.busy = False

    def close(self):
        """Cancel what is open; the iteration is over."""
        self.enter()
        try:
            self.end()
        finally:
            self.busy = False

    @cython.critical_section
    cdef int enter(self) except -1:
        """enter keeps other threads out until `busy` is false again."""
        if self.busy:
            raise ValueError("the answers of a map are for one thread at a time")
        self.busy = True
        return 0

    cdef object step(self):
        """step returns the next answer, and asks ahead."""
        cdef uint32_t at = <uint32_t> (self.delivered % self.window)
        cdef mail_t *mail
        if self.bodies is not None:
            if self.answers[at] == NULL or self.room() >= self.fill:
                self.ask_ahead()
        if self.delivered == self.asked:
            raise StopIteration
        while self.answers[at] == NULL:
            self.box.await_mail(-1)
            self.sort(mailbox_take(&self.box.mailbox))
        mail = self.answers[at]
        self.answers[at] = NULL
        self.delivered += 1
        value = mail_value(mail, self.engine.share)
        mail_free(mail)
        if isinstance(value, BaseException):
            raise value
        return value

    cdef uint32_t room(self) noexcept:
        """room gives how many bodies may be asked with now."""
        return self.window - <uint32_t> (self.asked - self.delivered)

    cdef int ask_ahead(self) except -1:
        """ask_ahead fills the window; bodies that take their time don't hold up an answer."""
        cdef int64_t began = clock_ns()
        while self.bodies is not None and self.room():
            self.ask_batch(min(self.room(), self.batch))
            if clock_ns() - began >= SLOW_NS:
                self.sort(mailbox_take(&self.box.mailbox))
                if self.answers[self.delivered % self.window] != NULL:
                    break
        return 0

    cdef int ask_batch(self, uint32_t most) except -1:
        """ask_batch asks with so many bodies at most."""
        cdef submit_t *submit = self.engine.new_submit(
            &self.box.mailbox, self.service, self.timeout, self.priority)
        cdef uint64_t number
        cdef uint32_t i, count
        try:
            for i in range(most):
                body = next(self.bodies, self)
                if body is self:
                    self.bodies = None
                    break
                submit_add(submit, <void *> (self.asked + i), body, self.meta, self.wants)
        except BaseException:
            submit_free(submit)
            raise
        count = submit.count
        if count == 0:
            submit_free(submit)
            return 0
        number = self.engine.post_submit(submit)
        for i in range(count):
            self.numbers[(self.asked + i) % self.window] = number + i
        self.asked += count
        self.open += count
        return 0

    cdef void sort(self, mail_t *mails) noexcept:
        """sort puts answers, which come in any order, where they belong."""
        cdef mail_t *mail
        while mails != NULL:
            mail = mails
            mails = mail.next
            self.answers[<uint64_t> mail.tag % self.window] = mail
            self.open -= 1
        released_drop()

    cdef int end(self) except -1:
        """end cancels what is open, takes what comes of it, and is at its end then."""
        cdef uint64_t n
        self.bodies = None
        if self.box is None or self.engine.forked():
            return 0
        self.sort(mailbox_take(&self.box.mailbox))
        if self.open:
            try:
                self.cancel_open()
            finally:
                with nogil:
                    drain(&self.box.mailbox, self.open)
                self.open = 0
        for n in range(self.delivered, self.asked):
            mail_free(self.answers[n % self.window])
            self.answers[n % self.window] = NULL
        self.delivered = self.asked
        released_drop()
        return 0

    cdef int cancel_open(self) except -1:
        """cancel_open cancels the requests whose answers have not come."""
        cdef uint32_t count = 0
        cdef uint64_t n
        cdef uint64_t *numbers = <uint64_t *> calloc(self.open, sizeof(uint64_t))
        if numbers == NULL:
            raise MemoryError
        for n in range(self.delivered, self.asked):
            if self.answers[n % self.window] == NULL:
                numbers[count] = self.numbers[n % self.window]
                count += 1
        try:
            return self.engine.cancel_some(numbers, count)
        finally:
            free(numbers)
