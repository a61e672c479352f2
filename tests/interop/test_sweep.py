"""Peers whose messages name no connection: ZMTP 1.0, random bytes, inproc. They end, too."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

import pound
from tests.interop.rig import QUICK, Own, Rig
from tests.peers.base import BOUND
from tests.peers.pnd_client import PndClient
from tests.peers.req_worker import ReqWorker
from tests.support import wait_until

ANONYMOUS = b"\x01\x00"  # ZMTP 1.0: an empty identity
GRACE_S = 0.2


@pytest.fixture
def old() -> Iterator[Callable[[str, bytes], socket.socket]]:
    """``old(endpoint, frame)``: a connection of ZMTP 1.0 that sent one message of one frame."""
    opened: list[socket.socket] = []

    def connect(endpoint: str, frame: bytes) -> socket.socket:
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), BOUND)
        opened.append(connection)
        connection.sendall(ANONYMOUS)
        say(connection, frame)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def say(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(bytes([len(frame) + 1, 0]) + frame)


def hear(connection: socket.socket, frame: bytes) -> None:
    """Read until this frame came."""
    read = b""
    end = time.monotonic() + BOUND
    while not read.endswith(bytes([len(frame) + 1, 0]) + frame):
        assert time.monotonic() < end
        read += connection.recv(4096)


def test_what_leaves_unseen_is_forgotten(
    rig_of: Callable[..., Rig], own: Own, old: Callable[[str, bytes], socket.socket]
) -> None:
    rig = rig_of(sessions_max=8, client_grace=GRACE_S, service_wait=GRACE_S)
    for _ in range(8):
        old(rig.frontend, b"x").close()
    rig.wait_stat("accepted", 8)
    rig.wait_stat("clients", 0)
    rig.wait_stat("routes", 0)
    rig.wait_stat("peers", 0)
    own(PndClient(rig.frontend)).welcome()


def test_bad_messages_leave_no_route(
    rig_of: Callable[..., Rig], old: Callable[[str, bytes], socket.socket]
) -> None:
    rig = rig_of(client_grace=GRACE_S)
    old(rig.frontend, b"PND\x01 and no packet").close()
    rig.wait_stat("bad_messages", 1)
    rig.wait_stat("routes", 0)


def test_one_that_is_forgotten_and_speaks_again_is_served(
    rig_of: Callable[..., Rig], own: Own, old: Callable[[str, bytes], socket.socket]
) -> None:
    rig = rig_of(client_grace=GRACE_S)
    worker = own(ReqWorker(rig.backend))
    rig.ready(worker)
    client = old(rig.frontend, b"1")
    worker.answer(worker.task(), [b"first"])
    hear(client, b"first")
    rig.wait_stat("clients", 0)
    say(client, b"2")
    worker.answer(worker.task(), [b"second"])
    hear(client, b"second")


def test_one_that_waits_for_its_answer_is_kept(
    rig_of: Callable[..., Rig], own: Own, old: Callable[[str, bytes], socket.socket]
) -> None:
    """However long that takes."""
    rig = rig_of(client_grace=GRACE_S)
    workers = [own(ReqWorker(rig.backend)) for _ in range(2)]
    rig.ready(*workers)
    patient = old(rig.frontend, b"1")
    task = workers[0].task()
    other = old(rig.frontend, b"2")
    workers[1].answer(workers[1].task(), [b"at once"])
    hear(other, b"at once")
    rig.wait_stat("clients", 1)
    workers[0].answer(task, [b"late"])
    hear(patient, b"late")


def test_waiting_ones_make_room_when_the_table_is_full(
    rig_of: Callable[..., Rig], own: Own, old: Callable[[str, bytes], socket.socket]
) -> None:
    """Their requests wait for ever; somebody else's must not."""
    rig = rig_of(sessions_max=4, client_grace=GRACE_S, service_wait=0)
    for _ in range(4):
        old(rig.frontend, b"x").close()
    rig.wait_stat("clients", 4)
    client = own(PndClient(rig.frontend))
    worker = own(ReqWorker(rig.backend))

    def served() -> bool:
        client.answers.clear()
        client.hello()
        client.pump(0.1)
        return rig.stat("waiting") == 0

    wait_until(served)
    rig.ready(worker)


def test_a_client_on_inproc_may_be_idle() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    settings = {**QUICK, "frontend": ("inproc://idle",), "client_grace": GRACE_S}
    broker = pound.Broker(context=context, **settings)
    with broker, context.socket(zmq.REQ) as client:
        worker = ReqWorker(broker.backend_endpoints[0])
        worker.ready()
        client.linger = 0
        client.rcvtimeo = int(BOUND * 1000)
        client.connect("inproc://idle")
        for word in (b"1", b"2"):
            client.send(word)
            worker.answer(worker.task(), [word])
            assert client.recv() == word
            wait_until(lambda: broker.stats()["clients"] == 0)
        worker.close()
    context.destroy(linger=0)
