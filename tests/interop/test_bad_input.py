"""Malformed messages, raw bytes, giants, forged answers: counted, harmless, others are served.

Broken PND packets are in test_bad_packets.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.interop.rig import QUICK, QUIET, Own, Rig
from tests.peers import zmtp
from tests.peers.base import Peer, Serving, Task, Worker, digest
from tests.peers.catalogue import BEAT, CLIENTS, SERVICE, WORKERS
from tests.peers.dealer_client import BareClient, DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient
from tests.peers.mdp2 import Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker
from tests.peers.req_client import ReqClient
from tests.support import wait_until

TOKEN = b"0123456789abcdef"
ADDRESS = b"an address of its own"
LONG_NAME = b"n" * 256
C1, W1, C2, W2 = b"MDPC01", b"MDPW01", b"MDPC02", b"MDPW02"

# Each message is malformed on both sockets.
MAJORDOMO: dict[str, list[bytes]] = {
    "client 0.1, nothing": [b"", C1],
    "client 0.1, no body": [b"", C1, SERVICE],
    "client 0.1, empty service": [b"", C1, b"", b"q"],
    "client 0.1, long service": [b"", C1, LONG_NAME, b"q"],
    "client 0.1, behind a hop, no body": [b"hop", b"", C1, SERVICE],
    "client 0.2, nothing": [C2],
    "client 0.2, no service": [C2, b"\x01"],
    "client 0.2, no body": [C2, b"\x01", SERVICE],
    "client 0.2, empty service": [C2, b"\x01", b"", b"q"],
    "client 0.2, long service": [C2, b"\x01", LONG_NAME, b"q"],
    "client 0.2, numbers of workers, no body": [C2, b"\x02", SERVICE],
    "client of an unknown version": [b"", b"MDPC03", SERVICE, b"q"],
    "client of an unknown version, no delimiter": [b"MDPC00", b"\x01", SERVICE, b"q"],
    "worker of an unknown version": [b"", b"MDPW03", b"\x01", SERVICE],
    "client 0.2, FINAL": [C2, b"\x03", SERVICE, b"q"],
    "client 0.2, unknown command": [C2, b"\x63", SERVICE, b"q"],
    "client 0.2, empty command": [C2, b"", SERVICE, b"q"],
    "client 0.2, long command": [C2, b"\x01\x01", SERVICE, b"q"],
    "client 0.2, delimited, no body": [b"", C2, b"\x01", SERVICE],
    "worker 0.1, nothing": [b"", W1],
    "worker 0.1, empty command": [b"", W1, b""],
    "worker 0.1, unknown command": [b"", W1, b"\x06"],
    "worker 0.1, command 0": [b"", W1, b"\0"],
    "worker 0.1, long command": [b"", W1, b"\x01\x01", SERVICE],
    "worker 0.1, REQUEST": [b"", W1, b"\x02", TOKEN, b"", b"q"],
    "worker 0.1, READY without service": [b"", W1, b"\x01"],
    "worker 0.1, READY with too much": [b"", W1, b"\x01", SERVICE, b"more"],
    "worker 0.1, READY with empty service": [b"", W1, b"\x01", b""],
    "worker 0.1, READY with long service": [b"", W1, b"\x01", LONG_NAME],
    "worker 0.1, REPLY without address": [b"", W1, b"\x03"],
    "worker 0.1, REPLY without empty frame": [b"", W1, b"\x03", ADDRESS],
    "worker 0.1, REPLY with a full empty frame": [b"", W1, b"\x03", ADDRESS, b"x", b"a"],
    "worker 0.1, HEARTBEAT with too much": [b"", W1, b"\x04", b"x"],
    "worker 0.1, DISCONNECT with too much": [b"", W1, b"\x05", b"x"],
    "worker 0.1, behind a hop": [b"hop", b"", W1, b"\x01", SERVICE],
    "worker 0.2, nothing": [W2],
    "worker 0.2, empty command": [W2, b""],
    "worker 0.2, unknown command": [W2, b"\x07"],
    "worker 0.2, REQUEST": [W2, b"\x02", TOKEN, b"", b"q"],
    "worker 0.2, READY without service": [W2, b"\x01"],
    "worker 0.2, READY with too much": [W2, b"\x01", SERVICE, b"more"],
    "worker 0.2, READY with empty service": [W2, b"\x01", b""],
    "worker 0.2, PARTIAL without address": [W2, b"\x03"],
    "worker 0.2, PARTIAL with a full empty frame": [W2, b"\x03", ADDRESS, b"x", b"a"],
    "worker 0.2, FINAL without empty frame": [W2, b"\x04", ADDRESS],
    "worker 0.2, HEARTBEAT with too much": [W2, b"\x05", b"x"],
    "worker 0.2, DISCONNECT with too much": [W2, b"\x06", b"x"],
    "worker 0.2, behind a hop": [b"hop", b"", W2, b"\x01", SERVICE],
}
PLAIN_CLIENT: dict[str, list[bytes]] = {
    "delimiter alone": [b""],
    "envelope without a body": [b"hop", b""],
    "long envelope without a body": [b"a", b"b", b"c", b""],
}
PLAIN_WORKER: dict[str, list[bytes]] = {
    "empty frame alone": [b""],
    "unknown word": [b"HELLO"],
    "unknown byte": [b"\x03"],
    "two bytes": [b"\x01\x01"],
    "PPP READY with too much": [b"\x01", b"x"],
    "PPP heartbeat with too much": [b"\x02", b"x"],
    "REQ with an unknown word": [b"", b"HELLO"],
    "REQ with nothing": [b"", b""],
    "REQ READY with too much": [b"", b"READY", b"x"],
    "REQ answer without empty frame": [b"", TOKEN],
    "REQ answer without a body": [b"", TOKEN, b""],
    "REQ answer with a full empty frame": [b"", ADDRESS, b"x", b"a"],
    "PPP answer without a body": [TOKEN, b""],
    "PPP answer without empty frame": [ADDRESS, b"x", b"a"],
}
CASES = (
    [
        (f"{side}, {what}", side, m)
        for side in ("frontend", "backend")
        for what, m in MAJORDOMO.items()
    ]
    + [(f"frontend, {what}", "frontend", frames) for what, frames in PLAIN_CLIENT.items()]
    + [(f"backend, {what}", "backend", frames) for what, frames in PLAIN_WORKER.items()]
)


@pytest.fixture(scope="module")
def served() -> Iterator[Rig]:
    """A broker with a good worker, for all tests of this module that leave it whole."""
    import pound

    settings = {**QUICK, "body_bytes_max": 1 << 20, "packet_bytes_max": 1 << 16}
    with pound.Broker(**settings) as broker:
        rig = Rig(broker)
        with Serving(lambda: WORKERS["ppp"](rig.backend), digest):
            rig.wait_stat("workers", 1)
            yield rig
        check_sums(rig)


def check_sums(rig: Rig) -> None:
    """Every request is in exactly one place."""
    stats = rig.broker.stats()
    ends = ("waiting", "running", "answered", "failed", "cancelled", "expired")
    assert stats["accepted"] == sum(stats[name] for name in ends), stats


def serves(rig: Rig) -> None:
    """A good client of a foreign dialect and one of PND are served."""
    with ReqClient(rig.frontend) as client:
        assert client.request([b"good"]) == digest([b"good"])
    with PndClient(rig.frontend) as native:
        assert native.request([b"good"]) == digest([b"good"])


# ---- malformed messages ----


@pytest.mark.parametrize(("side", "frames"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_malformed(served: Rig, side: str, frames: list[bytes]) -> None:
    """Counted, and nothing else: no request, no worker, and only its sender has to do with it."""
    before = served.broker.stats()
    with Peer(getattr(served, side)) as sender:
        sender.send(frames)
        served.wait_stat("bad_messages", before["bad_messages"] + 1)
        after = served.broker.stats()
        for name in ("accepted", "workers", "answered", "losses"):
            assert after[name] == before[name], name


def test_good_peers_are_served_between_all_of_it(served: Rig) -> None:
    with Peer(served.frontend) as front, Peer(served.backend) as back:
        for _, side, frames in CASES[:90]:
            (front if side == "frontend" else back).send(frames)
    serves(served)


def test_bad_messages_are_counted_by_dialect(served: Rig, own: Own) -> None:
    for counter, side, frames in (
        ("bad_mdp1", "frontend", [b"", C1]),
        ("bad_mdp2", "frontend", [C2]),
        ("bad_mdp1", "backend", [b"", W1]),
        ("bad_mdp2", "backend", [W2]),
        ("bad_plain", "frontend", [b""]),
        ("bad_pnd", "frontend", [b"PND\x01"]),
    ):
        before = served.stat(counter)
        own(Peer(getattr(served, side))).send(frames)
        served.wait_stat(counter, before + 1)


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_after_100_strikes_a_route_is_not_heard(served: Rig, own: Own, side: str) -> None:
    struck = served.stat("ignored_messages")
    sender = own(Peer(getattr(served, side)))
    good = [b"", C1, SERVICE, b"q"]
    sender.send(good)
    assert sender.recv()[:3] == good[:3]
    for _ in range(99):
        sender.send([b"", C1])
    sender.send(good)
    assert sender.recv()[:3] == good[:3], "99 strikes are not 100"
    sender.send([b"", C1])
    for _ in range(3):
        sender.send(good)
    served.wait_stat("ignored_messages", struck + 3)
    assert sender.poll(QUIET) is None
    serves(served)


def test_a_struck_peer_starts_anew_on_a_new_connection(served: Rig, own: Own) -> None:
    sender = own(Peer(served.frontend))
    for _ in range(101):
        sender.send([b""])
    sender.reopen()
    sender.send([b"", b"q"])
    assert sender.recv() == [b"", *digest([b"q"])]


def test_strikes_are_forgiven_with_time(served: Rig, own: Own) -> None:
    """A peer that was silenced and mended is heard again, and need not reconnect."""
    struck = served.stat("ignored_routes")
    sender = own(DealerClient(served.frontend))
    for _ in range(100):
        sender.send([b""])
    served.wait_stat("ignored_routes", struck + 1)

    def heard() -> bool:
        sender.ask([b"q"])
        return bool(sender.poll(0.1) == [b"", *digest([b"q"])])

    wait_until(heard)


@pytest.mark.parametrize("bad", [[b"", C1], [b""], [b"", W1, b"\x63"]])
def test_clients_behind_a_hop_do_not_share_strikes(served: Rig, own: Own, bad: list[bytes]) -> None:
    """A hop has one route for all its clients: one that is bad must not silence the others."""
    before = served.stat("bad_messages")
    hop = own(Peer(served.frontend))
    for _ in range(300):
        hop.send([b"bad client", *bad])
    hop.send([b"good client", b"", b"q"])
    assert hop.recv() == [b"good client", b"", *digest([b"q"])]
    assert served.stat("bad_messages") == before + 300


# ---- sizes ----


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_frame_above_the_limit_costs_its_sender_the_connection(
    served: Rig, own: Own, side: str
) -> None:
    with zmtp.Connection(getattr(served, side)) as sender:
        with contextlib.suppress(OSError):
            sender.send([b"", b"x" * (16 << 20)])
        assert_closed(sender)
    serves(served)


@pytest.mark.parametrize("size", [1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_frame_that_claims_to_be_a_giant(served: Rig, size: int) -> None:
    """No memory is set aside for what is only announced."""
    with zmtp.Connection(served.frontend) as sender:
        sender.socket.sendall(struct.pack(">BQ", zmtp.LONG, size))
        assert_closed(sender)
    serves(served)


def assert_closed(sender: zmtp.Connection) -> None:
    with pytest.raises((EOFError, OSError)):
        sender.recv()


def test_body_above_the_limit_in_several_frames(served: Rig, own: Own) -> None:
    """Each frame is small enough for libzmq; the body is not for the broker."""
    before = served.broker.stats()
    client = own(DealerClient(served.frontend))
    client.ask([b"x" * (600 << 10)] * 2)
    client.ask([b"fits"])
    assert client.take() == digest([b"fits"])
    after = served.broker.stats()
    assert (
        after["bad_messages"] + after["refused"] == before["bad_messages"] + before["refused"] + 1
    )
    assert after["accepted"] == before["accepted"] + 1


def test_largest_body_is_served(served: Rig, own: Own) -> None:
    """The answer is the body and a hash of 32 bytes: it is the largest, too."""
    body = [os.urandom((1 << 20) - 32)]
    assert own(DealerClient(served.frontend)).request(body) == digest(body)


def test_bare_body_leaves_room_for_the_packet_frame(rig_of: Callable[..., Rig], own: Own) -> None:
    """Attached to a TASK it has one frame before it, and frames_max is a promise of WELCOME."""
    rig = rig_of(frames_max=8)
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(BareClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"x" * 4096] * 8)
    client.ask([b"y" * 4096] * 7)
    task = worker.task()
    assert task.body == [b"y" * 4096] * 7
    assert len(task.frames) == 8
    assert rig.stat("bad_messages") == 1


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize("first", [b"", b"hop", W2, C2, b"PND\x01", b"\x01"])
def test_10_000_frames(served: Rig, own: Own, side: str, first: bytes) -> None:
    before = served.stat("bad_messages")
    sender = own(Peer(getattr(served, side)))
    sender.send([first] + [b"", b"x"] * 5_000)
    served.wait_stat("bad_messages", before + 1)
    serves(served)


# ---- identities ----


@pytest.mark.parametrize(
    "identity",
    [b"", b"i" * 255, b"\xff" * 255, b"\0", b"\0abcd", b"\0" * 255, b"READY", b"PND\x01"],
    ids=[
        "empty",
        "255 bytes",
        "255 x ff",
        "0",
        "like an automatic one",
        "255 x 0",
        "word",
        "magic",
    ],
)
def test_any_identity_is_served(served: Rig, identity: bytes) -> None:
    with zmtp.Connection(served.frontend, identity=identity) as client:
        client.send([b"", b"q"])
        assert client.recv() == [b"", *digest([b"q"])]
    serves(served)


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize("size", [256, 300, 5000, 60_000, 1_000_000])
def test_identity_that_is_too_long(served: Rig, side: str, size: int) -> None:
    """ZMTP has 255 bytes for it; libzmq takes what a raw peer claims."""
    before = served.stat("bad_messages")
    with zmtp.Connection(getattr(served, side), identity=b"i" * size) as sender:
        sender.send([b"", C1, b"mmi.service", SERVICE])
        served.wait_stat("bad_messages", before + 1)
    serves(served)


def test_identity_in_use_belongs_to_the_first(served: Rig, own: Own) -> None:
    """libzmq ignores the second connection for ever; the first must not notice."""
    first = own(DealerClient(served.frontend, identity=b"twin"))
    assert first.request([b"a"]) == digest([b"a"])
    second = own(DealerClient(served.frontend, identity=b"twin"))
    second.ask([b"b"])
    assert second.poll(QUIET) is None
    assert first.request([b"c"]) == digest([b"c"])
    serves(served)


# ---- raw bytes ----

RAW = {
    "nothing": b"",
    "HTTP": b"GET / HTTP/1.1\r\nHost: pound\r\n\r\n",
    "TLS": bytes.fromhex("16030100f1010000ed0303") + bytes(64),
    "half a greeting": zmtp.GREETING[:20],
    "greeting of ZMTP 1": b"\x01\x00",
    "greeting of ZMTP 2": b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00",
    "unknown mechanism": zmtp.GREETING[:12] + b"PLAIN".ljust(20, b"\0") + bytes(32),
    "greeting, then noise": zmtp.GREETING + b"\xff" * 4000,
    "greeting, then a message": zmtp.GREETING + zmtp.message([b"", b"q"]),
    "no socket type": zmtp.GREETING + zmtp.frame(b"\x05READY", zmtp.COMMAND),
    "PUB socket": zmtp.GREETING + zmtp.ready(b"PUB", b""),
    "long identity": zmtp.GREETING + zmtp.ready(b"DEALER", b"i" * 256),
    "broken property": zmtp.GREETING + zmtp.frame(b"\x05READY\x0bSocket-Type\xff\xff", 4),
    "unknown command": zmtp.GREETING + zmtp.ready(b"DEALER", b"") + zmtp.frame(b"\x05WRONG", 4),
    "PING without a body": zmtp.GREETING + zmtp.ready(b"DEALER", b"") + zmtp.frame(b"\x04PING", 4),
    "half a message": zmtp.GREETING + zmtp.ready(b"REQ", b"") + zmtp.frame(b"", zmtp.MORE),
    "ERROR": zmtp.GREETING + zmtp.frame(b"\x05ERROR\x03bad", zmtp.COMMAND),
}


@pytest.mark.parametrize("side", ["frontend", "backend"])
@pytest.mark.parametrize("data", RAW.values(), ids=RAW)
def test_raw_bytes(served: Rig, side: str, data: bytes) -> None:
    """The connection stays open while a good client is served, then closes under it."""
    with zmtp.dial(getattr(served, side)) as raw:
        raw.sendall(data)
        serves(served)
    serves(served)


def test_noise(served: Rig) -> None:
    for _ in range(20):
        with zmtp.dial(served.frontend) as raw:
            raw.sendall(zmtp.GREETING + zmtp.ready(b"DEALER", b"") + os.urandom(2000))
    serves(served)


def test_many_half_open_connections(served: Rig) -> None:
    raws: list[socket.socket] = []
    try:
        for _ in range(100):
            raw = zmtp.dial(served.frontend)
            raws.append(raw)
            raw.sendall(zmtp.GREETING[:11])
        serves(served)
    finally:
        for raw in raws:
            raw.close()


# ---- forged answers ----


@pytest.mark.parametrize("name", ["req", "ppp", "mdp1", "mdp2", "pnd"])
def test_answer_with_a_token_of_another(rig: Rig, own: Own, name: str) -> None:
    """It is dropped and counted; the worker that holds the task still answers it."""
    holder, thief = own(PppWorker(rig.backend)), own(WORKERS[name](rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(holder)
    client.ask([b"q"])
    task = holder.task()
    rig.ready(thief)
    client.ask([b"r"])
    mine = thief.task()
    stolen = task
    if name == "pnd":
        token = int(task.address, 16)
        stolen = Task(token.to_bytes(8, "little"), [], [])
    thief.answer(stolen, [b"forged"])
    rig.wait_stat("answers_late", 1)
    again = name in ("req", "ppp")
    if not again:
        thief.answer(mine, [b"honest"])
        assert client.take() == [b"honest"]
    holder.answer(task, [b"right"])
    answers = [client.take(), reclaim(thief, client)] if again else [client.take()]
    assert [b"right"] in answers
    assert client.poll(QUIET) is None


def reclaim(thief: Worker, client: DealerClient) -> list[bytes]:
    """A plain or PPP worker that answered wrongly is ready anew: its task comes to it again."""
    again = thief.task()
    assert again.body == [b"r"]
    thief.answer(again, [b"honest"])
    return client.take()


def test_partial_with_a_token_of_another(rig: Rig, own: Own) -> None:
    holder = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=2.5))
    thief = own(PndWorker(rig.backend))
    client = own(CLIENTS["mdp2"](rig.frontend))
    rig.ready(holder)
    client.ask([b"q"])
    task = holder.task()
    rig.ready(thief)
    token = int(task.address, 16)
    thief.held[token] = 0
    thief.partial(Task(token.to_bytes(8, "little"), [], [], attempt=1), [b"forged"])
    rig.wait_stat("partials_late", 1)
    holder.partial(task, [b"half"])
    holder.answer(task, [b"all"])
    assert client.take() == [b"all"]
    assert client.partials == [[b"half"]]


@pytest.mark.parametrize("name", ["ppp", "mdp1", "mdp2", "pnd"])
def test_answer_twice(rig: Rig, own: Own, name: str) -> None:
    worker = own(WORKERS[name](rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    worker.answer(task, [b"first"])
    worker.answer(task, [b"second"])
    rig.wait_stat("answers_late", 1)
    assert client.take() == [b"first"]
    assert client.poll(QUIET) is None


def test_answer_before_ready(rig: Rig, own: Own) -> None:
    worker = own(PndWorker(rig.backend))
    token = (1).to_bytes(8, "little")
    worker.answer(Task(token, [], []), [b"x"])
    rig.wait_stat("answers_late", 1)
    rig.ready(worker)
    client = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]
