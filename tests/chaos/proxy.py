"""A TCP proxy that misbehaves on demand: it cuts connections, delays, truncates, or goes silent.

One thread, one selector, loopback only. Each accepted connection is a pair of sockets; bytes read
from one side wait in the other side's queue until their time has come. Nothing is reordered.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from urllib.parse import urlsplit

CHUNK = 1 << 16  # bytes read at once


class End:
    """One side of a connection: its socket, and what is still to be written to it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.queue: deque[tuple[float, bytes]] = deque()  # due (monotonic seconds), bytes
        self.other: End = self

    def flush(self, now: float) -> None:
        """Write what is due, as far as the socket takes it."""
        while self.queue and self.queue[0][0] <= now:
            due, data = self.queue.popleft()
            try:
                sent = self.connection.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.queue.appendleft((due, data[sent:]))
                return


class Proxy:
    """Forwards ``self.url`` to `target` (a ``tcp://`` URL) between enter and exit.

    Attributes
    ----------
    url : str
        Where peers connect.
    delay : float
        Seconds by which bytes of both directions are late; 0 also sends those that wait.
    silent : bool
        Read and write nothing: to both sides the other is there and says nothing (half-open).
    refuse : bool
        Close new connections at once.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.delay, self.silent, self.refuse = 0.0, False, False
        self.accepted = 0  # connections so far
        self._truncate: int | None = None
        self._cut = threading.Event()
        self._stop = threading.Event()
        self._ends: set[End] = set()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def cut(self) -> None:
        """Close every connection of this moment; what was not yet forwarded is lost."""
        self._cut.set()
        while self._cut.is_set() and self._thread.is_alive():
            time.sleep(0.002)

    def truncate(self, size: int) -> None:
        """Forward `size` more bytes, then close the connection that the last of them came by."""
        self._truncate = size

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._cut.is_set():
                self._close_all()
                self._cut.clear()
            if self.silent:
                self._stop.wait(0.005)
                continue
            for key, _ in self._selector.select(0.005):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            now = time.monotonic() if self.delay else float("inf")
            for end in list(self._ends):
                self._write(end, now)
        self._close_all()
        self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self.refuse:
            client.close()
            return
        try:
            server = socket.create_connection(self._target, 5)
        except OSError:
            client.close()
            return
        self.accepted += 1
        near, far = End(client), End(server)
        near.other, far.other = far, near
        for end in (near, far):
            end.connection.setblocking(False)
            end.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end.connection, selectors.EVENT_READ, end)
            self._ends.add(end)

    def _read(self, end: End) -> None:
        if end not in self._ends:
            return
        try:
            data = end.connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        last = not data
        if self._truncate is not None:
            data, last = data[: self._truncate], last or len(data) >= self._truncate
            self._truncate -= len(data)
        if data:
            end.other.queue.append((time.monotonic() + self.delay, data))
        if last:
            self._truncate = None
            self._write(end.other, float("inf"))
            self._close(end)

    def _write(self, end: End, now: float) -> None:
        if end not in self._ends:
            return
        try:
            end.flush(now)
        except OSError:
            self._close(end)

    def _close(self, end: End) -> None:
        for side in (end, end.other):
            if side in self._ends:
                self._ends.discard(side)
                with contextlib.suppress(KeyError, OSError):
                    self._selector.unregister(side.connection)
                side.connection.close()

    def _close_all(self) -> None:
        for end in list(self._ends):
            self._close(end)
