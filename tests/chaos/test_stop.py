"""Processes that are stopped and continued: zombies are told apart, a paused broker forgives."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.chaos.conftest import Status
from tests.chaos.journal import NOTHING_WRONG, Load
from tests.peers.base import Serving, Worker, digest
from tests.peers.catalogue import CLIENTS, SERVICE
from tests.peers.mdp1 import Mdp1Worker
from tests.peers.mdp2 import Mdp2Worker
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker, TextPppWorker
from tests.peers.req_worker import ReqWorker
from tests.support import Process, Served, is_stopped, stop_process, wait_until

PAUSE = 10.0  # seconds; longer than every dialect's patience at its own rate


@pytest.fixture
def stopped() -> Iterator[Callable[[int], None]]:
    """``stopped(pid)``: SIGSTOP; continued at the end, so that it can be ended."""
    pids: list[int] = []

    def stop(pid: int) -> None:
        pids.append(pid)
        stop_process(pid)

    yield stop
    for pid in pids:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("name", ["pnd", "ppp", "req", "mdp1", "mdp2"])
def test_zombie(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    status_of: Callable[[str], Status],
    name: str,
) -> None:
    """A stopped worker's task goes to the next (by heartbeat or lease); its late answer is dropped.

    Its connection stays open all the time: nothing but its silence tells.
    """
    broker = pound_serve(heartbeat="0.2", liveness="3", lease="0.5")
    status = status_of(broker.frontend)
    beat = () if name == "req" else ("--heartbeat", "0.2")
    zombie: Process = work(name, broker.backend, "--stops", *beat)
    with CLIENTS["dealer"](broker.frontend) as client:
        client.ask([b"q"])
        wait_until(lambda: is_stopped(zombie.pid))
        work(name, broker.backend, *beat)
        assert client.take() == digest([b"q"])
        zombie.signal(signal.SIGCONT)
        status.wait(dropped_one)
        assert client.poll(0.3) is None
        for number in range(4):
            client.ask([b"%d" % number])
        answers = [client.take() for _ in range(4)]
        assert sorted(answers) == sorted(digest([b"%d" % number]) for number in range(4))
    status.wait_workers(2)


def has_lost(count: int, now: dict[str, Any]) -> bool:
    return bool(now["counters"]["losses"] >= count)


def dropped_one(now: dict[str, Any]) -> bool:
    counters = now["counters"]
    return bool(counters["answers_late"] + counters["answers_dropped"] >= 1)


@pytest.mark.timeout(120)
def test_workers_stopped_and_continued_under_load(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    status_of: Callable[[str], Status],
    stopped: Callable[[int], None],
) -> None:
    """Each stands still with a task in its hands until the broker has given it up."""
    broker = pound_serve(heartbeat="0.2", liveness="3", lease="0.5")
    flags = ("--work", "0.005")
    names = ["req", "ppp", "mdp1", "mdp2", "pnd"]
    crew = [work(name, broker.backend, *flags) for name in names]
    status = status_of(broker.frontend)
    load = load_on(broker.frontend)
    for victim in crew:
        losses = status.counter("losses")
        stopped(victim.pid)
        status.wait(partial(has_lost, losses + 1))
        load.wait_answers(100)
        victim.signal(signal.SIGCONT)
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]


def patient(worker: Worker) -> Worker:
    """It keeps its socket and beats on, however long the broker is silent."""
    worker.liveness = 1000
    return worker


@pytest.mark.timeout(120)
def test_broker_stopped_for_longer_than_every_patience(
    pound_serve: Callable[..., Served], status_of: Callable[[str], Status]
) -> None:
    """After SIGCONT nobody is taken for dead, an idle REQ worker included."""
    broker = pound_serve()
    url = broker.backend
    makers: dict[str, Callable[[], Worker]] = {
        "req": lambda: ReqWorker(url),
        "ppp": lambda: patient(PppWorker(url)),
        "ppp text": lambda: patient(TextPppWorker(url)),
        "mdp1": lambda: patient(Mdp1Worker(url, service=SERVICE)),
        "mdp2": lambda: patient(Mdp2Worker(url, service=SERVICE)),
        "pnd": lambda: patient(PndWorker(url)),
    }
    crew = [Serving(make, digest) for make in makers.values()]
    status = status_of(broker.frontend)
    with CLIENTS["dealer"](broker.frontend) as client:
        for serving in crew:
            serving.__enter__()
        try:
            status.wait_workers(len(crew))
            pause(broker.pid)
            for number in range(len(crew) * 3):
                assert client.request([b"%d" % number]) == digest([b"%d" % number])
            assert status.counter("expired_workers") == 0
            assert status.read()["workers"] == len(crew)
            assert [serving.handled for serving in crew] == [3] * len(crew)
        finally:
            for serving in crew:
                serving.__exit__(None)


def pause(pid: int) -> None:
    """SIGSTOP a process for `PAUSE` seconds; the length of the pause is the point."""
    stop_process(pid)
    time.sleep(PAUSE)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(120)
def test_impatient_workers_come_back_to_a_stopped_broker(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    status_of: Callable[[str], Status],
) -> None:
    """The Guide's workers open new sockets meanwhile; requests in flight are not lost either."""
    rates = {"ppp_heartbeat": "0.2", "mdp_heartbeat": "0.2", "heartbeat": "0.2"}
    broker = pound_serve(**rates)
    names = ["ppp", "mdp1", "mdp2", "pnd"]
    for name in names:
        work(name, broker.backend, "--work", "0.002", "--heartbeat", "0.2")
    work("req", broker.backend, "--work", "0.002")
    status = status_of(broker.frontend)
    status.wait_workers(len(names) + 1)
    load = load_on(broker.frontend)
    load.wait_answers(100)
    stop_process(broker.pid)
    threading.Event().wait(3.0)
    broker.process.signal(signal.SIGCONT)
    status.wait_workers(len(names) + 1)
    load.wait_answers(100)
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]
