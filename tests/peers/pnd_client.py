"""PND/1 client: HELLO until WELCOME, requests, retries, partial answers, failures."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import NamedTuple

from tests.peers import pnd_wire as wire
from tests.peers.base import BOUND, Body, Peer, SilenceError, demand
from tests.peers.pnd_wire import Record
from tests.peers.program import client_main


class Partial(NamedTuple):
    attempt: int
    sequence: int
    body: Body
    run: int


class FailedError(Exception):
    """A request ended in an ERROR."""

    def __init__(self, id: int, code: int, text: str, retry_after_ms: int) -> None:
        super().__init__(f"code {code}: {text}")
        self.id, self.code, self.text, self.retry_after_ms = id, code, text, retry_after_ms


class PndClient(Peer):
    """Keeps its open requests and sends them again, flagged RETRY, on each WELCOME."""

    heartbeat = 1.0  # seconds of silence after which it asks for a sign of life

    def __init__(self, url: str, *, service: bytes = b"") -> None:
        super().__init__(url)
        self.service = service
        self.session = os.urandom(16)
        self.epoch = b""  # the broker's, from its last WELCOME
        self.limits: tuple[int, ...] = ()  # WELCOME's six numbers
        self.features = 0  # WELCOME's
        self.highest = 0  # the last request number
        self.open: dict[int, Record] = {}
        self.answers: deque[tuple[int, Body | FailedError]] = deque()  # read, not yet taken
        self.partials: list[Partial] = []  # since the last ask
        self.accepted: list[int] = []
        self.byes: list[int] = []  # the reasons
        self.retried: set[int] = set()  # requests that were sent more than once
        self.strays: list[Record] = []  # second answers to requests that were sent only once
        self.hello()

    def put(self, *records: Record) -> None:
        done = min(self.open, default=self.highest + 1)
        self.send(wire.packet(self.session, list(records), done))

    def hello(self) -> None:
        self.put(wire.hello())

    def ask(
        self,
        body: Body,
        service: bytes | None = None,
        *,
        timeout_ms: int = 0,
        priority: int = 0,
        key: bytes | None = None,
        run: int | None = None,
    ) -> int:
        """Send a request, by default with a key of its own; give its number. With `run`: MOVED."""
        self.partials = []
        id = self.highest + 1
        name = self.service if service is None else service
        key = os.urandom(16) if key is None else key
        record = wire.request(
            id, body, name, timeout_ms=timeout_ms, priority=priority, key=key, run=run
        )
        self.highest, self.open[id] = id, record
        self.put(record)
        return id

    def cancel(self, id: int) -> None:
        self.put(Record(wire.CANCEL, id))

    def retry(self) -> None:
        """Send every open request again."""
        for id, record in self.open.items():
            self.retried.add(id)
            record.flags |= wire.RETRY
            self.put(record)

    def pump(self, timeout: float) -> bool:
        """Read one packet and act on its records; False if none came."""
        frames = self.poll(timeout)
        if frames is None:
            return False
        epoch, records = wire.unpack(frames)
        for record in records:
            self._act(epoch, record)
        return True

    def _act(self, epoch: bytes, record: Record) -> None:
        kind = record.kind
        if kind in (wire.REPLY, wire.ERROR):
            self._final(record)
        elif kind == wire.PARTIAL:
            sequence, attempt, run = wire.PARTIAL_HEAD.unpack(record.head)
            self.partials.append(Partial(attempt, sequence, record.parts, run))
        elif kind == wire.ACCEPTED:
            self.accepted.append(record.id)
        elif kind == wire.WELCOME:
            *limits, self.features = wire.WELCOME_HEAD.unpack(record.head)
            self.epoch, self.limits = epoch, tuple(limits)
            self.retry()
        elif kind == wire.BYE:
            self.byes.append(wire.ERROR_HEAD.unpack(record.head)[0])
            self.hello()
        else:
            demand(kind == wire.HEARTBEAT, "not for a client", record)

    def _final(self, record: Record) -> None:
        if self.open.pop(record.id, None) is None:
            if record.id not in self.retried:
                self.strays.append(record)
        elif record.kind == wire.REPLY:
            self.answers.append((record.id, record.parts))
        else:
            code, zero, retry_after_ms = wire.ERROR_HEAD.unpack(record.head)
            demand(zero == 0 and len(record.parts) == 1, "not a well-formed ERROR", record)
            failed = FailedError(record.id, code, record.parts[0].decode(), retry_after_ms)
            self.answers.append((record.id, failed))

    def _wait(self, end: float) -> None:
        """Read one packet; after a heartbeat of silence ask the broker for a sign of life."""
        left = end - time.monotonic()
        if left <= 0:
            raise SilenceError(f"PndClient: not within its bound; open {sorted(self.open)[:9]}")
        if not self.pump(min(self.heartbeat, left)):
            self.put(Record(wire.HEARTBEAT)) if self.epoch else self.hello()

    def welcome(self, timeout: float = BOUND) -> None:
        """Wait until the broker has said WELCOME."""
        end = time.monotonic() + timeout
        while not self.epoch:
            self._wait(end)

    def take(self, timeout: float = BOUND) -> tuple[int, Body]:
        """Give the next final answer as (request, body); raise `FailedError` for an ERROR."""
        end = time.monotonic() + timeout
        while not self.answers:
            self._wait(end)
        id, answer = self.answers.popleft()
        if isinstance(answer, FailedError):
            raise answer
        return id, answer

    def request(self, body: Body, timeout: float = BOUND) -> Body:
        id = self.ask(body)
        got, answer = self.take(timeout)
        demand(got == id, "the answer to another request", (got, id))
        return answer


if __name__ == "__main__":
    client_main(PndClient)
