"""PND/1 packets with bare struct: packing, strict unpacking, nothing else.

Layout: a 32-byte header (magic, record count, reserved, session, done), then records of 16 bytes,
head, inline parts; the bodies of ATTACHED records are the frames after the packet, in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.peers.base import Body, demand

MAGIC = b"PND\x01"
HEADER = struct.Struct("<4sHH16sQ")
RECORD = struct.Struct("<IBBHQ")
U32 = struct.Struct("<I")
REQUEST_HEAD = struct.Struct("<IBBH16s")  # timeout_ms, priority, attempt, service's size, key
RUN = struct.Struct("<Q")  # of a moved REQUEST
PARTIAL_HEAD = struct.Struct("<IB3xQ")  # sequence, attempt, run
ERROR_HEAD = struct.Struct("<HHI")  # code or reason, 0, retry_after_ms; BYE alike
READY_HEAD = struct.Struct("<III16s")  # capacity, number of tokens, features, epoch
WELCOME_HEAD = struct.Struct("<7I")  # six limits and rates, features
CREDIT_HEAD = struct.Struct("<QQI4x")  # what a run may cost in all, run, next sequence
HOLDS_HEAD = struct.Struct("<I4x")  # number of entries
HOLDS_ENTRY = struct.Struct("<Q16sBB6x")  # token, key, attempt, state
NO_KEY = NO_EPOCH = bytes(16)

REQUEST, CANCEL, REPLY, PARTIAL, ERROR, ACCEPTED = 1, 2, 3, 4, 5, 6
READY, TASK, HEARTBEAT, BYE, HELLO, WELCOME = 7, 8, 9, 10, 11, 12
HOLDS, CREDIT = 13, 14
ADOPTION = 1  # a feature
RUNNING, ANSWERED = 0, 1  # states of HOLDS
ATTACHED, DURABLE, RETRY, META, MOVED = 1, 2, 4, 8, 16
ATTACH_FROM = 4096  # bytes of one part from which this implementation attaches a body


@dataclass
class Record:
    kind: int
    id: int = 0
    head: bytes = b""
    parts: Body = field(default_factory=list)
    flags: int = 0

    def pack(self) -> tuple[bytes, Body]:
        """Give the record's bytes and the frames that it claims."""
        if self.flags & ATTACHED:
            inline, attached = b"", self.parts
        else:
            inline, attached = b"".join(U32.pack(len(p)) + p for p in self.parts), []
        size = RECORD.size + len(self.head) + len(inline)
        start = RECORD.pack(size, self.kind, self.flags, len(self.parts), self.id)
        return start + self.head + inline, attached


def named(
    service: bytes = b"",
    *,
    timeout_ms: int = 0,
    priority: int = 0,
    attempt: int = 0,
    key: bytes = NO_KEY,
) -> bytes:
    """Give the head of a REQUEST or TASK."""
    return REQUEST_HEAD.pack(timeout_ms, priority, attempt, len(service), key) + service


def request(
    id: int,
    body: Body,
    service: bytes = b"",
    *,
    timeout_ms: int = 0,
    priority: int = 0,
    key: bytes = NO_KEY,
    run: int | None = None,
    flags: int = 0,
) -> Record:
    """Give a REQUEST; with `run`, 0 or the one that was seen elsewhere, it says MOVED."""
    if any(len(part) >= ATTACH_FROM for part in body):
        flags |= ATTACHED
    head = named(service, timeout_ms=timeout_ms, priority=priority, key=key)
    if run is not None:
        flags |= MOVED
        head += RUN.pack(run)
    return Record(REQUEST, id, head, body, flags)


def hello(label: bytes = b"tests:0", features: int = 0) -> Record:
    return Record(HELLO, 0, U32.pack(features), [label])


def reply(id: int, body: Body) -> Record:
    big = any(len(part) >= ATTACH_FROM for part in body)
    return Record(REPLY, id, b"", body, ATTACHED if big else 0)


def partial(token: int, sequence: int, attempt: int, body: Body) -> Record:
    """Give a worker's PARTIAL: its run is the token."""
    return Record(PARTIAL, token, PARTIAL_HEAD.pack(sequence, attempt, token), body)


def credit(id: int, run: int, cost: int, sequence: int = 0) -> Record:
    return Record(CREDIT, id, CREDIT_HEAD.pack(cost, run, sequence))


