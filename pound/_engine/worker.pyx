"""A worker's engine as Python sees it: handler threads with a compiled loop, and the Task.

A handler thread holds the GIL from one task to the next, and gives it up only to wait. While tasks
wait, answering one and taking the next costs two short locks and no system call.

Threads are made when a task leaves none idle, at most `capacity` of them, and are daemons: a
handler that never returns must not keep a process alive that has given its task back. What a
handler returns or raises becomes one answer, whatever happens: no exception leaves `perform`, of
whatever class, and none is raised while another one is handled that is not its own.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint16_t
from libc.math cimport ceil
from libc.string cimport memset, strlen

from pound._base.clock cimport clock_ns
from pound._wire.codes cimport (
    CODE_CANCELLED, CODE_DEADLINE_EXCEEDED, CODE_INVALID_ARGUMENT, CODE_UNAVAILABLE, CODE_UNKNOWN)
from pound._wire.packets cimport FLAG_META, KIND_ERROR, KIND_REPLY
from .engine cimport engine_log
from .handle cimport Engine, forks
from .handoff cimport (
    handoff_answer, handoff_take, handoff_take_all, handoff_take_cancelled, handoff_thread_lost,
    handoff_wait)
from .link cimport FAR
from .mailbox cimport (
    LOG_DRAINING, body_clear, body_fill, body_meta, body_parts, body_t, body_text, body_value,
    released_drop)
from .outbox cimport limits_excess
from .partials cimport (
    PARTIAL_DROPPED, PARTIAL_GIVEN, PARTIAL_REFUSED, partial_give, partial_has_room, partial_t)
from .task cimport held_task_t, task_drop, task_keep, tasks_live
from .worker_rules cimport AGREE_WITHIN_MS, LAST_WORDS_MS, worker_free, worker_init, worker_leave

import inspect
import logging
import threading
import traceback
from collections.abc import AsyncGenerator, Generator
from types import GenericAlias

from pound._base.unpicklable import TASK
from pound._logging import log_event
from pound.errors import Cancelled, ProtocolError, Release
from .values import Answer, one_part, progress_meta

cdef enum:
    WORDS_BYTES_MAX = 4096           # of an error's sentence
    SENTENCE_BYTES = 128             # of one about a limit
    YIELD_EVERY = 256                # tasks; a builtin as handler never gives up the GIL by itself

cdef double SECOND = 1e9             # ns
cdef double RELEASED_EVERY = 30.0    # seconds between two log lines of a service's releases
cdef double RETRY_MS_MAX = 4294967295.0  # that ERROR can say

LOGGER = logging.getLogger("pound.worker")
LAST_WORDS = LAST_WORDS_MS / 1000
AGREE_WITHIN = AGREE_WITHIN_MS / 1000
UNWANTED = "nobody waits for it any more"
cdef object MADE = object()          # what a Task is made with, so that nobody else makes one


def live():
    """Return how many tasks and answers this process holds in C."""
    return tasks_live()


cdef class WorkerEngine(Engine):
    """The engine of a worker: the tasks it holds, and the threads that run their handlers."""

    def __cinit__(
        self, endpoints, context, heartbeat, liveness, label, services, capacity, share=False,
        events_fd=-1, key=None,
    ):
        self.make(endpoints, context, heartbeat, liveness, True, LOGGER, events_fd, key)
        if len(services) > SERVICES_MAX:
            raise ValueError(f"at most {SERVICES_MAX} services")
        if worker_init(&self.w, &self.e, capacity, self.e.main.fd) < 0:
            raise MemoryError
        body_fill(&self.w.names, [label, *services], None)
        body_fill(&self.w.services, list(services), None)
        self.names = tuple(name.decode(errors="surrogateescape") for name in services)
        self.handlers = tuple(handler for handler, _ in services.values())
        for place, (_, wants) in enumerate(services.values()):
            self.wants[place] = wants
        self.share = share
        self.released = {}
        self.thread_ids = set()

    def __dealloc__(self):
        if self.born == forks():  # in a child the lock may never be released
            worker_free(&self.w)

    def start(self):
        """Start the engine and the first handler thread.

        Raises
        ------
        RuntimeError
            It was started before, or the machine has no more threads.
        """
        if not self.begun:
            log_event(
                LOGGER, logging.INFO, "connecting", endpoint=", ".join(self.endpoints),
                services=", ".join(self.names))
        super().start()

    cdef int start_threads(self) except -1:
        Engine.start_threads(self)
        if self.w.handoff.fd < 0:
            self.w.handoff.threads.made = 1
            self.handler_thread().start()
        return 0

    def leave(self, double seconds):
        """Take no more tasks, finish the held ones within `seconds`, then end."""
        self.check_fork()
        cdef double ns = max(seconds, 0.0) * SECOND
        cdef int64_t now = clock_ns()
        if not self.started:
            return
        if not self.e.closed and not self.drains:
            self.drains = 1
            engine_log(&self.e, LOG_DRAINING, self.w.running.count, 0, NULL, 0)
        worker_leave(&self.w, FAR if ns >= <double>(FAR - now) else now + <int64_t>ns)

    @property
    def held(self):
        """Tasks whose handler has not returned and whose answer may be wanted."""
        return self.w.running.count

    @property
    def given_back(self):
        """Tasks given back at the end of the drain."""
        return self.w.drain.given_back

    @property
    def undelivered(self):
        """Answers that no broker took until the end of the drain."""
        return self.w.drain.undelivered

    # -- handler threads --------------------------------------------------------------------

    cdef object handler_thread(self):
        name = f"pound-handler-{self.threads}"
        self.threads += 1
        return threading.Thread(target=self.work, name=name, daemon=True)

    cdef int spawn(self) except -1:
        try:
            self.handler_thread().start()
        except RuntimeError:  # no more threads on this machine: those that are must do
            handoff_thread_lost(&self.w.handoff)
        return 0

    def work(self):
        """Run handlers until the engine has ended: the body of a handler thread."""
        number = threading.get_ident()
        self.thread_ids.add(number)
        try:
            self.serve()
        finally:
            self.thread_ids.discard(number)

    def on_handler_thread(self):
        """Return whether the caller runs in a handler."""
        return threading.get_ident() in self.thread_ids

    cdef int serve(self) except -1:
        cdef held_task_t *task
        cdef bint woken = False, alone = False
        cdef int64_t begun, took = -1
        cdef uint32_t done = 0
        cdef int how
        while True:
            task = handoff_take(&self.w.handoff, woken, took, &alone)
            woken = False
            if task != NULL:
                if alone:
                    self.spawn()
                begun = clock_ns()
                self.perform(task)
                if self.born != forks():  # the handler came back in a child, too: its last thread
                    return 0
                took = clock_ns() - begun
                done += 1
                if done % YIELD_EVERY == 0:
                    released_drop()
                    with nogil:
                        pass
                continue
            took = -1
            released_drop()
            with nogil:
                how = handoff_wait(&self.w.handoff)
            if how < 0:
                return 0
            woken = how

    cdef int perform(self, held_task_t *task) except -1:
        try:
            self.call(task)
        except BaseException as error:  # SystemExit too: the answer is owed whatever happened
            if self.born != forks():
                raise
            self.failed(task, error)
        if self.born == forks():
            handoff_answer(&self.w.handoff, task)
        return 0

    cdef int call(self, held_task_t *task) except -1:
        if task.cancelled:
            return answer_words(task, CODE_CANCELLED, "cancelled before it began")
        if self.refuses_parts(task):
            return 0
        try:
            if self.wants[task.service]:
                given = self.handle_of(task)
            else:
                if task.body.flags & FLAG_META:
                    body_meta(&task.body)
                given = body_value(&task.body, self.share) if task.body.parts else b""
        except ProtocolError as error:
            return answer_words(task, CODE_INVALID_ARGUMENT, str(error))
        result = self.handlers[task.service](given)
        if not PyBytes_CheckExact(result) and isinstance(result, Generator):
            result = stream(given if self.wants[task.service] else self.handle_of(task), result)
        return self.reply(task, result)

    cdef bint refuses_parts(self, held_task_t *task) except -1:
        """refuses_parts answers a body of several parts that a handler can't take: it takes one."""
        cdef uint32_t parts = task.body.parts
        if task.body.flags & FLAG_META:
            parts -= 1
        if parts <= 1 or self.wants[task.service]:
            return False
        name = self.names[task.service]
        answer_words(
            task, CODE_INVALID_ARGUMENT,
            f"the handler of service {name!r} takes a body of one part, not of {parts}; one that"
            " takes the Task gets them all (task.parts)")
        return True

    cdef int reply(self, held_task_t *task, object result) except -1:
        meta = None
        if isinstance(result, Answer):
            result, meta = result._given, result.meta
        elif not PyBytes_CheckExact(result):
            refuse_deferred(result)
        try:
            body_fill(&task.answer.body, b"" if result is None else result, meta)
        except TypeError as error:
            raise TypeError(f"the handler's return value: {error}") from None
        self.check_body(&task.answer.body)
        task.answer.kind = KIND_REPLY
        return 0

    cdef int failed(self, held_task_t *task, object error) except -1:
        """Make the answer of what a handler raised; nothing is raised, whatever it is."""
        task.answer.kind = KIND_ERROR
        task.answer.code = CODE_UNKNOWN
        try:
            if isinstance(error, Release):
                return self.release(task, error)
            if task.cancelled and isinstance(error, Cancelled):  # as `cancelled` said: no failure
                if task.deadline and clock_ns() >= task.deadline:  # seen before the broker did
                    return answer_words(
                        task, CODE_DEADLINE_EXCEEDED, "its deadline has passed")
                return answer_words(task, CODE_CANCELLED, sentence(error))
            answer_words(task, CODE_UNKNOWN, f"{type(error).__name__}: {sentence(error)}")
            # A tuple, since the truth of an exception is what its class says.
            log_event(
                LOGGER, logging.ERROR, "handler failed", service=self.names[task.service],
                attempt=task.attempt, exc_info=(type(error), error, error.__traceback__),
            )
        except BaseException:  # of the exception's class or a log filter, or no memory
            trace_print()
            if task.answer.body.parts == 0:
                answer_text(task, b"the handler failed, and its exception has no words")
        return 0

    cdef int release(self, held_task_t *task, object error) except -1:
        """Give the task back; a service's are logged once in 30 s."""
        cdef double now = clock_ns() / SECOND
        cdef double after = error.after or 0.0
        name = self.names[task.service]
        words = sentence(error) or "given back"
        answer_words(task, CODE_UNAVAILABLE, words)
        task.answer.retry_after_ms = <uint32_t>min(ceil(max(after, 0.0) * 1000), RETRY_MS_MAX)
        logged, count = self.released.get(name, (-RELEASED_EVERY, 0))
        if now - logged < RELEASED_EVERY:
            self.released[name] = (logged, count + 1)
            return 0
        self.released[name] = (now, 0)
        fields = {"service": name, "reason": words, "tasks": count + 1}
        if after:
            fields["after"] = after
        log_event(LOGGER, logging.WARNING, "task released", **fields)
        return 0

    cdef int check_body(self, body_t *body) except -1:
        """Clear the body and raise ValueError if it exceeds a limit of the broker."""
        cdef char words[SENTENCE_BYTES]
        cdef uint32_t size = limits_excess(&self.w.limits, body, words, SENTENCE_BYTES)
        if size == 0:
            return 0
        body_clear(body)
        raise ValueError(words[:size].decode())

    cdef Task handle_of(self, held_task_t *task):
        """Return the Python Task of a task, which takes over the request's body."""
        cdef Task handle = Task.__new__(Task, MADE)
        task_keep(task)
        handle.engine = self
        handle.task = task
        handle.request = task.body
        memset(&task.body, 0, sizeof(body_t))
        handle.sent_meta = body_meta(&handle.request) if handle.request.flags & FLAG_META else {}
        return handle

    # -- an event loop in the place of handler threads --------------------------------------

    def take_tasks(self):
        """Return the tasks that wait for their handler, each with its number."""
        cdef held_task_t *task = handoff_take_all(&self.w.handoff)
        cdef held_task_t *following
        cdef list taken = []
        while task != NULL:
            following = task.next
            try:
                if task.cancelled:
                    answer_words(task, CODE_CANCELLED, "cancelled before it began")
                    handoff_answer(&self.w.handoff, task)
                elif self.refuses_parts(task):
                    handoff_answer(&self.w.handoff, task)
                else:
                    taken.append((<size_t>task, self.handle_of(task)))
                    task_drop(task)
            except ProtocolError as error:
                answer_words(task, CODE_INVALID_ARGUMENT, str(error))
                handoff_answer(&self.w.handoff, task)
            except BaseException as error:  # the tasks behind it must not be lost with it
                self.failed(task, error)
                handoff_answer(&self.w.handoff, task)
            task = following
        released_drop()
        return taken

    def take_cancelled(self):
        """Return the numbers of taken tasks that nobody waits for any more, each once."""
        cdef held_task_t *task = handoff_take_cancelled(&self.w.handoff)
        cdef held_task_t *following
        cdef list cancelled = []
        while task != NULL:
            following = task.next_notified
            cancelled.append(<size_t>task)
            task_drop(task)
            task = following
        return cancelled

    def answer(self, Task task not None, value):
        """Answer `task` with what its handler returned; a wrong value fails it."""
        self.check_fork()
        if not task.task.answered:
            try:
                self.reply(task.task, value)
            except BaseException as error:
                self.failed(task.task, error)
            finally:
                task_keep(task.task)
                handoff_answer(&self.w.handoff, task.task)

    def fail(self, Task task not None, error):
        """Answer `task` with what its handler raised; `Release` gives it back.

        `Cancelled` says that nobody waits for the task any more; it is no failure then.
        """
        self.check_fork()
        if not task.task.answered:
            try:
                self.failed(task.task, error)
            finally:
                task_keep(task.task)
                handoff_answer(&self.w.handoff, task.task)

    def try_partial(self, Task task not None, body, meta=None):
        """Do as `Task.partial` does; where that would wait return False, and ring later."""
        cdef body_t part
        cdef partial_t how
        self.check_fork()
        memset(&part, 0, sizeof(body_t))
        body_fill(&part, body, meta)
        self.check_body(&part)
        how = partial_give(&self.w.handoff, task.task, &part, False)
        if how == PARTIAL_DROPPED:
            raise Cancelled(UNWANTED)
        if how == PARTIAL_REFUSED:
            body_clear(&part)
        return how == PARTIAL_GIVEN

    def has_room(self, Task task not None):
        """Return whether a partial of the task would not wait; if it would, ring later."""
        return bool(partial_has_room(&self.w.handoff, task.task))

    def handler(self, Task task not None):
        """Return the handler of the task's service, as `services` gave it."""
        place = task.task.service
        return self.handlers[place], bool(self.wants[place])


