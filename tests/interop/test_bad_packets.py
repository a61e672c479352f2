"""Broken PND packets: found before any record acts, counted; wrong values are answered by id."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest

from tests.interop.rig import QUICK, QUIET, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Body, Peer, Serving, digest
from tests.peers.catalogue import BEAT, WORKERS
from tests.peers.mdp1 import Mdp1Client
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_wire import Record
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until

SESSION = b"0123456789abcdef"
GOOD = wire.request(1, [b"q"])


def header(
    count: int = 1, *, magic: bytes = wire.MAGIC, reserved: int = 0, session: bytes = SESSION
) -> bytes:
    return wire.HEADER.pack(magic, count, reserved, session, 0)


def record(
    kind: int = wire.REQUEST,
    rest: bytes = b"",
    *,
    flags: int = 0,
    parts: int = 0,
    size: int | None = None,
) -> bytes:
    """Give a record whose size, flags and parts need not fit what follows."""
    real = wire.RECORD.size + len(rest) if size is None else size
    return wire.RECORD.pack(real, kind, flags, parts, 7) + rest


HEAD = wire.named()
PART = wire.U32.pack(1) + b"q"

PACKETS: dict[str, Body] = {
    **{f"{n} bytes": [header()[:n]] for n in (4, 5, 8, 24, 31)},
    "no record": [header(0)],
    "no record, but bytes": [header(0) + record(wire.HEARTBEAT)],
    "reserved": [header(reserved=1) + record(wire.HEARTBEAT)],
    "too many records": [header(2) + record(wire.HEARTBEAT)],
    "65,535 records": [header(65535) + record(wire.HEARTBEAT)],
    "too few records": [header(1) + record(wire.HEARTBEAT) * 2],
    "one byte more": [header() + record(wire.HEARTBEAT) + b"\0"],
    "one byte less": [(header() + record(wire.HEARTBEAT))[:-1]],
    "half a record": [header() + record(wire.HEARTBEAT)[:8]],
    "size 0": [header() + record(wire.HEARTBEAT, size=0)],
    "size 15": [header() + record(wire.HEARTBEAT, size=15)],
    "size 17 of 16": [header() + record(wire.HEARTBEAT, size=17)],
    "size 4 GiB": [header() + record(wire.HEARTBEAT, size=(1 << 32) - 1)],
    "size over the next record": [header(2) + record(wire.HEARTBEAT, size=32) + record()],
    "unknown flag": [header() + record(wire.HEARTBEAT, flags=16)],
    "all flags": [header() + record(wire.REQUEST, HEAD + PART, flags=255, parts=1)],
    "ATTACHED without parts": [header() + record(wire.REQUEST, HEAD, flags=wire.ATTACHED)],
    "META without parts": [header() + record(wire.REQUEST, HEAD, flags=wire.META)],
    "ATTACHED without frames": [header() + record(wire.REQUEST, HEAD, flags=1, parts=1)],
    "ATTACHED, a frame too few": [header() + record(1, HEAD, flags=1, parts=2), b"x"],
    "ATTACHED, a frame too many": [header() + record(1, HEAD, flags=1, parts=1), b"x", b"y"],
    "ATTACHED and inline": [header() + record(1, HEAD + PART, flags=1, parts=1), b"x"],
    "a frame that nobody claims": [header() + record(wire.HEARTBEAT), b"x"],
    "request without head": [header() + record(wire.REQUEST)],
    "request with half a head": [header() + record(wire.REQUEST, HEAD[:23])],
    "request, name beyond the record": [header() + record(wire.REQUEST, wire.named(b"works")[:-1])],
    "DURABLE without its head": [header() + record(wire.REQUEST, HEAD, flags=wire.DURABLE)],
    "part beyond the record": [
        header() + record(wire.REQUEST, HEAD + wire.U32.pack(2) + b"q", parts=1)
    ],
    "part of 4 GiB": [
        header() + record(wire.REQUEST, HEAD + wire.U32.pack((1 << 32) - 1) + b"q", parts=1)
    ],
    "a part too few": [header() + record(wire.REQUEST, HEAD + PART, parts=2)],
    "a part too many": [header() + record(wire.REQUEST, HEAD + PART, parts=0)],
    "half a part's size": [header() + record(wire.REQUEST, HEAD + b"\0\0", parts=1)],
    "READY without head": [header() + record(wire.READY)],
    "READY, tokens beyond the record": [
        header() + record(wire.READY, wire.READY_HEAD.pack(1, 2, 0, wire.NO_EPOCH) + bytes(8))
    ],
    "READY, tokens beyond all": [
        header() + record(wire.READY, wire.READY_HEAD.pack(1, (1 << 32) - 1, 0, wire.NO_EPOCH))
    ],
    "HELLO without head": [header() + record(wire.HELLO)],
    "HOLDS without head": [header() + record(wire.HOLDS)],
    "HOLDS, entries beyond the record": [
        header() + record(wire.HOLDS, wire.HOLDS_HEAD.pack(2) + bytes(32))
    ],
    "HOLDS, entries beyond all": [
        header() + record(wire.HOLDS, wire.HOLDS_HEAD.pack((1 << 32) - 1) + bytes(32))
    ],
    "ERROR without head": [header() + record(wire.ERROR)],
    "PARTIAL with half a head": [header() + record(wire.PARTIAL, b"\0" * 4)],
    "BYE without head": [header() + record(wire.BYE)],
    "HEARTBEAT with more": [header() + record(wire.HEARTBEAT, b"x")],
    "a good record before a broken one": [
        header(2) + GOOD.pack()[0] + record(wire.HEARTBEAT, size=99)
    ],
    "a good record before a bad flag": [
        header(2) + GOOD.pack()[0] + record(wire.HEARTBEAT, flags=64)
    ],
    "a good record and a frame too many": [header() + GOOD.pack()[0], b"x"],
}


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    import pound

    with pound.Broker(**QUICK, body_bytes_max=1 << 20) as broker:
        rig = Rig(broker)
        with Serving(lambda: WORKERS["ppp"](rig.backend), digest):
            rig.wait_stat("workers", 1)
            yield rig


def serves(rig: Rig) -> None:
    with PndClient(rig.frontend) as client:
        assert client.request([b"good"]) == digest([b"good"])


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize("frames", PACKETS.values(), ids=PACKETS)
def test_broken_packet(served: Rig, own: Own, side: str, frames: Body) -> None:
    """It changes nothing but counters: no record of it acts, nothing is answered."""
    before = served.broker.stats()
    sender = own(Peer(getattr(served, side)))
    sender.send(frames)
    served.wait_stat("bad_pnd", before["bad_pnd"] + 1)
    after = served.broker.stats()
    for name in ("accepted", "workers", "answers_late", "refused"):
        assert after[name] == before[name], name


def test_broken_packets_between_good_ones(served: Rig, own: Own) -> None:
    """The sender itself is served, too, as long as it has not struck 100 times."""
    client = own(PndClient(served.frontend))
    for number, frames in enumerate(PACKETS.values()):
        client.send(frames)
        body = [b"%d" % number]
        assert client.request(body) == digest(body)
    serves(served)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_unknown_version_is_answered_once_with_unimplemented(
    served: Rig, own: Own, version: int
) -> None:
    sender = own(Peer(served.frontend))
    sender.send([header(magic=b"PND" + bytes([version])) + b"whatever it means"])
    _, (answer,) = wire.unpack(sender.recv())
    assert (answer.kind, answer.id) == (wire.ERROR, 0)
    assert wire.ERROR_HEAD.unpack(answer.head)[0] == 12
    assert sender.poll(QUIET) is None
    serves(served)


def test_truncated_and_mutated_packets(served: Rig) -> None:
    """Every prefix of a good packet, and every byte of it replaced: a good client is served."""
    packet = wire.packet(SESSION, [GOOD, Record(wire.HEARTBEAT)])[0]
    for at in range(len(packet)):
        with Peer(served.frontend) as sender:
            sender.send([packet[:at]])
            sender.send([packet[:at] + bytes([packet[at] ^ 0xFF]) + packet[at + 1 :]])
    serves(served)


def test_noise_behind_the_magic(served: Rig) -> None:
    with Peer(served.frontend) as front, Peer(served.backend) as back:
        for size in range(0, 400, 4):
            for sender in (front, back):
                sender.send([wire.MAGIC + os.urandom(size)])
    serves(served)


# ---- sound records with a wrong value ----


def refused(client: PndClient, *records: Record) -> list[int]:
    """Send records in one packet; give the codes of the ERRORs to ids 100 and above."""
    client.put(*records)
    marker = client.ask([b"marker"])
    codes = []
    while marker in client.open:
        client.pump(1.0)
    for stray in client.strays:
        assert stray.kind == wire.ERROR
        assert stray.id >= 100
        codes.append(wire.ERROR_HEAD.unpack(stray.head)[0])
    assert client.take()[1] == digest([b"marker"])
    return codes


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (wire.request(100, [b"q"], priority=10), 3),
        (wire.request(100, [b"q"], priority=255), 3),
        (wire.request(100, [b"q"], b"n" * 256), 3),
        (wire.request(100, [b"q"], b"n" * 65535), 3),
    ],
    ids=["priority 10", "priority 255", "name of 256 bytes", "name of 65,535 bytes"],
)
def test_wrong_value_is_answered_by_id(served: Rig, own: Own, bad: Record, code: int) -> None:
    client = own(PndClient(served.frontend))
    client.welcome()
    before = served.stat("accepted")
    client.highest = 200
    assert refused(client, bad) == [code]
    assert served.stat("accepted") == before + 1


def test_records_beside_a_wrong_one_act(served: Rig, own: Own) -> None:
    client = own(PndClient(served.frontend))
    client.welcome()
    good = [wire.request(number, [b"%d" % number]) for number in (1, 2, 4)]
    for one in good:
        client.open[one.id] = one
    client.highest = 4
    wrong = wire.request(3, [b"q"], priority=99)
    client.open[3] = wrong
    client.put(good[0], good[1], wrong, good[2])
    answers, codes = {}, []
    for _ in range(4):
        try:
            id, body = client.take()
            answers[id] = body
        except FailedError as failed:
            codes.append((failed.id, failed.code))
    assert codes == [(3, 3)]
    assert answers == {number: digest([b"%d" % number]) for number in (1, 2, 4)}


def test_body_above_the_limit(served: Rig, own: Own) -> None:
    client = own(PndClient(served.frontend))
    client.ask([b"x" * (600 << 10)] * 2)
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.code in (3, 8)
    assert client.request([b"fits"]) == digest([b"fits"])


@pytest.mark.parametrize("kind", [0, 15, 99, 255])
def test_unknown_kinds_are_skipped_and_counted(served: Rig, own: Own, kind: int) -> None:
    client = own(PndClient(served.frontend))
    client.welcome()
    before, bad = served.stat("unknown_records"), served.stat("bad_messages")
    client.put(Record(kind, 5, b"", [b"of a later version"]), Record(wire.HEARTBEAT))
    assert client.request([b"q"]) == digest([b"q"])
    assert served.stat("unknown_records") == before + 1
    assert served.stat("bad_messages") == bad


def test_what_cant_be_claimed_is_cancelled_or_passed_over(served: Rig, own: Own) -> None:
    """Without a key, of no attempt, or with a token that no broker can have given out."""
    worker = own(PndWorker(served.backend, service=b"keeps", heartbeat=1.0))
    served.ready(worker)
    key = bytes(range(16))
    bad = served.stat("bad_records")
    worker.put(
        wire.holds(
            (2, bytes(16), 1, 0), (3, key, 0, 0), (2**64 - 1, key, 1, 0), (4, bytes(16), 9, 7)
        ),
        wire.ready(1, [b"keeps"], epoch=worker.epoch),
    )
    client = own(PndClient(served.frontend, service=b"keeps"))
    id = client.ask([b"q"], key=key, run=0)
    task = worker.task()
    worker.answer(task, [b"a"])
    assert client.take() == (id, [b"a"])
    assert worker.adopted == []
    assert served.stat("bad_records") == bad


@pytest.mark.parametrize(
    "record",
    [
        Record(wire.TASK, 1, wire.named(attempt=1), [b"q"]),
        Record(wire.ACCEPTED, 1),
        Record(wire.WELCOME, 0, wire.WELCOME_HEAD.pack(1, 1, 1, 1, 1, 1, 0)),
    ],
    ids=["TASK", "ACCEPTED", "WELCOME"],
)
def test_records_that_only_the_broker_sends(served: Rig, own: Own, record: Record) -> None:
    client = own(PndClient(served.frontend))
    client.welcome()
    client.put(record)
    assert client.request([b"q"]) == digest([b"q"])


def test_answers_of_a_client_that_works_for_nobody(served: Rig, own: Own) -> None:
    client = own(PndClient(served.frontend))
    client.welcome()
    before = served.stat("answers_late")
    client.put(wire.reply(1, [b"a"]), wire.error(2, 13, "x"))
    assert client.request([b"q"]) == digest([b"q"])
    assert served.stat("answers_late") == before + 2


@pytest.mark.parametrize(
    "ready",
    [
        wire.ready(0, [b"work"]),
        wire.ready(65536, [b"work"]),
        wire.ready(1, []),
        wire.ready(1, [b"s%d" % n for n in range(65)]),
        wire.ready(1, [b"n" * 256]),
        wire.ready(1, [b"mmi.own"]),
        wire.ready(1, [b"pound.own"]),
    ],
    ids=[
        "capacity 0",
        "capacity 65,536",
        "no service",
        "65 services",
        "long name",
        "mmi.",
        "pound.",
    ],
)
def test_ready_with_a_wrong_value_makes_no_worker(served: Rig, own: Own, ready: Record) -> None:
    sender = own(Peer(served.backend))
    workers = served.stat("workers")
    sender.send(wire.packet(os.urandom(16), [ready, Record(wire.HEARTBEAT)]))
    answers: list[Record] = []
    while not any(r.kind in (wire.ERROR, wire.WELCOME) for r in answers):
        answers += wire.unpack(sender.recv())[1]
    assert served.stat("workers") == workers
    assert not any(r.kind == wire.TASK for r in answers)
    serves(served)


def test_refused_ready_leaves_no_services(served: Rig, own: Own) -> None:
    """One peer must not be able to use up services_max with names that nobody offers."""
    known, refused = served.stat("services"), served.stat("bad_records")
    sender = own(Peer(served.backend))
    for bad in (b"mmi.own", b"n" * 256):
        names = [b"fresh %d" % n for n in range(60)]
        sender.send(wire.packet(os.urandom(16), [wire.ready(1, [*names, names[0], bad])]))
    served.wait_stat("bad_records", refused + 2)
    served.wait_stat("services", known)
    serves(served)


def test_peer_above_sessions_max_leaves_no_service(
    rig_of: Callable[..., Rig], own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that does not come in is logged, whatever its dialect."""
    caplog.set_level(logging.INFO, "pound")
    rig = rig_of(sessions_max=1)
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    client.welcome()
    rig.ready(worker)
    known = rig.stat("services")
    late_client, late_worker = own(Peer(rig.frontend)), own(Peer(rig.backend))
    late_client.send(wire.packet(os.urandom(16), [wire.request(1, [b"q"], b"fresh")]))
    late_worker.send(wire.packet(os.urandom(16), [wire.ready(1, [b"fresh too"])]))
    for late in (late_client, late_worker):
        assert wire.ERROR in [record.kind for record in wire.unpack(late.recv())[1]]
    own(Peer(rig.frontend)).send([b"", b"MDPC01", b"fresh", b"q"])
    rig.wait_stat("refused_foreign", 1)
    assert rig.stat("services") == known
    (line,) = wait_until(lambda: [line for line in caplog.messages if "worker refused" in line])
    assert 'service="fresh too"' in line
    assert "sessions_max" in line
    rig.wait_stat("sessions_refused", 3)


