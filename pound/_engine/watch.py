"""A client that asks nothing: it watches whether a broker is there.

Its owner is its events thread: `wait` returns when something has changed, and what there is to know
is read after it. Only `wake` is for other threads.
"""

from __future__ import annotations

import contextlib
import select
import socket

from pound._engine.client_options import ClientBase
from pound.errors import RequestError

CLOSE_WITHIN = 5.0  # seconds; a close needs milliseconds
DRAIN_BYTES = 4096


class Watch(ClientBase[bytes]):
    """A watch over one broker, or over the first of several that answers; made as a `Client` is.

    Raises
    ------
    ConfigError, TypeError, ValueError
        As a `Client` does.
    """

    _noun = "a watch"

    def _made(self) -> None:
        self._heard, self._ring = socket.socketpair()
        for end in (self._heard, self._ring):
            end.setblocking(False)
        try:
            self._engine = self._make(self._ring.fileno())
        except BaseException:
            self._close_pair()
            raise
        del self._make

    def start(self) -> None:
        """Begin to look for the broker.

        Raises
        ------
        OSError
            The process has too few descriptors left.
        """
        self._engine.start()

    def wait(self, timeout: float | None) -> None:
        """Wait for an event or a `wake`, at most so many seconds, and take what has come."""
        if select.select([self._heard], [], [], timeout)[0]:
            with contextlib.suppress(BlockingIOError):
                self._heard.recv(DRAIN_BYTES)
            self._engine.events()

    def wake(self) -> None:
        """Have `wait` return; from any thread, at any time."""
        with contextlib.suppress(OSError):  # it is full of rings, or closed
            self._ring.send(b"\0")

    @property
    def there(self) -> bool:
        """Whether the broker answers, even if all that it says is that it does not let us in."""
        return self._engine.connected.is_set() or self.denied is not None

    @property
    def denied(self) -> RequestError | None:
        """Why the broker does not let us in; None: it does, or it is not there."""
        return self._engine.denied

    def close(self) -> None:
        """Say goodbye and close."""
        self._engine.leave()
        self._engine.join(CLOSE_WITHIN)
        self._engine.events()
        self._close_pair()

    def _close_pair(self) -> None:
        self._heard.close()
        self._ring.close()
