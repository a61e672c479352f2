"""Fixtures own every socket and every process; a hard watchdog stands behind each test.

pytest-timeout fails a test that waits too long in Python. A test that hangs in compiled code, or
with the GIL held, is beyond it: then the watchdog prints every thread's stack and ends the run.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

import pytest
import zmq

from tests import support
from tests.ahead import ahead, pytest_collection_finish, pytest_sessionfinish
from tests.peers.base import Peer
from tests.support import Process, Served, need, wait_until

__all__ = [
    "ahead", "need", "pytest_collection_finish", "pytest_sessionfinish", "wait_until",
]  # fmt: skip

HARD_EXTRA_S = 30.0  # after the soft limit
RECEIVE_MS = 15_000  # no socket of a test waits longer
WILDCARD = "tcp://127.0.0.1:*"

P = TypeVar("P", bound=Peer)

_WATCHDOG = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep a stderr that pytest does not capture, for the watchdog.

    A shell starts what it runs in the background with SIGINT ignored, and children inherit that:
    those of the tests are to be interrupted all the same.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "ahead(*words): runs before its test; see tests/ahead.py")
    config.addinivalue_line("markers", "slow: takes seconds; `make quick` leaves it out")
    stream = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
    config.stash[_WATCHDOG] = stream


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Arm the watchdog around a test, its fixtures included."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0]) if marker and marker.args else _soft_limit(item.config)
    if limit > 0:
        stream = item.config.stash[_WATCHDOG]
        faulthandler.dump_traceback_later(limit + HARD_EXTRA_S, exit=True, file=stream)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _soft_limit(config: pytest.Config) -> float:
    given = config.getoption("--timeout")
    return float(config.getini("timeout") if given is None else given)


class LogCapture(pytest.LogCaptureFixture):
    """What was logged, Pound's own lines included, which another thread writes."""

    @property
    def handler(self) -> Any:
        """Wait for the lines that are on their way; every property reads the handler."""
        from pound._logging import SPOOL

        SPOOL.flush(support.WAIT_S)
        return super().handler


@pytest.fixture
def caplog(request: pytest.FixtureRequest) -> Iterator[LogCapture]:
    """Capture lines as pytest's own fixture does, and wait for those of Pound's spool."""
    capture = LogCapture(request.node, _ispytest=True)
    yield capture
    capture._finalize()


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    """A ZeroMQ context whose sockets are closed with the test."""
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def connect(context: zmq.Context[Any]) -> Iterator[Callable[..., zmq.Socket[Any]]]:
    """``connect(kind, endpoint, identity=None)``: a socket that never waits for ever."""
    # A context refers weakly to its sockets: one that the test lets go would warn.
    sockets: list[zmq.Socket[Any]] = []

    def make(kind: int, endpoint: str, identity: bytes | None = None) -> zmq.Socket[Any]:
        socket = context.socket(kind)
        sockets.append(socket)
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = RECEIVE_MS
        if identity is not None:
            socket.setsockopt(zmq.IDENTITY, identity)
        socket.connect(endpoint)
        return socket

    yield make
    for socket in sockets:
        socket.close()


@pytest.fixture
def start_broker() -> Iterator[Callable[..., Any]]:
    """``start_broker(**settings)``: a running `pound.Broker` on free loopback ports."""
    import pound

    brokers: list[Any] = []

    def start(**settings: Any) -> Any:
        ends = {"frontend": (WILDCARD,), "backend": (WILDCARD,)}
        broker = pound.Broker(**{**ends, **settings})
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.stop()


@pytest.fixture
def broker(start_broker: Callable[..., Any]) -> Any:
    """A running `pound.Broker` with default settings on free loopback ports."""
    return start_broker()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """``spawn(command, environ=None)``: a `Process` that ends with the test."""
    started: list[Process] = []

    def start(command: list[str], environ: dict[str, str] | None = None) -> Process:
        started.append(Process(command, tmp_path, environ))
        return started[-1]

    yield start
    for process in reversed(started):
        process.close()


@pytest.fixture
def serve(spawn: Callable[..., Process]) -> Callable[..., Served]:
    """``serve(*arguments, environ=None)``: a ready ``pound serve`` on free loopback ports.

    ``--frontend`` and ``--backend`` are given unless they are among the arguments.
    """

    def start(*arguments: str, environ: dict[str, str] | None = None) -> Served:
        given = {argument.partition("=")[0] for argument in arguments}
        ends = [f"{side}={WILDCARD}" for side in ("--frontend", "--backend") if side not in given]
        return Served(spawn(support.pound_command("serve", *ends, *arguments), environ))

    return start


@pytest.fixture
def run_pound() -> Callable[..., Any]:
    """``run_pound(*arguments, stdin=b"", **environ)``: ``pound`` run to its end."""
    return support.run_pound


@pytest.fixture
def own() -> Iterator[Callable[[P], P]]:
    """``own(peer)``: give the peer back, and close it with the test."""
    peers: list[Peer] = []

    def keep(peer: P) -> P:
        peers.append(peer)
        return peer

    yield keep
    for peer in reversed(peers):
        peer.close()
