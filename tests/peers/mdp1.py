"""Majordomo 0.1 (RFC 7): the synchronous client, the asynchronous client, the worker."""

from __future__ import annotations

import zmq

from tests.peers.base import BOUND, Body, Peer, Task, Worker, demand

CLIENT, WORKER = b"MDPC01", b"MDPW01"
READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"


class Mdp1Client(Peer):
    """REQ socket: the empty frame 0 of the RFC is the socket's."""

    kind = zmq.REQ
    head: tuple[bytes, ...] = ()

    def __init__(self, url: str, *, service: bytes, identity: bytes = b"") -> None:
        super().__init__(url, identity=identity)
        self.service = service

    def ask(self, body: Body, service: bytes | None = None) -> None:
        self.send([*self.head, CLIENT, self.service if service is None else service, *body])

    def take(self, timeout: float = BOUND, service: bytes | None = None) -> Body:
        frames = self.recv(timeout)
        want = [*self.head, CLIENT, self.service if service is None else service]
        demand(frames[: len(want)] == want, "not the head of a REPLY", frames)
        body = frames[len(want) :]
        demand(len(body) >= 1, "a REPLY has 4 or more frames", frames)
        return body

    def request(self, body: Body, timeout: float = BOUND) -> Body:
        self.ask(body)
        return self.take(timeout)


class Mdp1AsyncClient(Mdp1Client):
    """DEALER socket: it makes the empty frame 0 itself."""

    kind = zmq.DEALER
    head = (b"",)


class Mdp1Worker(Worker):
    heartbeat = 2.5
    disconnects = 0  # DISCONNECTs got; each is answered with a new socket and READY

    def command(self, command: bytes, *frames: bytes) -> None:
        self.send([b"", WORKER, command, *frames])

    def ready(self) -> None:
        self.command(READY, self.service)

    def beat(self) -> None:
        self.command(HEARTBEAT)

    def disconnect(self) -> None:
        self.command(DISCONNECT)

    def parse(self, frames: list[bytes]) -> Task | None:
        demand(frames[:2] == [b"", WORKER] and len(frames) >= 3, "not MDP/Worker 0.1", frames)
        command, rest = frames[2], frames[3:]
        if command == REQUEST:
            demand(len(rest) >= 3 and rest[1] == b"", "not address, empty, body", frames)
            return Task(rest[0], rest[2:], frames, self.service)
        demand(command in (HEARTBEAT, DISCONNECT) and not rest, "not for a worker", frames)
        if command == DISCONNECT:
            self.disconnects += 1
            self.restart()
        return None

    def answer(self, task: Task, body: Body) -> None:
        self.command(REPLY, task.address, b"", *body)
