"""A PND peer that was told BYE 0 greets again and hears WELCOME to that, which it waits for.

So it is with a worker that was silent for too long (it was stopped), on a connection that stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.interop.rig import QUIET, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.catalogue import BEAT
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_wire import Record
from tests.peers.pnd_worker import PndWorker

HEARTBEAT = Record(wire.HEARTBEAT)
HELLO = wire.hello(b"x:1")


class Raw(PndWorker):
    """A worker that does nothing by itself: the test reads what it is told."""

    def hear(self, bound: float = 10.0) -> list[Record]:
        """Give the records of the next packet that is no heartbeat."""
        end = time.monotonic() + bound
        while True:
            _, records = wire.unpack(self.recv(max(0.0, end - time.monotonic())))
            told = [record for record in records if record.kind != wire.HEARTBEAT]
            if told:
                return told

    def quiet(self) -> bool:
        """Return whether nothing but heartbeats comes for a while."""
        end = time.monotonic() + QUIET
        while time.monotonic() < end:
            frames = self.poll(QUIET)
            if frames and any(r.kind != wire.HEARTBEAT for r in wire.unpack(frames)[1]):
                return False
        return True


def kinds(records: list[Record]) -> list[int]:
    return [record.kind for record in records]


def reason(record: Record) -> int:
    assert record.kind == wire.BYE
    return int(wire.ERROR_HEAD.unpack(record.head)[0])


@pytest.fixture
def worker(rig: Rig, own: Own) -> Raw:
    worker: Raw = own(Raw(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    assert kinds(worker.hear()) == [wire.WELCOME]
    return worker


def lapse(rig: Rig) -> None:
    """Wait until the broker has given the silent worker up."""
    rig.wait_stat("expired_workers", 1)
    rig.wait_stat("workers", 0)


def test_worker_is_welcomed_when_it_is_known_again(rig: Rig, worker: Raw) -> None:
    lapse(rig)
    worker.put(HEARTBEAT)
    (bye,) = worker.hear()
    assert reason(bye) == 0
    worker.ready()
    assert kinds(worker.hear()) == [wire.WELCOME]
    worker.ready()  # the answer to WELCOME
    assert worker.quiet()
    rig.wait_stat("workers", 1)


def test_each_time_that_it_is_forgotten(rig: Rig, worker: Raw) -> None:
    for times in range(1, 3):
        rig.wait_stat("expired_workers", times)
        rig.wait_stat("workers", 0)
        worker.put(HEARTBEAT)
        assert [reason(record) for record in worker.hear()] == [0]
        worker.ready()
        assert kinds(worker.hear()) == [wire.WELCOME]


def test_ready_behind_the_heartbeat_that_told(rig: Rig, worker: Raw) -> None:
    """One packet has both: WELCOME is the last word."""
    lapse(rig)
    worker.put(HEARTBEAT, wire.ready(1, [b""]))
    assert kinds(worker.hear()) == [wire.BYE, wire.WELCOME]


@pytest.mark.parametrize("answered", [False, True])
def test_worker_that_speaks_with_a_task_in_hand(
    rig: Rig, own: Own, worker: Raw, answered: bool
) -> None:
    """Its answer counts, and it hears at once that no task will follow; the task runs once."""
    client = own(PndClient(rig.frontend))
    client.ask([b"q"])
    (task,) = worker.hear()
    assert task.kind == wire.TASK
    lapse(rig)
    held = [task.id]
    if answered:
        worker.put(wire.reply(task.id, [b"a"]))
        assert client.take() == (1, [b"a"])
        held = []
    else:
        worker.put(HEARTBEAT)
    assert [reason(record) for record in worker.hear()] == [0]
    worker.put(wire.ready(1, [b""], held))
    assert kinds(worker.hear()) == [wire.WELCOME]
    if not answered:
        worker.put(wire.reply(task.id, [b"a"]))
        assert client.take() == (1, [b"a"])
    assert worker.quiet()
    assert (rig.stat("losses"), rig.stat("redelivered")) == (1, 0)
    client.ask([b"more"])
    assert kinds(worker.hear()) == [wire.TASK]


def test_worker_that_is_freed_and_streams_hears_it_too(rig: Rig, worker: Raw) -> None:
    """A worker that has partials to send sends no heartbeats."""
    lapse(rig)
    worker.put(wire.partial(7, 0, 1, [b"p"]))
    worker.put(wire.partial(7, 1, 1, [b"p"]))
    assert [reason(record) for record in worker.hear()] == [0]
    assert worker.quiet()  # once is enough


@pytest.mark.parametrize("greeting", [HELLO, wire.ready(1, [b""])])
def test_a_greeting_after_bye_0_is_welcomed(rig: Rig, own: Own, greeting: Record) -> None:
    raw = own(Raw(rig.frontend, heartbeat=BEAT))
    raw.put(HEARTBEAT)
    assert kinds(raw.hear()) == [wire.WELCOME, wire.BYE]
    raw.put(greeting)
    assert kinds(raw.hear()) == [wire.WELCOME]


def test_session_of_both_roles_learns_that_its_worker_is_gone(
    rig: Rig, own: Own, rig_of: Callable[..., Rig]
) -> None:
    """An answer to its heartbeat would tell the client in it that all is well."""
    both = own(Raw(rig.backend, heartbeat=BEAT))
    both.put(HELLO, wire.ready(1, [b""]))
    rig.wait_stat("workers", 1)
    assert kinds(both.hear()) == [wire.WELCOME]
    lapse(rig)
    both.put(HEARTBEAT)
    assert [reason(record) for record in both.hear()] == [0]
    both.put(HELLO)
    assert kinds(both.hear()) == [wire.WELCOME]
    both.put(HEARTBEAT)
    assert kinds(wire.unpack(both.recv())[1]) == [wire.HEARTBEAT]
