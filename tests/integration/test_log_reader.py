"""Whoever reads a command's stderr has stopped reading, or is gone: the command does its work."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from tests.support import ROOT, WAIT_S, clean_environ, pound_command, wait_until

FREE = "tcp://127.0.0.1:*"


class Unread:
    """A pipe that is full, or (`closed`) has no reader any more."""

    def __init__(self, closed: bool) -> None:
        self.reader, self.writer = os.pipe()
        if closed:
            os.close(self.reader)
            self.reader = -1
            return
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writer, False)
        try:
            while True:
                os.write(self.writer, b"." * 64)
        except BlockingIOError:
            os.set_blocking(self.writer, True)

    def read(self) -> bytes:
        """Read what there is."""
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        for end in (self.reader, self.writer):
            if end >= 0:
                os.close(end)


@pytest.fixture(params=[False, True], ids=["stopped", "gone"])
def unread(request: pytest.FixtureRequest) -> Iterator[Unread]:
    pipe = Unread(request.param)
    yield pipe
    pipe.close()


@pytest.fixture
def start(unread: Unread) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start(*arguments)``: a command whose stderr is the pipe."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                pound_command(*arguments),
                stdout=subprocess.PIPE,
                stderr=unread.writer,
                text=True,
                env=clean_environ(),
                cwd=ROOT,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def served(start: Callable[..., Any]) -> tuple[subprocess.Popen[str], str, str]:
    process = start("serve", "--frontend", FREE, "--backend", FREE)
    match = re.search(r"frontend=(\S+) backend=(\S+)", process.stdout.readline())
    assert match
    return process, match[1], match[2]


def spoil(frontend: str, context: zmq.Context[Any]) -> None:
    """Give the broker something to log."""
    with context.socket(zmq.DEALER) as bad:
        bad.linger = 0
        bad.connect(frontend)
        bad.send(b"PND garbage")
        with pound.Client(frontend) as client:
            wait_until(lambda: counter(client, "bad_messages"))


def counter(client: pound.Client, name: str) -> int:
    return int(re.search(rf'"{name}": ?([0-9]+)'.encode(), client.request("pound.status", b""))[1])  # type: ignore[arg-type, index]


def test_a_broker_serves_and_ends_in_order(start: Any, context: zmq.Context[Any]) -> None:
    process, frontend, backend = served(start)
    spoil(frontend, context)
    with (
        pound.Worker(backend, {"echo": lambda body: body}),
        pound.Client(frontend) as client,
    ):
        assert client.request("echo", b"x", timeout=WAIT_S) == b"x"
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0


def test_a_second_signal_stops_a_broker(start: Any, context: zmq.Context[Any]) -> None:
    process, frontend, backend = served(start)
    spoil(frontend, context)
    ends = threading.Event()
    with (
        pound.Worker(backend, {"slow": lambda _: ends.wait(WAIT_S) and None}, drain_timeout=0),
        pound.Client(frontend) as client,
    ):
        client.submit("slow", b"")
        wait_until(lambda: counter(client, "running"))
        try:
            wait_until(
                lambda: process.send_signal(signal.SIGTERM) or process.poll() is not None,
                interval=1.0,
            )  # two at once would be one
        finally:
            ends.set()
    assert process.returncode == 1


def test_a_worker_serves_and_ends_in_order(start: Any, broker: Any) -> None:
    process = start(
        "worker",
        "tests.integration.handlers:echo",
        "--service",
        "echo",
        "--connect",
        broker.backend_endpoints[0],
    )
    with pound.Client(broker.frontend_endpoints) as client:
        assert client.request("echo", b"x", timeout=WAIT_S) == b"x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0


def test_lines_flow_again_when_they_are_read(
    start: Any, unread: Unread, context: zmq.Context[Any]
) -> None:
    if unread.reader < 0:
        pytest.skip("nobody is there to read")
    process, frontend, _ = served(start)
    spoil(frontend, context)
    unread.read()
    wait_until(lambda: b"bad message" in unread.read())
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0


ENDS = """
import logging, sys, threading
import pound
from pound._logging import SPOOL, log_event
if sys.argv[1] == "stream":
    logging.basicConfig(level=logging.INFO)
else:
    class Waits(logging.Handler):
        def emit(self, record):
            threading.Event().wait()
    logging.getLogger().addHandler(Waits())
log_event(logging.getLogger("pound"), logging.WARNING, "broker lost")
print("over", flush=True)
"""


@pytest.mark.parametrize("kind", ["stream", "handler"])
def test_a_program_ends_though_its_own_log_handler_does_not_return(kind: str) -> None:
    unread = Unread(closed=False)
    program = subprocess.Popen(
        [sys.executable, "-c", ENDS, kind],
        stdout=subprocess.PIPE,
        stderr=unread.writer,
        text=True,
        env=clean_environ(),
        cwd=ROOT,
    )
    try:
        out, _ = program.communicate(timeout=WAIT_S)
        assert (out, program.returncode) == ("over\n", 0)
    finally:
        program.kill()
        program.wait()
        unread.close()


HANDLER = """
import logging
def handle(body):
    logging.info("x" * 500)
    return body
"""


def test_a_worker_whose_handler_logs_serves_and_ends_though_nobody_reads(tmp_path: Path) -> None:
    unread = Unread(closed=False)
    (tmp_path / "logs.py").write_text(HANDLER)
    with pound.Broker(frontend=FREE, backend=FREE) as broker:
        worker = subprocess.Popen(
            pound_command(
                "worker", "logs:handle", "--service", "s", "--connect", broker.backend_endpoints[0]
            ),
            stderr=unread.writer,
            env={**clean_environ(), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
        )
        try:
            with pound.Client(broker.frontend_endpoints[0]) as client:
                for _ in range(20):
                    assert client.request("s", b"x", timeout=WAIT_S) == b"x"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(WAIT_S) == 0
        finally:
            worker.kill()
            worker.wait()
            unread.close()