def test_the_broker_speaks_of_itself_above_sessions_max(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """A HELLO never fails; what is refused is a request that is not for the broker itself."""
    rig = rig_of(sessions_max=1)
    own(PndClient(rig.frontend)).welcome()
    late = own(PndClient(rig.frontend))
    late.welcome()
    refused, status = late.ask([b"q"], b"fresh"), late.ask([], b"pound.status")
    with pytest.raises(FailedError, match="sessions_max") as failed:
        late.take()
    assert (failed.value.id, failed.value.code) == (refused, 8)
    assert late.take()[0] == status
    mmi = own(Mdp1Client(rig.frontend, service=b"mmi.service"))
    mmi.ask([b"work"])
    assert mmi.take() == [b"404"]
    assert rig.stat("sessions_refused") == 1


def test_a_client_in_its_grace_makes_room(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(sessions_max=1, client_grace=300)
    first = own(PndClient(rig.frontend))
    first.welcome()
    first.ask([b"q"])
    rig.wait_stat("waiting", 1)
    first.close()
    rig.wait_stat("closed_connections", 1)
    second = own(PndClient(rig.frontend))
    second.ask([b"q"])
    rig.wait_stat("cancelled", 1)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    worker.answer(worker.task(), [b"a"])
    assert second.take()[1] == [b"a"]


def test_a_client_in_its_grace_makes_room_for_one_of_the_reserve(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """Whoever asked the broker of itself while it was full comes in like any other later."""
    rig = rig_of(sessions_max=1, client_grace=300)
    first = own(PndClient(rig.frontend))
    first.welcome()
    late = own(PndClient(rig.frontend))
    status = late.ask([], b"pound.status")
    assert late.take()[0] == status
    first.close()
    rig.wait_stat("closed_connections", 1)
    late.ask([b"q"])
    rig.wait_stat("waiting", 1)
    assert rig.stat("clients") == 1


def test_names_that_nobody_offers_shut_nobody_out(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(services_max=20)
    greedy, other = own(PndClient(rig.frontend)), own(PndClient(rig.frontend))
    for n in range(17):
        greedy.ask([b"q"], b"junk %d" % n)
    with pytest.raises(FailedError, match="as many such names as one may") as failed:
        greedy.take()
    assert (failed.value.id, failed.value.code) == (17, 8)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, service=b"fresh"))
    rig.ready(worker)
    other.ask([b"q"], b"fresh")
    worker.answer(worker.task(), [b"a"])
    assert other.take()[1] == [b"a"]
    other.ask([], b"pound.status")
    assert other.take()


def test_packet_with_many_records(served: Rig, own: Own) -> None:
    """65,535 records are within the format; here each is a heartbeat."""
    sender = own(Peer(served.frontend))
    sender.send(wire.packet(os.urandom(16), [Record(wire.HEARTBEAT)] * 65535))
    assert wire.unpack(sender.recv())
    serves(served)
