"""Each client of each dialect against each worker of each dialect, over the reference queue."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.base import Peer, Serving, ViolationError, digest
from tests.peers.catalogue import CLIENTS, WORKERS
from tests.peers.dealer_client import DealerClient, Hop
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.peers.req_client import ReqClient
from tests.peers.selftest.reference import Reference

BODIES = [[b"one"], [b"two", b"", b"\0\xff"], [b""], [b"\0" * (1 << 20), b"x"]]


@pytest.fixture
def queue() -> Iterator[Reference]:
    with Reference() as reference:
        yield reference


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_pair(queue: Reference, client: str, worker: str) -> None:
    make: Callable[[str], Peer] = CLIENTS[client]
    with Serving(lambda: WORKERS[worker](queue.backend), digest), make(queue.frontend) as peer:
        for body in BODIES:
            if client == "bare" and b"" in body:
                continue
            assert peer.request(body) == digest(body)  # type: ignore[attr-defined]


def test_two_hops(queue: Reference) -> None:
    with (
        Serving(lambda: WORKERS["ppp"](queue.backend), digest),
        Hop(queue.frontend) as outer,
        Hop(outer.url) as inner,
        ReqClient(inner.url) as client,
    ):
        assert client.request([b"far"]) == digest([b"far"])


def test_partials(queue: Reference) -> None:
    with (
        Mdp2Worker(queue.backend, service=b"work") as worker,
        Mdp2Client(queue.frontend, service=b"work") as majordomo,
        PndClient(queue.frontend) as native,
    ):
        worker.ready()
        majordomo.ask([b"q"])
        task = worker.task()
        worker.partial(task, [b"half"])
        worker.answer(task, [b"all"])
        assert majordomo.take() == [b"all"]
        assert majordomo.partials == [[b"half"]]
        native.ask([b"q"])
        task = worker.task()
        worker.partial(task, [b"half"])
        worker.answer(task, [b"all"])
        assert native.take() == (1, [b"all"])
        assert [p.body for p in native.partials] == [[b"half"]]


def test_a_wrong_envelope_is_seen(queue: Reference) -> None:
    with (
        Serving(lambda: WORKERS["req"](queue.backend), digest),
        DealerClient(queue.frontend, stack=(b"a", b"b")) as client,
    ):
        client.ask([b"q"])
        client.envelope = [b"b", b"a", b""]
        with pytest.raises(ViolationError):
            client.take()


@pytest.mark.parametrize(
    "program", ["req_worker", "ppp_worker", "mdp1_worker", "mdp2_worker", "pnd_worker"]
)
def test_programs(queue: Reference, program: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    command = [sys.executable, "-m", f"tests.peers.{program}", queue.backend]
    command += ["--service", "work", "--journal", str(journal)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        with ReqClient(queue.frontend) as client:
            assert client.request([b"q"]) == digest([b"q"])
        assert journal.read_text() == f"{worker.pid} q\n"
    finally:
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize("program", ["req_client", "mdp1_client", "mdp2_client", "pnd_client"])
def test_client_programs(queue: Reference, program: str) -> None:
    command = [sys.executable, "-m", f"tests.peers.{program}", queue.frontend, "q", "r"]
    with Serving(lambda: WORKERS["req"](queue.backend), digest):
        done = subprocess.run(
            [*command, "--service", "work"] if program[0] in "mp" else command,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert done.stdout.splitlines() == [repr(part) for part in digest([b"q", b"r"])]
