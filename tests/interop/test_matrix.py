"""Every client dialect is served by every worker dialect: right answers, whatever the body.

One broker and one worker for each worker dialect; all clients in turn. The worker's answer knows
each part's bounds (`digest`), so that nothing joined, split, padded or cut passes for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.rig import QUICK, Rig
from tests.peers.base import Body, Serving, digest
from tests.peers.catalogue import CLIENTS, WORKERS
from tests.peers.dealer_client import Hop

BODIES: dict[str, Body] = {
    "one part": [b"one"],
    "many parts": [b"%d" % i for i in range(40)],
    "0 bytes": [b""],
    "empty parts": [b"", b"x", b"", b""],
    "binary with NULs": [bytes(range(256)), b"\0", b"\0\0a\0"],
    "1 MiB": [b"\0\xff\x01" * (1 << 20)],
    "large and small": [b"a", os.urandom(1 << 20), b"", os.urandom(5000)],
    "around the copy threshold": [b"x" * n for n in (4095, 4096, 4097)],
    "protocol words": [b"-", b"MDPW01", b"", b"READY", b"PND\x01", b"\x02"],
}


@pytest.fixture(scope="module", params=WORKERS)
def served(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A broker whose service ``work`` has one worker, of one dialect."""
    import pound

    with pound.Broker(**QUICK) as broker:
        rig = Rig(broker)
        with Serving(lambda: WORKERS[request.param](rig.backend), digest):
            yield rig
        assert rig.stat("bad_messages") == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_pair(served: Rig, name: str) -> None:
    with CLIENTS[name](served.frontend) as client:
        for what, body in BODIES.items():
            if name == "bare" and b"" in body:
                continue
            assert client.request(body) == digest(body), what


def test_through_two_hops(served: Rig) -> None:
    with Hop(served.frontend) as outer, Hop(outer.url) as inner:
        for name in ("req", "dealer stack", "mdp1", "mdp1 async"):
            with CLIENTS[name](inner.url) as client:
                for body in ([b"far"], [b"", b"a"]):
                    assert client.request(body) == digest(body), name


def test_all_at_once(served: Rig) -> None:
    """Requests of all dialects wait together; each answer reaches the one that asked."""
    names = ["dealer", "dealer stack", "bare", "mdp1 async", "mdp2", "mdp2 delimited"]
    clients: list[tuple[str, Any]] = [(name, CLIENTS[name](served.frontend)) for name in names]
    try:
        for number in range(20):
            for name, client in clients:
                client.ask([name.encode(), b"%d" % number])
        for number in range(20):
            for name, client in clients:
                assert client.take() == digest([name.encode(), b"%d" % number])
    finally:
        for _, client in clients:
            client.close()


@pytest.mark.parametrize("source", ["req_worker.c", "ppp_worker.c", "mdp_worker.cpp"])
def test_worker_that_takes_the_address_for_a_string(
    rig: Rig,
    source: str,
    compiled: Callable[[str], Path],
    program: Callable[..., object],
) -> None:
    """The Guide's C workers read the address with s_recv: it must have no NUL and be short."""
    program(str(compiled(source)), rig.backend, "work")
    for name, make in CLIENTS.items():
        with make(rig.frontend) as client:
            for number in range(10):
                body = [b"%s %d" % (name.encode(), number)]
                assert client.request(body) == [b"%d" % len(body[0]), body[0][::-1]], name
            if name != "bare":
                assert client.request([b""]) == [b"0", b""]
            large = os.urandom(1 << 20) + b"\0"
            assert client.request([large]) == [b"%d" % len(large), large[::-1]]


def test_worker_programs(rig: Rig, program: Callable[..., object]) -> None:
    """The peers as processes of their own, all on one service at once."""
    for name in ("req_worker", "ppp_worker", "mdp1_worker", "mdp2_worker", "pnd_worker"):
        command = [sys.executable, "-m", f"tests.peers.{name}", rig.backend]
        program(*command, "--service", "work", "--heartbeat", "0.1")
    rig.wait_stat("workers", 5)
    with CLIENTS["req"](rig.frontend) as client:
        for number in range(50):
            assert client.request([b"%d" % number]) == digest([b"%d" % number])
