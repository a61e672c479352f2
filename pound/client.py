"""The client: asks services for answers, by one thread of its own.

Thin: it turns arguments into a call of the compiled engine (`_engine.client`, `_engine.map`), and
what comes back into futures, bytes and iterators. What the rules of PND/1 ask of a client is in
`_engine.client_rules`.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from pound._base.unpicklable import RESULT, Unpicklable
from pound._engine.client import ClientEngine, ReplyQueue, StreamState
from pound._engine.client_options import ClientBase
from pound._engine.map import Map
from pound._engine.progress import shown
from pound._engine.values import Answer, Body, P, Partial

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from pound._engine.client_options import ClientOptions
    from pound._engine.values import Part

__all__ = ["Answer", "Body", "Client", "Partial", "Stream"]

CLOSE_WITHIN = 5.0  # seconds; a close needs milliseconds
T = TypeVar("T")


class Client(ClientBase[P]):
    """A client of one broker, or of the first of several that answers.

    May be used by any number of threads at once; all their requests share one connection. After
    a fork the child has to make its own.

    Parameters
    ----------
    endpoints : str or sequence of str, optional
        Where brokers listen for clients; by default those of `key`, else
        ``tcp://127.0.0.1:5555``. The client goes to the next one when one is
        silent for `heartbeat` x `liveness`, refuses or says that it goes away, and
        returns to the first one, the preferred one, once that serves again.
    context : zmq.Context, optional
        Needed for ``inproc://`` endpoints; by default the client has its own.
    overflow : {"wait", "raise"}
        What to do with a request that the broker is too busy for: send it again later, until
        the request's timeout, or raise `Busy`.
    heartbeat : float
        Seconds of silence after which the broker is asked for a heartbeat.
    liveness : int
        So many heartbeats without one, and the broker counts as gone.
    label : str, optional
        What the broker's listings show; by default ``host:pid``.
    copy : bool
        False: parts of answers of 4096 bytes and more come as read-only memoryviews of the memory
        that they were received in, not as bytes.
    key : path or Credential, optional
        The credential file that ``pound keys add`` wrote for this client: its connection is
        encrypted, and the broker knows it by name. While no broker accepts the key, requests fail
        with `Unauthenticated`; the client tries again after a second, later every 30 s.

    Raises
    ------
    ConfigError
        An endpoint is malformed, or the credential can't be used.
    TypeError, ValueError
        Another argument is not of its type or range.
    PatchedError
        gevent or eventlet has replaced this program's threads.

    Notes
    -----
    One thread without the GIL speaks for the client: code that holds the GIL for long delays no
    heartbeat and no other thread's request. A pause of the client's own process is not taken for
    the broker's silence.

    While answers come quickly, within a millisecond, one thread that waits in `request` stays
    awake for the first 0.3 ms, yielding its core to any thread that needs it: on a machine that has
    nothing else to do this halves the round trip.

    A body is bytes-like or a sequence of those. Read-only parts of 4096 bytes and more (`bytes`,
    `zmq.Frame`, read-only memoryviews) are sent without a copy; whatever can be written to is
    copied once. To send, say, an array without a copy, give ``memoryview(array).toreadonly()`` and
    leave the array unchanged until the answer has come.

    Examples
    --------
    >>> with Client() as client:  # doctest: +SKIP
    ...     client.request("echo", b"hello", timeout=2.0)
    b'hello'
    """

    _noun = "a pound.Client"

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
        self._engine = self._make(-1)
        del self._make
        # Before the start: an interrupt may come right after it.
        self._close = weakref.finalize(self, _close, self._engine)
        self._engine.start()

    # -- asking -----------------------------------------------------------------------------

    def request(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> P:
        """Ask for an answer and wait for it.

        Parameters
        ----------
        service : str
            Empty: the default service, which the Guide's plain and PPP workers offer.
        body : bytes-like or sequence of bytes-like
            A sequence is a body of several parts.
        timeout : float, optional
            Seconds until `DeadlineExceeded`; by default there is no limit, and a line is
            logged after 30 s that says what the request waits for.
        priority : int
            0 (normal) to 9 (first).
        meta : dict of str to str, optional
            Passed along to the handler: trace context, content type.

        Returns
        -------
        bytes
            With ``copy=False`` a memoryview, from 4096 bytes on.

        Raises
        ------
        RequestError
            The request ended without an answer; the subclass says why.
        MultipartError
            The answer has several parts, and the error has them: for such a service call
            `request_full`.
        TypeError, ValueError
            An argument is not of its type or range.
        ClosedError, ForkError
            The client is closed, or was made before a fork.
        """
        reply: P = self._engine.ask(service, body, timeout, priority, meta, False)
        return reply

    def request_full(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Answer[P]:
        """Ask as `request` does, for an answer of any number of parts, with its META.

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `request`.

        Returns
        -------
        Answer
            Its ``parts`` are a list, its ``body`` is the one part.

        Raises
        ------
        RequestError, TypeError, ValueError, ClosedError, ForkError
            As `request` does.
        """
        answer: Answer[P] = self._engine.ask(service, body, timeout, priority, meta, True)
        return answer

    def submit(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Future[P]:
        """Ask as `request` does, without waiting.

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `request`.

        Returns
        -------
        concurrent.futures.Future
            Of what `request` returns or raises. Its ``cancel()`` cancels the request at the broker
            too. Callbacks added to it run on the client's events thread and must not block.

        Raises
        ------
        TypeError, ValueError, ClosedError, ForkError
            As `request` does; the other errors come by the future.
        """
        future: _Asked[P] = _Asked(self._engine)
        future.number = self._engine.submit(None, future, service, body, timeout, priority, meta)
        return future

    def submit_full(
        self,
        service: str,
        body: Body,
        *,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Future[Answer[P]]:
        """Ask as `request_full` does, without waiting.

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `request`.

        Returns
        -------
        concurrent.futures.Future
            Of an `Answer`; otherwise as that of `submit`.

        Raises
        ------
        TypeError, ValueError, ClosedError, ForkError
            As `request` does; the other errors come by the future.
        """
        future: _Asked[Answer[P]] = _Asked(self._engine)
        future.number = self._engine.submit(
            None, future, service, body, timeout, priority, meta, True
        )
        return future

    def map(
        self,
        service: str,
        bodies: Iterable[Body],
        *,
        window: int = 64,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
        progress: bool = False,
    ) -> Iterator[P]:
        """Ask for the answer to each body; yield the answers in the order of the bodies.

        Parameters
        ----------
        service : str
        bodies : iterable
            Read as answers are taken, at most `window` ahead.
        window : int
            Requests open at once. Small ones travel together, so a window of some hundreds is
            several times as fast as one of 10.
        timeout, priority, meta
            Of each request, as in `request`.
        progress : bool
            Show a bar on stderr, if that is a terminal: how many answers have been taken, and how
            fast they come.

        Returns
        -------
        iterator of bytes
            With ``copy=False`` of memoryviews, from 4096 bytes on.

        Raises
        ------
        RequestError, MultipartError
            At the turn of the request that failed, or whose answer has several parts; the ones
            after it are cancelled.
        TypeError, ValueError
            An argument is not of its type or range.
        """
        answers = Map(self._engine, service, bodies, window, timeout, priority, meta)
        return shown(answers, bodies) if progress else answers

    def map_full(
        self,
        service: str,
        bodies: Iterable[Body],
        *,
        window: int = 64,
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
        progress: bool = False,
    ) -> Iterator[Answer[P]]:
        """Ask as `map` does, for answers of any number of parts, with their META.

        Parameters
        ----------
        service, bodies, window, timeout, priority, meta, progress
            As those of `map`.

        Returns
        -------
        iterator of Answer

        Raises
        ------
        RequestError
            At the turn of the request that failed; the ones after it are cancelled.
        TypeError, ValueError
            An argument is not of its type or range.
        """
        answers = Map(self._engine, service, bodies, window, timeout, priority, meta, full=True)
        return shown(answers, bodies) if progress else answers

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
        Leaving the iteration early cancels the request, and so does ``close()``, which any
        thread may call: then the iteration is over for the one that reads.

        Parameters
        ----------
        service, body, timeout, priority, meta
            As those of `request`.

        Returns
        -------
        Stream
            An iterator of `Partial`.

        Raises
        ------
        DataLoss
            A partial is missing; the iteration ends there.
        Busy
            The partials were read too slowly for a worker that does not wait (MDP 0.2).
        RequestError
            As in `request`.
        """
        return Stream(self._engine, service, body, timeout, priority, meta)

    # -- the life of the client -------------------------------------------------------------

    def wait_connected(self, timeout: float | None = None) -> bool:
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
        return self._engine.wait_connected(timeout)

    def close(self) -> None:
        """Say goodbye and close; requests still open fail with `ClosedError`."""
        self._close()

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class _Asked(Unpicklable, Future[T]):
    """A future whose cancelling cancels its request."""

    _noun = "the future of a request"
    _remedy = RESULT

    def __init__(self, engine: ClientEngine) -> None:
        super().__init__()
        self._engine = engine
        self.number = 0

    def cancel(self) -> bool:
        """Cancel the request, here and at the broker, unless it has ended."""
        cancelled = super().cancel()
        if cancelled:
            self._engine.cancel(self.number)
        return cancelled


