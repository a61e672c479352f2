"""Messages beyond every measure are cut early: others are served, their senders heard no more.

libzmq hands over a message only when all of it has come, and limits frames, not messages: so what
is tested here is what the loop does with one, not what libzmq keeps of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
import zmq

from tests.interop.rig import Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Body, Peer, Serving, digest
from tests.peers.catalogue import WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_wire import Record
from tests.peers.req_client import ReqClient
from tests.support import wait_until

MILLIONS = 3_000_000
NO_DIALECTS = 150_000  # frames, more than any dialect has in a message
MIB = 1 << 20


def send_frames(peer: Peer, first: Body, count: int) -> None:
    """Send one message of `count` empty frames behind the first."""
    for frame in first:
        peer.socket.send(frame, zmq.SNDMORE)
    for _ in range(count - 1):
        peer.socket.send(b"", zmq.SNDMORE)
    peer.socket.send(b"")


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_message_of_millions_of_frames_holds_nobody_up(rig: Rig, own: Own, side: str) -> None:
    """A client's answers come while the loop reads it, and its sender is not heard again."""
    giant = own(Peer(getattr(rig, side)))
    slowest = 0.0
    over = threading.Event()
    with Serving(lambda: WORKERS["req"](rig.backend), digest):
        rig.wait_stat("workers", 1)
        client = own(ReqClient(rig.frontend))
        sender = threading.Thread(target=lambda: (send_frames(giant, [b"x"], MILLIONS), over.set()))
        sender.start()
        while not (over.is_set() and rig.stat("ignored_routes")):
            begun = time.monotonic()
            assert client.request([b"q"]) == digest([b"q"])
            slowest = max(slowest, time.monotonic() - begun)
        sender.join()
        rig.wait_stat("bad_messages", 1)
        assert slowest < 5.0
        assert client.request([b"q"]) == digest([b"q"])
        before = rig.stat("ignored_messages")
        giant.send([b"", b"MDPC01", b"work", b"q"])
        rig.wait_stat("ignored_messages", before + 1)


def test_its_sender_is_struck_for_good(rig: Rig, own: Own) -> None:
    """Time forgives bad messages, but not this."""
    giant = own(DealerClient(rig.frontend))
    send_frames(giant, [b"x"], NO_DIALECTS)
    rig.wait_stat("ignored_routes", 1)
    begun, asked = time.monotonic(), 0
    while time.monotonic() - begun < 1.5:  # a second forgives one strike
        giant.ask([b"q"])
        asked += 1
        rig.wait_stat("ignored_messages", asked)
    assert rig.stat("accepted") == 0


def test_long_message_of_a_proxy_does_not_silence_its_clients(rig: Rig, own: Own) -> None:
    hop = own(Peer(rig.frontend))
    client = own(DealerClient(rig.frontend))
    with Serving(lambda: WORKERS["req"](rig.backend), digest):
        rig.wait_stat("workers", 1)
        hop.send([b"another", b"", b"p"])
        assert hop.recv() == [b"another", b"", *digest([b"p"])]
        send_frames(hop, [b"one client", b""], NO_DIALECTS)
        hop.send([b"another", b"", b"q"])
        assert hop.recv() == [b"another", b"", *digest([b"q"])]
        assert client.request([b"r"]) == digest([b"r"])


@pytest.mark.parametrize("count", [1025, 20_000, 131_000])
def test_long_message_is_an_ordinary_bad_one(rig: Rig, own: Own, count: int) -> None:
    """Up to what some dialect has: an echo of a large task is no attack."""
    sender = own(DealerClient(rig.frontend))
    send_frames(sender, [b"x"], count)
    rig.wait_stat("bad_messages", 1)
    with Serving(lambda: WORKERS["req"](rig.backend), digest):
        assert sender.request([b"q"]) == digest([b"q"])
    assert rig.stat("ignored_routes") == 0


def test_messages_around_a_long_one_are_whole(rig: Rig, own: Own) -> None:
    """What follows a cut message on the socket is not taken for the rest of it."""
    sender, other = own(DealerClient(rig.frontend)), own(DealerClient(rig.frontend))
    with Serving(lambda: WORKERS["req"](rig.backend), digest):
        rig.wait_stat("workers", 1)
        for n in range(20):
            sender.ask([b"before %d" % n])
            send_frames(sender, [b"x"], 1025 + 613 * n)
            sender.ask([b"after %d" % n])
            other.ask([b"other %d" % n])
        for n in range(20):
            assert sender.take() == digest([b"before %d" % n])
            assert sender.take() == digest([b"after %d" % n])
            assert other.take() == digest([b"other %d" % n])
    assert rig.stat("bad_messages") == 20


# ---- packets ----


def many(size: int, first: int = 1) -> list[Record]:
    """Requests that make a packet of more than `size` bytes."""
    return [wire.request(first + n, [os.urandom(1000)], b"work") for n in range(size // 1000)]


def test_packet_above_packet_bytes_max_is_not_looked_into(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(packet_bytes_max=4096, heartbeat=0.05, liveness=200)
    client = own(PndClient(rig.frontend))
    client.welcome()
    sent = 0

    def judged() -> bool:
        return rig.stat("accepted") + 8 * rig.stat("bad_messages") == 8 * sent

    while not rig.stat("bad_messages"):  # from a heartbeat after WELCOME on
        client.send(wire.packet(client.session, many(8000, first=1 + 8 * sent)))
        sent += 1
        wait_until(judged)
    taken = rig.stat("accepted")
    assert taken == 8 * (sent - 1)
    client.send(wire.packet(client.session, many(3000, first=1 + 8 * sent)))
    rig.wait_stat("accepted", taken + 3)


def test_peer_that_was_not_told_yet_goes_by_the_default(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(packet_bytes_max=4096)
    client = own(Peer(rig.frontend))
    session = os.urandom(16)
    client.send(wire.packet(session, [wire.hello(), *many(MIB // 2)]))
    rig.wait_stat("accepted", MIB // 2 // 1000)
    assert rig.stat("bad_messages") == 0


def test_packet_above_the_default_is_bad_from_anybody_who_is_told_the_limit(
    rig: Rig, own: Own
) -> None:
    """Its sender learns the limit by WELCOME, and what it asked can be asked again."""
    client = own(Peer(rig.frontend))
    session = os.urandom(16)
    client.send(wire.packet(session, many(2 * MIB)))
    rig.wait_stat("bad_messages", 1)
    (welcome, *_) = wire.unpack(client.recv())[1]
    assert welcome.kind == wire.WELCOME
    assert wire.WELCOME_HEAD.unpack(welcome.head)[3] == MIB
    assert rig.stat("accepted") == 0


def test_single_record_may_be_larger(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(packet_bytes_max=4096)
    client = own(PndClient(rig.frontend))
    with Serving(lambda: WORKERS["req"](rig.backend), lambda body: [b"%d" % len(body)]):
        assert client.request([b"p" * 100] * 30_000) == [b"30000"]
