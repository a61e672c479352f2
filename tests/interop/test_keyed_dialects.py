"""The Guide's programs, with CURVE keys on their sockets and no other change: Python, C, C++."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.keyed import KeyedRig, Keys, serving
from tests.peers.base import Peer, Serving, digest
from tests.peers.catalogue import CLIENTS, WORKERS


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedRig]:
    """A broker that knows `guide`, a client and a worker of ``work``."""
    keys = Keys(tmp_path_factory.mktemp("keyed") / "keys")
    keys.add("guide", "client", "worker", services=("work",))
    with serving(keys) as rig:
        yield rig


@pytest.fixture
def keyed(rig: KeyedRig, monkeypatch: pytest.MonkeyPatch) -> KeyedRig:
    """The rig; every peer that is made meanwhile proves the key of `guide`."""
    monkeypatch.setattr(Peer, "options", rig.keys.options("guide"))
    return rig


@pytest.mark.parametrize("dialect", WORKERS)
def test_each_client_is_served_by_each_worker(keyed: KeyedRig, dialect: str) -> None:
    with Serving(lambda: WORKERS[dialect](keyed.backend), digest):
        for name, make in CLIENTS.items():
            with make(keyed.frontend) as client:
                for body in ([b"one"], [b"x" * 10_000, b"two"]):
                    assert client.request(body) == digest(body), name
    assert keyed.stat("denied") == keyed.stat("bad_messages") == 0
    keyed.wait_stat("workers", 0)


@pytest.mark.parametrize("source", ["req_worker.c", "ppp_worker.c", "mdp_worker.cpp"])
def test_programs_in_c(
    rig: KeyedRig,
    source: str,
    compiled: Callable[[str], Path],
    program: Callable[..., subprocess.Popen[str]],
) -> None:
    pair = rig.keys.pairs["guide"]
    keys = (rig.keys.server, pair.public, pair.secret)
    program(str(compiled(source)), rig.backend, "work", *keys)
    client = program(str(compiled("req_client.c")), rig.frontend, "20", *keys)
    assert client.stdout is not None
    for number in range(20):
        body = f"request {number}"
        assert client.stdout.readline() == f"{len(body)} {body[::-1]}\n"
    assert client.wait(10) == 0


def test_a_program_in_c_with_a_key_that_is_not_known(
    rig: KeyedRig, compiled: Callable[[str], Path], program: Callable[..., subprocess.Popen[str]]
) -> None:
    other = Keys(Path(rig.keys.path).parent / "others")
    other.add("guide", "worker")
    known = rig.stat("workers")
    keys = (rig.keys.server, other.pairs["guide"].public, other.pairs["guide"].secret)
    closed = rig.stat("closed_connections")
    program(str(compiled("req_worker.c")), rig.backend, "work", *keys)
    rig.wait_rise("closed_connections", closed)
    assert rig.stat("workers") == known