def partial_cost(body: Body) -> int:
    """What a partial counts against its stream's credit."""
    return sum(map(len, body)) + 64 * (1 + len(body))


def error(id: int, code: int, text: str = "", retry_after_ms: int = 0) -> Record:
    return Record(ERROR, id, ERROR_HEAD.pack(code, 0, retry_after_ms), [text.encode()])


def ready(
    capacity: int,
    services: Iterable[bytes],
    tokens: Iterable[int] = (),
    label: bytes = b"tests:0",
    *,
    features: int = 0,
    epoch: bytes = NO_EPOCH,
) -> Record:
    held = list(tokens)
    head = READY_HEAD.pack(capacity, len(held), features, epoch or NO_EPOCH)
    return Record(READY, 0, head + struct.pack(f"<{len(held)}Q", *held), [label, *services])


def holds(*entries: tuple[int, bytes, int, int]) -> Record:
    """Give a HOLDS of (token, key, attempt, state)."""
    packed = b"".join(HOLDS_ENTRY.pack(*entry) for entry in entries)
    return Record(HOLDS, 0, HOLDS_HEAD.pack(len(entries)) + packed)


def bye(reason: int) -> Record:
    return Record(BYE, 0, ERROR_HEAD.pack(reason, 0, 0))


def packet(session: bytes, records: list[Record], done: int = 0) -> list[bytes]:
    """Give the frames of one message."""
    packed = [record.pack() for record in records]
    head = HEADER.pack(MAGIC, len(records), 0, session, done)
    attached = [frame for _, frames in packed for frame in frames]
    return [head + b"".join(data for data, _ in packed), *attached]


def unpack(frames: list[bytes]) -> tuple[bytes, list[Record]]:
    """Give the sender's session (the broker's epoch) and the records; raise `ViolationError`."""
    data, attached = frames[0], frames[1:]
    demand(len(data) >= HEADER.size, "a packet shorter than its header", data)
    magic, count, reserved, session, done = HEADER.unpack_from(data)
    demand(magic == MAGIC and reserved == 0 and count >= 1, "not a PND/1 header", data)
    demand(done == 0, "done is the client's alone", done)
    at, records = HEADER.size, []
    for _ in range(count):
        demand(len(data) - at >= RECORD.size, "a record shorter than its start", data)
        size, kind, flags, parts, id = RECORD.unpack_from(data, at)
        demand(RECORD.size <= size <= len(data) - at, "a record's size", size)
        rest = data[at + RECORD.size : at + size]
        at += size
        head = rest[: head_size(kind, flags, rest)]
        inline = rest[len(head) :]
        if flags & ATTACHED:
            demand(not inline and 1 <= parts <= len(attached), "attached parts", (kind, parts))
            body, attached = attached[:parts], attached[parts:]
        else:
            body = unpack_parts(inline, parts)
        records.append(Record(kind, id, head, body, flags))
    demand(at == len(data) and not attached, "bytes or frames beyond the last record", data)
    return session, records


def head_size(kind: int, flags: int, rest: bytes) -> int:
    if kind in (REQUEST, TASK):
        *_, n, _ = REQUEST_HEAD.unpack_from(rest)
        more = (4 if flags & DURABLE else 0) + (RUN.size if flags & MOVED else 0)
        return REQUEST_HEAD.size + int(n) + more
    if kind == READY:
        _, n, *_ = READY_HEAD.unpack_from(rest)
        return READY_HEAD.size + 8 * int(n)
    if kind == HOLDS:
        (n,) = HOLDS_HEAD.unpack_from(rest)
        return HOLDS_HEAD.size + HOLDS_ENTRY.size * int(n)
    fixed = {HELLO: 4, PARTIAL: PARTIAL_HEAD.size, ERROR: 8, BYE: 8, CREDIT: CREDIT_HEAD.size}
    return (fixed | {WELCOME: WELCOME_HEAD.size}).get(kind, 0)


def unpack_parts(inline: bytes, parts: int) -> Body:
    body, at = [], 0
    for _ in range(parts):
        demand(len(inline) - at >= 4, "a part shorter than its size", inline)
        (size,) = U32.unpack_from(inline, at)
        body.append(inline[at + 4 : at + 4 + size])
        demand(len(body[-1]) == size, "a part shorter than it says", inline)
        at += 4 + size
    demand(at == len(inline), "bytes beyond the last part", inline)
    return body
