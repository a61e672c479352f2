"""The worker for asyncio: each task runs its handler as a task of the loop.

Thin, as `pound.worker` is: the engine says which tasks came and which nobody waits for any more,
and gets what their handlers returned or raised.
Invariant: a task that was taken is answered or failed once, whatever its handler does.
Cost: a task of the broker is one task of the loop; all that came share one wake-up.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic

from pound._base.signals import SIGNALS, Handlers, installed, not_inherited, restore
from pound._base.unpicklable import TASK, Unpicklable
from pound._engine import worker as worker_engine
from pound._engine.handlers import AsyncHandler, Call, is_async
from pound._engine.values import Answer, P, progress_meta
from pound._engine.worker import WorkerEngine
from pound._engine.worker_options import WorkerBase
from pound.aio._loop import Binding
from pound.errors import Cancelled, ClosedError, Release
from pound.worker import CLOSE_WITHIN

if TYPE_CHECKING:
    from typing_extensions import Self

    from pound._engine.values import Body

__all__ = ["Task", "Worker", "is_async"]

# Loops on which workers run until a signal: what handlers there were before, and whom one reaches.
_TOLD: dict[asyncio.AbstractEventLoop, tuple[Handlers, list[Callable[[], None]]]] = {}
# The loop's task of the handler that runs here: in its thread too, and in what either of them makes
# the loop run, which inherits it.
_HANDLER: ContextVar[asyncio.Task[None] | None] = ContextVar("pound_handler", default=None)
CANCELLED_WITHIN = 1.0  # seconds; the broker says the same as the clock


class Worker(WorkerBase[AsyncHandler]):
    """A worker whose handlers run on one event loop.

    It belongs to the loop that it is started on, and serves once.

    Parameters
    ----------
    services : dict of str to callable
        For each name its handler, as those of `pound.Worker`. A coroutine function runs as a
        task of the loop; it is cancelled when nobody waits for its answer any more. So does an
        async generator: what it yields is sent as partials, and its answer is empty. Asking for
        the task (annotated ``Task`` or named ``task``) gets it a `pound.aio.Task`. Any other
        callable runs in the loop's default executor, gets a `pound.Task` if it asks for the
        task, and runs to its end.
    capacity : int
        Tasks that run at once.
    endpoints, context, label, heartbeat, liveness, drain_timeout, copy, key
        As those of `pound.Worker`.

    Raises
    ------
    ConfigError
        An endpoint, a service's name or a handler is not usable.
    TypeError, ValueError
        Another argument is not of its type or range.

    Notes
    -----
    Heartbeats need neither the loop nor the GIL. A handler that blocks the loop delays the
    other tasks, not those.

    Examples
    --------
    >>> async def slow(body: bytes) -> bytes:
    ...     await asyncio.sleep(1)
    ...     return body
    >>> asyncio.run(Worker(services={"slow": slow}, capacity=100).run())  # doctest: +SKIP
    """

    _noun = "a pound.aio.Worker"

    _coroutines = True

    def _made(self, calls: Mapping[str, Call]) -> None:
        self._handlers = {service: _Handler(*call) for service, call in calls.items()}
        self._binding: Binding[WorkerEngine] | None = None
        self._running: dict[int, tuple[worker_engine.Task[Any], asyncio.Task[None]]] = {}
        self._no_room: list[tuple[asyncio.Future[None], worker_engine.Task[Any]]] = []

    # -- serving ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until stopped.

        On the main thread SIGTERM and SIGINT drain the worker: it takes no more tasks, finishes
        those it holds within `drain_timeout`, gives back the rest, and this method returns. A
        second signal gives them back at once, and so does cancelling this method.
        """
        await self.start()
        with self._signals_drain():
            try:
                await self._bound().ended()
            finally:
                await self.stop()

    async def start(self) -> None:
        """Serve on the running loop, and return.

        Raises
        ------
        RuntimeError
            It was started before; a worker serves once.
        """
        if self._binding is not None:
            raise RuntimeError("this worker was started before; make a new one")
        self._binding = Binding(self._make, lambda serving: serving.leave(0.0), self._on_events)
        del self._make

    async def drain(self, timeout: float | None = None) -> bool:
        """Take no more tasks, finish the held ones, close.

        Parameters
        ----------
        timeout : float, optional
            Seconds, instead of `drain_timeout`; tasks that take longer are given back.

        Returns
        -------
        bool
            True if every task was finished and its answer sent. False at once when a handler of
            this worker calls, whose own task is to be finished: directly, in a task that it made,
            or from a thread, by `asyncio.run_coroutine_threadsafe`.
        """
        if self._binding is None:
            return True
        serving = self._bound().engine
        seconds = self._drain_timeout if timeout is None else timeout
        self._leave(seconds)
        caller = _HANDLER.get()
        if any(running is caller for _, running in self._running.values()):
            return False
        ended = await self._binding.ended(seconds + CLOSE_WITHIN)
        return ended and serving.given_back + serving.undelivered == 0

    async def stop(self) -> None:
        """Give back the held tasks and close, at once; their handlers are cancelled."""
        await self.drain(0.0)

    async def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until a broker has welcomed this worker.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default there is no limit.

        Returns
        -------
        bool
            Whether one has.

        Raises
        ------
        Unauthenticated, PermissionDenied
            As `pound.Worker.wait_connected` raises them.
        ClosedError
            The worker has ended, or did meanwhile.
        """
        return await self._bound().connected(timeout)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain within `drain_timeout`."""
        await self.drain()

    # -- below the API ----------------------------------------------------------------------

    def _bound(self) -> Binding[WorkerEngine]:
        if self._binding is None:
            raise RuntimeError("this worker was not started; call start() first")
        self._binding.check("worker")
        return self._binding

    def _on_events(self, mails: list[Any]) -> None:
        """Cancel the handlers that nobody waits for, begin those of new tasks."""
        binding = self._bound()
        for number in binding.engine.take_cancelled():
            if number in self._running:
                taken, running = self._running[number]
                if self._handlers[taken.service].is_async:
                    running.cancel()
        for number, taken in binding.engine.take_tasks():
            if taken.cancelled:
                _fail(binding.engine, taken, Cancelled("cancelled before it began"))
            else:
                self._running[number] = taken, binding.loop.create_task(self._work(number, taken))
        waiters, self._no_room = self._no_room, []
        for waiter, taken in waiters:
            if waiter.done():
                continue
            if binding.engine.has_room(taken):
                waiter.set_result(None)
            else:
                self._no_room.append((waiter, taken))

    async def _work(self, number: int, taken: worker_engine.Task[Any]) -> None:
        """Run the handler of a task; whatever it does, the answer is owed."""
        serving = self._bound().engine
        _HANDLER.set(asyncio.current_task())
        try:
            handler = self._handlers[taken.service]
            result = await handler(self, taken)
            if type(result) is not bytes and isinstance(result, (AsyncGenerator, Generator)):
                result = await handler.stream(self, taken, result)
            with suppress(ClosedError):
                serving.answer(taken, result)
        except asyncio.CancelledError as error:
            _stopped(serving, taken, error)
            raise
        except BaseException as error:  # SystemExit too
            kind = type(error)  # isinstance would ask the exception
            if issubclass(kind, GeneratorExit) and not _runs(self._running[number][1]):
                _stopped(serving, taken, error)
                raise
            _fail(serving, taken, error)
            if issubclass(kind, KeyboardInterrupt) and _from_keyboard():
                raise
        finally:
            del self._running[number]

    async def _room(self, taken: worker_engine.Task[Any]) -> None:
        """Wait until there may be room for a partial of the task, or its deadline has passed."""
        waiter: asyncio.Future[None] = self._bound().loop.create_future()
        self._no_room.append((waiter, taken))
        try:
            await asyncio.wait((waiter,), timeout=taken.remaining)
        finally:
            waiter.cancel()

    def _leave(self, seconds: float) -> None:
        with suppress(ClosedError):
            self._bound().engine.leave(seconds)

    @contextmanager
    def _signals_drain(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, before = self._bound().loop, installed()
        found, told = _TOLD.setdefault(loop, (before, []))
        told.append(self._on_signal)
        with not_inherited(before):
            with suppress(NotImplementedError):  # not every loop can
                for number in SIGNALS:
                    loop.add_signal_handler(number, lambda: [tell() for tell in told])
            try:
                yield
            finally:
                told.remove(self._on_signal)
                if not told:
                    del _TOLD[loop]
                    with suppress(NotImplementedError):
                        for number in SIGNALS:
                            loop.remove_signal_handler(number)
                    restore(found)

    def _on_signal(self) -> None:
        self._signals += 1
        self._leave(self._drain_timeout if self._signals == 1 else 0.0)


class Task(Unpicklable, Generic[P]):
    """One delivery of a request to this worker; what a coroutine is called with.

    As `pound.Task`, except that partials are awaited.

    Attributes
    ----------
    parts, body, meta, service, attempt, fence, deadline, remaining, cancelled
        As those of `pound.Task`.
    """

    __slots__ = ("_taken", "_worker")
    _noun = "a Task"
    _remedy = TASK

    def __init__(self, taken: worker_engine.Task[P], worker: Worker) -> None:
        self._taken = taken
        self._worker = worker

    @property
    def parts(self) -> list[P]:
        """The parts of the body."""
        return self._taken.parts

    @property
    def body(self) -> P:
        """The body's one part, empty if there is none.

        Raises
        ------
        MultipartError
            It has several: see ``parts``.
        """
        return self._taken.body

    @property
    def meta(self) -> dict[str, str]:
        """What the client sent along; empty if nothing."""
        return self._taken.meta

    @property
    def service(self) -> str:
        """The name under which it was asked for."""
        return self._taken.service

    @property
    def attempt(self) -> int:
        """1 for the first delivery; higher when earlier workers were lost."""
        return self._taken.attempt

    @property
    def fence(self) -> int:
        """As `pound.Task.fence`: higher for each later delivery of the same request."""
        return self._taken.fence

    @property
    def deadline(self) -> float | None:
        """When the client stops waiting, on `time.monotonic()`; None if it never does."""
        return self._taken.deadline

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, not below 0; None if there is no deadline."""
        return self._taken.remaining

    @property
    def cancelled(self) -> bool:
        """True once nobody waits for the answer any more."""
        return self._taken.cancelled

    async def partial(self, body: Body, meta: Mapping[str, str] | None = None) -> None:
        """Send a partial of the answer, as `pound.Task.partial` does; it raises what that does.

        Parameters
        ----------
        body, meta
            As those of `pound.Task.partial`.
        """
        serving = self._worker._bound().engine
        while not serving.try_partial(self._taken, body, meta):
            await self._worker._room(self._taken)

    async def progress(self, done: float, total: float | None = None) -> None:
        """Report how far the work is, as `pound.Task.progress` does; it raises what that does.

        Parameters
        ----------
        done, total
            As those of `pound.Task.progress`.
        """
        await self.partial(b"", progress_meta(done, total))


class _Handler:
    """A handler as the worker calls it: with what the engine gave, for something to await."""

    def __init__(self, handler: Callable[[Any], Any], wants_task: bool) -> None:
        self.is_async = is_async(handler)
        self._wants_task = wants_task
        self._handler = handler

    def __call__(self, worker: Worker, taken: worker_engine.Task[Any]) -> Awaitable[Any]:
        """Begin the handler."""
        if not self.is_async:
            return self._in_executor(taken, taken if self._wants_task else taken.body)
        given = Task(taken, worker) if self._wants_task else taken.body
        begun: Any = self._handler(given)
        if isinstance(begun, AsyncGenerator):
            return self.stream(worker, taken, begun)
        return begun  # type: ignore[no-any-return]

    async def _in_executor(self, taken: worker_engine.Task[Any], given: Any) -> Any:
        result = await _execute(taken, self._handler, given)
        return await result if inspect.isawaitable(result) else result

    async def stream(
        self,
        worker: Worker,
        taken: worker_engine.Task[Any],
        items: AsyncGenerator[Any, None] | Generator[Any, None, Any],
    ) -> Any:
        """Send what a generator yields as partials, and return what it returns."""
        if isinstance(items, Generator):
            return await _execute(taken, lambda given: given, items)
        task = Task(taken, worker)
        failure: BaseException | None = None
        try:
            async for item in items:
                body, meta = (item._given, item.meta) if isinstance(item, Answer) else (item, None)
                await task.partial(b"" if body is None else body, meta)
            return None
        except BaseException as error:  # cancellation too
            failure = error
        try:
            if taken.cancelled and issubclass(type(failure), Cancelled):
                await _cancelled()
            await _close(taken, items)
            raise failure
        finally:
            failure = None


async def _cancelled() -> None:
    """Wait for the cancellation that follows, so that it does not come into what follows here."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(CANCELLED_WITHIN)


async def _close(taken: worker_engine.Task[Any], items: AsyncGenerator[Any, None]) -> None:
    """Close a generator whose task has failed already: what it raises then is only logged."""
    try:
        await items.aclose()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        worker_engine.log_closing(taken, error)


async def _execute(taken: worker_engine.Task[Any], call: Callable[[Any], Any], given: Any) -> Any:
    """Call in the loop's executor, and run the generator that comes of it, if one does.

    A future can't carry every exception: so what is raised travels as a value.
    """
    caller = _HANDLER.get()

    def run() -> tuple[Any, BaseException | None]:
        before = _HANDLER.set(caller)
        try:
            result = call(given)
            if isinstance(result, Generator):
                result = worker_engine.stream(taken, result)
            return result, None
        except BaseException as error:
            return None, error
        finally:
            _HANDLER.reset(before)

    result, error = await asyncio.get_running_loop().run_in_executor(None, run)
    try:
        if error is not None:
            raise error
        return result
    finally:
        error = None


def _runs(running: asyncio.Task[None]) -> bool:
    """Return whether a task of the loop is being run by it, rather than dropped with it."""
    try:
        return asyncio.current_task() is running
    except RuntimeError:  # no loop runs here
        return False


def _from_keyboard() -> bool:
    """Return whether a KeyboardInterrupt may be that of a user, not raised by a handler itself."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _fail(serving: WorkerEngine, taken: worker_engine.Task[Any], error: BaseException) -> None:
    with suppress(ClosedError):
        serving.fail(taken, error)


def _stopped(serving: WorkerEngine, taken: worker_engine.Task[Any], error: BaseException) -> None:
    """Answer a task whose coroutine was cancelled, or dropped with its loop (GeneratorExit)."""
    if serving.forked():
        return  # a copy of a coroutine that runs in the parent
    if taken.cancelled:
        _fail(serving, taken, Cancelled(worker_engine.UNWANTED))
    elif isinstance(error, GeneratorExit) or _loop_ends():
        serving.leave(0.0)
        _fail(serving, taken, Release("its loop ends"))
    else:
        _fail(serving, taken, error)


def _loop_ends() -> bool:
    """Return whether all that runs on the loop is being cancelled: `asyncio.run` is at its end.

    Always False before Python 3.11, where a task of the loop does not know.
    """
    return all(getattr(task, "cancelling", int)() for task in asyncio.all_tasks())
