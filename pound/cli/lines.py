"""Lines in, answers out: each line is asked with as it comes, each answer is passed on as it comes.

One thread waits for the input and for the client's mailbox at once, so that neither holds up the
other. (`Client.map` reads its next body in the caller's thread: while a line is waited for, the
answers to those before would have to wait as well.)
Invariant: at most `window` lines were asked with and are not passed on; nothing is read beyond them
           and what one read gives.
Cost: one post to the engine for all lines that came together, one wake-up for their answers.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pound
from pound._engine.client import ReplyQueue

READ_BYTES = 65536


class Lines:
    """The lines of a descriptor, without their newlines, as far as they were read.

    Parameters
    ----------
    fd : int
        Of a file, a pipe or a terminal.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._begun: list[bytes] = []  # of the line that is not complete
        self._lines: deque[bytes] = deque()

    def __len__(self) -> int:
        """Return how many lines were read and not taken."""
        return len(self._lines)

    def read(self) -> int:
        """Read what there is, waiting for something; return its bytes."""
        chunk = os.read(self.fd, READ_BYTES)
        first, *others = chunk.split(b"\n")
        self._begun.append(first)
        if others or not chunk:
            line = b"".join(self._begun)
            if others or line:
                self._lines.append(line)
            self._lines.extend(others[:-1])
            self._begun = others[-1:]
        self.ended = not chunk
        return len(chunk)

    def take(self, most: int) -> list[bytes]:
        """Take at most so many lines."""
        return [self._lines.popleft() for _ in range(min(most, len(self._lines)))]


class Pipeline:
    """The requests of a client, one for each line, and their answers in the order of the lines.

    Parameters
    ----------
    client : pound.Client
    rung, ring : int
        Both sides of a pipe, open longer than the client.
    service, timeout, priority
        Of each request, as in `pound.Client.request`.
    """

    def __init__(
        self,
        client: pound.Client,
        rung: int,
        ring: int,
        service: str,
        timeout: float | None,
        priority: int,
    ) -> None:
        self._engine = client._engine
        self._box = ReplyQueue(self._engine.share, ring)
        self._rung = rung
        self._service = service
        self._limits = timeout, priority  # of each request
        self._came: dict[int, bytes | BaseException] = {}  # by the number of the line
        self._asked = self._told = 0

    def answers(self, lines: Lines, window: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield how many bytes were read and which answers may be passed on, once there are any.

        Raises
        ------
        RequestError
            At the turn of the request that failed.
        """
        while self._told < self._asked or lines or not lines.ended:
            room = window - (self._asked - self._told)
            self._ask(lines.take(room))
            reads = not (lines or lines.ended) and self._asked - self._told < window
            ready = select.select([self._rung, lines.fd] if reads else [self._rung], [], [])[0]
            size = lines.read() if lines.fd in ready else 0
            if self._rung in ready:
                self._hear()
            yield size, self._in_order()
            if isinstance(failed := self._came.get(self._told), BaseException):
                raise failed

    def _ask(self, bodies: list[bytes]) -> None:
        self._engine.submit_many(self._box, self._asked, self._service, bodies, *self._limits)
        self._asked += len(bodies)

    def _hear(self) -> None:
        os.read(self._rung, READ_BYTES)  # before the taking: what comes later rings again
        for number, _, value in self._box.take():
            self._came[number] = _line(value)

    def _in_order(self) -> list[bytes]:
        """Take the answers whose turn has come, up to one that is an error."""
        answers: list[bytes] = []
        while self._told in self._came:
            answer = self._came[self._told]
            if isinstance(answer, BaseException):
                break
            answers.append(answer)
            del self._came[self._told]
            self._told += 1
        return answers


def _line(value: Any) -> bytes | BaseException:
    """Return an answer as its line: tabs between its parts; or the error in its place."""
    return b"\t".join(value.parts) if isinstance(value, pound.MultipartError) else value


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Yield the reading and the writing end of a pipe."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
