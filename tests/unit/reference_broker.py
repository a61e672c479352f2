"""A small honest PND/1 peer in the broker's place, for tests of the ends.

Written with bare pyzmq and struct from the bytes of the specification, not with Pound's codec: a
mistake shared by codec and ends shows here. It decides nothing by itself: a test reads what the
end said (`expect`) and says what the broker would (`say`). Only what every conversation needs goes
by itself, in `say` and `expect`: splitting packets, HEARTBEATs set aside, a bound on every wait.
"""

from __future__ import annotations

import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import zmq

from tests import probe

REQUEST, CANCEL, REPLY, PARTIAL, ERROR, ACCEPTED = range(1, 7)
READY, TASK, HEARTBEAT, BYE, HELLO, WELCOME = range(7, 13)
HOLDS, CREDIT = 13, 14
ATTACHED, DURABLE, RETRY, META, MOVED = 1, 2, 4, 8, 16
KINDS = "REQUEST CANCEL REPLY PARTIAL ERROR ACCEPTED READY TASK HEARTBEAT BYE HELLO WELCOME"
NAMES = dict(enumerate(KINDS.split(), start=1)) | {HOLDS: "HOLDS", CREDIT: "CREDIT"}
RUN = 1 << 40  # the runs of a test count from here
WAIT_S = 10.0  # no wait of a test is longer


@dataclass
class Said:
    """A record that the end said."""

    kind: int
    flags: int = 0
    id: int = 0
    parts: list[bytes] = field(default_factory=list)
    head: tuple[Any, ...] = ()
    service: bytes = b""
    key: bytes = b""  # of a REQUEST
    run: int | None = None  # of a REQUEST: None: it does not say MOVED
    features: int = 0
    epoch: bytes = b""  # of a READY
    holds: list[tuple[int, bytes, int, int]] = field(default_factory=list)  # of a HOLDS
    sequence: int = 0  # of a CREDIT
    route: bytes = b""
    session: bytes = b""
    done: int = 0
    packet: int = 0  # the number of the packet it came in
    at: float = 0.0

    def __str__(self) -> str:
        return f"{NAMES.get(self.kind, self.kind)} id={self.id} flags={self.flags}"


