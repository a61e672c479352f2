"""A client that fills its pipe while the broker leaves it unread, and is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from tests.support import Process, Served

FLOOD = """
import signal, sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.SNDHWM, 0)
socket.connect(sys.argv[1])
for _ in range(40_000):
    socket.send_multipart([b"", bytes(2000)])
print("sent", flush=True)
signal.pause()
"""


@pytest.mark.timeout(60)
def test_its_death_is_nobody_elses(
    serve: Callable[..., Served],
    spawn: Callable[..., Process],
    connect: Callable[..., zmq.Socket[Any]],
) -> None:
    """libzmq's heartbeat timer would abort the broker a second after the kill."""
    served = serve("--waiting-max", "10", "--foreign-overflow", "block")
    flood = spawn([sys.executable, "-c", FLOOD, served.frontend])
    flood.wait_line("sent")
    flood.signal(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        served.process.popen.wait(2.0)
    with connect(zmq.REQ, served.backend) as worker:
        worker.send(b"READY")
        assert worker.recv_multipart()[2] == bytes(2000)
