"""A queue of every dialect in one file: enough to try the peers on each other, and no more.

It holds one list of waiting requests, a list of free workers, and no timers; it keeps nothing of
a request that it has handed out. Messages are judged by their first frames, as the RFCs describe
them. It answers PND with WELCOME to HELLO and READY, and never heartbeats.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import zmq

from tests.peers import pnd_wire as wire
from tests.peers.base import BOUND, Body
from tests.peers.pnd_wire import Record

EPOCH = b"reference-epoch-"
Send = Callable[[Body], object]  # gives a body to whoever asked, or to whoever works


class Reference:
    """Serves on two loopback ports, in a thread, between enter and exit."""

    def __init__(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.front, self.back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
        for socket in (self.front, self.back):
            socket.linger = 0
        host = "tcp://127.0.0.1"
        self.frontend = f"{host}:{self.front.bind_to_random_port(host)}"
        self.backend = f"{host}:{self.back.bind_to_random_port(host)}"
        self.free: deque[Callable[[bytes, Body], object]] = deque()
        self.waiting: deque[tuple[Send, Send, Body]] = deque()
        self.asked: dict[bytes, tuple[Send, Send]] = {}  # address frame -> final, partial
        self.welcomed: set[bytes] = set()  # routes of PND peers
        self.ready: set[bytes] = set()  # sessions of PND workers
        self.address = 0xABCDEF0123456789
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reference", daemon=True)

    def __enter__(self) -> Reference:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(BOUND)

    def _run(self) -> None:
        poller = zmq.Poller()
        for socket in (self.front, self.back):
            poller.register(socket, zmq.POLLIN)
        while not self._stop.is_set():
            for socket, _ in poller.poll(20):
                route, *frames = socket.recv_multipart()
                self.message(socket, route, frames)
            while self.free and self.waiting:
                final, partial, body = self.waiting.popleft()
                self.address += 1
                address = b"%016x" % self.address
                self.asked[address] = final, partial
                self.free.popleft()(address, body)
        self.front.close()
        self.back.close()

    def message(self, socket: zmq.Socket[bytes], route: bytes, frames: Body) -> None:
        def to(*head: bytes) -> Send:
            return lambda body: socket.send_multipart([route, *head, *body])

        core = frames[1:] if frames[0] == b"" else frames
        lead = frames[: len(frames) - len(core)]
        if frames[0][:3] == b"PND":
            self.pnd(to, route, frames)
        elif core[0] == b"MDPC02":
            head = (*lead, core[0])
            final, partial = to(*head, b"\x03", core[2]), to(*head, b"\x02", core[2])
            self.waiting.append((final, partial, core[3:]))
        elif b"MDPC01" in frames[:2]:
            self.waiting.append((to(*lead, *core[:2]), lambda body: None, core[2:]))
        elif core[0] in (b"MDPW01", b"MDPW02"):
            self.mdp_worker(to, lead, core)
        elif socket is self.front:
            depth = frames.index(b"") + 1 if b"" in frames else 0
            self.waiting.append((to(*frames[:depth]), lambda body: None, frames[depth:]))
        else:
            self.plain_worker(to, lead, core)

    def plain_worker(self, to: Callable[..., Send], lead: Body, core: Body) -> None:
        if core in ([b"\x02"], [b"HEARTBEAT"]):
            to(*core)([])
            return
        if core not in ([b"\x01"], [b"READY"]):
            self.asked.pop(core[0])[0](core[2:])
        self.free.append(lambda address, body: to(*lead, address, b"")(body))

    def mdp_worker(self, to: Callable[..., Send], lead: Body, core: Body) -> None:
        word, command, rest = core[0], core[1], core[2:]
        final = b"\x03" if word == b"MDPW01" else b"\x04"
        partial = b"\x03" if word == b"MDPW02" else b""
        if command == partial:
            self.asked[rest[0]][1](rest[2:])
            return
        if command == final:
            self.asked.pop(rest[0])[0](rest[2:])
        if command in (b"\x01", final):
            head = (*lead, word, b"\x02")
            self.free.append(lambda address, body: to(*head, address, b"")(body))

    def pnd(self, to: Callable[..., Send], route: bytes, frames: Body) -> None:
        def put(record: Record) -> None:
            to()(wire.packet(EPOCH, [record]))

        session, records = unpack_from_peer(frames)
        if route not in self.welcomed:
            self.welcomed.add(route)
            welcome = wire.WELCOME_HEAD.pack(1000, 5, 1 << 26, 1 << 20, 99, 99, 0)
            put(Record(wire.WELCOME, 0, welcome))
        for record in records:
            self.record(put, session, record)

    def record(self, put: Callable[[Record], None], session: bytes, record: Record) -> None:
        if record.kind == wire.READY and session not in self.ready:
            self.ready.add(session)
            self.free.append(lambda address, body: put(task(address, body)))
        elif record.kind == wire.REQUEST and not record.flags & wire.RETRY:
            self.waiting.append(
                (
                    lambda body: put(wire.reply(record.id, body)),
                    lambda body: put(partial(record.id, body)),
                    record.parts,
                )
            )
        elif record.kind == wire.PARTIAL:
            self.asked[b"%016x" % record.id][1](record.parts)
        elif record.kind == wire.REPLY:
            self.asked.pop(b"%016x" % record.id)[0](record.parts)
            self.free.append(lambda address, body: put(task(address, body)))


def unpack_from_peer(frames: Body) -> tuple[bytes, list[Record]]:
    """Unpack a client's packet too, whose `done` is its own."""
    data = frames[0]
    return wire.unpack([data[:24] + bytes(8) + data[32:], *frames[1:]])


def partial(id: int, body: Body) -> Record:
    return Record(wire.PARTIAL, id, wire.PARTIAL_HEAD.pack(0, 1, 1), body)


def task(address: bytes, body: Body) -> Record:
    record = wire.request(int(address, 16), body)
    record.kind = wire.TASK
    record.head = wire.named(attempt=1)
    return record
