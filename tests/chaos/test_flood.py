"""A port in the open: connections that say nothing, and handshakes of strangers, beside real peers.

What it costs in time is in docs/benchmarks.md; here it is that each request is answered, that the
broker keeps to its bounds, and that newcomers are served when the flood is over.
"""

from __future__ import annotations

import contextlib
import resource
import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from pound.security.curve import Pair, new_pair
from tests.keys import LET_IN, Keys, outcome, use
from tests.support import wait_until

SILENT = 600
HANDSHAKES_MAX = 100
FLOOD_S = 3.0


class Flood:
    """Silent connections, and strangers that shake hands, as many as the machine makes."""

    def __init__(self, endpoint: str, broker: str, silent: int) -> None:
        self.endpoint = endpoint
        self.silent = silent
        self.strangers = 0
        self._broker = broker
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._say_nothing, self._shake)]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _say_nothing(self) -> None:
        host, _, port = self.endpoint.removeprefix("tcp://").rpartition(":")
        with contextlib.ExitStack() as stack:
            for _ in range(self.silent):
                if self._ended.is_set():
                    return
                with contextlib.suppress(OSError):
                    made = sockets.create_connection((host, int(port)), timeout=5)
                    stack.enter_context(made)
            self._ended.wait()

    def _shake(self) -> None:
        context: zmq.Context[Any] = zmq.Context()
        while not self._ended.is_set():
            with context.socket(zmq.DEALER) as socket:
                socket.linger = 0
                use(socket, new_pair(), self._broker)
                socket.connect(self.endpoint)
                self.strangers += 1
                self._ended.wait(0.002)
        context.destroy(0)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as this process may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def worker(context: zmq.Context[Any], endpoint: str, pair: Pair, broker: str) -> threading.Thread:
    """Start a REQ worker that answers until its context ends."""
    socket = context.socket(zmq.REQ)
    socket.linger = 0
    use(socket, pair, broker)
    socket.connect(endpoint)

    def run() -> None:
        with contextlib.suppress(zmq.ContextTerminated):
            socket.send(b"READY")
            while True:
                socket.send_multipart(socket.recv_multipart())
        socket.close(0)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_peers_are_served_beside_a_flood(
    serve: Callable[..., Any], connect: Any, tmp_path: Path, descriptors: None
) -> None:
    keys = Keys(tmp_path)
    client, hand = keys.enrol("alice"), keys.enrol("bob", "worker")
    broker = keys.broker.public
    served = serve(f"--keys={keys.path}", f"--handshakes-max={HANDSHAKES_MAX}")
    context: zmq.Context[Any] = zmq.Context()
    thread = worker(context, served.backend, hand, broker)
    try:
        with context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.rcvtimeo = 15_000
            use(socket, client, broker)
            socket.connect(served.frontend)

            def ask() -> float:
                begun = time.monotonic()
                socket.send(b"hello")
                assert socket.recv() == b"hello"
                return time.monotonic() - begun

            ask()
            with Flood(served.frontend, broker, SILENT) as flood:
                end = time.monotonic() + FLOOD_S
                while time.monotonic() < end:
                    ask()
                assert flood.strangers
                assert outcome(context, served.frontend, client, broker) == LET_IN
            begun = time.monotonic()
            assert outcome(context, served.frontend, client, broker) == LET_IN
            assert time.monotonic() - begun < 5
        wait_until(lambda: "handshakes cut" in served.process.stderr)
        assert served.process.stderr.count("handshakes cut") == 1
    finally:
        context.term()
        thread.join()
