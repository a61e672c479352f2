"""A broker's memory after a burst: what was held for a client goes back to the system with it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import Served, wait_until

MIB = 1 << 20
ANSWER = bytes(2 * MIB)
ANSWERS = 40
SLACK = 8 * MIB
NARROW: dict[int, int] = {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}


class NarrowClient(PndClient):
    options = NARROW


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_unread_answers_go_with_their_client(serve: Callable[..., Served]) -> None:
    broker = serve("--client-grace=0.5")
    with (
        PndWorker(broker.backend, heartbeat=0.2, capacity=ANSWERS) as worker,
        NarrowClient(broker.frontend) as client,
    ):
        worker.ready()
        client.welcome()
        before = resident(broker.pid)
        for _ in range(ANSWERS):
            client.ask([b"q"])
        for _ in range(ANSWERS):
            worker.answer(worker.task(), [ANSWER])
        wait_until(lambda: resident(broker.pid) > before + 2 * SLACK)
    wait_until(lambda: resident(broker.pid) < before + SLACK)
