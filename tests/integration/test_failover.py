"""Two brokers on one list: clients and workers meet at the first one whenever it serves."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

import pytest

import pound
from tests.support import WAIT_S, wait_until


def kill(served: Any) -> None:
    served.process.signal(signal.SIGKILL)
    served.process.wait()


@pytest.fixture
def found(caplog: pytest.LogCaptureFixture) -> Any:
    """``found(name)``: how often a client or worker has found a broker."""
    caplog.set_level(logging.INFO, logger="pound")

    def count(name: str) -> int:
        lines = [line for line in caplog.records if line.name == f"pound.{name}"]
        return sum("broker found" in line.getMessage() for line in lines)

    return count


def test_old_workers_and_new_clients_meet_after_a_restart(serve: Any, found: Any) -> None:
    first, second = serve(), serve()
    ends = (f"--frontend={first.frontend}", f"--backend={first.backend}")
    with pound.Worker([first.backend, second.backend], {"echo": lambda body: body}) as worker:
        assert worker.wait_connected(WAIT_S)
        kill(first)
        wait_until(lambda: found("worker") == 2)
        serve(*ends)
        with pound.Client([first.frontend, second.frontend]) as client:
            assert client.request("echo", b"served", timeout=WAIT_S) == b"served"


def test_nothing_is_lost_by_going_home(serve: Any, found: Any) -> None:
    """The worker takes its task to the end, its client waits for it, and then both go home."""
    first, second = serve(), serve()
    ends = (f"--frontend={first.frontend}", f"--backend={first.backend}")
    entered, finish = threading.Event(), threading.Event()
    runs: list[bytes] = []

    def handler(body: bytes) -> bytes:
        runs.append(body)
        if body == b"long":
            entered.set()
            assert finish.wait(6 * WAIT_S)
        return body

    with (
        pound.Worker([first.backend, second.backend], {"echo": handler}) as worker,
        pound.Client([first.frontend, second.frontend]) as client,
    ):
        assert worker.wait_connected(WAIT_S)
        assert client.request("echo", b"before", timeout=WAIT_S) == b"before"
        kill(first)
        wait_until(lambda: found("worker") == 2 and found("client") == 2)
        long = client.submit("echo", b"long")
        assert entered.wait(WAIT_S)
        serve(*ends)
        wait_until(lambda: "worker leaves" in second.process.stderr, timeout=WAIT_S)
        finish.set()
        assert long.result(WAIT_S) == b"long"
        wait_until(lambda: found("worker") == 3 and found("client") == 3, timeout=WAIT_S)
        assert client.request("echo", b"after", timeout=WAIT_S) == b"after"
    assert runs == [b"before", b"long", b"after"]
