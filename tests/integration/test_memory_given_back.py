"""A broker's memory after a burst: what was held for a client goes back to the system with it.

glibc gives back by itself what lies at the end of its heap, large blocks at once. It keeps what
lies below anything that stays: that goes back only because the broker asks for it (`trim`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.zmtp import MORE, Connection, frame
from tests.support import Served, wait_until

MIB = 1 << 20
ANSWER = bytes(2 * MIB)
ANSWERS = 40
SLACK = 8 * MIB
REQUEST = bytes(64 << 10)
REQUESTS = 800
STAYS_EVERY = 100
FRAMES = 5_000_000
FRAMES_AT_ONCE = 10_000
FRAME_BYTES = 64  # of one in libzmq
NARROW: dict[int, int] = {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}


class NarrowClient(PndClient):
    options = NARROW


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")


@glibc_only
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


@glibc_only
def test_what_left_goes_though_some_of_the_same_time_stays(serve: Callable[..., Served]) -> None:
    """Without malloc_trim the few requests that wait on keep nearly all of the burst's memory."""
    broker = serve("--client-grace=0.5")
    with PndClient(broker.frontend) as stays:
        stays.welcome()
        before = resident(broker.pid)
        with PndClient(broker.frontend) as leaves:
            leaves.welcome()
            for number in range(REQUESTS):
                leaves.ask([REQUEST], b"nobody")
                if number % STAYS_EVERY == 0:
                    stays.ask([REQUEST], b"nobody")
            wait_until(lambda: resident(broker.pid) > before + REQUESTS * len(REQUEST) * 3 // 4)
        wait_until(lambda: resident(broker.pid) < before + SLACK)


@pytest.mark.parametrize("ends", [False, True])
@glibc_only
def test_a_message_of_millions_of_frames_leaves_nothing(
    serve: Callable[..., Served], ends: bool
) -> None:
    """What libzmq has read and the loop has not lies outside of all that the broker counts."""
    broker = serve()
    with PndClient(broker.frontend) as stays:
        stays.welcome()
        begun = resident(broker.pid)
        with Connection(broker.frontend) as giant:
            for _ in range(FRAMES // FRAMES_AT_ONCE):
                giant.socket.sendall(frame(b"x", MORE) * FRAMES_AT_ONCE)
            wait_until(lambda: resident(broker.pid) > begun + FRAMES * FRAME_BYTES * 3 // 4)
            if ends:
                giant.socket.sendall(frame(b"x"))
                wait_until(lambda: resident(broker.pid) < begun + 4 * SLACK)
        wait_until(lambda: resident(broker.pid) < begun + 4 * SLACK)
