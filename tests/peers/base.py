"""What every foreign peer shares: a socket with bounded waits, a task, the serving loop, a thread.

Every wait has a bound and ends in `SilenceError`; every message that a dialect does not allow ends
in `ViolationError`. So a test never hangs, and a peer is a checker of what Pound sends.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import zmq

Body = list[bytes]
Handler = Callable[[Body], Body]

BOUND = 10.0  # seconds; how long a peer waits for what must come


class SilenceError(Exception):
    """Nothing came within the bound."""


class ViolationError(Exception):
    """A message came that the dialect does not allow."""


def demand(holds: bool, what: str, frames: object = None) -> None:
    """Raise `ViolationError` unless `holds`; not an assert, which -O would remove."""
    if not holds:
        raise ViolationError(what if frames is None else f"{what}: {frames!r:.300}")


@dataclass
class Task:
    """One delivery of a request, as a worker got it."""

    address: bytes  # the address frame; of PND the token as 8 bytes
    body: Body
    frames: list[bytes] = field(repr=False)  # the whole message as it was read
    service: bytes = b""
    attempt: int = 0  # PND only
    remaining_ms: int = 0  # PND only


class Peer:
    """One socket to one broker; reopened by the dialects that ask for it."""

    kind: ClassVar[zmq.SocketType] = zmq.DEALER
    options: ClassVar[dict[int, int | bytes]] = {}  # of the socket, beside those that all have

    def __init__(self, url: str, *, identity: bytes = b"") -> None:
        self.url = url
        self.identity = identity
        self.socket = self._open()

    def _open(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(self.kind)
        socket.linger = 0
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        if self.identity:
            socket.setsockopt(zmq.IDENTITY, self.identity)
        for option, value in self.options.items():
            socket.setsockopt(option, value)
        socket.connect(self.url)
        return socket

    def reopen(self) -> None:
        """Close the socket and open a new one, as the Guide's pirates do."""
        self.socket.close(linger=0)
        self.socket = self._open()

    def send(self, frames: list[bytes]) -> None:
        if not self.socket.poll(int(BOUND * 1000), zmq.POLLOUT):
            raise SilenceError("the socket takes no message")
        self.socket.send_multipart(frames)

    def poll(self, timeout: float) -> list[bytes] | None:
        """Give the next message, or None after `timeout` seconds."""
        if self.socket.poll(max(0, int(timeout * 1000))):
            return self.socket.recv_multipart()
        return None

    def recv(self, timeout: float = BOUND) -> list[bytes]:
        frames = self.poll(timeout)
        if frames is None:
            raise SilenceError(f"{type(self).__name__}: nothing within {timeout} s")
        return frames

    def close(self, linger_ms: int = 0) -> None:
        self.socket.close(linger=linger_ms)

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


P = TypeVar("P", bound=Peer)


class Client(Protocol):
    """What the tests ask of a client of any dialect."""

    def request(self, body: Body, timeout: float = BOUND) -> Body: ...
    def close(self) -> None: ...


class Worker(Peer):
    """The part of a worker that does not depend on its dialect.

    `heartbeat` None: the dialect has none. A worker of a dialect with heartbeats that hears nothing
    for `heartbeat` x `liveness` opens a new socket and says READY again (Guide, chapter 4).
    """

    heartbeat: float | None = None  # seconds
    liveness: int = 3

    def __init__(
        self,
        url: str,
        *,
        service: bytes = b"",
        heartbeat: float | None = None,
        identity: bytes = b"",
    ) -> None:
        super().__init__(url, identity=identity)
        self.service = service
        if self.heartbeat is not None and heartbeat is not None:
            self.heartbeat = heartbeat
        self.restarts = 0  # how often it had to open a new socket
        self.heard = self.beaten = time.monotonic()

    def ready(self) -> None:
        raise NotImplementedError

    def answer(self, task: Task, body: Body) -> None:
        raise NotImplementedError

    def partial(self, task: Task, body: Body) -> None:
        raise ViolationError(f"{type(self).__name__} has no partial answers")

    def beat(self) -> None:
        """Send one heartbeat."""
        raise NotImplementedError

    def parse(self, frames: list[bytes]) -> Task | None:
        """Give the task in `frames`, None for heartbeats and the like."""
        raise NotImplementedError

    def restart(self) -> None:
        """Begin a new conversation on a new socket."""
        self.restarts += 1
        self.reopen()
        self.heard = self.beaten = time.monotonic()
        self.ready()

    def keep_alive(self) -> None:
        """Send a heartbeat when one is due; restart when the broker was silent for too long."""
        if self.heartbeat is None:
            return
        now = time.monotonic()
        if now - self.heard > self.heartbeat * self.liveness:
            self.restart()
        elif now - self.beaten >= self.heartbeat:
            self.beaten = now
            self.beat()

    def task(self, timeout: float = BOUND) -> Task:
        """Give the next task; keep the conversation alive while waiting for it."""
        end = time.monotonic() + timeout
        while True:
            self.keep_alive()
            left = end - time.monotonic()
            frames = self.poll(left if self.heartbeat is None else min(left, self.heartbeat / 2))
            if frames is not None:
                self.heard = time.monotonic()
                task = self.parse(frames)
                if task is not None:
                    return task
            elif left <= 0:
                raise SilenceError(f"{type(self).__name__}: no task within {timeout} s")

    def serve(self, handler: Handler, stop: threading.Event) -> None:
        """Say READY, then answer tasks until `stop` is set."""
        self.ready()
        while not stop.is_set():
            with contextlib.suppress(SilenceError):
                task = self.task(0.05)
                self.answer(task, handler(task.body))


class Serving:
    """A worker that serves in a thread of its own; keeps what went wrong there."""

    def __init__(self, make: Callable[[], Worker], handler: Handler) -> None:
        self.stop = threading.Event()
        self.failure: BaseException | None = None
        self.handled = 0
        self._make, self._handler = make, handler
        self._thread = threading.Thread(target=self._run, name="foreign-worker", daemon=True)

    def _run(self) -> None:
        try:
            with self._make() as worker:
                worker.serve(self._count, self.stop)
        except BaseException as failure:
            self.failure = failure

    def _count(self, body: Body) -> Body:
        self.handled += 1
        return self._handler(body)

    def __enter__(self) -> Serving:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop.set()
        self._thread.join(BOUND)
        demand(not self._thread.is_alive(), "a worker's thread did not end")
        if self.failure is not None and kind is None:
            raise self.failure


def digest(body: Body) -> Body:
    """Answer with the parts in reverse order behind a hash that knows each part's bounds.

    Neither an echo nor a joined body nor an answer to another request can pass for it.
    """
    seen = hashlib.sha256()
    for part in body:
        seen.update(len(part).to_bytes(8, "little"))
        seen.update(part)
    return [seen.digest(), *reversed(body)]
