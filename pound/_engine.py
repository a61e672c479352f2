"""The engine: the one thread that owns a client's or a worker's link.

The seam. `pound.client` and `pound.worker` hold the API and meet the wire only here: they build an
`End` (`_requests.Requests` or `_tasks.Tasks`), give it to an `Engine`, and afterwards only `post`
commands to it. An end decides what records mean and is called on the engine's thread only; the
link (`_link`) carries packets; this file turns the wheel. A compiled engine may take the place of
all four files without a change above.

One turn: wait → commands → monitor → packets → timers → one flush. Everything that became ready in
a turn travels in one packet (as many as the limits ask). Nothing waits to fill a packet.
Heartbeats leave from this thread, and it needs the GIL: code that holds the GIL for longer than
heartbeat x liveness makes the broker take a worker for gone.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import zmq

from pound._body import words
from pound._link import Link
from pound._logging import log_event
from pound._wire import Kind, Packet, Record
from pound.errors import ClosedError, ForkError, PoundError

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    Ts = TypeVarTuple("Ts")

LINGER_MS = 500  # for the last packet of an orderly close; the engine waits no longer for it
WAIT_MAX = 3600.0  # seconds; poll counts milliseconds in an int
UNKNOWN_TO_ME, GOING_AWAY, AGREED = 0, 1, 2  # the reasons of BYE
Command = tuple[Callable[..., None], tuple[Any, ...]]


class End(ABC):
    """What a client or a worker does with its link; every method runs on the engine's thread."""

    logger: logging.Logger
    follows: bool  # judges the broker's silence by the rates that its WELCOME told

    @abstractmethod
    def collect(self, link: Link, now: float) -> list[Record]:
        """Return what is ready to be sent; called only when the link is writable."""

    @abstractmethod
    def pending(self) -> bool:
        """Tell whether `collect` would return more at once."""

    @abstractmethod
    def take(self, link: Link, record: Record, now: float) -> None:
        """Act on a record from the broker."""

    @abstractmethod
    def heard(self) -> None:
        """Note that a packet that is no welcome came: the route carries both ways."""

    @abstractmethod
    def welcomed(self, link: Link, now: float) -> None:
        """Answer a WELCOME."""

    @abstractmethod
    def epoch_changed(self, link: Link, now: float) -> None:
        """Note that another life of the broker, or another broker, speaks now."""

    @abstractmethod
    def next_beat(self, link: Link, beat_at: float) -> float:
        """Return the time of the next HEARTBEAT; the last one was due at `beat_at`."""

    @abstractmethod
    def tick(self, link: Link, now: float) -> None:
        """Fire what is due."""

    @abstractmethod
    def next_due(self) -> float:
        """Return the time at which `tick` has something to do."""

    @abstractmethod
    def done(self) -> int:
        """Return the `done` of the packet head."""

    @abstractmethod
    def finished(self, link: Link, now: float) -> bool:
        """Tell whether the engine may close the link."""

    @abstractmethod
    def closed(self, error: PoundError) -> None:
        """End whatever is still open with `error`."""


