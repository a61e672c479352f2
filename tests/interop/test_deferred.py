"""Answers of a service for which requests wait may wait for one another, for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import zmq

from tests.interop.rig import QUIET, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.catalogue import BEAT
from tests.peers.dealer_client import DealerClient
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_wire import Record
from tests.peers.pnd_worker import PndWorker

DEFER_S = 0.001
TRIALS = 20
FILLER = bytes(12_000)  # one such answer may be deferred, two are not
FULL = 200  # of them: far more than a pipe of 4 messages and small buffers hold


@pytest.fixture
def rig(rig_of: Callable[..., Rig]) -> Rig:
    """A broker that has no other timer within a test's bound: only the deferring wakes it."""
    return rig_of(heartbeat=30.0, ppp_heartbeat=30.0, mdp_heartbeat=30.0)


@pytest.fixture
def worker(rig: Rig, own: Own) -> Any:
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    return worker


@pytest.fixture(params=[PndClient, DealerClient])
def client(rig: Rig, own: Own, request: Any) -> Any:
    client = own(request.param(rig.frontend))
    if isinstance(client, PndClient):
        client.welcome()
    return client


class CountingClient(PndClient):
    """It asks again when it comes back, in the very packet that says so, and at no other time."""

    def __init__(self, url: str) -> None:
        self.finals: list[int] = []
        super().__init__(url)

    def come_back(self) -> None:
        self.put(wire.hello(), *self.open.values())

    def retry(self) -> None:
        pass

    def _final(self, record: Record) -> None:
        self.finals.append(record.id)
        super()._final(record)


class SlowClient(PndClient):
    """Its socket holds no more than what it is about to read."""

    options: ClassVar = {zmq.RCVHWM: 1, zmq.RCVBUF: 8192}


def answered(client: Any, body: list[bytes]) -> bool:
    """Whether the next answer is this one."""
    answer = client.take(2.0)
    return bool(answer[1] == body if isinstance(client, PndClient) else answer == body)


def test_an_answer_waits_while_requests_wait_but_not_for_long(
    rig: Rig, own: Own, worker: PndWorker, client: Any
) -> None:
    for _ in range(TRIALS + 1):
        client.ask([b"q"])
    rig.wait_stat("waiting", TRIALS)
    deferred = 0
    for i in range(TRIALS):
        task = worker.task()
        begun = time.monotonic()
        worker.answer(task, [b"%d" % i])
        assert answered(client, [b"%d" % i])
        deferred += time.monotonic() - begun >= DEFER_S
    # One waits behind the one that is answered, but for the last time. A turn that began earlier
    # may count from there.
    assert deferred > TRIALS // 2
    assert rig.stat("answers_deferred") == TRIALS - 1


def test_a_failure_is_not_deferred(rig: Rig, own: Own, worker: PndWorker) -> None:
    client = own(PndClient(rig.frontend))
    client.welcome()
    for _ in range(3):
        client.ask([b"q"])
    rig.wait_stat("waiting", 2)
    worker.fail(worker.task(), 5, "no")
    with pytest.raises(FailedError):
        client.take()
    assert rig.stat("answers_deferred") == 0


def test_an_answer_that_what_waits_is_below_is_not_deferred(
    rig: Rig, own: Own, worker: PndWorker
) -> None:
    """The next request of this client would not wait behind those of a lower priority."""
    client = own(PndClient(rig.frontend))
    client.welcome()
    client.ask([b"first"])
    rig.wait_stat("running", 1)
    client.ask([b"urgent"], priority=5)
    client.ask([b"bulk"])
    client.ask([b"bulk"])
    rig.wait_stat("waiting", 3)
    worker.answer(worker.task(), [b"a"])
    client.take()
    assert rig.stat("answers_deferred") == 1
    task = worker.task()
    assert task.body == [b"urgent"]
    worker.answer(task, [b"a"])
    client.take()
    assert rig.stat("answers_deferred") == 1


def test_answers_that_wait_together_leave_in_one_message(
    rig: Rig, own: Own, worker: PndWorker
) -> None:
    client = own(PndClient(rig.frontend))
    client.welcome()

    def messages() -> int:
        """Tasks go out one by one, since each follows an answer: eight messages, beside answers."""
        sent = rig.stat("messages_out")
        for _ in range(8):
            client.ask([b"q"])
        rig.wait_stat("waiting", 7)
        for _ in range(8):
            worker.answer(worker.task(), [b"a"])
        for _ in range(8):
            client.take()
        return rig.stat("messages_out") - sent

    assert min(messages() for _ in range(TRIALS)) < 16


