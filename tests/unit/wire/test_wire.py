"""The PND/1 codec: the vectors of the specification, every cut and every wrong value, both ways."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import probe, vectors

wire = probe.load("wire")
ATTACH_FROM, ATTACHED, DURABLE, META, MOVED, RETRY = (
    wire.ATTACH_FROM, wire.ATTACHED, wire.DURABLE, wire.META, wire.MOVED, wire.RETRY,
)  # fmt: skip
Code, Kind, Packet, Record = wire.Code, wire.Kind, wire.Packet, wire.Record
decode, encode, encode_many = wire.decode, wire.encode, wire.encode_many

SESSION = bytes(range(16))
VECTORS = json.loads(vectors.FILE.read_text())
HEXADECIMAL = ("service", "key", "epoch")


def names(group: str) -> list[str]:
    return [vector["name"] for vector in VECTORS[group]]


def frames_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(frame) for frame in vector["frames"]]


def record_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The attributes that a decoded record must have."""
    said = dict(fields)
    said["kind"] = Kind[said["kind"]] if isinstance(said["kind"], str) else said["kind"]
    said["id"] = int(said["id"])
    said["parts"] = [bytes.fromhex(part) for part in said["parts"]]
    for name in ("credit", "run"):
        if name in said:
            said[name] = int(said[name])
    if "tokens" in said:
        said["tokens"] = [int(token) for token in said["tokens"]]
    if "holds" in said:
        said["holds"] = [
            (int(e["token"]), bytes.fromhex(e["key"]), e["attempt"], e["state"])
            for e in said["holds"]
        ]
    for name in HEXADECIMAL:
        if name in said:
            said[name] = bytes.fromhex(said[name])
    return said


def attributes(record: Record) -> dict[str, Any]:
    """Every attribute of a record that is not its default."""
    public = [name for name in dir(Record) if not name.startswith("_")]
    default = Record(record.kind)
    return {name: getattr(record, name) for name in public} | {
        name: None for name in public if getattr(record, name) == getattr(default, name)
    }


# --- the vectors ---


def test_the_vectors_are_those_that_the_builder_makes() -> None:
    assert vectors.FILE.read_text() == vectors.text(), "run: python -m tests.vectors"


@pytest.mark.parametrize("vector", VECTORS["sound"], ids=names("sound"))
def test_a_sound_packet_is_read_as_specified(vector: dict[str, Any]) -> None:
    packet = decode(frames_of(vector))
    assert packet.session == bytes.fromhex(vector["session"])
    assert packet.done == int(vector["done"])
    assert len(packet.records) == len(vector["records"])
    for record, fields in zip(packet.records, vector["records"], strict=True):
        said = record_of(fields)
        kind = said.pop("kind")
        assert record.kind == kind
        assert attributes(record) == attributes(Record(kind, **said))


@pytest.mark.parametrize("vector", VECTORS["sound"], ids=names("sound"))
def test_a_record_is_written_as_specified(vector: dict[str, Any]) -> None:
    if not vector["encodes"]:
        assert len(vector["frames"]) > 1 or any(
            not isinstance(record["kind"], str) for record in vector["records"]
        ), "only small attached bodies and unknown kinds are not written"
        return
    session, done = bytes.fromhex(vector["session"]), int(vector["done"])
    records = [Record(**record_of(fields)) for fields in vector["records"]]
    assert encode(session, done, records) == frames_of(vector)


@pytest.mark.parametrize("vector", VECTORS["broken"], ids=names("broken"))
def test_a_broken_packet_is_refused_as_specified(vector: dict[str, Any]) -> None:
    with pytest.raises(wire.PacketError) as refused:
        decode(frames_of(vector))
    assert refused.value.reason == vector["error"]
    if vector["record"] is not None:
        assert str(refused.value).startswith(f"record {vector['record']} at byte ")


@pytest.mark.parametrize("vector", VECTORS["rewrites"], ids=names("rewrites"))
def test_a_relayed_record_is_rewritten_as_specified(vector: dict[str, Any]) -> None:
    record = bytes.fromhex(vector["from"])
    if "token" in vector:
        made = wire.as_task(record, int(vector["token"]), vector["remaining_ms"], vector["attempt"])
    else:
        made = wire.as_reply(record, int(vector["id"]))
    assert made.hex() == vector["to"]
    assert record.hex() == vector["from"], "the caller's bytes are untouched"


