"""What must hold for any bytes at all; each check is given one message and raises if it does not.

The copies lie at the border of forbidden memory (`tests.fuzz.guard`): a read outside a frame ends
the process at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests import probe
from tests.fuzz.guard import Guards

dialects, wire = probe.load("dialects"), probe.load("wire")
Bad, Dialect, Message = dialects.Bad, dialects.Dialect, dialects.Message
Said, Side, read = dialects.Said, dialects.Side, dialects.read
ATTACHED, PacketError, Kind = wire.ATTACHED, wire.PacketError, wire.Kind
Packet, Record = wire.Packet, wire.Record
as_reply, as_task, decode, encode = wire.as_reply, wire.as_task, wire.decode, wire.encode

_guards = Guards()
TAIL = 16  # bytes of a record before its head
RUN_END = 32  # bytes of a PARTIAL up to its body
NAMELESS = (Kind.READY, Kind.HEARTBEAT, Kind.BYE, Kind.HELLO, Kind.WELCOME, Kind.HOLDS)


def check_packet(frames: Sequence[bytes]) -> Packet | None:
    """`decode` refuses with PacketError or gives a packet that is written as it was read."""
    found: list[Packet | PacketError] = []
    for at_end in (True, False):
        try:
            found.append(decode(_guards.copy(frames, at_end=at_end)))
        except PacketError as refused:
            found.append(refused)
    first, second = found
    if isinstance(first, PacketError) or isinstance(second, PacketError):
        assert str(first) == str(second), "the verdict depends on where the bytes lie"
        assert isinstance(first, PacketError)
        assert first.reason, "a refusal without a reason"
        return None
    assert len(frames) == 1 + sum(len(r.parts) for r in first.records if r.flags & ATTACHED)
    _check_fields(first)
    _check_rewrites(frames[0])
    return first


def _check_fields(packet: Packet) -> None:
    """Reading, writing and reading again gives the same records."""
    sound = [record for record in packet.records if _is_sayable(record)]
    if not sound:
        return
    again = decode(encode(packet.session, packet.done, sound))
    for was, now in zip(sound, again.records, strict=True):
        _compare(was, now)


def _is_sayable(record: Record) -> bool:
    """Whether our writer, which is stricter than the reader about values, writes the record."""
    known = record.kind in Kind.__members__.values()
    large = len(record.service) > 255 or record.priority > 9
    return known and not large and (record.kind != Kind.READY or 1 <= record.capacity <= 65535)


def _compare(was: Record, now: Record) -> None:
    now.flags = was.flags = was.flags & ~ATTACHED
    if was.kind in NAMELESS:
        was.id = 0
    if was.kind == Kind.TASK:
        was.delay_ms = 0
    if was.kind == Kind.PARTIAL and was.run == 0:
        was.run = was.id  # a worker's run is its token
    assert was == now, (was, now)


def _check_rewrites(packet: bytes) -> None:
    """The broker's rewrites keep every record sound and its size."""
    at = 32
    while at < len(packet):
        size = int.from_bytes(packet[at : at + 4], "little")
        record = packet[at : at + size]
        if record[4] == Kind.REQUEST and record[5] & wire.MOVED:
            pass  # the broker writes it anew first, without its run
        elif record[4] == Kind.REQUEST:
            task = as_task(record, 2**64 - 1, 2**32 - 1, 255)
            assert len(task) == size
            assert task[4] == Kind.TASK
        elif record[4] in (Kind.REPLY, Kind.PARTIAL, Kind.ERROR):
            reply = as_reply(record, 7)
            head = RUN_END if record[4] == Kind.PARTIAL else TAIL
            assert reply[:8] + reply[head:] == record[:8] + record[head:]
            if head == RUN_END:
                assert reply[16:24] + reply[24:32] == record[16:24] + record[8:16]
        at += size


def check_dialect(frames: Sequence[bytes]) -> None:
    """`read` recognises any message as something, inside its frames."""
    for side in Side:
        first = read(_guards.copy(frames, at_end=True), side)
        second = read(_guards.copy(frames, at_end=False), side)
        for message in (first, second):
            _check_message(message, frames)
        assert repr(first) == repr(second), "the verdict depends on where the bytes lie"


def _check_message(message: Message, frames: Sequence[bytes]) -> None:
    assert (message.said == Said.BAD) == (message.error != Bad.NONE)
    if message.said in (Said.REQUEST, Said.ANSWER, Said.PARTIAL):
        assert message.body + message.parts == len(frames)
        assert message.envelope <= message.body
    if message.said == Said.REQUEST:
        assert message.parts >= 1 or message.dialect in (Dialect.MDP1, Dialect.MDP2)
        assert (message.envelope == 0) or frames[message.envelope - 1] == b""
    if message.service:
        assert message.dialect in (Dialect.MDP1, Dialect.MDP2) or message.error == Bad.VERSION
        assert message.service in frames
