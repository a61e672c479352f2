"""What a worker keeps when its broker is gone, and says to the next one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

import pound
from tests.support import wait_until
from tests.unit.reference_broker import (
    ACCEPTED,
    CANCEL,
    ERROR,
    HEARTBEAT,
    HOLDS,
    PARTIAL,
    READY,
    REPLY,
    WAIT_S,
    ReferenceBroker,
    Said,
    credit,
    record,
    task,
    welcome,
)

KEY, OTHER = bytes(range(16)), bytes(range(16, 32))
RUNNING, ANSWERED = 0, 1
ADOPTION = 1  # a feature


class Gate:
    """A handler that answers when it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.tasks: list[pound.Task] = []

    def __call__(self, task: pound.Task) -> bytes:
        self.tasks.append(task)
        self.entered.release()
        self.open.wait(WAIT_S)
        return b"done"

    def count(self, task: pound.Task) -> bytes:
        """Give three partials before, and one after."""
        for number in range(3):
            task.partial(b"%d" % number)
        self(task)
        task.partial(b"3")
        return b"end"

    def large(self, task: pound.Task) -> bytes:
        """Give 3 MiB before, and 3 MiB after."""
        for _ in range(2):
            task.partial(bytes(3 << 19))
        self(task)
        for _ in range(2):
            task.partial(bytes(3 << 19))
        return b"end"

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=WAIT_S)


def release(body: bytes) -> bytes:
    raise pound.Release


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def broker(context: zmq.Context[Any], gate: Gate) -> Iterator[ReferenceBroker]:
    """A broker with a welcomed worker of two services, which ends with it."""
    broker = ReferenceBroker(context)
    services = {"echo": gate, "count": gate.count, "large": gate.large, "release": release}
    worker = pound.Worker(broker.endpoint, services, capacity=4)
    worker.start()
    broker.greet(features=ADOPTION)
    broker.expect(READY)
    yield broker
    broker.close()
    gate.open.set()
    worker.stop()


def greeting(broker: ReferenceBroker) -> tuple[list[tuple[int, bytes, int, int]], Said]:
    """What HOLDS says, if there is one, and the READY behind it."""
    said = broker.read()
    assert said is not None
    held = []
    if said.kind == HOLDS:
        held, said = said.holds, broker.expect(READY)
    assert said.kind == READY
    assert said.epoch == broker.epoch
    return held, said


def restart(
    broker: ReferenceBroker, features: int = ADOPTION
) -> tuple[list[tuple[int, bytes, int, int]], Said]:
    """Become another broker: what the worker says to its WELCOME."""
    broker.epoch = os.urandom(16)
    broker.say(record(HEARTBEAT))
    first = greeting(broker)[0]
    broker.say(welcome(features=features))
    held, ready = greeting(broker)
    assert held == (first if features else [])
    return held, ready


def accepted(token: int) -> bytes:
    return record(ACCEPTED, token)


def test_a_running_task_is_named_before_ready_and_answered_once_it_is_adopted(broker, gate):
    broker.say(task(7, b"echo", key=KEY, attempt=2))
    gate.wait_entered()
    held, ready = restart(broker)
    assert held == [(7, KEY, 2, RUNNING)]
    assert ready.head == (4, ())
    broker.say(accepted(7))
    gate.open.set()
    said = broker.seek(REPLY)  # HOLDS comes before if the handler was faster than ACCEPTED
    assert (said.id, said.parts) == (7, [b"done"])
    assert not gate.tasks[0].cancelled


def test_an_answer_waits_until_its_task_is_adopted(broker, gate):
    broker.say(task(7, b"echo", key=KEY))
    gate.wait_entered()
    restart(broker)
    gate.open.set()
    assert broker.expect(HOLDS).holds == [(7, KEY, 1, ANSWERED)]
    broker.expect(READY)
    broker.expect_silence(0.1)
    broker.say(accepted(7), accepted(7))
    assert broker.expect(REPLY).id == 7
    assert broker.expect(ERROR).id == 7  # it has no such task any more
    broker.expect_silence(0.1)


def test_a_broker_that_adopts_nothing_is_told_nothing(broker, gate):
    broker.say(task(7, b"echo", key=KEY))
    gate.wait_entered()
    _, ready = restart(broker, features=0)
    assert ready.head == (3, ())  # its handler is busy all the same
    assert gate.tasks[0].cancelled
    gate.open.set()
    assert broker.expect(READY).head == (4, ())


