"""REQ workers that were cut while idle, are found again by a task, and die with it; the strangers.

Such a worker says nothing on its new connection, so nothing names that: what closes without a word
may have been its connection, or a health check's.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.proxy import Proxy
from tests.interop.rig import Own, Rig
from tests.peers.base import Task
from tests.peers.dealer_client import DealerClient
from tests.peers.req_worker import ReqWorker
from tests.peers.zmtp import dial
from tests.support import wait_until


class Lost:
    """Cut and silently back: `worker`, behind a proxy of its own."""

    def __init__(self, rig: Rig, own: Own, stack: ExitStack, name: bytes) -> None:
        self.rig = rig
        self.proxy = stack.enter_context(Proxy(rig.backend))
        self.worker: ReqWorker = own(ReqWorker(self.proxy.url, identity=name))
        rig.ready(self.worker)

    def cut(self) -> None:
        known, accepted = self.rig.stat("workers"), self.proxy.accepted
        self.proxy.cut()
        self.rig.wait_stat("workers", known - 1)
        wait_until(lambda: self.proxy.accepted > accepted)


@pytest.fixture
def lose(rig: Rig, own: Own) -> Iterator[Callable[..., Lost]]:
    with ExitStack() as stack:
        yield lambda name=b"worker-1": Lost(rig, own, stack, name)


@pytest.fixture
def client(rig: Rig, own: Own) -> DealerClient:
    client: DealerClient = own(DealerClient(rig.frontend))
    return client


def stranger(rig: Rig) -> socket.socket:
    """Connect as a health check does: nothing is said."""
    return dial(rig.backend)


def answered_by(worker: ReqWorker, client: DealerClient, body: bytes) -> None:
    task = worker.task()
    assert task.body == [body]
    worker.answer(task, [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("again", [1, 2])
def test_task_of_a_worker_that_was_found_again_and_died_goes_to_the_next(
    rig: Rig, own: Own, lose: Callable[..., Lost], client: DealerClient, again: int
) -> None:
    lost = lose()
    for number in range(again - 1):
        lost.cut()
        client.ask([b"%d" % number])
        answered_by(lost.worker, client, b"%d" % number)
    lost.cut()
    client.ask([b"q"])
    assert lost.worker.task().body == [b"q"]
    lost.worker.close()
    other = own(ReqWorker(rig.backend))
    other.ready()
    answered_by(other, client, b"q")
    assert rig.stat("losses") == 1


def test_it_is_found_at_its_next_connection(
    rig: Rig, lose: Callable[..., Lost], client: DealerClient
) -> None:
    """While it is away its task waits; it need not wait for the next look after that, each second.

    Ten times, since that look may be near.
    """
    lost = lose()
    begun = time.monotonic()
    for number in range(10):
        lost.proxy.refuse = True
        lost.proxy.cut()
        rig.wait_stat("workers", 0)
        client.ask([b"%d" % number])
        rig.wait_stat("waiting", 1)
        lost.proxy.refuse = False
        answered_by(lost.worker, client, b"%d" % number)
    assert time.monotonic() - begun < 5


def test_strangers_that_came_after_its_task_are_none_of_its_business(
    rig: Rig, lose: Callable[..., Lost], client: DealerClient
) -> None:
    lost = lose()
    lost.cut()
    client.ask([b"q"])
    task: Task = lost.worker.task()
    for _ in range(3):
        closed = rig.stat("unrouted_connections")
        stranger(rig).close()
        rig.wait_stat("unrouted_connections", closed + 1)
    assert rig.stat("losses") == 0
    lost.worker.answer(task, [b"a"])
    assert client.take() == [b"a"]


def test_stranger_from_before_the_cut_is_not_suspected(
    rig: Rig, lose: Callable[..., Lost], client: DealerClient
) -> None:
    lost = lose()
    early = stranger(rig)
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 1.2)  # a worker may be back before it is missed
    lost.cut()
    client.ask([b"q"])
    task: Task = lost.worker.task()
    closed = rig.stat("unrouted_connections")
    early.close()
    rig.wait_stat("unrouted_connections", closed + 1)
    assert rig.stat("losses") == 0
    lost.worker.answer(task, [b"a"])
    assert client.take() == [b"a"]


def test_who_is_suspected_wrongly_is_believed_as_soon_as_it_speaks(
    rig: Rig, lose: Callable[..., Lost], client: DealerClient
) -> None:
    """A stranger between the cut and the task may be anyone: the task waits for the next worker."""
    lost = lose()
    lost.cut()
    between = stranger(rig)
    client.ask([b"q"])
    task: Task = lost.worker.task()
    between.close()
    rig.wait_stat("losses", 1)
    lost.worker.answer(task, [b"a"])
    assert client.take() == [b"a"]
    client.ask([b"r"])
    answered_by(lost.worker, client, b"r")
    assert rig.stat("redelivered") == 0


def test_only_the_one_that_died_is_missed(
    rig: Rig, lose: Callable[..., Lost], client: DealerClient
) -> None:
    """Two came back, one after the other: the connection of the second is not the first's."""
    first = lose(b"worker-1")
    first.cut()
    client.ask([b"1"])
    held: Task = first.worker.task()
    second = lose(b"worker-2")
    second.cut()
    client.ask([b"2"])
    second.worker.task()
    second.worker.close()
    rig.wait_stat("losses", 1)
    first.worker.answer(held, [b"a"])
    assert client.take() == [b"a"]
    answered_by(first.worker, client, b"2")
    assert rig.stat("losses") == 1


def test_who_was_given_up_for_another_is_missed_when_it_dies_too(
    rig: Rig, own: Own, lose: Callable[..., Lost], client: DealerClient
) -> None:
    """One end without a word makes suspects of both; the one that lives keeps its connection."""
    first, second = lose(b"worker-1"), lose(b"worker-2")
    first.cut()
    second.cut()
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 1.2)  # their connections are no new ones
    for body in (b"1", b"2"):
        client.ask([body])
    first.worker.task()
    second.worker.task()
    first.worker.close()
    rig.wait_stat("running", 0)
    wait_until(lambda: time.monotonic() - begun > 1.6)  # not looked for again at once
    client.ask([b"3"])
    rig.wait_stat("running", 1)
    second.worker.close()
    rig.wait_stat("running", 0)
    other = own(ReqWorker(rig.backend))
    other.ready()
    answers = set()
    for _ in range(3):
        task = other.task()
        other.answer(task, task.body)
        answers.update(client.take())
    assert answers == {b"1", b"2", b"3"}
