"""Memory that fills with answers that nobody reads: who loses them, and who never does."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable

import pytest
import zmq

from tests.interop.rig import Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Body, Serving
from tests.peers.catalogue import BEAT, SERVICE, WORKERS
from tests.peers.mdp1 import Mdp1AsyncClient
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import Process, wait_until

MIB = 1 << 20
MEMORY = 64 * MIB
DEAF = 100
GIVEN_UP = 60  # of these, at last
LARGE = bytes(MIB // 4)
UNREAD = 24  # answers that the slow client has not read
READS_EVERY = 0.3  # seconds: a fraction of how long a client may read nothing
PATIENT: dict[str, float] = {
    "memory_max": MEMORY, "body_bytes_max": MIB, "undelivered_bytes_max": 8 * MIB,
    "answers_bytes_max": 0, "heartbeat": 0.2, "liveness": 10,
}  # fmt: skip


NARROW: dict[int, int] = {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}  # takes in next to nothing unread


class Narrow(Mdp1AsyncClient):
    options = NARROW

    def beat(self) -> None:
        """Send nothing: Majordomo's clients have no heartbeats."""


class NarrowClientAndWorker(PndClient):
    """Sends as a client and as a worker should, and reads nothing."""

    options = NARROW

    def hello(self) -> None:
        super().hello()
        self.put(wire.ready(1, [b"another"]))

    def beat(self) -> None:
        self.put(wire.Record(wire.HEARTBEAT))


def answer(body: Body) -> Body:
    return [LARGE] if body == [b"large"] else body


@pytest.mark.timeout(120)
@pytest.mark.parametrize("form", [Narrow, NarrowClientAndWorker])
def test_clients_that_never_read_shut_nobody_out(
    rig_of: Callable[..., Rig],
    own: Own,
    caplog: pytest.LogCaptureFixture,
    form: type[Narrow] | type[NarrowClientAndWorker],
) -> None:
    """Those that take nothing lose their answers; one that reads slowly, and others, none."""
    rig = rig_of(**PATIENT)
    innocent = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    slow = own(Narrow(rig.frontend, service=SERVICE))
    deaf = [own(form(rig.frontend, service=SERVICE)) for _ in range(DEAF)]

    read_at = time.monotonic()
    read = 0

    def room() -> bool:
        nonlocal read, read_at
        if time.monotonic() - read_at > READS_EVERY:
            assert slow.take() == [LARGE]
            slow.ask([b"large"])
            read_at, read = time.monotonic(), read + 1
            for peer in deaf:
                peer.beat()
        return rig.stat("held_bytes") < MEMORY * 5 // 8

    with Serving(lambda: WORKERS["pnd"](rig.backend), answer):
        for _ in range(UNREAD):
            slow.ask([b"large"])
        number = 0
        while rig.stat("unread_clients") < GIVEN_UP:
            for n in range(10):
                deaf[(10 * number + n) % DEAF].ask([b"large"])
            assert innocent.request([b"q%d" % number]) == [b"q%d" % number]
            wait_until(room)
            number += 1
        for _ in range(UNREAD):
            assert slow.take() == [LARGE]
    assert read
    assert rig.stat("refused") == 0
    wait_until(lambda: "client does not read, its answers are dropped" in caplog.text)


ASKED = 64
ASKS = """
import sys
import pound

with pound.Client(sys.argv[1]) as client:
    answers = [client.submit("work", b"large") for _ in range(int(sys.argv[2]))]
    print(sum(len(answer.result(timeout=40)) for answer in answers), flush=True)
"""


def test_a_native_client_asks_again(
    rig_of: Callable[..., Rig], own: Own, spawn: Callable[..., Process]
) -> None:
    """One that was stopped for long has every answer once it goes on."""
    rig = rig_of(**{**PATIENT, "memory_max": 24 * MIB, "undelivered_bytes_max": 16 * MIB})
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=ASKED))
    rig.ready(worker)
    client = spawn([sys.executable, "-c", ASKS, rig.frontend, str(ASKED)])
    tasks = [worker.task() for _ in range(ASKED)]
    client.popen.send_signal(signal.SIGSTOP)
    for task in tasks:
        worker.answer(task, [LARGE])

    def given_up() -> bool:
        worker.beat()
        return rig.stat("unread_clients") == 1

    wait_until(given_up)
    worker.close()
    client.popen.send_signal(signal.SIGCONT)
    with Serving(lambda: WORKERS["pnd"](rig.backend), answer):
        client.wait_line(f"^{ASKED * len(LARGE)}$")
