"""The client for asyncio: answers are futures of the loop, streams are iterated with `async for`.

Thin, as `pound.client` is: arguments become a request of the engine, and what its mailbox holds
becomes results of futures. The engine's tag of a request is what takes its answer: a `_Pending`,
or a `StreamState` whose owner is a `_Partials`.
Cost: a request is one future and one call of the engine; all answers that came share one wake-up.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, overload

from pound._base.unpicklable import RESULT, Unpicklable
from pound._engine.checks import check_whole
from pound._engine.client import ClientEngine, StreamState
from pound._engine.client_options import ClientBase
from pound._engine.progress import shown_async
from pound._engine.values import Answer, P, Partial, service_name
from pound.aio._loop import Binding
from pound.errors import ClosedError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from pound._engine.client import Event
    from pound._engine.client_options import ClientOptions
    from pound._engine.values import Body, Part

    Ask: TypeAlias = Callable[[Body], asyncio.Future[Any]]

__all__ = ["Client", "Stream"]


class Client(ClientBase[P]):
    """A client of one broker, or of the first of several that answers, for one event loop.

    It belongs to the loop that it is first used on, and connects then.

    Parameters
    ----------
    endpoints, context, overflow, heartbeat, liveness, label, copy, key
        As those of `pound.Client`.

    Raises
    ------
    ConfigError
        An endpoint is malformed, or the credential can't be used.
    TypeError, ValueError
        Another argument is not of its type or range.

    Notes
    -----
    Not for several threads: give each loop a client of its own, or use `pound.Client`. After a
    fork the child has to make its own.

    Examples
    --------
    >>> async def main() -> None:
    ...     async with Client() as client:
    ...         print(await client.request("echo", b"hello", timeout=2.0))
    """

    _noun = "a pound.aio.Client"

    if TYPE_CHECKING:  # the type of what comes in; for the rest see ClientBase

        @overload
        def __init__(
            self: Client[bytes],
            endpoints: str | Sequence[str] = ...,
            *,
            copy: Literal[True] = ...,
            **options: Unpack[ClientOptions],
        ) -> None: ...
        @overload
        def __init__(
            self: Client[Part],
            endpoints: str | Sequence[str] = ...,
            *,
            copy: bool,
            **options: Unpack[ClientOptions],
        ) -> None: ...
        def __init__(self, *args: Any, **options: Any) -> None: ...

    def _made(self) -> None:
        self._binding: Binding[ClientEngine] | None = None
        self._closed = False

    # -- asking -----------------------------------------------------------------------------

    def request(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> asyncio.Future[P]:
        """Ask for an answer: ``answer = await client.request(...)``.

        The request is on its way when this returns, so any number of them may be awaited together
        (`asyncio.gather`).

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `pound.Client.request`.

        Returns
        -------
        asyncio.Future
            Its result is `bytes`; or it raises a `RequestError` that says why there is none,
            `ClosedError`, or `MultipartError` for an answer of several parts. Cancelling it, or
            the task that awaits it, cancels the request at the broker too.

        Raises
        ------
        TypeError, ValueError
            An argument is not of its type or range.
        ClosedError, ForkError
            The client is closed, or was made before a fork.
        RuntimeError
            It belongs to another event loop, or none runs.
        """
        return self._ask(service, body, timeout, priority, meta, False)

    def request_full(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> asyncio.Future[Answer[P]]:
        """Ask as `request` does, for an answer of any number of parts, with its META.

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `pound.Client.request`.

        Returns
        -------
        asyncio.Future
            Its result is an `Answer`; otherwise as that of `request`.

        Raises
        ------
        TypeError, ValueError, ClosedError, ForkError, RuntimeError
            As `request` does.
        """
        return self._ask(service, body, timeout, priority, meta, True)

    def map(
        self,
        service: str,
        bodies: Iterable[Body] | AsyncIterable[Body],
        *,
        window: int = 64,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[P, None]:
        """Ask for the answer to each body; yield the answers in the order of the bodies.

        Parameters
        ----------
        service : str
        bodies : iterable or async iterable
            Read as answers are taken, at most `window` ahead.
        window : int
            Requests open at once.
        timeout, priority, meta
            Of each request, as in `request`.
        progress : bool
            Show a bar on stderr, as `pound.Client.map` does.

        Returns
        -------
        async iterator of bytes
            With ``copy=False`` of memoryviews, from 4096 bytes on.

        Raises
        ------
        RequestError, MultipartError
            At the turn of the request that failed, or whose answer has several parts; the ones
            after it are cancelled, as they are when the iteration is left early.
        TypeError, ValueError
            An argument is not of its type or range.
        """
        return self._map(service, bodies, window, timeout, priority, meta, progress, False)

    def map_full(
        self,
        service: str,
        bodies: Iterable[Body] | AsyncIterable[Body],
        *,
        window: int = 64,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[Answer[P], None]:
        """Ask as `map` does, for answers of any number of parts, with their META.

        Parameters
        ----------
        service, bodies, window, timeout, priority, meta, progress
            As those of `map`.

        Returns
        -------
        async iterator of Answer

        Raises
        ------
        RequestError
            At the turn of the request that failed; the ones after it are cancelled, as they are
            when the iteration is left early.
        TypeError, ValueError
            An argument is not of its type or range.
        """
        return self._map(service, bodies, window, timeout, priority, meta, progress, True)

    def stream(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Stream[P]:
        """Ask, and iterate over the answer partial by partial.

        The last partial has ``final`` set and is the handler's return value. When the task is
        lost with its worker and runs again, the partials begin anew with a higher ``attempt``.
        The worker goes as fast as the partials are read, at most 1 MiB ahead.

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `pound.Client.request`.

        Returns
        -------
        Stream
            Of `Partial`, for ``async for``. Leaving the iteration early, or cancelling the task
            in the middle of it, cancels the request.

        Raises
        ------
        DataLoss
            A partial is missing; the iteration ends there.
        Busy
            The partials were read too slowly for a worker that does not wait (MDP 0.2).
        RequestError
            As in `request`.
        """
        asking = self._bound().engine
        flow = StreamState(_Partials())
        number = asking.submit(None, flow, service, body, timeout, priority, meta)
        return Stream(asking, number, flow)

    # -- the life of the client -------------------------------------------------------------

    async def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until a broker has welcomed this client.

        Not needed before asking: requests wait for the broker by themselves.

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
        Unauthenticated
            No broker accepts this client's key; the error says why.
        ClosedError
            The client is closed, or was meanwhile.
        """
        return await self._bound().connected(timeout)

    async def close(self) -> None:
        """Say goodbye and close; requests still open fail with `ClosedError`."""
        self._closed = True
        binding = self._binding
        if binding is None or binding.engine.forked():
            return
        binding.check("client")
        with suppress(ClosedError):
            binding.engine.leave()
        await binding.ended()

    async def __aenter__(self) -> Self:
        """Connect, and return the client itself."""
        self._bound()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    # -- below the API ----------------------------------------------------------------------

    def _bound(self) -> Binding[ClientEngine]:
        """Return the binding to the running loop; the first call makes it."""
        binding = self._binding
        if binding is None:
            if self._closed:
                raise ClosedError("this client is closed; make a new one")
            binding = self._binding = Binding(self._make, ClientEngine.leave, _on_events)
            del self._make
            weakref.finalize(self, _abandon, binding)
        binding.check("client")
        return binding

    def _ask(
        self,
        service: str,
        body: Body,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
        full: bool,
    ) -> asyncio.Future[Any]:
        binding = self._bound()
        pending = _Pending(loop=binding.loop)
        asking = pending.asking = binding.engine
        pending.number = asking.submit(None, pending, service, body, timeout, priority, meta, full)
        return pending

    def _map(
        self,
        service: str,
        bodies: Iterable[Body] | AsyncIterable[Body],
        window: int,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
        progress: bool,
        full: bool,
    ) -> AsyncGenerator[Any, None]:
        check_whole("window", window, 1)
        service_name(service)  # refused here, not at the first answer

        def ask(body: Body) -> asyncio.Future[Any]:
            return self._ask(service, body, timeout, priority, meta, full)

        if isinstance(bodies, AsyncIterable):
            answers = _map_arriving(ask, bodies, window)
        else:
            answers = _map(ask, bodies, window)
        return shown_async(answers, bodies) if progress else answers


