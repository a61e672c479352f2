"""Majordomo 0.2 (RFC 18): client and worker, both with DEALER sockets, with partial answers.

The RFC has no empty frame before a command; some implementations kept the one of 0.1. `delimited`
makes a peer one of those, and it then demands the same of the broker.
"""

from __future__ import annotations

from tests.peers.base import BOUND, Body, Peer, Task, Worker, demand

CLIENT, WORKER = b"MDPC02", b"MDPW02"
C_REQUEST, C_PARTIAL, C_FINAL = b"\x01", b"\x02", b"\x03"
READY, REQUEST, PARTIAL, FINAL = b"\x01", b"\x02", b"\x03", b"\x04"
HEARTBEAT, DISCONNECT = b"\x05", b"\x06"


class Mdp2Client(Peer):
    def __init__(
        self, url: str, *, service: bytes, delimited: bool = False, identity: bytes = b""
    ) -> None:
        super().__init__(url, identity=identity)
        self.service = service
        self.head = [b"", CLIENT] if delimited else [CLIENT]
        self.partials: list[Body] = []  # of the last request

    def ask(self, body: Body, service: bytes | None = None) -> None:
        self.send([*self.head, C_REQUEST, self.service if service is None else service, *body])

    def take(self, timeout: float = BOUND, service: bytes | None = None) -> Body:
        """Give the FINAL's body; the PARTIALs before it are in `partials`."""
        self.partials = []
        while True:
            command, body = self._answer(timeout, self.service if service is None else service)
            if command == C_FINAL:
                return body
            self.partials.append(body)

    def _answer(self, timeout: float, service: bytes) -> tuple[bytes, Body]:
        frames = self.recv(timeout)
        n = len(self.head)
        demand(frames[:n] == self.head, "not MDP/Client 0.2", frames)
        demand(len(frames) >= n + 3, "PARTIAL and FINAL have 4 or more frames", frames)
        demand(frames[n] in (C_PARTIAL, C_FINAL), "neither PARTIAL nor FINAL", frames)
        demand(frames[n + 1] == service, "not the service that was asked", frames)
        return frames[n], frames[n + 2 :]

    def request(self, body: Body, timeout: float = BOUND) -> Body:
        self.ask(body)
        return self.take(timeout)


class Mdp2Worker(Worker):
    heartbeat = 2.5
    disconnects = 0

    def __init__(
        self,
        url: str,
        *,
        service: bytes = b"",
        heartbeat: float | None = None,
        identity: bytes = b"",
        delimited: bool = False,
    ) -> None:
        super().__init__(url, service=service, heartbeat=heartbeat, identity=identity)
        self.head = [b"", WORKER] if delimited else [WORKER]

    def command(self, command: bytes, *frames: bytes) -> None:
        self.send([*self.head, command, *frames])

    def ready(self) -> None:
        self.command(READY, self.service)

    def beat(self) -> None:
        self.command(HEARTBEAT)

    def disconnect(self) -> None:
        self.command(DISCONNECT)

    def parse(self, frames: list[bytes]) -> Task | None:
        n = len(self.head)
        demand(frames[:n] == self.head and len(frames) > n, "not MDP/Worker 0.2", frames)
        command, rest = frames[n], frames[n + 1 :]
        if command == REQUEST:
            demand(len(rest) >= 3 and rest[1] == b"", "not address, empty, body", frames)
            return Task(rest[0], rest[2:], frames, self.service)
        demand(command in (HEARTBEAT, DISCONNECT) and not rest, "not for a worker", frames)
        if command == DISCONNECT:
            self.disconnects += 1
            self.restart()
        return None

    def partial(self, task: Task, body: Body) -> None:
        self.command(PARTIAL, task.address, b"", *body)

    def answer(self, task: Task, body: Body) -> None:
        self.command(FINAL, task.address, b"", *body)