def test_a_token_that_the_worker_does_not_know_is_given_back(broker, gate):
    broker.say(accepted(99))
    said = broker.expect(ERROR)
    assert (said.id, said.head[0]) == (99, 14)


def test_a_stream_of_which_too_much_is_missing_is_given_back(broker, gate):
    broker.say(task(7, b"large", key=KEY))
    for number in range(2):
        broker.say(credit(7, 1 << 30, run=7))
        assert broker.expect(PARTIAL).head == (number, 1)
    gate.wait_entered()
    restart(broker)
    gate.open.set()
    said = broker.seek(ERROR)
    assert (said.id, said.head[0]) == (7, 14)
    broker.seek(READY, lambda said: said.head == (4, ()))  # its place is free when it has ended


def test_a_task_without_a_key_is_nobodys(broker, gate):
    broker.say(task(7, b"echo"), task(8, b"echo", key=KEY))
    gate.wait_entered()
    gate.wait_entered()
    held, ready = restart(broker)
    assert held == [(8, KEY, 1, RUNNING)]
    assert ready.head == (3, ())  # its handler is busy all the same
    assert sorted(task.cancelled for task in gate.tasks) == [False, True]
    gate.open.set()
    broker.seek(HOLDS, lambda said: said.holds == [(8, KEY, 1, ANSWERED)])


def test_a_cancelled_task_is_not_kept_and_frees_its_place_when_it_ends(broker, gate):
    broker.say(task(7, b"echo", key=KEY))
    gate.wait_entered()
    restart(broker)
    broker.say(record(CANCEL, 7))
    wait_until(lambda: gate.tasks[0].cancelled)
    gate.open.set()
    assert broker.expect(REPLY).id == 7


def test_a_cancelled_answer_is_forgotten(broker, gate):
    broker.say(task(7, b"echo", key=KEY))
    gate.wait_entered()
    restart(broker)
    gate.open.set()
    broker.seek(HOLDS, lambda said: said.holds[0][3] == ANSWERED)
    broker.expect(READY)
    broker.say(record(CANCEL, 7))
    broker.expect_silence(0.1)
    assert restart(broker)[0] == []


def test_an_answer_that_the_broker_had_is_kept_for_a_moment(broker, gate):
    gate.open.set()
    broker.say(task(7, b"echo", key=KEY))
    broker.expect(REPLY)
    broker.say(record(HEARTBEAT))  # a packet behind it: the broker has it
    assert restart(broker)[0] == [(7, KEY, 1, ANSWERED)]
    broker.say(accepted(7))
    assert broker.expect(REPLY).parts == [b"done"]


def test_a_task_that_was_given_back_is_not_kept(broker, gate):
    gate.open.set()
    broker.say(task(7, b"release", key=KEY), task(8, b"echo", key=OTHER))
    assert {broker.read().id for _ in range(2)} == {7, 8}
    broker.say(record(HEARTBEAT))
    assert [entry[0] for entry in restart(broker)[0]] == [8]


@pytest.mark.parametrize(("had", "again"), [(0, [0, 1, 2]), (2, [2]), (3, [])])
def test_a_stream_goes_on_with_the_partials_that_its_client_has_not(broker, gate, had, again):
    broker.say(task(7, b"count", key=KEY))
    for number in range(3):
        assert broker.expect(PARTIAL).head == (number, 1)
    gate.wait_entered()
    broker.say(credit(7, 1 << 16, run=7, sequence=had))
    assert restart(broker)[0] == [(7, KEY, 1, RUNNING)]
    broker.say(accepted(7))
    gate.open.set()
    assert [broker.seek(PARTIAL).head[0] for _ in (*again, 3)] == [*again, 3]
    assert broker.expect(REPLY).parts == [b"end"]


def test_a_second_broker_dies_before_it_adopts(broker, gate):
    broker.say(task(7, b"echo", key=KEY))
    gate.wait_entered()
    restart(broker)
    broker.say(task(9, b"echo", key=OTHER))
    gate.wait_entered()
    held, _ = restart(broker)
    assert sorted(held) == [(7, KEY, 1, RUNNING), (9, OTHER, 1, RUNNING)]