# answer_words makes an ERROR of the task's answer; its sentence is cut to a few KiB.
cdef int answer_words(held_task_t *task, int code, str words) except -1:
    cdef bytes text = words.encode(errors="backslashreplace")
    if PyBytes_GET_SIZE(text) > WORDS_BYTES_MAX:  # not cut inside a character
        text = text[:WORDS_BYTES_MAX].decode(errors="ignore").encode()
    body_clear(&task.answer.body)
    task.answer.kind = KIND_ERROR
    task.answer.code = <uint16_t>code
    if body_text(&task.answer.body, PyBytes_AS_STRING(text), <uint32_t>PyBytes_GET_SIZE(text)) < 0:
        raise MemoryError
    return 0


# answer_text gives a failed task's answer its sentence, or none: no memory.
cdef void answer_text(held_task_t *task, const char *text) noexcept nogil:
    body_clear(&task.answer.body)
    body_text(&task.answer.body, text, <uint32_t>strlen(text))


cdef str sentence(object error):
    try:
        return "".join((str(error), ""))  # of a class of str's the characters only
    except BaseException:  # an exception whose words fail: its type has to do
        return ""


# trace_print shows the exception that is handled, where it can't even be logged.
cdef int trace_print() except -1:
    try:
        traceback.print_exc()
    except BaseException:  # nor shown
        return 0
    return 0