@pytest.mark.parametrize("vector", VECTORS["sound"], ids=names("sound"))
def test_no_beginning_of_a_packet_is_a_packet(vector: dict[str, Any]) -> None:
    packet, *attached = frames_of(vector)
    for size in range(len(packet)):
        with pytest.raises(wire.PacketError):
            decode([packet[:size], *attached])


@pytest.mark.parametrize("vector", VECTORS["sound"], ids=names("sound"))
def test_attached_frames_are_exactly_those_claimed(vector: dict[str, Any]) -> None:
    frames = frames_of(vector)
    for wrong in ([*frames, b"more"], frames[:-1] if len(frames) > 1 else [*frames, b"", b""]):
        with pytest.raises(wire.PacketError) as refused:
            decode(wrong)
        assert refused.value.reason == "frames"


def test_every_error_word_has_a_vector() -> None:
    assert {vector["error"] for vector in VECTORS["broken"]} == set(wire._REASONS)


def test_every_kind_has_a_vector() -> None:
    written = {record["kind"] for vector in VECTORS["sound"] for record in vector["records"]}
    assert written >= set(vectors.KINDS) == set(Kind.__members__)
    assert {kind.name: int(kind) for kind in Kind} == vectors.NUMBERS


def test_no_frame_is_not_a_message() -> None:
    with pytest.raises(wire.PacketError):
        decode([])


# --- round trips ---

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
RUNS = st.integers(1, 2**64 - 1)
KEYS = st.binary(min_size=16, max_size=16)
BODIES = st.lists(st.binary(max_size=40) | st.just(b"x" * ATTACH_FROM), max_size=4)
HEADS: dict[Kind, dict[str, st.SearchStrategy[Any]]] = {
    Kind.REQUEST: {"service": st.binary(max_size=255), "timeout_ms": U32, "key": KEYS,
                   "priority": st.integers(0, 9)},
    Kind.PARTIAL: {"sequence": U32, "attempt": U8, "run": RUNS},
    Kind.ERROR: {"code": U16, "retry_after_ms": U32},
    Kind.READY: {"capacity": st.integers(1, 65535), "tokens": st.lists(U64, max_size=5),
                 "features": U32, "epoch": KEYS},
    Kind.HELLO: {"features": U32},
    Kind.HOLDS: {"holds": st.lists(st.tuples(U64, KEYS, U8, U8), max_size=5)},
    Kind.BYE: {"code": U16, "retry_after_ms": U32},
    Kind.WELCOME: dict.fromkeys(
        ("heartbeat_ms", "liveness", "body_bytes_max", "packet_bytes_max", "frames_max",
         "requests_max", "features"), U32),
    Kind.CREDIT: {"credit": U64, "run": U64, "sequence": U32},
}  # fmt: skip
HEADS[Kind.TASK] = HEADS[Kind.REQUEST] | {"attempt": U8}
FLAGS = {Kind.REQUEST: DURABLE | RETRY | META | MOVED, Kind.TASK: DURABLE | META,
         Kind.REPLY: META, Kind.PARTIAL: META, Kind.ERROR: META}  # fmt: skip
NAMELESS = {Kind.READY, Kind.HEARTBEAT, Kind.BYE, Kind.HELLO, Kind.WELCOME, Kind.HOLDS}  # id 0
BODYLESS = {Kind[name] for name in vectors.WITHOUT_BODY}


@st.composite
def sound_records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(list(Kind)))
    flags = draw(st.integers(0, 31)) & FLAGS.get(kind, 0)
    fields = {name: draw(values) for name, values in HEADS.get(kind, {}).items()}
    fields["parts"] = [] if kind in BODYLESS else draw(BODIES)
    if not fields["parts"]:
        flags &= ~META
    if flags & DURABLE:
        fields["delay_ms"] = 0 if kind == Kind.TASK else draw(U32)
    if flags & MOVED:
        fields["run"] = draw(U64)
    number = 0 if kind in NAMELESS else draw(U64)
    return Record(kind, id=number, flags=flags, **fields)


