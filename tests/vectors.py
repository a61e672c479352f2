"""The test vectors of PND/1, built with `struct` alone and kept as docs/protocol-vectors.json.

They are written from docs/protocol.md and share no code with the codec, so that the two can
contradict each other. `python -m tests.vectors` writes the file anew; a test keeps both equal.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "docs" / "protocol-vectors.json"

SESSION = bytes(range(0xA0, 0xB0))
KEY = bytes(range(0x10, 0x20))
EPOCH = bytes(range(0xC0, 0xD0))
NONE = bytes(16)  # no key, no epoch
ATTACHED, DURABLE, RETRY, META, MOVED = 1, 2, 4, 8, 16
KINDS = (
    *("REQUEST", "CANCEL", "REPLY", "PARTIAL", "ERROR", "ACCEPTED"),
    *("READY", "TASK", "HEARTBEAT", "BYE", "HELLO", "WELCOME", "HOLDS", "CREDIT"),
)
NUMBERS = {name: number for number, name in enumerate(KINDS, 1)}
WITHOUT_BODY = ("CANCEL", "ACCEPTED", "HEARTBEAT", "BYE", "WELCOME", "HOLDS", "CREDIT")
WITH_PLAIN_BODY = ("READY", "HELLO")

Vector = dict[str, Any]


# --- bytes, straight from the tables of the specification ---


def header(count: int, done: int = 0, magic: bytes = b"PND\x01", reserved: int = 0) -> bytes:
    return magic + struct.pack("<HH", count, reserved) + SESSION + struct.pack("<Q", done)


def inline(parts: Sequence[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def record(
    kind: str | int,
    head: bytes = b"",
    body: bytes = b"",
    *,
    id: int = 0,
    flags: int = 0,
    parts: int = 0,
    size: int | None = None,
) -> bytes:
    number = kind if isinstance(kind, int) else NUMBERS[kind]
    size = 16 + len(head) + len(body) if size is None else size
    return struct.pack("<IBBHQ", size, number, flags, parts, id) + head + body


def named(
    service: bytes, ms: int = 0, priority: int = 0, attempt: int = 0, key: bytes = NONE
) -> bytes:
    return struct.pack("<IBBH", ms, priority, attempt, len(service)) + key + service


def durable(delay_ms: int = 0) -> bytes:
    return struct.pack("<I", delay_ms)


def moved(run: int = 0) -> bytes:
    return struct.pack("<Q", run)


def coded(code: int, retry_after_ms: int = 0, reserved: int = 0) -> bytes:
    return struct.pack("<HHI", code, reserved, retry_after_ms)


def partial(sequence: int, attempt: int, run: int = 0, reserved: bytes = bytes(3)) -> bytes:
    return struct.pack("<IB", sequence, attempt) + reserved + struct.pack("<Q", run)


def ready(
    capacity: int,
    tokens: Sequence[int],
    count: int | None = None,
    features: int = 0,
    epoch: bytes = NONE,
) -> bytes:
    count = len(tokens) if count is None else count
    numbers = struct.pack(f"<{len(tokens)}Q", *tokens)
    return struct.pack("<III", capacity, count, features) + epoch + numbers


def hello(features: int = 0) -> bytes:
    return struct.pack("<I", features)


def holds(*entries: bytes, count: int | None = None, reserved: int = 0) -> bytes:
    count = len(entries) if count is None else count
    return struct.pack("<II", count, reserved) + b"".join(entries)


def entry(
    token: int, attempt: int, state: int, reserved: bytes = bytes(6), key: bytes = KEY
) -> bytes:
    return struct.pack("<Q", token) + key + bytes([attempt, state]) + reserved


def packet(*records: bytes, count: int | None = None, **fields: Any) -> bytes:
    return header(len(records) if count is None else count, **fields) + b"".join(records)


# --- sound packets ---


def sound(
    name: str, frames: Sequence[bytes], records: list[Vector], done: int = 0, *, same: bool = True
) -> Vector:
    """One vector; `same`: a sender that attaches from 4 KiB up writes exactly these bytes."""
    return {
        "name": name,
        "frames": [frame.hex() for frame in frames],
        "session": SESSION.hex(),
        "done": str(done),
        "records": records,
        "encodes": same,
    }


def said(kind: str | int, parts: Sequence[bytes] = (), **fields: Any) -> Vector:
    """The decoded fields of a record; those of its kind are always given."""
    for key, value in fields.items():
        if isinstance(value, bytes):
            fields[key] = value.hex()
    fields["id"] = str(fields.get("id", 0))
    for name in ("credit", "run"):
        if name in fields:
            fields[name] = str(fields[name])
    if "tokens" in fields:
        fields["tokens"] = [str(token) for token in fields["tokens"]]
    if "holds" in fields:
        fields["holds"] = [
            {"token": str(token), "key": key.hex(), "attempt": attempt, "state": state}
            for token, key, attempt, state in fields["holds"]
        ]
    if kind in ("REQUEST", "TASK"):
        fields.setdefault("key", NONE.hex())
        fields |= {"timeout_ms": 0, "priority": 0} | fields
    if kind == "TASK":
        fields.setdefault("attempt", 0)
    if kind == "READY":
        fields.setdefault("epoch", NONE.hex())
    if kind in ("READY", "HELLO", "WELCOME"):
        fields.setdefault("features", 0)
    return {"kind": kind, "flags": 0, **fields, "parts": [part.hex() for part in parts]}


def credit(cost: int, run: int, sequence: int = 0, reserved: bytes = bytes(4)) -> bytes:
    return struct.pack("<QQI", cost, run, sequence) + reserved


def request_vectors() -> Iterator[Vector]:
    body = [b"hello"]
    yield sound(
        "a request to the default service, without a body",
        [packet(record("REQUEST", named(b""), id=1))],
        [said("REQUEST", id=1, service=b"")],
    )
    yield sound(
        "a request with every field of its head",
        [
            packet(
                record(
                    "REQUEST",
                    named(b"echo", 2500, 9, key=KEY),
                    inline(body),
                    id=258,
                    parts=1,
                    flags=RETRY,
                ),
                done=257,
            )
        ],
        [
            said(
                "REQUEST",
                body,
                id=258,
                flags=RETRY,
                service=b"echo",
                timeout_ms=2500,
                priority=9,
                key=KEY,
            )
        ],
        done=257,
    )
    yield sound(
        "the largest numbers, the longest name, which is not UTF-8",
        [packet(record("REQUEST", named(b"\xff" * 255, 2**32 - 1), id=2**64 - 1), done=2**64 - 1)],
        [said("REQUEST", id=2**64 - 1, service=b"\xff" * 255, timeout_ms=2**32 - 1)],
        done=2**64 - 1,
    )
    parts = [b'{"a":"b"}', b"", b"\0\x01\xff"]
    yield sound(
        "metadata, an empty part and binary data",
        [packet(record("REQUEST", named(b"x"), inline(parts), id=7, parts=3, flags=META))],
        [said("REQUEST", parts, id=7, flags=META, service=b"x")],
    )
    head = named(b"d", key=KEY) + durable(60000)
    yield sound(
        "a durable request",
        [packet(record("REQUEST", head, inline(body), id=8, parts=1, flags=DURABLE))],
        [said("REQUEST", body, id=8, flags=DURABLE, service=b"d", key=KEY, delay_ms=60000)],
    )
    yield sound(
        "a request that was sent in another epoch, and of whose answer nothing was seen",
        [packet(record("REQUEST", named(b"x", key=KEY) + moved(), id=9, flags=MOVED))],
        [said("REQUEST", id=9, flags=MOVED, service=b"x", key=KEY, run=0)],
    )
    flags = DURABLE | RETRY | META | MOVED
    head += moved(2**64 - 2)
    values = {"service": b"d", "key": KEY, "delay_ms": 60000, "run": 2**64 - 2}
    yield sound(
        "a durable one of whose answer a part was seen",
        [packet(record("REQUEST", head, inline(body), id=10, parts=1, flags=flags))],
        [said("REQUEST", body, id=10, flags=flags, **values)],
    )


def task_vectors() -> Iterator[Vector]:
    body = [b"hello"]
    yield sound(
        "a task on its second attempt",
        [packet(record("TASK", named(b"echo", 2400, 9, 2, KEY), inline(body), id=2**63, parts=1))],
        [
            said(
                "TASK",
                body,
                id=2**63,
                service=b"echo",
                timeout_ms=2400,
                priority=9,
                attempt=2,
                key=KEY,
            )
        ],
    )
    yield sound(
        "a durable task",
        [
            packet(
                record(
                    "TASK",
                    named(b"d", 0, 0, 1, KEY) + durable(0),
                    inline(body),
                    id=9,
                    parts=1,
                    flags=DURABLE | META,
                )
            )
        ],
        [
            said(
                "TASK",
                body,
                id=9,
                flags=DURABLE | META,
                service=b"d",
                attempt=1,
                key=KEY,
                delay_ms=0,
            )
        ],
    )
    yield sound("a reply without a body", [packet(record("REPLY", id=3))], [said("REPLY", id=3)])
    yield sound(
        "a reply of one empty part",
        [packet(record("REPLY", b"", inline([b""]), id=3, parts=1))],
        [said("REPLY", [b""], id=3)],
    )
    yield sound(
        "a partial answer, as a worker says it: its run is the token",
        [packet(record("PARTIAL", partial(0, 1, 2**63), inline([b"p"]), id=2**63, parts=1))],
        [said("PARTIAL", [b"p"], id=2**63, sequence=0, attempt=1, run=2**63)],
    )
    yield sound(
        "a partial answer, as a client gets it",
        [packet(record("PARTIAL", partial(513, 4, 2**63), inline([b"p", b"q"]), id=3, parts=2))],
        [said("PARTIAL", [b"p", b"q"], id=3, sequence=513, attempt=4, run=2**63)],
    )
    yield sound(
        "an error",
        [packet(record("ERROR", coded(8, 250), inline([b"busy"]), id=3, parts=1))],
        [said("ERROR", [b"busy"], id=3, code=8, retry_after_ms=250)],
    )


def control_vectors() -> Iterator[Vector]:
    for kind in ("CANCEL", "ACCEPTED", "HEARTBEAT"):
        number = 0 if kind == "HEARTBEAT" else 77
        yield sound(kind.lower(), [packet(record(kind, id=number))], [said(kind, id=number)])
    yield sound(
        "a worker with two services that holds nothing",
        [packet(record("READY", ready(4, []), inline([b"host:1", b"a", b"b"]), parts=3))],
        [said("READY", [b"host:1", b"a", b"b"], capacity=4, tokens=[])],
    )
    tokens = [0, 1, 2**64 - 1]
    yield sound(
        "a worker of the default service that holds three tasks",
        [packet(record("READY", ready(65535, tokens), inline([b"", b""]), parts=2))],
        [said("READY", [b"", b""], capacity=65535, tokens=tokens)],
    )
    yield sound(
        "a worker that keeps tasks says which epoch its tokens are of",
        [
            packet(
                record(
                    "READY", ready(1, [7], None, 2**32 - 1, EPOCH), inline([b"h", b"a"]), parts=2
                )
            )
        ],
        [said("READY", [b"h", b"a"], capacity=1, tokens=[7], features=2**32 - 1, epoch=EPOCH)],
    )
    yield sound(
        "bye",
        [packet(record("BYE", coded(1, 1000)))],
        [said("BYE", code=1, retry_after_ms=1000)],
    )
    yield sound(
        "hello",
        [packet(record("HELLO", hello(), inline([b"host:2"]), parts=1))],
        [said("HELLO", [b"host:2"])],
    )
    yield sound(
        "hello with every feature, known or not, and without a label",
        [packet(record("HELLO", hello(2**32 - 1)))],
        [said("HELLO", features=2**32 - 1)],
    )
    limits = {
        "heartbeat_ms": 1000,
        "liveness": 5,
        "body_bytes_max": 67108864,
        "packet_bytes_max": 1048576,
        "frames_max": 1024,
        "requests_max": 65536,
        "features": 3,
    }
    yield sound(
        "welcome",
        [packet(record("WELCOME", struct.pack("<7I", *limits.values())))],
        [said("WELCOME", **limits)],
    )
    yield sound(
        "credit",
        [packet(record("CREDIT", credit(2**64 - 1, 2**64 - 2, 2**32 - 1), id=3))],
        [said("CREDIT", id=3, credit=2**64 - 1, run=2**64 - 2, sequence=2**32 - 1)],
    )
    yield sound(
        "a worker that holds nothing of an earlier epoch",
        [packet(record("HOLDS", holds()))],
        [said("HOLDS", holds=[])],
    )
    yield sound(
        "a worker that holds a running task, and an answer",
        [
            packet(
                record("HOLDS", holds(entry(1, 1, 0), entry(2**64 - 1, 255, 1, key=SESSION))),
                record("READY", ready(2, [], None, 1, EPOCH), inline([b"h", b"a"]), parts=2),
            )
        ],
        [
            said("HOLDS", holds=[(1, KEY, 1, 0), (2**64 - 1, SESSION, 255, 1)]),
            said("READY", [b"h", b"a"], capacity=2, tokens=[], features=1, epoch=EPOCH),
        ],
    )


def mixed_vectors() -> Iterator[Vector]:
    yield sound(
        "records of several kinds, in order",
        [
            packet(
                record("ACCEPTED", id=5),
                record("REPLY", b"", inline([b"r"]), id=4, parts=1),
                record("HEARTBEAT"),
            )
        ],
        [said("ACCEPTED", id=5), said("REPLY", [b"r"], id=4), said("HEARTBEAT")],
    )
    yield sound(
        "attached bodies are claimed in the order of the records",
        [
            packet(
                record("REQUEST", named(b"a"), id=1, parts=2, flags=ATTACHED),
                record("REQUEST", named(b"b"), inline([b"in"]), id=2, parts=1),
                record("REQUEST", named(b"c"), id=3, parts=1, flags=ATTACHED | META | RETRY),
            ),
            b"first",
            b"",
            b"third",
        ],
        [
            said("REQUEST", [b"first", b""], id=1, flags=ATTACHED, service=b"a"),
            said("REQUEST", [b"in"], id=2, service=b"b"),
            said("REQUEST", [b"third"], id=3, flags=ATTACHED | META | RETRY, service=b"c"),
        ],
        same=False,
    )
    yield sound(
        "unknown kinds are skipped by their size, and their attached frames with them",
        [
            packet(
                record(0, b"any"),
                record(15, b"any", id=6, flags=ATTACHED | DURABLE, parts=1),
                record(255, b"", id=2, parts=9, flags=RETRY),
                record("REPLY", id=4, parts=1, flags=ATTACHED),
            ),
            b"skipped",
            b"kept",
        ],
        [
            said(0),
            said(15, [b"skipped"], id=6, flags=ATTACHED | DURABLE),
            said(255, id=2, flags=RETRY),
            said("REPLY", [b"kept"], id=4, flags=ATTACHED),
        ],
        same=False,
    )


# --- broken packets ---


def broken(name: str, error: str, *frames: bytes, at: int | None = None) -> Vector:
    """One vector; `at`: the record, counted from 0, in which the error is found."""
    return {"name": name, "frames": [f.hex() for f in frames], "error": error, "record": at}


def broken_header_vectors() -> Iterator[Vector]:
    beat = record("HEARTBEAT")
    good = packet(beat)
    yield broken("an empty frame", "short", b"")
    yield broken("three bytes", "short", b"PND")
    yield broken("another protocol", "magic", b"PNX" + good[3:])
    yield broken("a small letter", "magic", b"pND" + good[3:])
    for version in (0, 2, 255):
        yield broken(f"version {version}", "version", packet(beat, magic=b"PND" + bytes([version])))
    yield broken("another version may be short", "version", b"PND\x02")
    yield broken("a header that ends early", "short", good[:31])
    for reserved in (1, 0x100, 0x8000):
        yield broken(f"reserved {reserved:#x}", "reserved", packet(beat, reserved=reserved))
    yield broken("no record", "count", packet())
    yield broken("count 0 before a record", "count", packet(beat, count=0))
    yield broken("fewer records than counted", "short", packet(beat, count=2), at=1)
    yield broken("more records than counted", "count", packet(beat, beat, count=1))
    yield broken("a byte after the last record", "count", good + b"\0")


def broken_record_vectors() -> Iterator[Vector]:
    beat = record("HEARTBEAT")
    yield broken("a record that ends early", "short", packet(beat)[:-1], at=0)
    for size in (0, 15, 17, 2**31, 2**32 - 1):
        yield broken(f"size {size}", "size", packet(record("HEARTBEAT", size=size)), at=0)
    yield broken(
        "the second record is larger than the rest",
        "size",
        packet(beat, record("REPLY", size=17)),
        at=1,
    )
    for bit in (32, 64, 128):
        yield broken(f"flag {bit}", "flags", packet(record("REQUEST", named(b""), flags=bit)), at=0)
        yield broken(f"flag {bit} of an unknown kind", "flags", packet(record(99, flags=bit)), at=0)
    for kind, flags in (
        ("TASK", RETRY),
        ("TASK", MOVED),
        *((kind, MOVED) for kind in KINDS if kind not in ("REQUEST", "TASK")),
        ("REPLY", DURABLE),
        ("REPLY", RETRY),
        ("PARTIAL", DURABLE),
        ("ERROR", RETRY),
        *((kind, flag) for kind in WITHOUT_BODY for flag in (ATTACHED, META)),
        *((kind, flag) for kind in WITH_PLAIN_BODY for flag in (ATTACHED, META, DURABLE, RETRY)),
    ):
        yield broken(
            f"flag {flags} in {kind}", "flags", packet(record(kind, flags=flags), count=1), at=0
        )


def broken_parts_vectors() -> Iterator[Vector]:
    def reply(body: bytes, parts: int, flags: int = 0) -> bytes:
        return packet(record("REPLY", b"", body, parts=parts, flags=flags))

    yield broken("metadata without a part", "parts", reply(b"", 0, META), at=0)
    yield broken("attached, but no part", "parts", reply(b"", 0, ATTACHED), at=0)
    yield broken("attached and inline", "parts", reply(inline([b"x"]), 1, ATTACHED), b"x", at=0)
    yield broken("bytes without a part", "parts", reply(b"x", 0), at=0)
    yield broken("a part without its length", "parts", reply(b"", 1), at=0)
    yield broken("a length of three bytes", "parts", reply(b"\0\0\0", 1), at=0)
    yield broken("a part longer than its record", "parts", reply(b"\x02\0\0\0x", 1), at=0)
    yield broken("a part of 4 GiB", "parts", reply(b"\xff\xff\xff\xffx", 1), at=0)
    yield broken("a byte after the parts", "parts", reply(inline([b"x"]) + b"y", 1), at=0)
    yield broken("fewer parts than counted", "parts", reply(inline([b"x"]), 2), at=0)
    yield broken("more parts than counted", "parts", reply(inline([b"x", b"y"]), 1), at=0)
    heads = {"BYE": coded(1), "WELCOME": bytes(28), "HOLDS": holds(), "CREDIT": credit(1, 1)}
    for kind in WITHOUT_BODY:
        yield broken(
            f"{kind} with a part",
            "parts",
            packet(record(kind, heads.get(kind, b""), inline([b"x"]), parts=1)),
            at=0,
        )
    reply_with_frame = packet(record("REPLY", parts=1, flags=ATTACHED))
    yield broken("an attached frame is missing", "frames", reply_with_frame)
    yield broken("an attached frame too many", "frames", reply_with_frame, b"x", b"y")
    yield broken("an attached frame that nobody claims", "frames", reply(b"", 0), b"x")
    yield broken(
        "an unknown kind claims a frame that is missing",
        "frames",
        packet(record(99, parts=1, flags=ATTACHED)),
    )


def broken_head_vectors() -> Iterator[Vector]:
    heads = {
        "REQUEST": named(b""),
        "TASK": named(b"", attempt=1),
        "PARTIAL": partial(0, 1),
        "ERROR": coded(2),
        "BYE": coded(1),
        "READY": ready(1, []),
        "HELLO": hello(),
        "WELCOME": bytes(28),
        "HOLDS": holds(),
        "CREDIT": credit(1, 1),
    }
    for kind, head in heads.items():
        yield broken(f"{kind} without a head", "head", packet(record(kind)), at=0)
        early = packet(record(kind, head[:-1]))
        yield broken(f"the head of {kind} ends early", "head", early, at=0)
    for kind in ("REQUEST", "TASK"):
        short = named(b"echo")[:-1]
        yield broken(f"the name in {kind} ends early", "head", packet(record(kind, short)), at=0)
        yield broken(
            f"a durable {kind} without a delay",
            "head",
            packet(record(kind, named(b"d"), flags=DURABLE)),
            at=0,
        )
        yield broken(
            f"a durable {kind} without its last byte",
            "head",
            packet(record(kind, named(b"d") + durable()[:-1], flags=DURABLE)),
            at=0,
        )
    for name, head, flags in (
        ("moved", named(b"d"), MOVED),
        ("durable and moved", named(b"d") + durable(), DURABLE | MOVED),
    ):
        for size in (0, 7):
            yield broken(
                f"a REQUEST that is {name}, with {size} bytes of a run",
                "head",
                packet(record("REQUEST", head + moved()[:size], flags=flags)),
                at=0,
            )
    for count in (2, 0x20000000, 0x20000001, 2**32 - 1):
        yield broken(
            f"READY with 1 token that says {count}",
            "head",
            packet(record("READY", ready(1, [5], count))),
            at=0,
        )
    for count in (2, 0x08000000, 0x08000001, 2**32 - 1):
        yield broken(
            f"HOLDS with 1 entry that says {count}",
            "head",
            packet(record("HOLDS", holds(entry(5, 1, 0), count=count))),
            at=0,
        )
    yield broken(
        "HOLDS with more than its entries",
        "parts",
        packet(record("HOLDS", holds(entry(5, 1, 0), b"\0", count=1))),
        at=0,
    )
    for kind, head in (
        ("REQUEST", named(b"", attempt=1)),
        ("PARTIAL", partial(0, 1, 1, b"\x01\0\0")),
        ("PARTIAL", partial(0, 1, 1, b"\0\x01\0")),
        ("PARTIAL", partial(0, 1, 1, b"\0\0\x80")),
        ("ERROR", coded(2, reserved=1)),
        ("ERROR", coded(2, reserved=0x100)),
        ("BYE", coded(1, reserved=1)),
        ("BYE", coded(1, reserved=0x100)),
        *(("CREDIT", credit(1, 1, 0, bytes(n) + b"\x80" + bytes(3 - n))) for n in range(4)),
        ("HOLDS", holds(reserved=1)),
        ("HOLDS", holds(entry(5, 1, 0), reserved=1 << 31)),
        *(
            ("HOLDS", holds(entry(5, 1, 0), entry(6, 1, 1, bytes(n) + b"\x80" + bytes(5 - n))))
            for n in range(6)
        ),
    ):
        yield broken(f"reserved bytes in {kind}", "reserved", packet(record(kind, head)), at=0)


# --- the broker's rewrites in place ---


def rewrites() -> Iterator[Vector]:
    """What a broker makes of a record when it relays it; all but these bytes stay."""
    body = inline([b"hello"])
    for name, extra, flags in (
        ("a request becomes a task", b"", RETRY | META),
        ("a durable one keeps its key, not its delay", durable(9), DURABLE | RETRY),
    ):
        task = durable(0) if extra else b""
        yield {
            "name": name,
            "from": record(
                "REQUEST",
                named(b"echo", 2500, 9, key=KEY) + extra,
                body,
                id=5,
                parts=1,
                flags=flags,
            ).hex(),
            "token": str(2**64 - 2),
            "remaining_ms": 1700,
            "attempt": 3,
            "to": record(
                "TASK",
                named(b"echo", 1700, 9, 3, KEY) + task,
                body,
                id=2**64 - 2,
                parts=1,
                flags=flags & ~RETRY,
            ).hex(),
        }
    for kind, head, relayed in (
        ("REPLY", b"", b""),
        ("PARTIAL", partial(3, 2, 7), partial(3, 2, 2**63)),
        ("ERROR", coded(2, 7), coded(2, 7)),
    ):
        yield {
            "name": f"{kind} gets its client's id",
            "from": record(kind, head, body, id=2**63, parts=1, flags=META).hex(),
            "id": "5",
            "to": record(kind, relayed, body, id=5, parts=1, flags=META).hex(),
        }


def build() -> Vector:
    """The whole file."""
    return {
        "protocol": "PND/1",
        "about": (
            "Test vectors of docs/protocol.md. Frames, parts, service, session, key and epoch are "
            "hexadecimal; 64-bit numbers are decimal strings; kind is a name, or the number of an "
            "unknown one. A reader must decode each of `sound` to its records and refuse each of "
            "`broken` with the error word, found in that record (null: in the header or in the "
            "frames). Where `encodes` is true, a writer that attaches bodies with a part of 4096 "
            "bytes and more makes exactly these frames. `rewrites` are the records that a broker "
            "relays, before and after."
        ),
        "sound": [
            *request_vectors(),
            *task_vectors(),
            *control_vectors(),
            *mixed_vectors(),
        ],
        "broken": [
            *broken_header_vectors(),
            *broken_record_vectors(),
            *broken_parts_vectors(),
            *broken_head_vectors(),
        ],
        "rewrites": list(rewrites()),
    }


def text() -> str:
    """The file's content: one vector a line, so that a diff shows which one changed."""
    built = build()
    lines = ["{"]
    for key, value in built.items():
        comma = "" if key == "rewrites" else ","
        if isinstance(value, list):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f' "{key}": [\n  {rows}\n ]{comma}')
        else:
            lines.append(f' "{key}": {json.dumps(value)}{comma}')
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    FILE.write_text(text())