def test_nothing_is_deferred_while_workers_are_free(
    rig: Rig, worker: PndWorker, client: Any
) -> None:
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert answered(client, [b"a"])
    assert rig.stat("answers_deferred") == 0


def test_the_last_answer_of_a_client_takes_the_deferred_ones_along(
    rig: Rig, own: Own, worker: PndWorker, client: Any
) -> None:
    """Nothing is left that it could wait for, though others' requests wait for the service."""
    client.ask([b"q"])
    rig.wait_stat("running", 1)
    other = own(PndClient(rig.frontend))
    other.welcome()
    other.ask([b"behind"])
    other.ask([b"behind"])
    rig.wait_stat("waiting", 2)
    worker.answer(worker.task(), [b"a"])
    assert answered(client, [b"a"])
    assert rig.stat("answers_deferred") == 0


def test_deferred_answers_are_sent_before_a_draining_broker_ends(
    rig: Rig, worker: PndWorker, client: Any
) -> None:
    """Before its BYE, too: after that a client may turn to another endpoint."""
    for _ in range(3):
        client.ask([b"q"])
    rig.wait_stat("waiting", 2)
    worker.answer(worker.task(), [b"a"])
    while rig.stat("answers_deferred") == 0:  # at once: it is deferred for a moment only
        pass
    rig.broker.drain(0.0)
    assert answered(client, [b"a"])
    assert isinstance(client, DealerClient) or client.byes == []


def test_what_was_deferred_for_an_absent_client_is_sent_once_when_it_comes_back(
    rig: Rig, own: Own, worker: PndWorker
) -> None:
    """It asks for it again, too, in the packet by which it comes back."""
    client = own(CountingClient(rig.frontend))
    client.welcome()
    for _ in range(3):
        client.ask([b"q"])
    rig.wait_stat("waiting", 2)
    client.close()
    rig.wait_stat("closed_connections", 1)
    worker.answer(worker.task(), [b"a"])
    rig.wait_stat("answers_deferred", 1)
    client.reopen()
    client.come_back()
    for body in (b"b", b"c"):
        worker.answer(worker.task(), [body])
    assert [client.take() for _ in range(3)] == [(1, [b"a"]), (2, [b"b"]), (3, [b"c"])]
    assert client.finals == [1, 2, 3]


def test_what_is_deferred_when_the_pipe_is_full_comes_once_and_in_order(
    context: zmq.Context[Any], rig_of: Callable[..., Rig], own: Own
) -> None:
    """The client reads nothing until all is answered; every second answer is deferred first."""
    context.setsockopt(zmq.SNDHWM, 4)
    context.setsockopt(zmq.SNDBUF, 8192)
    rig = rig_of(heartbeat=30.0, client_grace=300.0, context=context)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    client = own(SlowClient(rig.frontend))
    client.welcome()
    for _ in range(FULL):
        client.ask([b"q"])
    rig.wait_stat("waiting", FULL - 1)
    for i in range(FULL):
        worker.answer(worker.task(), [b"%d" % i, FILLER])
    rig.wait_stat("answered", FULL)
    assert rig.stat("answers_deferred") > 0
    assert rig.stat("sends_blocked") > 0
    for i in range(FULL):
        assert client.take() == (i + 1, [b"%d" % i, FILLER])
    assert not client.pump(QUIET)
    assert client.strays == []


@pytest.mark.parametrize("client_type", [PndClient, DealerClient])
def test_a_client_that_goes_away_meanwhile_costs_nobody_anything(
    rig: Rig, own: Own, worker: PndWorker, client_type: type
) -> None:
    stayer = own(PndClient(rig.frontend))
    stayer.welcome()
    for trial in range(1, TRIALS + 1):
        leaver = own(client_type(rig.frontend))
        leaver.ask([b"q"])
        leaver.ask([b"q"])
        rig.wait_stat("waiting", 1)
        stayer.ask([b"stays"])
        rig.wait_stat("waiting", 2)
        worker.answer(worker.task(), [b"a"])
        while rig.stat("answers_deferred") < trial:  # at once, as above
            pass
        leaver.close()
        worker.answer(worker.task(), [b"a"])
        worker.answer(worker.task(), [b"b"])
        assert stayer.take() == (trial, [b"b"])