def part_list(parts: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def record(
    kind: int, id: int = 0, head: bytes = b"", parts: Iterable[bytes] = (), flags: int = 0
) -> bytes:
    """The bytes of one record with an inline body."""
    parts = list(parts)
    body = part_list(parts)
    return (
        struct.pack("<IBBHQ", 16 + len(head) + len(body), kind, flags, len(parts), id) + head + body
    )


def welcome(
    heartbeat_ms: int = 60_000,
    liveness: int = 5,
    body_bytes_max: int = 1 << 26,
    packet_bytes_max: int = 1 << 20,
    frames_max: int = 1024,
    requests_max: int = 65536,
    features: int = 0,
) -> bytes:
    numbers = heartbeat_ms, liveness, body_bytes_max, packet_bytes_max, frames_max, requests_max
    head = struct.pack("<7I", *numbers, features)
    return record(WELCOME, head=head)


def reply(id: int, *parts: bytes, flags: int = 0) -> bytes:
    return record(REPLY, id, parts=parts, flags=flags)


def error(id: int, code: int, words: str = "", retry_after_ms: int = 0) -> bytes:
    return record(ERROR, id, struct.pack("<HHI", code, 0, retry_after_ms), [words.encode()])


def partial(
    id: int,
    sequence: int,
    *parts: bytes,
    attempt: int = 1,
    run: int | None = None,
    flags: int = 0,
) -> bytes:
    """By default each attempt is one run, `RUN` and its number."""
    run = RUN + attempt if run is None else run
    return record(PARTIAL, id, struct.pack("<IB3xQ", sequence, attempt, run), parts, flags)


def task(
    token: int,
    service: bytes = b"echo",
    *parts: bytes,
    attempt: int = 1,
    remaining_ms: int = 0,
    key: bytes = bytes(16),
    flags: int = 0,
) -> bytes:
    head = struct.pack("<IBBH16s", remaining_ms, 0, attempt, len(service), key) + service
    return record(TASK, token, head, parts, flags)


def credit(token: int, cost: int, run: int | None = None, sequence: int = 0) -> bytes:
    run = token if run is None else run
    return record(CREDIT, token, struct.pack("<QQI4x", cost, run, sequence))


def bye(reason: int, retry_after_ms: int = 0) -> bytes:
    return record(BYE, head=struct.pack("<HHI", reason, 0, retry_after_ms))


def held(end: Any) -> AbstractContextManager[None]:
    """Hold the engine of a client or a worker still: what is done meanwhile is one turn's work."""
    held: AbstractContextManager[None] = probe.load("engines").Held(end._engine)
    return held


class ReferenceBroker:
    """A ROUTER that a test speaks through.

    Parameters
    ----------
    context : zmq.Context
    endpoint : str
        ``tcp://127.0.0.1:*`` or a port that an earlier one left.
    options : dict
        Of the socket, by libzmq's numbers.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str = "tcp://127.0.0.1:*",
        options: Mapping[int, Any] = MappingProxyType({}),
    ) -> None:
        self._router = context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 0)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        for option, value in options.items():
            self._router.setsockopt(option, value)
        try:
            self._router.bind(endpoint)
        except zmq.ZMQError:
            self.close()
            raise
        self.endpoint = self._router.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self.epoch = os.urandom(16)
        self.route = b""  # of the last record read
        self.packets = 0
        self.heartbeats: list[Said] = []
        self._records: deque[Said] = deque()

    @classmethod
    def bind_again(cls, context: zmq.Context[Any], endpoint: str) -> ReferenceBroker:
        """One at the endpoint of another that was closed; libzmq frees it a moment later."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return cls(context, endpoint)
            except zmq.ZMQError:
                assert time.monotonic() < deadline, f"{endpoint} stays taken"

    def close(self, linger: float = 0) -> None:
        """Close; what was said is still sent for `linger` seconds."""
        self._router.close(linger=int(linger * 1000))

    # -- what the end says ------------------------------------------------------------------

    def read(self, timeout: float = WAIT_S) -> Said | None:
        """The next record that is no HEARTBEAT; None when `timeout` passes without one."""
        deadline = time.monotonic() + timeout
        while not self._records:
            left = deadline - time.monotonic()
            if left <= 0 or not self._router.poll(int(left * 1000) + 1):
                return None
            self._split(self._router.recv_multipart())
        said = self._records.popleft()
        self.route = said.route
        return said

    def expect(self, kind: int, timeout: float = WAIT_S) -> Said:
        """The next record, which has to be of this kind."""
        said = self.read(timeout)
        assert said is not None, f"nothing said; {NAMES[kind]} expected"
        assert said.kind == kind, f"{said} said; {NAMES[kind]} expected"
        return said

    def seek(self, kind: int, where: Callable[[Said], bool] = lambda said: True) -> Said:
        """The next record of this kind for which `where` holds; others are passed over."""
        deadline = time.monotonic() + WAIT_S
        while (said := self.read(deadline - time.monotonic())) is not None:
            if said.kind == kind and where(said):
                return said
        raise AssertionError(f"{NAMES[kind]} expected, not said in {WAIT_S} s")

    def expect_silence(self, seconds: float) -> None:
        """Nothing but HEARTBEATs for so long."""
        said = self.read(seconds)
        assert said is None, f"{said} said; silence expected"

    def heartbeat(self) -> Said:
        """The next HEARTBEAT; records before it stay to be read."""
        deadline = time.monotonic() + WAIT_S
        while not self.heartbeats:
            left = deadline - time.monotonic()
            assert self._router.poll(max(1, int(left * 1000))), "no HEARTBEAT"
            self._split(self._router.recv_multipart())
        return self.heartbeats.pop(0)

    # -- what the broker says ---------------------------------------------------------------

    def say(
        self, *records: bytes, attached: Iterable[bytes] = (), route: bytes | None = None
    ) -> None:
        """Send one packet to `route`, by default to that of the last record read."""
        head = b"PND\x01" + struct.pack("<HH", len(records), 0) + self.epoch + bytes(8)
        to = self.route if route is None else route
        self._router.send_multipart([to, head + b"".join(records), *attached])

    def greet(self, **limits: int) -> Said:
        """Read HELLO or READY, whichever comes, and answer with WELCOME."""
        said = self.read()
        assert said is not None, "no greeting"
        assert said.kind in (HELLO, READY), f"{said} said; a greeting expected"
        self.say(welcome(**limits))
        return said

    # -- packets ----------------------------------------------------------------------------

    def _split(self, message: list[bytes]) -> None:
        route, frame, *attached = message
        self.packets += 1
        assert frame[:4] == b"PND\x01"
        count, reserved, session, done = struct.unpack_from("<HH16sQ", frame, 4)
        assert reserved == 0
        assert count > 0
        at = 32
        for _ in range(count):
            said = Said(0, route=route, session=session, done=done, packet=self.packets)
            said.at = time.monotonic()
            at = self._split_record(said, frame, at, attached)
            (self.heartbeats if said.kind == HEARTBEAT else self._records).append(said)
        assert at == len(frame)
        assert not attached

    @staticmethod
    def _split_record(said: Said, frame: bytes, at: int, attached: list[bytes]) -> int:
        size, said.kind, said.flags, parts, said.id = struct.unpack_from("<IBBHQ", frame, at)
        end, at = at + size, at + 16
        if said.kind == REQUEST:  # head: timeout_ms, priority
            *head, n, said.key = struct.unpack_from("<IBxH16s", frame, at)
            said.head, said.service, at = tuple(head), frame[at + 24 : at + 24 + n], at + 24 + n
            if said.flags & MOVED:
                (said.run,), at = struct.unpack_from("<Q", frame, at), at + 8
        elif said.kind in (ERROR, BYE):  # head: code or reason, retry_after_ms
            code, _, retry_after_ms = struct.unpack_from("<HHI", frame, at)
            said.head, at = (code, retry_after_ms), at + 8
        elif said.kind == PARTIAL:  # head: sequence, attempt
            *head, run = struct.unpack_from("<IB3xQ", frame, at)
            assert run == said.id, "a PARTIAL's run is not its token"
            said.head, at = tuple(head), at + 16
        elif said.kind == CREDIT:  # head: cost, run
            *head, said.sequence = struct.unpack_from("<QQI4x", frame, at)
            said.head, at = tuple(head), at + 24
        elif said.kind == HELLO:
            (said.features,), at = struct.unpack_from("<I", frame, at), at + 4
        elif said.kind == READY:  # head: capacity, then the tokens
            capacity, n, said.features, said.epoch = struct.unpack_from("<III16s", frame, at)
            said.head = (capacity, struct.unpack_from(f"<{n}Q", frame, at + 28))
            at += 28 + 8 * n
        elif said.kind == HOLDS:  # token, key, attempt, 1: answered
            (n,), at = struct.unpack_from("<I4x", frame, at), at + 8
            said.holds = list(struct.iter_unpack("<Q16sBB6x", frame[at : at + 32 * n]))
            at += 32 * n
        if said.flags & ATTACHED:
            said.parts = [attached.pop(0) for _ in range(parts)]
        else:
            for _ in range(parts):
                (n,) = struct.unpack_from("<I", frame, at)
                said.parts.append(frame[at + 4 : at + 4 + n])
                at += 4 + n
        assert at == end, f"{said}: size says {end}, parts end at {at}"
        return end
