"""What clients asked and what they were answered, and the verdict on it.

Each request is ``<client> <number>``; a worker answers with `digest` of it, which carries the
request's own words back. So each answer says whose it is, and nothing else passes for it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.peers.base import Body, SilenceError, digest
from tests.peers.pnd_client import FailedError
from tests.support import wait_until

WINDOW = 16  # requests that a client keeps open, where its dialect allows more than one


@dataclass
class Verdict:
    """All four must be 0."""

    lost: int
    unexpected: int
    wrong_client: int
    second: int


class Journal:
    """Shared by the clients of one test; they are told apart by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: set[bytes] = set()
        self._finals: Counter[bytes] = Counter()
        self._numbers: Counter[str] = Counter()
        self.wrong_client = 0
        self.unexpected: list[object] = []

    def ask(self, client: str) -> bytes:
        """Give the next request of a client, and note that it was asked."""
        with self._lock:
            self._numbers[client] += 1
            words = f"{client} {self._numbers[client]}".encode()
            self._asked.add(words)
            return words

    def answer(self, client: str, body: Body) -> None:
        """Note one final answer that a client got."""
        with self._lock:
            words = body[1] if len(body) == 2 else b""
            if words not in self._asked or body != digest([words]):
                self.unexpected.append(body)
            elif not words.startswith(client.encode() + b" "):
                self.wrong_client += 1
            else:
                self._finals[words] += 1

    def fail(self, client: str, failure: BaseException) -> None:
        """Note an answer that is a failure, or what a dialect does not allow."""
        with self._lock:
            self.unexpected.append((client, failure))

    @property
    def answered(self) -> int:
        with self._lock:
            return sum(self._finals.values())

    def verdict(self) -> Verdict:
        with self._lock:
            return Verdict(
                lost=len(self._asked - set(self._finals)),
                unexpected=len(self.unexpected),
                wrong_client=self.wrong_client,
                second=sum(count - 1 for count in self._finals.values()),
            )


NOTHING_WRONG = Verdict(0, 0, 0, 0)


class Load:
    """Clients that ask as fast as they are answered, each in a thread, until `finish`.

    Parameters
    ----------
    journal : Journal
    makers : mapping of str to callable
        By name: makes a client, in its own thread.
    one : set of str
        The names of clients that may have one open request only.
    """

    def __init__(
        self, journal: Journal, makers: Mapping[str, Callable[[], Any]], one: frozenset[str]
    ) -> None:
        self.journal = journal
        self._one = one
        self._stop = threading.Event()
        self._end = float("inf")  # when to give up on open requests; monotonic seconds
        self._threads = [
            threading.Thread(target=self._run, args=item, name=item[0], daemon=True)
            for item in makers.items()
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def wait_answers(self, count: int, timeout: float = 30.0) -> None:
        """Wait until the clients together got `count` more answers."""
        wanted = self.journal.answered + count
        wait_until(lambda: self.journal.answered >= wanted, timeout)

    def finish(self, timeout: float = 30.0) -> Verdict:
        """Ask no more, wait at most `timeout` seconds for what is open, give the verdict."""
        self._end = time.monotonic() + timeout
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout + 10)
        return self.journal.verdict()

    def __exit__(self, *_: object) -> None:
        self._end = 0.0
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, name: str, make: Callable[[], Any]) -> None:
        client = make()
        try:
            self._ask(name, client, 1 if name in self._one else WINDOW)
            self._listen_on(name, client)
        except BaseException as failure:
            self.journal.fail(name, failure)
        finally:
            client.close()

    def _ask(self, name: str, client: Any, window: int) -> None:
        """Keep `window` requests open until `finish`, then wait for the open ones."""
        open_now = 0
        while open_now or not self._stop.is_set():
            while open_now < window and not self._stop.is_set():
                client.ask([self.journal.ask(name)])
                open_now += 1
            if self._take(name, client, 0.2):
                open_now -= 1
            elif time.monotonic() > self._end:
                return

    def _listen_on(self, name: str, client: Any) -> None:
        """A second final answer would come about now."""
        while self._take(name, client, 0.2):
            pass
        for stray in getattr(client, "strays", ()):
            self.journal.fail(name, RuntimeError(f"an answer to nothing open: {stray!r}"))

    def _take(self, name: str, client: Any, timeout: float) -> bool:
        try:
            answer = client.take(timeout)
        except SilenceError:
            return False
        except FailedError as failure:
            self.journal.fail(name, failure)
            return True
        self.journal.answer(name, answer[1] if isinstance(answer, tuple) else answer)
        return True