class Stream(Unpicklable, Generic[P]):
    """The partials of one answer, to iterate over; made by `Client.stream`.

    One thread reads at a time, any may close.
    """

    _noun = "a Stream"
    _remedy = RESULT

    def __init__(
        self,
        engine: ClientEngine,
        service: str,
        body: Body,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
    ) -> None:
        self._engine = engine
        self._over = True  # until it has begun
        self._partials: deque[Any] = deque()  # at its end perhaps an exception
        self._flow = StreamState()
        # Held by the one that takes from the box; a signal handler of its thread may close too.
        self._lock = threading.RLock()
        self._reading = False
        self._box = ReplyQueue(engine.share)
        self._number = engine.submit(self._box, self._flow, service, body, timeout, priority, meta)
        self._over = False

    def __iter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __next__(self) -> Partial[P]:
        """Wait for the next partial."""
        self._engine.check_fork()
        with self._lock:
            self._reading = True
            try:
                return self._read()
            finally:
                self._reading = False
                if self._over:
                    self._drop()

    def close(self) -> None:
        """Cancel the request unless it has ended; the iteration is over."""
        if self._over or self._engine.forked():
            return
        self._over = True
        self._engine.cancel(self._number)  # whose end wakes the one that reads
        with self._lock:
            if not self._reading:  # else it does on its way out
                self._drop()

    def __del__(self) -> None:
        """Close: nobody reads on."""
        self.close()

    def _read(self) -> Partial[P]:
        while not (self._over or self._partials):
            self._partials.extend(value for _, _, value in self._box.take(None))
        if self._over:
            raise StopIteration
        partial = self._partials.popleft()
        if isinstance(partial, BaseException):
            self.close()
            raise partial
        if self._flow.read():
            self._engine.grant(self._number)
        if partial.final:
            self.close()
        return cast("Partial[P]", partial)

    def _drop(self) -> None:
        """Forget what was not read, and what comes until the request has ended."""
        self._box.drain()
        self._partials.clear()


def _close(engine: ClientEngine) -> None:
    """Close the engine; in a forked child there is nothing that could be closed."""
    if not engine.forked():
        engine.leave()
        engine.join(CLOSE_WITHIN)
