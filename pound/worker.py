"""The worker: offers services, runs their handlers in threads, and speaks by one thread more.

Thin: it checks what it is given and starts and ends the engine. What the rules of PND/1 ask of a
worker is in `_engine.worker_rules`; the threads that run handlers, and the `Task`, are in
`_engine.worker`.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from pound._base.signals import handled
from pound._engine.handlers import Call, Handler
from pound._engine.worker import AGREE_WITHIN, LAST_WORDS, Task
from pound._engine.worker_options import WorkerBase

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Handler", "Task", "Worker"]

CLOSE_WITHIN = LAST_WORDS + AGREE_WITHIN + 5.0  # seconds for the engine's end after a drain
LOOK_UP_EVERY = 0.5  # seconds


class Worker(WorkerBase[Handler]):
    """A worker that offers services to one broker, or to the first of several that answers.

    Parameters
    ----------
    endpoints : str or sequence of str, optional
        Where brokers listen for workers; by default those of `key`, else
        ``tcp://127.0.0.1:5556``. The worker goes to the next one when one is
        silent, refuses or says that it goes away, and returns to the first one, the
        preferred one, once that serves again and its tasks here are answered.
    services : dict of str to callable
        For each name its handler, called with the body (`bytes`), or with a `Task` if its first
        parameter is annotated so or named ``task``. Only the latter gets bodies of several parts
        (`Task.parts`); for the others these are refused (`InvalidRequest`). It returns a bytes-like
        object, a sequence of those, None (an empty body) or an `Answer` with META. A generator
        yields those, and they are sent as partials, ahead of what it returns; it is closed when
        nobody waits for the answer any more. An exception of any kind becomes the answer (its type
        and message; the traceback goes to the log ``pound.worker``); `Release` gives the task back.
    capacity : int
        Handlers that run at once, each in a thread.
    context : zmq.Context, optional
        Needed for ``inproc://`` endpoints; by default the worker has its own.
    label : str, optional
        What the broker's listings show; by default ``host:pid``.
    heartbeat : float
        Seconds between heartbeats, until the broker asks for more.
    liveness : int
        So many heartbeats without one from the broker, and it counts as gone.
    drain_timeout : float
        Seconds that held tasks have when the worker is to stop; then they are given back.
    copy : bool
        False: parts of 4 KiB and more come as read-only memoryviews of the memory that they were
        received in, not as `bytes`. Such a part is good for as long as it is referred to.
    key : path or Credential, optional
        The credential file that ``pound keys add`` wrote for this worker: its connection is
        encrypted, and the broker knows it by name. While no broker accepts the key, that is logged,
        and the worker tries again: after a second, later every 30 s.

    Raises
    ------
    ConfigError
        An endpoint, a service's name, a handler or the credential is not usable.
    TypeError, ValueError
        Another argument is not of its type or range.
    PatchedError
        gevent or eventlet has replaced this program's threads.

    Notes
    -----
    Heartbeats leave from a thread that needs no GIL: a handler may hold it for as long as it
    likes. So they prove that the process lives, not that its handlers get on; a handler that hangs
    is found by the `lease` that the broker may be given for its service.

    One handler that only computes keeps one thread busy, whatever the capacity. A thread more is
    made when a handler begins and leaves none idle.

    Examples
    --------
    >>> Worker("tcp://127.0.0.1:5556", {"echo": lambda body: body}).run()  # doctest: +SKIP
    """

    _noun = "a pound.Worker"

    _coroutines = False

    def _made(self, calls: Mapping[str, Call]) -> None:
        self._engine = self._make(-1)
        del self._make

    # -- serving ----------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until stopped; blocks.

        On the main thread SIGTERM and SIGINT drain the worker: it takes no more tasks, finishes
        those it holds within `drain_timeout`, gives back the rest, and this method returns. A
        second signal gives them back at once. Processes that handlers start do not inherit this.
        """
        with self._signals_drain():
            self.start()
            if self._signals:  # they came before there was an engine to leave
                self._leave_by_signal()
            while not self._engine.join(LOOK_UP_EVERY):
                continue  # a signal that came just before the wait began does not interrupt it
        atexit.unregister(self._stop_at_exit)

    def start(self) -> None:
        """Serve on threads of the worker's own, and return.

        Raises
        ------
        RuntimeError
            It was started before; a worker serves once. Or the machine has no more threads.
        """
        atexit.register(self._stop_at_exit)  # before the start: an interrupt may come right after
        try:
            self._engine.start()
        finally:
            if not self._engine.started:
                atexit.unregister(self._stop_at_exit)

    def drain(self, timeout: float | None = None) -> bool:
        """Take no more tasks, finish the held ones, close.

        Parameters
        ----------
        timeout : float, optional
            Seconds, instead of `drain_timeout`; tasks that take longer are given back.

        Returns
        -------
        bool
            True if every task was finished and its answer sent; so it is when it was never started.
            False at once when a handler of this worker calls, whose own task is to be finished.
        """
        if not self._engine.started:
            return True
        seconds = self._drain_timeout if timeout is None else timeout
        self._engine.leave(seconds)
        if self._engine.on_handler_thread():
            return False
        if not self._engine.on_events_thread() and self._engine.join(seconds + CLOSE_WITHIN):
            atexit.unregister(self._stop_at_exit)
        left = self._engine.given_back + self._engine.undelivered
        return left == 0 and not self._engine.alive()

    def stop(self) -> None:
        """Give back the held tasks and close, at once; handlers that run are not waited for."""
        self.drain(0.0)

    def wait_connected(self, timeout: float | None = None) -> bool:
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
            No broker accepts this worker's key, or lets it offer its services; the error says why.
            The worker goes on trying all the same.
        ClosedError
            The worker has ended, or did meanwhile.
        """
        return self._engine.wait_connected(timeout)

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

    def _stop_at_exit(self) -> None:
        if not self._engine.forked():  # a child exits without a word
            self.stop()

    def _signals_drain(self) -> AbstractContextManager[None]:
        if threading.current_thread() is not threading.main_thread():
            return nullcontext()
        return handled(self._on_signal)

    def _on_signal(self) -> None:
        self._signals += 1
        self._leave_by_signal()

    def _leave_by_signal(self) -> None:
        self._engine.leave(self._drain_timeout if self._signals == 1 else 0.0)
