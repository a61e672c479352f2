"""The broker is killed while tasks run: they go on under the next one, and run once."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pound
import pound.aio
from tests.support import WAIT_S, Served

Serve = Callable[..., Served]
RATES = {"heartbeat": "0.2", "adopt_wait": "3"}


class Crew:
    """Workers in this process, whose handlers work until they may go on, and count their runs."""

    def __init__(self) -> None:
        self.runs: Counter[bytes] = Counter()
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.workers: list[pound.Worker] = []

    def work(self, body: bytes) -> bytes:
        self.runs[body] += 1
        self.begun.release()
        assert self.go.wait(WAIT_S)
        return body.upper()

    def count(self, body: bytes) -> Iterator[bytes]:
        """Count to six; at three the broker may die."""
        self.runs[body] += 1
        for number in range(6):
            if number == 3:
                self.begun.release()
                assert self.go.wait(WAIT_S)
            yield b"%d" % number

    def hire(self, *backends: str, capacity: int = 4) -> None:
        services = {"work": self.work, "count": self.count}
        worker = pound.Worker(backends, services, capacity=capacity)
        worker.start()
        self.workers.append(worker)

    def wait_begun(self, tasks: int) -> None:
        for _ in range(tasks):
            assert self.begun.acquire(timeout=WAIT_S)

    def close(self) -> None:
        self.go.set()
        for worker in self.workers:
            worker.stop()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.close()


class Fleet:
    """One broker, or two on one list; `kill` ends the first, and starts it again if it is alone."""

    def __init__(self, serve: Serve, brokers: int) -> None:
        self.serve = serve
        self.served = [serve(**RATES) for _ in range(brokers)]

    @property
    def frontends(self) -> list[str]:
        return [broker.frontend for broker in self.served]

    @property
    def backends(self) -> list[str]:
        return [broker.backend for broker in self.served]

    def kill(self) -> None:
        first = self.served[0]
        first.process.signal(signal.SIGKILL)
        first.process.wait()
        if len(self.served) == 1:
            ends = ("--frontend", first.frontend, "--backend", first.backend)
            self.served[0] = self.serve(*ends, **RATES)


@pytest.fixture(params=[1, 2], ids=["restarted", "another"])
def fleet(pound_serve: Serve, request: pytest.FixtureRequest) -> Fleet:
    return Fleet(pound_serve, request.param)


def test_a_request_runs_once(fleet: Fleet, crew: Crew) -> None:
    crew.hire(*fleet.backends)
    with pound.Client(fleet.frontends) as client:
        answer = client.submit("work", b"a")
        crew.wait_begun(1)
        fleet.kill()
        crew.go.set()
        assert answer.result(WAIT_S) == b"A"
    assert crew.runs == {b"a": 1}


def test_an_answer_of_the_time_without_a_broker_is_delivered(fleet: Fleet, crew: Crew) -> None:
    crew.hire(*fleet.backends)
    with pound.Client(fleet.frontends) as client:
        answer = client.submit("work", b"a")
        crew.wait_begun(1)
        fleet.served[0].process.signal(signal.SIGKILL)
        fleet.served[0].process.wait()
        crew.go.set()
        fleet.kill()
        assert answer.result(WAIT_S) == b"A"
    assert crew.runs == {b"a": 1}


def test_all_of_a_map_run_once(fleet: Fleet, crew: Crew) -> None:
    """Some run, some wait, on workers without a free place."""
    bodies = [b"%d" % number for number in range(20)]
    for _ in range(2):
        crew.hire(*fleet.backends)
    with pound.Client(fleet.frontends) as client:
        answers: list[Any] = []
        mapping = threading.Thread(target=lambda: answers.extend(client.map("work", bodies)))
        mapping.start()
        crew.wait_begun(8)
        fleet.kill()
        crew.go.set()
        mapping.join(WAIT_S)
        assert answers == bodies
    assert crew.runs == dict.fromkeys(bodies, 1)


def test_a_stream_goes_on(fleet: Fleet, crew: Crew) -> None:
    crew.hire(*fleet.backends)
    with pound.Client(fleet.frontends) as client:
        stream = client.stream("count", b"a")
        got = [next(stream) for _ in range(2)]
        crew.wait_begun(1)
        fleet.kill()
        crew.go.set()
        got.extend(stream)
    assert [partial.body for partial in got if not partial.final] == [b"%d" % n for n in range(6)]
    assert {partial.attempt for partial in got if not partial.final} == {1}
    assert crew.runs == {b"a": 1}


def test_an_asyncio_request_runs_once(fleet: Fleet, crew: Crew) -> None:
    async def asks() -> bytes:
        async with pound.aio.Client(fleet.frontends) as client:
            answer = asyncio.ensure_future(client.request("work", b"a"))
            await asyncio.to_thread(crew.wait_begun, 1)
            await asyncio.to_thread(fleet.kill)
            crew.go.set()
            return await answer

    crew.hire(*fleet.backends)
    assert asyncio.run(asks()) == b"A"
    assert crew.runs == {b"a": 1}


def test_three_brokers_die(pound_serve: Serve, crew: Crew) -> None:
    """Each before the next one has both ends."""
    fleet = Fleet(pound_serve, 1)
    crew.hire(*fleet.backends)
    with pound.Client(fleet.frontends) as client:
        answer = client.submit("work", b"a")
        crew.wait_begun(1)
        for _ in range(3):
            fleet.kill()
        crew.go.set()
        assert answer.result(WAIT_S) == b"A"
    assert crew.runs == {b"a": 1}


def test_a_task_that_nobody_wants_is_cancelled(pound_serve: Serve, crew: Crew) -> None:
    """Its client has ended before the next broker came; the worker's only place is free again."""
    fleet = Fleet(pound_serve, 1)
    crew.hire(*fleet.backends, capacity=1)
    client = pound.Client(fleet.frontends)
    client.submit("work", b"a")
    crew.wait_begun(1)
    first = fleet.served[0]
    first.process.signal(signal.SIGKILL)
    first.process.wait()
    client.close()
    ends = ("--frontend", first.frontend, "--backend", first.backend)
    pound_serve(*ends, **RATES, client_grace="0.5")
    with pound.Client(fleet.frontends) as another:
        answer = another.submit("work", b"b")
        crew.go.set()
        assert answer.result(WAIT_S) == b"B"
    assert crew.runs == {b"a": 1, b"b": 1}


def test_an_answer_that_the_broker_had_keeps_no_worker(pound_serve: Serve, crew: Crew) -> None:
    """The worker knows it for a second or two, and names it to the next broker; it may end."""
    fleet = Fleet(pound_serve, 1)
    crew.go.set()
    crew.hire(*fleet.backends)
    with pound.Client(fleet.frontends) as client:
        assert client.request("work", b"a") == b"A"
        fleet.kill()
        assert client.request("work", b"b") == b"B"
        begun = time.monotonic()
        crew.workers[0].stop()
        assert time.monotonic() - begun < WAIT_S / 2
