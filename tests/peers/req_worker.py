"""Plain worker with a REQ socket: the Guide's lbbroker (READY) and Simple Pirate (0x01) workers.

It asks for work with ``READY`` or ``0x01``; a task is ``[address, empty, body...]`` and so is the
answer, which also asks for the next task. The REQ socket adds and removes the empty frame before.
"""

from __future__ import annotations

import zmq

from tests.peers.base import Body, Task, Worker, demand
from tests.peers.program import worker_main


class ReqWorker(Worker):
    kind = zmq.REQ
    word = b"READY"

    def ready(self) -> None:
        self.send([self.word])

    def parse(self, frames: list[bytes]) -> Task:
        demand(len(frames) >= 3 and frames[1] == b"", "not [address, empty, body...]", frames)
        return Task(frames[0], frames[2:], frames)

    def answer(self, task: Task, body: Body) -> None:
        self.send([task.address, b"", *body])


class SimplePirateWorker(ReqWorker):
    word = b"\x01"


if __name__ == "__main__":
    worker_main(ReqWorker, SimplePirateWorker)
