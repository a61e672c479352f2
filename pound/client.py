"""The client: asks services for answers, by one thread of its own.

Thin: it turns arguments into a `Request`, posts it to the engine, and turns what comes back into
futures, bytes and iterators. What the rules of PND/1 ask of a client is in `_requests`.
"""

from __future__ import annotations

import math
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import zmq

from pound._body import Answer, Partial, service_name, to_parts
from pound._engine import Engine
from pound._link import check_endpoints, check_rates, label_bytes
from pound._requests import FutureSink, Request, Requests, Sink, StreamSink
from pound.errors import ClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from pound._body import Body

__all__ = ["Answer", "Client", "Partial"]

DEFAULT_FRONTEND = "tcp://127.0.0.1:5555"
PRIORITY_MAX = 9
CLOSE_WITHIN = 5.0  # seconds; a close needs milliseconds unless somebody holds the GIL
Reply = bytes | list[bytes]


class Client:
    """A client of one broker, or of the first of several that answers.

    May be used by any number of threads at once; all their requests share one connection. After
    a fork the child has to make its own.

    Parameters
    ----------
    endpoints : str or sequence of str
        Where brokers listen for clients. The next one is tried when one is silent for
        `heartbeat` x `liveness` or says that it goes away.
    context : zmq.Context, optional
        Needed for ``inproc://`` endpoints; by default the client has its own.
    overflow : {"wait", "raise"}
        What to do with a request that the broker is too busy for: send it again later, until
        the request's timeout, or raise `Busy`.
    heartbeat : float
        Seconds of silence after which the broker is asked for a sign of life.
    liveness : int
        So many heartbeats without one, and the broker counts as gone.
    label : str, optional
        What the broker's listings show; by default ``host:pid``.

    Raises
    ------
    ConfigError
        An endpoint is malformed.
    ValueError
        Another argument is out of range.

    Notes
    -----
    One Python thread speaks for the client. Code that holds the GIL for long delays answers and
    heartbeats; a pause of the client's own is not taken for the broker's silence.

    Examples
    --------
    >>> with Client() as client:  # doctest: +SKIP
    ...     client.request(b"hello", service="echo", timeout=2.0)
    b'hello'
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_FRONTEND,
        *,
        context: zmq.Context[Any] | None = None,
        overflow: Literal["wait", "raise"] = "wait",
        heartbeat: float = 1.0,
        liveness: int = 5,
        label: str | None = None,
    ) -> None:
        if overflow not in ("wait", "raise"):
            raise ValueError(f'overflow is "wait" or "raise", not {overflow!r}')
        check_rates(heartbeat, liveness)
        checked = check_endpoints(endpoints)
        self._requests = Requests(label_bytes(label), waits=overflow == "wait")
        self._engine = Engine(self._requests, checked, context, heartbeat, liveness, "pound-client")
        self._engine.start()
        self._close = weakref.finalize(self, _close, self._engine, self._requests)

    # -- asking -----------------------------------------------------------------------------

    def request(
        self,
        body: Body,
        service: str = "",
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask for an answer and wait for it.

        Parameters
        ----------
        body : bytes-like or sequence of bytes-like
            A sequence is a body of several parts.
        service : str
            Empty: the default service, which the Guide's plain and PPP workers offer.
        timeout : float, optional
            Seconds until `DeadlineExceeded`; by default there is no limit, and a line is
            logged after 30 s that says what the request waits for.
        priority : int
            0 (normal) to 9 (first).
        meta : dict of str to str, optional
            Passed along to the handler: trace context, content type.

        Returns
        -------
        bytes or list of bytes
            A list when the answer has other than one part.

        Raises
        ------
        RequestError
            The request ended without an answer; the subclass says why.
        TypeError, ValueError
            An argument is not of its type or range.
        ClosedError, ForkError
            The client is closed, or was made before a fork.
        """
        reply: Reply = self._wait(self.submit(body, service, timeout, priority, meta))
        return reply

    def request_full(
        self,
        body: Body,
        service: str = "",
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask as `request` does, and return the answer's META as well."""
        future: Future[Answer] = Future()
        sink = FutureSink(future, full=True)
        self._follow(future, self._ask(sink, body, service, timeout, priority, meta))
        answer: Answer = self._wait(future)
        return answer

    def submit(
        self,
        body: Body,
        service: str = "",
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Future[Reply]:
        """Ask as `request` does, without waiting.

        Returns
        -------
        concurrent.futures.Future
            Its ``cancel()`` cancels the request at the broker too. Callbacks added to it run on
            the client's own thread and must not block.
        """
        future: Future[Reply] = Future()
        sink = FutureSink(future, full=False)
        self._follow(future, self._ask(sink, body, service, timeout, priority, meta))
        return future

    def map(
        self,
        service: str,
        bodies: Iterable[Body],
        *,
        window: int = 64,
        timeout: float | None = None,
        priority: int = 0,
    ) -> Iterator[Reply]:
        """Ask for the answer to each body; yield the answers in the order of the bodies.

        Parameters
        ----------
        service : str
        bodies : iterable
            Read as answers are taken, at most `window` ahead.
        window : int
            Requests open at once.
        timeout, priority
            Of each request, as in `request`.

        Raises
        ------
        RequestError
            At the turn of the request that failed; the ones after it are cancelled.
        """
        if window < 1:
            raise ValueError(f"window is 1 or more, not {window}")
        return self._map(service, iter(bodies), window, timeout, priority)

    def stream(
        self,
        body: Body,
        service: str = "",
        timeout: float | None = None,
        priority: int = 0,
        meta: Mapping[str, str] | None = None,
    ) -> Iterator[Partial]:
        """Ask as `request` does, and yield the answer partial by partial.

        The last partial has ``final`` set and is the handler's return value. When the task is
        lost with its worker and runs again, the partials begin anew with a higher ``attempt``.
        Leaving the iteration early cancels the request.

        Raises
        ------
        DataLoss
            A partial is missing; the iteration ends there.
        Busy
            The partials were read too slowly.
        RequestError
            As in `request`.
        """
        sink = StreamSink()
        return self._stream(sink, self._ask(sink, body, service, timeout, priority, meta))

    # -- the life of the client -------------------------------------------------------------

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until a broker has welcomed this client; True when it has.

        Not needed before asking: requests wait for the broker by themselves.
        """
        self._engine.check_fork()
        return self._engine.connected.wait(timeout)

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

    # -- below the API ----------------------------------------------------------------------

    def _ask(
        self,
        sink: Sink,
        body: Body,
        service: str,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
    ) -> Request:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is a positive number of seconds, not {timeout!r}")
        if not 0 <= priority <= PRIORITY_MAX:
            raise ValueError(f"priority is 0..{PRIORITY_MAX}, not {priority!r}")
        parts, flags = to_parts(body, meta)
        seconds = math.inf if timeout is None else float(timeout)
        name = service_name(service)
        request = Request(parts, flags, name, priority, seconds, time.monotonic(), sink)
        self._engine.post(self._requests.add, request)
        return request

    def _follow(self, future: Future[Any], request: Request) -> None:
        """Cancel the request when its future is cancelled."""

        def done(future: Future[Any]) -> None:
            if future.cancelled():
                with suppress(ClosedError):
                    self._engine.post(self._requests.cancel, request)

        future.add_done_callback(done)

    def _wait(self, future: Future[Any]) -> Any:
        if self._engine.inside():
            future.cancel()
            raise RuntimeError("a callback of a future can't wait for an answer: use submit()")
        try:
            return future.result()
        finally:
            future.cancel()  # interrupted: nobody waits any more; otherwise it has no effect

    def _map(
        self,
        service: str,
        bodies: Iterator[Body],
        window: int,
        timeout: float | None,
        priority: int,
    ) -> Iterator[Reply]:
        futures: deque[Future[Reply]] = deque()
        try:
            for body in bodies:
                futures.append(self.submit(body, service, timeout, priority))
                if len(futures) >= window:
                    yield self._wait(futures.popleft())
            while futures:
                yield self._wait(futures.popleft())
        finally:
            for future in futures:
                future.cancel()

    def _stream(self, sink: StreamSink, request: Request) -> Iterator[Partial]:
        try:
            while True:
                partial = sink.read()
                yield partial
                if partial.final:
                    return
        finally:
            if not request.ended:
                with suppress(ClosedError):
                    self._engine.post(self._requests.cancel, request)


def _close(engine: Engine, requests: Requests) -> None:
    """Close the engine; in a forked child there is nothing that could be closed."""
    if not engine.forked():
        with suppress(ClosedError):
            engine.post(requests.leave)
        engine.join(CLOSE_WITHIN)
