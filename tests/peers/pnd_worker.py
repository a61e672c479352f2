"""PND/1 worker: READY until WELCOME, tasks up to its capacity, answers, heartbeats, BYE."""

from __future__ import annotations

import os
import struct
from collections import deque

from tests.peers import pnd_wire as wire
from tests.peers.base import Body, Task, Worker, demand
from tests.peers.pnd_wire import Record
from tests.peers.program import worker_main

TOKEN = struct.Struct("<Q")


class PndWorker(Worker):
    heartbeat = 1.0
    liveness = 5

    def __init__(
        self,
        url: str,
        *,
        service: bytes = b"",
        heartbeat: float | None = None,
        identity: bytes = b"",
        capacity: int = 1,
        label: bytes = b"tests:0",
    ) -> None:
        demand(not identity, "a PND peer sets no routing id")
        super().__init__(url, service=service, heartbeat=heartbeat)
        self.session = os.urandom(16)
        self.capacity = capacity
        self.label = label
        self.epoch = b""
        self.held: dict[int, int] = {}  # token -> next sequence of its PARTIALs
        self.cancelled: list[int] = []
        self.credits: dict[int, int] = {}  # token -> cost, of the last CREDIT
        self.wanted: dict[int, int] = {}  # token -> the next sequence, of the last CREDIT
        self.claims: dict[int, tuple[int, bytes, int, int]] = {}  # what HOLDS says, by token
        self.owed: list[int] = []  # tokens of claims that are adopted, or cancelled and run
        self.adopted: list[int] = []  # tokens of an earlier epoch
        self.byes: list[int] = []
        self._inbox: deque[Task] = deque()

    def put(self, *records: Record) -> None:
        self.send(wire.packet(self.session, list(records)))

    def ready(self) -> None:
        tokens = [*self.held, *self.owed]
        holds = [wire.holds(*self.claims.values())] if self.claims else []
        ready = wire.ready(self.capacity, [self.service], tokens, self.label, epoch=self.epoch)
        self.put(*holds, ready)

    def claim(self, *entries: tuple[int, bytes, int, int]) -> None:
        """Say what is kept of another epoch: all of it."""
        self.claims = {entry[0]: entry for entry in entries}
        self.ready()

    def beat(self) -> None:
        if self.epoch:
            self.put(Record(wire.HEARTBEAT))
        else:
            self.ready()

    def task(self, timeout: float = 10.0) -> Task:
        return self._inbox.popleft() if self._inbox else super().task(timeout)

    def parse(self, frames: list[bytes]) -> Task | None:
        epoch, records = wire.unpack(frames)
        for record in records:
            self._act(epoch, record, frames)
        return self._inbox.popleft() if self._inbox else None

    def _act(self, epoch: bytes, record: Record, frames: list[bytes]) -> None:
        kind = record.kind
        if kind == wire.TASK:
            self._inbox.append(self._task(record, frames))
        elif kind == wire.WELCOME:
            if self.epoch != epoch:
                self._new_epoch(epoch)
            else:
                self.ready()
        elif kind == wire.CANCEL:
            self.cancelled.append(record.id)
            if self.claims.pop(record.id, (0, b"", 0, wire.ANSWERED))[3] == wire.RUNNING:
                self.owed.append(record.id)
        elif kind == wire.ACCEPTED:
            if record.id not in self.adopted:  # a HOLDS that is said again is answered again
                self.adopted.append(record.id)
            if self.claims.pop(record.id, None):
                self.owed.append(record.id)
        elif kind == wire.CREDIT:
            self.credits[record.id], run, self.wanted[record.id] = wire.CREDIT_HEAD.unpack(
                record.head
            )
            demand(run == record.id, "a CREDIT of another run", record)
        elif kind == wire.BYE:
            reason = wire.ERROR_HEAD.unpack(record.head)[0]
            self.byes.append(reason)
            if reason == 0:
                self.ready()
        else:
            demand(kind == wire.HEARTBEAT, "not for a worker", record)

    def _new_epoch(self, epoch: bytes) -> None:
        """Another life of the broker holds none of our tokens."""
        if self.epoch:
            self.held.clear()
        self.epoch = epoch
        self.ready()

    def _task(self, record: Record, frames: list[bytes]) -> Task:
        remaining_ms, priority, attempt, n, _ = wire.REQUEST_HEAD.unpack_from(record.head)
        service = record.head[wire.REQUEST_HEAD.size :][:n]
        demand(attempt >= 1 and priority <= 9, "a TASK's head", record)
        demand(record.id not in self.held, "a token twice", record.id)
        self.held[record.id] = 0
        demand(len(self.held) <= self.capacity, "more tasks than the capacity", len(self.held))
        return Task(TOKEN.pack(record.id), record.parts, frames, service, attempt, remaining_ms)

    def token(self, task: Task) -> int:
        return int(TOKEN.unpack(task.address)[0])

    def partial(self, task: Task, body: Body) -> None:
        token = self.token(task)
        self.put(wire.partial(token, self.held[token], task.attempt, body))
        self.held[token] += 1

    def answer(self, task: Task, body: Body) -> None:
        token = self.token(task)
        self.held.pop(token, None)
        self.put(wire.reply(token, body))

    def fail(self, task: Task, code: int, text: str, retry_after_ms: int = 0) -> None:
        token = self.token(task)
        self.held.pop(token, None)
        self.put(wire.error(token, code, text, retry_after_ms))

    def bye(self) -> None:
        self.put(wire.bye(1))


if __name__ == "__main__":
    worker_main(PndWorker)