class Engine:
    """A thread, its link and its end.

    Parameters
    ----------
    end : End
    endpoints : tuple of str
        Checked ones.
    context : zmq.Context or None
        None: the engine makes its own and terminates it at its end.
    heartbeat : float
        Seconds.
    liveness : int
    name : str
        Of the thread.
    """

    def __init__(
        self,
        end: End,
        endpoints: tuple[str, ...],
        context: zmq.Context[Any] | None,
        heartbeat: float,
        liveness: int,
        name: str,
    ) -> None:
        self._end = end
        self._endpoints = endpoints
        self._context = context
        self._rates = (heartbeat, liveness)
        self.connected = threading.Event()  # a broker has welcomed us on the route in use
        self._pid = os.getpid()
        self._commands: deque[Command] = deque()
        self._lock = threading.RLock()  # a signal handler may post while this very thread posts
        self._closed = False
        self._awake = False
        self._beat_at = -math.inf
        self._seen_at = math.inf  # when the last turn looked around
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # -- from any thread --------------------------------------------------------------------

    def start(self) -> None:
        """Make the sockets and start the thread, once.

        Raises
        ------
        RuntimeError
            It was started before.
        """
        self.check_fork()
        if self._thread.ident is not None:
            raise RuntimeError("it was started before")
        self._own_context = zmq.Context() if self._context is None else None
        context: zmq.Context[Any] = self._own_context or self._context  # type: ignore[assignment]
        heartbeat, liveness = self._rates
        self._link = Link(
            context, self._endpoints, heartbeat, liveness, self._end.follows, self._end.logger
        )
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._wake_in.setblocking(False)
        self._thread.start()

    def post(self, function: Callable[[Unpack[Ts]], None], *args: Unpack[Ts]) -> None:
        """Have `function` called on the engine's thread, in the order of posting.

        Raises
        ------
        ClosedError
            The engine has ended.
        ForkError
            This is a child process of the one that started the engine.
        """
        self.check_fork()
        with self._lock:
            if self._closed:
                raise ClosedError("it is closed")
            self._commands.append((function, args))
        self.wake()

    def wake(self) -> None:
        """Make the thread turn once; takes no lock."""
        if not self._awake and self._thread.ident is not None:
            self._awake = True
            with suppress(OSError):  # full: it will wake; closed: it has ended
                self._wake_out.send(b"\0")

    def inside(self) -> bool:
        """Tell whether the caller runs on the engine's thread."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; True when it has, or was never started."""
        if self.inside():
            return False
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def forked(self) -> bool:
        """Tell whether this is a child process of the one that started the engine."""
        return os.getpid() != self._pid

    def check_fork(self) -> None:
        """Raise ForkError in a child process: sockets and threads don't cross a fork."""
        if self.forked():
            raise ForkError("made before a fork and used in the child: make a new one there")

    # -- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        error = ClosedError("it was closed before the answer came")
        try:
            self._link.open(time.monotonic())
            while not self._end.finished(self._link, time.monotonic()):
                self._turn()
        except Exception as defect:
            log_event(self._end.logger, logging.CRITICAL, "engine failed", exc_info=True)
            error = ClosedError(f"its engine failed: {defect!r}")
        finally:
            self._finish(error)

    def _turn(self) -> None:
        planned = self._wait()
        now = time.monotonic()
        pause = now - self._seen_at - planned - self._link.heartbeat
        if pause > 0:
            self._link.forgive(pause)
        self._seen_at = now
        self._run_commands()
        self._link.watch(now)
        for packet in self._link.receive(now):
            self._open_packet(packet, now)
        self._link.tick(now)
        self._end.tick(self._link, now)
        self._flush(now)
        self._note_connected()

    def _wait(self) -> float:
        """Wait for something to do; return for how long at most, in seconds."""
        poller = zmq.Poller()
        poller.register(self._wake_in, zmq.POLLIN)
        self._link.register(poller)
        due = min(self._link.next_due(), self._end.next_due())
        if not self._link.wants_out:
            due = min(due, self._end.next_beat(self._link, self._beat_at))
            if self._end.pending():
                due = -math.inf
        seconds = min(max(due - time.monotonic(), 0.0), WAIT_MAX)
        poller.poll(math.ceil(seconds * 1000))
        return seconds

    def _run_commands(self) -> None:
        with suppress(BlockingIOError):
            self._wake_in.recv(4096)
        self._awake = False
        for _ in range(len(self._commands)):
            function, args = self._commands.popleft()
            function(*args)

    def _open_packet(self, packet: Packet, now: float) -> None:
        link, end = self._link, self._end
        if packet.session != link.epoch:
            if link.epoch is not None:
                link.forgotten(now, "epoch changed")
                end.epoch_changed(link, now)
            link.epoch = bytes(packet.session)
        if all(record.kind != Kind.WELCOME for record in packet.records):
            end.heard()
        for record in packet.records:
            self._take(record, now)

    def _take(self, record: Record, now: float) -> None:
        link, end = self._link, self._end
        if record.kind == Kind.WELCOME:
            link.welcome(record, now)
            end.welcomed(link, now)
        elif record.kind == Kind.ERROR and record.id == 0:
            log_event(end.logger, logging.ERROR, "refused", code=record.code, words=words(record))
        else:
            if record.kind == Kind.BYE and record.code == UNKNOWN_TO_ME:
                link.forgotten(now, "unknown to it")
            elif record.kind == Kind.BYE and record.code == GOING_AWAY:
                link.bye(now, record.retry_after_ms / 1000)
            end.take(link, record, now)

    def _flush(self, now: float) -> None:
        link, end = self._link, self._end
        beats = now >= end.next_beat(link, self._beat_at)
        if beats:
            self._beat_at = now  # one that can't be sent is skipped, never queued
        link.wants_out = not link.writable()
        if link.wants_out:
            return
        records = end.collect(link, now)
        if beats and link.welcomed:
            records.append(Record(kind=Kind.HEARTBEAT))
        if records:
            link.send(records, end.done(), now)
        link.wants_out = not link.flushed

    def _note_connected(self) -> None:
        if self._link.welcomed != self.connected.is_set():
            (self.connected.set if self._link.welcomed else self.connected.clear)()

    def _finish(self, error: PoundError) -> None:
        with self._lock:
            self._closed = True
        self.connected.clear()
        self._run_commands()
        self._end.closed(error)
        self._link.close(LINGER_MS)
        if self._own_context is not None:
            self._own_context.term()
        self._wake_in.close()
        self._wake_out.close()
