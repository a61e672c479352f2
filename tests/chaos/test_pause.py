"""SIGSTOP and SIGCONT of Pound's own ends and of the broker, with work in hand.

Nothing is lost, nothing runs twice without need, and nobody waits longer than the pause made him:
after SIGCONT the next answer comes within `LATENCY_S` and the time that the task takes.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

import pound
from tests.chaos.conftest import Status
from tests.chaos.ends import requests
from tests.support import Process, Served, clean_environ, pound_command, stop_process, wait_until

LATENCY_S = 1.5  # a loaded machine; whoever waits for a silence to pass waits for SILENCE_S
SILENCE_S = 2.5
RATES = {"heartbeat": "0.5", "liveness": "5"}  # their product
TASK_S = 0.4
LONG_S = 2.0  # a task that is still at work when the one who holds it has been stopped
HELD = 2  # tasks of each worker
KINDS = {"sync": "work", "aio": "awork"}
AtWork: TypeAlias = tuple[Served, list[Process], Status]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def workers(spawn: Callable[..., Process], runs: Path) -> Callable[[Served], list[Process]]:
    """``workers(broker)``: a ``pound worker`` of each kind, with a service of that name."""

    def start(broker: Served) -> list[Process]:
        environ = clean_environ(RUNS=str(runs))
        return [
            spawn(
                pound_command(
                    "worker", f"tests.chaos.ends:{handler}", "--service", kind,
                    "--capacity", str(HELD), "--connect", broker.backend, "--log-level", "error",
                ),
                environ,
            )
            for kind, handler in KINDS.items()
        ]  # fmt: skip

    return start


@pytest.fixture
def at_work(
    pound_serve: Callable[..., Served],
    workers: Callable[[Served], list[Process]],
    status_of: Callable[[str], Status],
) -> AtWork:
    """A broker, its workers once it knows them, and its status."""
    broker = pound_serve(**RATES)
    crew = workers(broker)
    status = status_of(broker.frontend)
    status.wait_workers(len(crew))
    return broker, crew, status


@pytest.fixture
def stopped() -> Iterator[Callable[..., ExitStack]]:
    """``stopped(*pids)``: SIGSTOP, until the stack is closed: SIGCONT."""
    stacks: list[ExitStack] = []

    def stop(*processes: Process) -> ExitStack:
        stack = ExitStack()
        stacks.append(stack)
        for process in processes:
            stack.callback(process.signal, signal.SIGCONT)
            stop_process(process.pid)
        return stack

    yield stop
    for stack in stacks:
        stack.close()


def ask(
    client: pound.Client, count: int, word: str = "", each: float = TASK_S
) -> dict[Future[bytes], bytes]:
    """Ask `count` requests of each kind of worker."""
    asked = requests(count, str(each), list(KINDS), word)
    return {client.submit(kind, body): body for kind, body in asked}


def answered_in_time(futures: dict[Future[bytes], bytes], bound: float) -> None:
    begun = time.monotonic()
    done, late = wait(futures, bound + 30)
    took = time.monotonic() - begun
    assert not late
    assert all(future.result() == futures[future] for future in done)
    assert took < bound, f"the last answer came after {took:.1f} s"


def ran_once(runs: Path) -> None:
    twice = {line: n for line, n in Counter(runs.read_bytes().splitlines()).items() if n > 1}
    assert not twice


@pytest.mark.timeout(90)
def test_workers_stopped_with_tasks_in_hand(
    at_work: AtWork,
    stopped: Callable[..., ExitStack],
    runs: Path,
) -> None:
    """They are given up, nobody else offers their service, and they finish what they hold."""
    broker, crew, status = at_work
    with pound.Client(broker.frontend) as client:
        futures = ask(client, HELD, each=LONG_S)
        status.wait(lambda now: now["counters"]["running"] == len(futures))
        with stopped(*crew):
            status.wait(lambda now: now["counters"]["expired_workers"] == len(crew))
            status.wait_workers(0)
        answered_in_time(futures, LATENCY_S + LONG_S)
        answered_in_time(ask(client, 1, "after "), LATENCY_S + TASK_S)
    counters = status.read()["counters"]
    assert counters["losses"] == HELD * len(crew)  # one each, when they were given up
    assert counters["redelivered"] == 0
    assert counters["failed"] == 0
    ran_once(runs)
    status.wait_workers(len(crew))


@pytest.mark.timeout(90)
def test_idle_workers_stopped(
    at_work: AtWork,
    stopped: Callable[..., ExitStack],
    runs: Path,
) -> None:
    """What waited for them meanwhile is answered at once, and nothing counts as lost."""
    broker, crew, status = at_work
    with pound.Client(broker.frontend) as client:
        with stopped(*crew):
            status.wait_workers(0)
            futures = ask(client, HELD)
            status.wait(lambda now: now["counters"]["waiting"] == len(futures))
        answered_in_time(futures, LATENCY_S + TASK_S)
    assert status.counter("losses") == 0
    ran_once(runs)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ["client", "aio"])
def test_client_stopped_with_open_requests(
    at_work: AtWork,
    spawn: Callable[..., Process],
    stopped: Callable[..., ExitStack],
    runs: Path,
    kind: str,
) -> None:
    """All is answered while it stands still; it has the answers as soon as it goes on."""
    broker, crew, status = at_work
    command = [sys.executable, "-m", "tests.chaos.ends", kind, broker.frontend, "5", "0.1", *KINDS]
    client = spawn(command)
    client.wait_line("^asked$")
    with stopped(client):
        begun = time.monotonic()
        status.wait(lambda now: now["counters"]["running"] + now["counters"]["waiting"] == 0)
        wait_until(lambda: time.monotonic() - begun > 2 * SILENCE_S)  # twice its own patience
    begun = time.monotonic()
    assert client.wait_line(r"^answered (\d+)$")[1] == str(5 * len(crew))
    assert time.monotonic() - begun < LATENCY_S
    assert client.wait() == 0
    ran_once(runs)


@pytest.mark.timeout(90)
def test_broker_stopped_with_tasks_in_hand(
    at_work: AtWork,
    stopped: Callable[..., ExitStack],
    runs: Path,
) -> None:
    """Workers and clients have left the silent broker, and are back in time; amnesty for all."""
    broker, crew, status = at_work
    with pound.Client(broker.frontend, heartbeat=0.5) as client:
        futures = ask(client, 2 * HELD, each=LONG_S)
        status.wait(lambda now: now["counters"]["running"] == HELD * len(crew))
        with stopped(broker.process):
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 2 * SILENCE_S)
        answered_in_time(futures, LATENCY_S + 2 * LONG_S)
        answered_in_time(ask(client, 1, "after "), LATENCY_S + TASK_S)
    counters = status.read()["counters"]
    assert counters["pauses"] >= 1
    assert counters["expired_workers"] == 0
    assert counters["losses"] == 0
    ran_once(runs)
    status.wait_workers(len(crew))