class Stream(Unpicklable, AsyncIterator["Partial[P]"], Generic[P]):
    """The partials of one answer, for ``async for``; made by `Client.stream`."""

    _noun = "a Stream"
    _remedy = RESULT

    def __init__(self, asking: ClientEngine, number: int, flow: StreamState) -> None:
        self._asking = asking
        self._number = number
        self._flow = flow
        self._partials: _Partials = flow.owner

    async def __anext__(self) -> Partial[P]:
        """Return the next partial."""
        partials = self._partials
        if partials.waiter is not None:
            raise RuntimeError("another task reads this stream already")
        try:
            await partials.some()
        except BaseException:
            self._abandon()
            raise
        if not partials.came:
            raise StopAsyncIteration
        partial = partials.came.popleft()
        if isinstance(partial, BaseException):
            self._abandon()
            raise partial
        if self._flow.read():
            self._asking.grant(self._number)
        return partial

    async def aclose(self) -> None:
        """End the iteration; cancels the request if its answer is not complete."""
        self._abandon()

    def __del__(self) -> None:
        """Cancel the request that nobody reads any more."""
        self._abandon()

    def _abandon(self) -> None:
        if not self._partials.ended:
            self._asking.cancel(self._number)
        self._partials.drop()


class _Partials:
    """What came of a stream and was not read yet; takes answers as a future does."""

    def __init__(self) -> None:
        self.came: deque[Partial[Any] | BaseException] = deque()
        self.ended = False  # no more is to come for the engine
        self._over = False  # nor for the reader
        self.waiter: asyncio.Future[None] | None = None  # of the one reader

    def put(self, value: Partial[Any] | BaseException, ended: bool) -> None:
        """Take a partial, the last one, or the error in its place."""
        self.ended |= ended
        if self._over:
            return
        self._over = ended or isinstance(value, BaseException)
        self.came.append(value)
        self._wake()

    def drop(self) -> None:
        """Take no more, and forget what was not read."""
        self._over = True
        self.came.clear()
        self._wake()

    async def some(self) -> None:
        """Wait until there is something, or never will be."""
        if self.came or self._over:
            return
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class _Pending(Unpicklable, asyncio.Future[Any]):
    """The answer to come of one request; cancelling it cancels the request."""

    _noun = "the future of a request"
    _remedy = RESULT
    asking: ClientEngine
    number: int

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the future, and the request at the broker."""
        if not super().cancel(msg):
            return False
        self.asking.cancel(self.number)
        return True


def _on_events(mails: list[Event]) -> None:
    """Hand over what came."""
    for tag, ok, value in mails:
        if isinstance(tag, StreamState):
            tag.owner.put(value, ok is not None)
        elif tag.done():
            continue  # cancelled meanwhile
        elif ok:
            tag.set_result(value)
        else:
            tag.set_exception(value)


async def _map(ask: Ask, bodies: Iterable[Body], window: int) -> AsyncGenerator[Any, None]:
    """Map bodies that are at hand."""
    answers: deque[asyncio.Future[Any]] = deque()
    try:
        for body in bodies:
            answers.append(ask(body))
            if len(answers) >= window:
                yield await answers.popleft()
        while answers:
            yield await answers.popleft()
    finally:
        for answer in answers:
            answer.cancel()


async def _map_arriving(
    ask: Ask, bodies: AsyncIterable[Body], window: int
) -> AsyncGenerator[Any, None]:
    """Map bodies that take their time: no answer waits for the next body."""
    source = aiter(bodies)
    answers: deque[asyncio.Future[Any]] = deque()
    coming: asyncio.Future[Body] | None = None
    more = True
    try:
        while more or answers:
            if more and coming is None and len(answers) < window:
                coming = asyncio.ensure_future(anext(source))
            awaited = [future for future in (coming, *list(answers)[:1]) if future is not None]
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if coming is not None and coming.done():
                try:
                    answers.append(ask(coming.result()))
                except StopAsyncIteration:
                    more = False
                coming = None
            while answers and answers[0].done():
                yield answers.popleft().result()
    finally:
        for future in (coming, *answers):
            if future is not None:
                future.cancel()


def _abandon(binding: Binding[ClientEngine]) -> None:
    """End the engine of a client that was dropped; its loop hears of the end."""
    if not binding.engine.forked():
        with suppress(ClosedError):
            binding.engine.leave()
