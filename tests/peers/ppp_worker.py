"""Paranoid Pirate worker (RFC 6), and the text form that the Guide's C++ ppworker speaks.

READY is one frame 0x01, HEARTBEAT one frame 0x02, both ways. A task and its answer are
``[address, empty, body...]``. The text form says ``READY`` and ``HEARTBEAT`` instead and expects
the broker's heartbeats as text too.
"""

from __future__ import annotations

from tests.peers.base import Body, Task, Worker, demand
from tests.peers.program import worker_main


class PppWorker(Worker):
    heartbeat = 1.0
    ready_word, heartbeat_word = b"\x01", b"\x02"
    beats = 0  # heartbeats got

    def ready(self) -> None:
        self.send([self.ready_word])

    def beat(self) -> None:
        self.send([self.heartbeat_word])

    def parse(self, frames: list[bytes]) -> Task | None:
        if len(frames) == 1:
            demand(frames[0] == self.heartbeat_word, "not this form's heartbeat", frames)
            self.beats += 1
            return None
        demand(len(frames) >= 3 and frames[1] == b"", "not [address, empty, body...]", frames)
        return Task(frames[0], frames[2:], frames)

    def answer(self, task: Task, body: Body) -> None:
        self.send([task.address, b"", *body])


class TextPppWorker(PppWorker):
    ready_word, heartbeat_word = b"READY", b"HEARTBEAT"


if __name__ == "__main__":
    worker_main(PppWorker, TextPppWorker)
