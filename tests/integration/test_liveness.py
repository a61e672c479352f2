"""Who counts as dead: not a worker that only computes; but a task that hangs is run elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pound
from tests.support import WAIT_S, Process, wait_until

LONG = os.environ.get("POUND_TEST_ALL", "0") not in ("", "0")

# A call by PyDLL keeps the GIL, as a C extension may; the thread `clock` sees for how long.
PROGRAM = """
import ctypes, sys, threading, time
import pound

pauses = [0.0]

def clock():
    while True:
        before = time.monotonic()
        time.sleep(0.01)
        pauses.append(max(pauses.pop(), time.monotonic() - before))

def compute(task):
    ctypes.PyDLL(None).sleep(int(task.body))
    time.sleep(0.05)
    return b"%d %f" % (task.attempt, pauses[0])

threading.Thread(target=clock, daemon=True).start()
pound.Worker(sys.argv[1], {"compute": compute}).run()
"""


def test_a_worker_that_holds_the_gil_is_not_taken_for_dead(
    start_broker: Callable[..., Any], spawn: Callable[..., Process]
) -> None:
    """For 10 s at the default rates if POUND_TEST_ALL is set, else for 1 s at faster ones."""
    hold, rates = (10, {}) if LONG else (1, {"heartbeat": 0.1, "liveness": 3})
    broker = start_broker(**rates)
    spawn([sys.executable, "-c", PROGRAM, broker.backend_endpoints[0]])
    wait_until(lambda: broker.stats()["workers"] == 1)
    with pound.Client(broker.frontend_endpoints) as client:
        answer = client.request("compute", b"%d" % hold, timeout=hold + WAIT_S)
    attempt, pause = answer.split()
    assert float(pause) > 0.9 * hold  # the GIL was held indeed
    assert attempt == b"1"
    assert broker.stats()["losses"] == 0


def test_a_task_that_hangs_is_run_by_another_worker_when_its_lease_is_over(
    start_broker: Callable[..., Any],
) -> None:
    broker = start_broker(services={"work": {"lease": 0.3}})
    release = threading.Event()

    held: list[pound.Task] = []

    def hang(task: pound.Task) -> bytes:
        held.append(task)
        release.wait(WAIT_S)
        return b"too late"

    hanging = pound.Worker(broker.backend_endpoints, {"work": hang})
    with hanging, pound.Client(broker.frontend_endpoints) as client:
        future = client.submit("work", b"")
        wait_until(lambda: broker.stats()["running"] == 1)
        with pound.Worker(broker.backend_endpoints, {"work": lambda task: b"%d" % task.attempt}):
            assert future.result(WAIT_S) == b"2"
            assert broker.stats()["losses"] == 1
            assert broker.stats()["workers"] == 2  # the one that hangs gives signs of life
            wait_until(lambda: held[0].cancelled)
        release.set()