def without_attached(records: list[Record]) -> list[Record]:
    for record in records:
        record.flags &= ~ATTACHED
    return records


@given(st.lists(sound_records(), min_size=1, max_size=6), U64, st.binary(min_size=16, max_size=16))
@settings(deadline=None)
def test_what_is_written_is_read(records: list[Record], done: int, session: bytes) -> None:
    frames = encode(session, done, records)
    packet = decode(frames)
    assert (packet.session, packet.done) == (session, done)
    attached = [
        part
        for record in records
        if any(len(part) >= ATTACH_FROM for part in record.parts)
        and record.kind not in (Kind.READY, Kind.HELLO)
        for part in record.parts
    ]
    assert frames[1:] == attached
    assert without_attached(packet.records) == records


@given(
    st.lists(sound_records(), max_size=12),
    st.integers(0, 12_000),
    st.integers(1, 8),
)
@settings(deadline=None)
def test_packets_keep_the_receivers_limits(
    records: list[Record], packet_bytes_max: int, frames_max: int
) -> None:
    packets = encode_many(SESSION, 3, records, packet_bytes_max, frames_max)
    read = [decode(frames) for frames in packets]
    for frames, packet in zip(packets, read, strict=True):
        assert len(frames) <= frames_max
        if len(packet.records) > 1:
            assert len(frames[0]) <= packet_bytes_max
        assert packet.done == 3
    assert without_attached([record for packet in read for record in packet.records]) == records


def test_packets_are_no_smaller_than_the_limits_ask() -> None:
    records = [Record(Kind.REPLY, id=i, parts=[b"x" * 76]) for i in range(10)]  # 96 bytes each
    sizes = lambda limit: [  # noqa: E731
        len(decode(frames).records) for frames in encode_many(SESSION, 0, records, limit, 1024)
    ]
    assert sizes(32 + 96 * 5) == [5, 5]
    assert sizes(32 + 96 * 5 - 1) == [4, 4, 2]
    assert sizes(0) == [1] * 10


def test_a_packet_holds_65535_records() -> None:
    records = [Record(Kind.HEARTBEAT)] * 65536
    assert [len(decode(f).records) for f in encode_many(SESSION, 0, records, 1 << 30, 9)] == [
        65535,
        1,
    ]
    with pytest.raises(ValueError, match=r"records: 65536 of them"):
        encode(SESSION, 0, records)
    with pytest.raises(ValueError, match=r"records: 0 of them"):
        encode(SESSION, 0, [])
    assert encode_many(SESSION, 0, [], 1024, 9) == []


def test_65535_parts_pass_inline_and_attached() -> None:
    small, large = [b""] * 65535, [b""] * 65534 + [b"x" * ATTACH_FROM]
    for parts, count in ((small, 1), (large, 65536)):
        frames = encode(SESSION, 0, [Record(Kind.REPLY, parts=parts)])
        assert len(frames) == count
        assert decode(frames).records[0].parts == parts
    with pytest.raises(ValueError, match="parts: 65536 of them"):
        encode(SESSION, 0, [Record(Kind.REPLY, parts=[b""] * 65536)])


# --- bodies ---


def test_attached_parts_are_the_very_objects() -> None:
    body = b"x" * ATTACH_FROM
    frames = encode(SESSION, 0, [Record(Kind.REPLY, parts=[body])])
    assert frames[1] is body
    received = [zmq.Frame(bytes(frame)) for frame in frames]
    assert decode(received).records[0].parts[0] is received[1]


@pytest.mark.parametrize("make", [bytearray, memoryview, zmq.Frame])
@pytest.mark.parametrize("size", [0, 1, ATTACH_FROM - 1, ATTACH_FROM])
def test_any_buffer_is_a_part(make: Any, size: int) -> None:
    body = make(b"y" * size)
    frames = encode(SESSION, 0, [Record(Kind.REQUEST, parts=[body, b"z"])])
    assert len(frames) == (3 if size == ATTACH_FROM else 1)
    assert [bytes(part) for part in decode(frames).records[0].parts] == [b"y" * size, b"z"]