# refuse_deferred raises TypeError for a result that is still to be run by an event loop.
cdef int refuse_deferred(object result) except -1:
    if isinstance(result, AsyncGenerator):
        what = "an async generator"
    elif inspect.isawaitable(result):
        what = "an awaitable"
    else:
        return 0
    if inspect.iscoroutine(result):
        result.close()  # else Python warns that it was never awaited
    raise TypeError(f"the handler returned {what}, which needs pound.aio.Worker")


def stream(Task task not None, items):
    """Send what a generator yields as partials, and return what it returns.

    It is closed when it can't go on: nobody waits for the answer any more, an item is no body, or
    it exceeds a limit of the broker.
    """
    cdef bint going = True
    value = item = failure = None
    try:
        while going:
            if task.task.cancelled:
                raise Cancelled(UNWANTED)
            try:
                item = next(items)
            except StopIteration as end:
                value, going = end.value, False
            if going:
                send_item(task, item)
        return value
    except BaseException as error:
        failure = error
    close(task, items)  # here, so that what it raises has no context but its own
    try:
        raise failure
    finally:
        failure = None


cdef int send_item(Task task, object item) except -1:
    meta = None
    if isinstance(item, Answer):
        item, meta = item._given, item.meta
    task.partial(b"" if item is None else item, meta)
    return 0


