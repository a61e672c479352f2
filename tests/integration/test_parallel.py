"""What many threads do at once with one client or one task, with a GIL or without one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pound
from tests.support import WAIT_S

THREADS = 8
EACH = 400
PARTS = [b"%d" % n for n in range(1000)]


@pytest.fixture(autouse=True)
def _often() -> Any:
    """Have a GIL change hands often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], None]) -> None:
    """Run work(0), work(1), … in threads of their own that begin together."""
    gate = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        gate.wait(WAIT_S)
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


@pytest.fixture
def client(broker: Any) -> Any:
    services = {"echo": lambda body: body}
    with (
        pound.Worker(broker.backend_endpoints[0], services, capacity=THREADS),
        pound.Client(broker.frontend_endpoints[0]) as client,
    ):
        assert client.request("echo", b"", timeout=WAIT_S) == b""
        yield client


def test_threads_share_a_client(client: Any) -> None:
    """By calls that wait, by futures and by maps: each gets its own answers."""

    def work(number: int) -> None:
        bodies = [b"%d-%d" % (number, n) for n in range(EACH)]
        for body in bodies[: EACH // 4]:
            assert client.request("echo", body, timeout=WAIT_S) == body
        futures = [client.submit("echo", body, timeout=WAIT_S) for body in bodies]
        assert [future.result(WAIT_S) for future in futures] == bodies
        assert list(client.map("echo", bodies, window=16, timeout=WAIT_S)) == bodies

    at_once(work)


def test_threads_that_take_from_one_map_at_once_are_refused_but_one(client: Any) -> None:
    """Those that are refused try again, and each answer is taken once."""
    bodies = [b"%d" % n for n in range(EACH)]
    answers = client.map("echo", bodies, window=16, timeout=WAIT_S)
    taken: list[bytes] = []

    def work(_: int) -> None:
        while len(taken) < EACH:
            try:
                taken.append(next(answers))
            except StopIteration:
                return
            except ValueError:  # another thread is inside
                pass

    at_once(work)
    assert sorted(taken) == sorted(bodies)


def test_threads_of_a_handler_share_its_task(broker: Any) -> None:
    """The body is taken out of the task once, whichever thread asks first."""
    seen: list[Any] = []

    def handler(task: pound.Task) -> bytes:
        parts: list[Any] = [None] * THREADS

        def work(number: int) -> None:
            parts[number] = task.parts

        at_once(work)
        seen.extend(parts)
        return b"%d" % len({id(part) for part in parts})

    with (
        pound.Worker(broker.backend_endpoints[0], {"parts": handler}),
        pound.Client(broker.frontend_endpoints[0]) as client,
    ):
        for _ in range(EACH // 4):
            assert client.request("parts", PARTS, timeout=WAIT_S) == b"1"
    assert all(parts == PARTS for parts in seen)