def test_a_part_is_measured_in_bytes() -> None:
    words = memoryview(bytearray(8)).cast("I")
    assert decode(encode(SESSION, 0, [Record(Kind.REPLY, parts=[words])])).records[0].parts == [
        bytes(8)
    ]


@pytest.mark.parametrize("part", ["text", 5, None, memoryview(b"abcd")[::2]])
def test_what_has_no_bytes_is_no_part(part: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        encode(SESSION, 0, [Record(Kind.REPLY, parts=[part])])


@pytest.mark.parametrize("kind", sorted(NAMELESS))
def test_an_id_that_names_nothing_is_0(kind: Kind) -> None:
    record = Record(kind, id=5, capacity=1)
    assert decode(encode(SESSION, 0, [record])).records[0].id == 0


def test_names_stay_inline() -> None:
    record = Record(Kind.READY, capacity=1, parts=[b"label", b"s" * ATTACH_FROM])
    assert len(encode(SESSION, 0, [record])) == 1


# --- values ---

REFUSED = [
    ("service: a name has 0..255 bytes", Kind.REQUEST, {"service": b"s" * 256}),
    ("service: a name has 0..255 bytes", Kind.TASK, {"service": b"s" * 256}),
    ("priority: 10 is not in 0..9", Kind.REQUEST, {"priority": 10}),
    ("key: not 16 bytes", Kind.REQUEST, {"key": b"short"}),
    ("key: not 16 bytes", Kind.HOLDS, {"holds": [(1, b"short", 1, 0)]}),
    ("epoch: not 16 bytes", Kind.READY, {"capacity": 1, "epoch": b"short"}),
    ("capacity: 0 is not in 1..65535", Kind.READY, {"capacity": 0}),
    ("capacity: 65536 is not in 1..65535", Kind.READY, {"capacity": 65536}),
    ("flags: 2 are not for REPLY", Kind.REPLY, {"flags": DURABLE}),
    ("flags: 32 are not for REQUEST", Kind.REQUEST, {"flags": 32}),
    ("flags: 16 are not for TASK", Kind.TASK, {"flags": MOVED}),
    ("flags: META without a part", Kind.REPLY, {"flags": META}),
    ("parts: CANCEL has no body", Kind.CANCEL, {"parts": [b""]}),
    ("kind: 0 is not a kind", 0, {}),
    ("kind: 15 is not a kind", 15, {}),
]


@pytest.mark.parametrize(("message", "kind", "fields"), REFUSED)
def test_a_value_out_of_its_range_is_named(message: str, kind: int, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        encode(SESSION, 0, [Record(kind, **fields)])


@pytest.mark.parametrize("name", sorted(wire._BITS))
def test_a_number_too_large_is_named(name: str) -> None:
    for value in (-1, 1 << wire._BITS[name]):
        with pytest.raises(OverflowError, match=f"^{name}: {value} "):
            Record(**({"kind": 1} | {name: value}))
    if name != "kind":
        assert getattr(Record(1, **{name: (1 << wire._BITS[name]) - 1}), name) > 0


def test_numbers_of_the_packet_are_named() -> None:
    beat = [Record(Kind.HEARTBEAT)]
    for done in (-1, 1 << 64):
        with pytest.raises(OverflowError, match="done: "):
            encode(SESSION, done, beat)
    for session in (b"", b"x" * 15, b"x" * 17):
        with pytest.raises(ValueError, match="session: not 16 bytes"):
            encode(session, 0, beat)
    with pytest.raises(OverflowError, match="tokens: -1 "):
        encode(SESSION, 0, [Record(Kind.READY, capacity=1, tokens=[-1])])
    with pytest.raises(ValueError, match="frames_max: 0 "):
        encode_many(SESSION, 0, beat, 1024, 0)
    with pytest.raises(TypeError):
        encode(SESSION, 0, [b"not a record"])  # type: ignore[list-item]


class Meddler:
    """A token that does something else when the encoder looks at its value."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self.meddle = meddle

    def __ge__(self, other: object) -> bool:
        self.meddle()
        return True

    def __lt__(self, other: object) -> bool:
        return True

    def __int__(self) -> int:
        return 1


def test_what_changes_while_it_is_encoded_is_refused_not_believed() -> None:
    """Sizes are taken before any byte is written; nothing is written beyond what they allow."""
    tokens: list[Any] = []
    part = bytearray(b"12345678")
    ready = Record(Kind.READY, capacity=1, tokens=tokens, parts=[b"label", part])
    for message, meddle in (
        ("tokens: the list grew", lambda: tokens.extend([1] * 1000)),
        ("parts: a part grew", lambda: part.extend(bytes(100_000))),
        ("parts: a part shrank", part.clear),
        ("parts: a part shrank", ready.parts.clear),
    ):
        ready.parts[:] = [b"label", part]
        part[:] = b"12345678"
        tokens[:] = [Meddler(meddle)]
        with pytest.raises(ValueError, match=message):
            encode(SESSION, 0, [ready])
        tokens[:] = [1]
        ready.parts[:] = [b"label"]
        assert encode(SESSION, 0, [ready]), "the encoder is as good as new"


# --- the rewrites refuse what is not one sound record ---


@pytest.mark.parametrize(
    "record",
    [
        b"",
        vectors.record("REQUEST"),
        vectors.record("REQUEST", vectors.named(b"")) + b"\0",
        vectors.record("REQUEST", vectors.named(b""), flags=32),
    ],
)
def test_a_rewrite_needs_a_sound_record(record: bytes) -> None:
    with pytest.raises(wire.PacketError):
        wire.as_task(record, 1, 1, 1)
    with pytest.raises(wire.PacketError):
        wire.as_reply(record, 1)


def test_only_a_request_becomes_a_task() -> None:
    moved = vectors.record("REQUEST", vectors.named(b"") + vectors.moved(7), flags=MOVED)
    for record in (vectors.record("REPLY"), moved):
        with pytest.raises(ValueError, match="not a REQUEST without MOVED"):
            wire.as_task(record, 1, 1, 1)


def test_a_worker_says_the_token_as_its_run() -> None:
    frames = encode(SESSION, 0, [Record(Kind.PARTIAL, id=7, attempt=1)])
    assert decode(frames).records[0].run == 7


# --- what Python calls ---


def test_a_repr_shows_neither_session_nor_body() -> None:
    frames = encode(b"SECRETSECRETSECR", 0, [Record(Kind.REPLY, id=4, parts=[b"PRIVATE"])])
    shown = repr(decode(frames))
    assert "SECRET" not in shown
    assert "PRIVATE" not in shown
    assert "REPLY id=4" in shown
    assert "kind 99" in repr(Record(99))


def test_records_are_equal_by_their_fields() -> None:
    one, same = (Record(Kind.REPLY, id=1, parts=[part]) for part in (b"a", zmq.Frame(b"a")))
    assert one == same
    assert one != Record(Kind.REPLY, id=2, parts=[b"a"])
    assert one != Record(Kind.REPLY, id=1, parts=[b"b"])
    assert one != "another type"
    assert isinstance(decode(encode(SESSION, 0, [one])), Packet)


def test_the_codes_are_those_of_grpc() -> None:
    assert {code.name: int(code) for code in Code} == {
        "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4,
        "NOT_FOUND": 5, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "ABORTED": 10,
        "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15,
        "UNAUTHENTICATED": 16,
    }  # fmt: skip


def test_the_features_and_states_are_those_of_the_protocol() -> None:
    assert (wire.ADOPTION, wire.STORE) == (1, 2)
    assert (wire.RUNNING, wire.ANSWERED) == (0, 1)


def test_integers_are_little_endian() -> None:
    frame = encode(SESSION, 0x0102030405060708, [Record(Kind.ACCEPTED, id=0x1122)])[0]
    assert bytes(frame)[24:32] == bytes([8, 7, 6, 5, 4, 3, 2, 1])
    assert struct.unpack_from("<Q", bytes(frame), 40) == (0x1122,)