# close closes a generator whose task has failed already: what it raises then is only logged.
cdef int close(Task task, object items) except -1:
    try:
        items.close()
    except BaseException as error:
        log_closing(task, error)
    return 0


def log_closing(Task task not None, error):
    """Log what a generator raised when it was closed."""
    try:
        log_event(
            LOGGER, logging.ERROR, "handler failed", service=task.service, attempt=task.attempt,
            exc_info=(type(error), error, error.__traceback__))
    except BaseException:
        trace_print()


@cython.final
@cython.freelist(64)
cdef class Task:
    """One delivery of a request to this worker; what a handler is called with.

    Attributes
    ----------
    parts : list of bytes
        The parts of the body; memoryviews among them if the worker was made with ``copy=False``
        (for a type checker: ``Task[bytes | memoryview]``).
    body : bytes
        The body's one part, empty if there is none; raises `MultipartError` if there are several.
    service : str
        The name under which it was asked for.
    attempt : int
        1 for the first delivery; higher when earlier workers were lost.
    fence : int
        Higher for each later delivery of the same request, so that a store can refuse late writers.
    deadline : float or None
        When the client stops waiting, on `time.monotonic()`; None if it never does.
    meta : dict of str to str
        What the client sent along; empty if nothing.
    cancelled : bool
        True once nobody waits for the answer any more: the client cancelled or is gone, or the
        deadline passed. A handler that runs long should look.
    """

    def __cinit__(self, made=None):
        if made is not MADE:
            raise TypeError("a Task comes from its worker")

    @classmethod
    def __class_getitem__(cls, parts):
        """Return the class, for annotations: ``Task[bytes | memoryview]``."""
        return GenericAlias(cls, parts)

    def __reduce__(self):
        """Refuse to be pickled or copied."""
        raise TypeError(f"a Task can't be pickled or copied: {TASK}")

    def __dealloc__(self):
        if self.task != NULL:
            task_drop(self.task)
        body_clear(&self.request)

    @property
    def parts(self):
        """The body's parts."""
        with cython.critical_section(self):
            if self.split is None:
                self.split = body_parts(&self.request, self.engine.share)
        return self.split

    @property
    def body(self):
        """The body's one part, empty if there is none.

        Raises
        ------
        MultipartError
            It has several: see ``parts``.
        """
        return one_part(self.parts)

    @property
    def meta(self):
        """What the client sent along."""
        return self.sent_meta

    @property
    def service(self):
        """The name under which it was asked for."""
        return self.engine.names[self.task.service]

    @property
    def attempt(self):
        """1 for the first delivery; higher when earlier workers were lost."""
        return self.task.attempt

    @property
    def fence(self):
        """A number that is higher for each later delivery of the same request; 63 bits.

        It rises across restarts of the broker and from one broker to another, as far as their
        clocks agree within a minute. A store that keeps the highest one that it has seen for a
        request can refuse a worker that comes late: one that was taken for dead while another one
        ran the task. A task that goes on under another broker keeps its number.
        """
        return self.task.token

    @property
    def deadline(self):
        """When the client stops waiting, on `time.monotonic()`; None if it never does."""
        return self.task.deadline / SECOND if self.task.deadline else None

    @property
    def cancelled(self):
        """True once nobody waits for the answer any more."""
        return bool(self.task.cancelled)

    @property
    def remaining(self):
        """Seconds until the deadline, not below 0; None if there is no deadline."""
        if not self.task.deadline:
            return None
        return max(0.0, (self.task.deadline - clock_ns()) / SECOND)

    def partial(self, body, meta=None):
        """Send a partial of the answer ahead of the final one.

        Waits while the client has not read what was sent before: a stream goes as fast as it is
        read, some 64 KiB to 1 MiB ahead.

        Parameters
        ----------
        body : bytes-like or sequence of bytes-like
            A sequence is a body of several parts.
        meta : dict of str to str, optional
            Sent along.

        Raises
        ------
        Cancelled
            Nobody waits for the answer any more, as `cancelled` says.
        TypeError
            `body` is not bytes-like or a sequence of those.
        ValueError
            The partial exceeds a limit of the broker.
        ForkError
            This is a child process of the worker's.
        """
        cdef body_t part
        cdef partial_t how
        self.engine.check_fork()
        memset(&part, 0, sizeof(body_t))
        body_fill(&part, body, meta)
        self.engine.check_body(&part)
        with nogil:
            how = partial_give(&self.engine.w.handoff, self.task, &part, True)
        if how == PARTIAL_DROPPED:
            raise Cancelled(UNWANTED)

    def progress(self, done, total=None):
        """Report how far the work is: an empty partial with META ``progress``: ``done/total``.

        Parameters
        ----------
        done : float
        total : float, optional
            Without it META is ``done`` alone.

        Raises
        ------
        Cancelled
            Nobody waits for the answer any more, as `cancelled` says.
        """
        self.partial(b"", progress_meta(done, total))
