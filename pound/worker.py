"""The worker: offers services, runs their handlers in threads, and speaks by one thread more.

Thin: it checks what it is given, starts the engine, and hands tasks to handlers. What the rules of
PND/1 ask of a worker is in `_tasks`; how a handler is called is in `_handlers`.
"""

from __future__ import annotations

import atexit
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import zmq

from pound._body import service_name
from pound._engine import Engine
from pound._handlers import Handler, Threads, check_handler, outcome
from pound._link import check_endpoints, check_rates, label_bytes
from pound._tasks import AGREE_WITHIN, LAST_WORDS, Task, Tasks
from pound.config import RESERVED_PREFIXES
from pound.errors import ClosedError, ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Task", "Worker"]

DEFAULT_BACKEND = "tcp://127.0.0.1:5556"
CAPACITY_MAX = 65535
SERVICES_MAX = 64
CLOSE_WITHIN = LAST_WORDS + AGREE_WITHIN + 5.0  # seconds for the engine's end after a drain
LOOK_UP_EVERY = 0.5  # seconds
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """A worker that offers services to one broker, or to the first of several that answers.

    Parameters
    ----------
    endpoint : str or sequence of str
        Where brokers listen for workers. The next one is tried when one is silent or says that
        it goes away.
    services : dict of str to callable
        For each name its handler, called with the body (`bytes`, or a list of them when it has
        other than one part), or with a `Task` if its first parameter is annotated so or named
        ``task``. It returns a bytes-like object, a sequence of those, None (an empty body) or an
        `Answer` with META. An exception becomes the answer (its type and message; the traceback
        goes to the log ``pound.worker``); `Release` gives the task back to another worker.
    capacity : int
        Handlers that run at once, each in a thread.
    context : zmq.Context, optional
        Needed for ``inproc://`` endpoints; by default the worker has its own.
    label : str, optional
        What the broker's listings show; by default ``host:pid``.
    heartbeat : float
        Seconds between signs of life, until the broker asks for more.
    liveness : int
        So many heartbeats without one from the broker, and it counts as gone.
    drain_timeout : float
        Seconds that held tasks have when the worker is told to go; then they are given back.

    Raises
    ------
    ConfigError
        An endpoint, a service's name or a handler is not usable.
    ValueError
        Another argument is out of range.

    Notes
    -----
    Signs of life leave from a Python thread. A handler that holds the GIL for longer than
    heartbeat x liveness (a C extension that does not release it) makes the broker take this
    worker for gone and give its tasks to others.

    Examples
    --------
    >>> Worker("tcp://127.0.0.1:5556", {"echo": lambda body: body}).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] = DEFAULT_BACKEND,
        services: Mapping[str, Handler] | None = None,
        *,
        capacity: int = 1,
        context: zmq.Context[Any] | None = None,
        label: str | None = None,
        heartbeat: float = 1.0,
        liveness: int = 5,
        drain_timeout: float = 25.0,
    ) -> None:
        if not 1 <= capacity <= CAPACITY_MAX:
            raise ValueError(f"capacity is 1..{CAPACITY_MAX}, not {capacity!r}")
        check_rates(heartbeat, liveness)
        names = _check_services(services or {})
        checked = check_endpoints(endpoint)
        self._handlers = {
            name: check_handler(name, handler) for name, handler in (services or {}).items()
        }
        self._drain_timeout = drain_timeout
        self._signals = 0
        self._threads = Threads(self._work, capacity)
        self._tasks = Tasks(names, capacity, label_bytes(label), self._threads.put)
        self._engine = Engine(self._tasks, checked, context, heartbeat, liveness, "pound-worker")
        self._tasks.bind(self._engine)

    # -- serving ----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to go; blocks.

        On the main thread SIGTERM and SIGINT drain the worker: it takes no more tasks, finishes
        those it holds within `drain_timeout`, gives back the rest, and this method returns. A
        second signal gives them back at once.
        """
        with self._signals_drain():
            self.start()
            while not self._engine.join(LOOK_UP_EVERY):
                continue  # a signal that came just before the wait began does not interrupt it
        self._ended()

    def start(self) -> None:
        """Serve on threads of the worker's own, and return.

        Raises
        ------
        RuntimeError
            It was started before; a worker serves once.
        """
        self._engine.start()
        atexit.register(self.stop)

    def drain(self, timeout: float | None = None) -> bool:
        """Take no more tasks, finish the held ones, close.

        Parameters
        ----------
        timeout : float, optional
            Seconds, instead of `drain_timeout`; tasks that take longer are given back.

        Returns
        -------
        bool
            True if every task was finished.
        """
        seconds = self._drain_timeout if timeout is None else timeout
        self._leave(seconds)
        if not self._engine.inside() and self._engine.join(seconds + CLOSE_WITHIN):
            self._ended()
        return self._tasks.given_back == 0 and not self._engine.alive()

    def stop(self) -> None:
        """Give back the held tasks and close, at once; handlers that run are not waited for."""
        self.drain(0.0)

    def wait_connected(self, timeout: float | None = None) -> bool:
        """Wait until a broker has welcomed this worker; True when it has."""
        self._engine.check_fork()
        return self._engine.connected.wait(timeout)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain within `drain_timeout`."""
        self.drain()

    # -- below the API ----------------------------------------------------------------------

    def _work(self, task: Task) -> None:
        record = outcome(self._handlers, task, self._tasks.limits)
        with suppress(ClosedError):
            self._engine.post(self._tasks.answer, task, record)

    def _leave(self, seconds: float) -> None:
        with suppress(ClosedError):
            self._engine.post(self._tasks.leave, time.monotonic() + seconds)

    def _ended(self) -> None:
        atexit.unregister(self.stop)
        self._threads.stop()

    @contextmanager
    def _signals_drain(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._leave(self._drain_timeout if self._signals == 1 else 0.0)


def _check_services(services: Mapping[str, Handler]) -> list[bytes]:
    """Return the names as they travel.

    Raises
    ------
    ConfigError
        There are none or too many, or one is too long or reserved.
    """
    if not 1 <= len(services) <= SERVICES_MAX:
        raise ConfigError(f"a worker offers 1..{SERVICES_MAX} services, not {len(services)}")
    names = []
    for service in services:
        if service.startswith(RESERVED_PREFIXES):
            raise ConfigError(
                f"service {service!r}: names that begin with mmi., pound. or titanic. are reserved"
            )
        try:
            names.append(service_name(service))
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return names
