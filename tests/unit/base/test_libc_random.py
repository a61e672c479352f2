"""libc's random numbers: another sequence for a moment, and then the host's own as it was."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from pound._base.libc_random import unpredictable
from tests.support import clean_environ

LIBC = ctypes.CDLL(None)
HAS_STATE = hasattr(LIBC, "gnu_get_libc_version")
# In place of the loop, the routing id of the first peer that has none of its own.
FIRST_ID = """
import os, pound, zmq

class Opened(pound.Broker):
    def _start_threads(self, core, context):
        dealer = context.socket(zmq.DEALER)
        dealer.connect(self.frontend_endpoints[0])
        dealer.send(b"")
        print(self._sockets[0].recv_multipart()[0].hex(), flush=True)
        os._exit(0)

Opened(frontend="tcp://127.0.0.1:*", backend="tcp://127.0.0.1:*").start()
"""


def drawn(count: int) -> list[int]:
    return [LIBC.rand() for _ in range(count)]


def test_the_hosts_sequence_is_untouched() -> None:
    LIBC.srand(15)
    expected = drawn(6)
    LIBC.srand(15)
    found = drawn(3)
    with unpredictable():
        drawn(7)
    assert found + drawn(3) == expected


@pytest.mark.skipif(not HAS_STATE, reason="this libc has no such state")
def test_what_is_drawn_meanwhile_differs_each_time() -> None:
    LIBC.srand(15)
    found = []
    for _ in range(2):
        with unpredictable():
            found.append(drawn(4))
    assert found[0] != found[1]


@pytest.mark.skipif(not HAS_STATE, reason="this libc has no such state")
def test_the_first_routing_id_of_a_broker_is_not_foreseen() -> None:
    command = [sys.executable, "-c", FIRST_ID]
    first, second = (
        subprocess.check_output(command, env=clean_environ(), timeout=60) for _ in range(2)
    )
    assert len(first.strip()) == len(second.strip()) == 10
    assert first != second
