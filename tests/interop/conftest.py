"""Fixtures of the interoperation tests: brokers, peers closed with the test, C programs."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.keyed import KeyedRig
from tests.interop.rig import QUICK, Own, Rig
from tests.peers.base import Peer
from tests.peers.curve import CurveConnection
from tests.support import WAIT_S, need

PEERS = Path(__file__).parent.parent / "peers" / "c"


@pytest.fixture
def rig_of() -> Iterator[Callable[..., Rig]]:
    """``rig_of(**settings)``: a broker with quick timers and these settings."""
    import pound

    brokers: list[Any] = []

    def start(**settings: Any) -> Rig:
        broker = pound.Broker(**{**QUICK, **settings})
        broker.start()
        brokers.append(broker)
        return Rig(broker)

    yield start
    for broker in brokers:
        broker.stop()


@pytest.fixture
def rig(rig_of: Callable[..., Rig]) -> Rig:
    """A broker with quick timers."""
    return rig_of()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``compiled(source)``: the program of a C or C++ peer; skips without compiler or libzmq."""
    folder = tmp_path_factory.mktemp("peers")

    def build(source: str) -> Path:
        cpp = source.endswith(".cpp")
        compiler = need("c++" if cpp else "cc")
        need("zmq.h")
        program = folder / Path(source).stem
        if not program.exists():
            flags = ["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
            command = [compiler, *flags, "-o", str(program), str(PEERS / source), "-lzmq"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
        return program

    return build


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``program(*command)``: a peer's process that has printed ``ready``; killed with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=WAIT_S)


@pytest.fixture
def open_as(rig: KeyedRig, own: Own) -> Callable[..., Any]:
    """``open_as(form, name, **settings)``: a peer of a form, with the key of a name."""

    def make(form: type[Peer], name: str, **settings: Any) -> Any:
        url = rig.backend if "Worker" in form.__name__ else rig.frontend
        return own(rig.keys.form(form, name)(url, **settings))

    return make


@pytest.fixture
def raw(rig: KeyedRig) -> Iterator[Callable[[str], CurveConnection]]:
    """``raw(name)``: a connection of a peer with that key, which has sent its greeting."""
    with contextlib.ExitStack() as opened:
        yield lambda name: opened.enter_context(
            CurveConnection(rig.frontend, rig.keys.pairs[name], rig.keys.server)
        )
