"""Workers and brokers that die by SIGKILL: nothing accepted is lost, nothing answered twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.chaos.conftest import PROGRAMS, Status
from tests.chaos.journal import NOTHING_WRONG, Load
from tests.peers.base import digest
from tests.peers.catalogue import CLIENTS
from tests.support import Process, Served

KILLS = int(os.environ.get("POUND_CHAOS_KILLS", "10"))  # more for a long run


@pytest.mark.timeout(60 + 6 * KILLS)
def test_workers_killed_under_load(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    status_of: Callable[[str], Status],
) -> None:
    """Every dialect works; one worker after the other is killed while it is busy."""
    broker = pound_serve()
    status = status_of(broker.frontend)
    flags = ("--work", "0.005")
    crew = [(name, work(name, broker.backend, *flags)) for name in PROGRAMS]
    load = load_on(broker.frontend)
    for kill in range(KILLS):
        load.wait_answers(100)
        name, victim = crew.pop(0)
        victim.signal(signal.SIGKILL)
        if kill < KILLS - 4:  # the last ones are not replaced
            crew.append((name, work(name, broker.backend, *flags)))
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]
    assert status.counter("losses") >= 1
    status.wait_workers(len(crew))


@pytest.mark.parametrize("name", PROGRAMS)
def test_death_is_seen_from_the_connection(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    status_of: Callable[[str], Status],
    name: str,
) -> None:
    """A busy worker of any dialect dies; its task goes to the next before any silence counts."""
    broker = pound_serve()
    status = status_of(broker.frontend)
    victim: Process = work(name, broker.backend, "--work", "600")
    with CLIENTS["req"](broker.frontend) as client:
        client.ask([b"q"])
        status.wait(lambda now: now["counters"]["running"] == 1)
        work(name, broker.backend)
        status.wait_workers(2)
        victim.signal(signal.SIGKILL)
        assert client.take() == digest([b"q"])
    assert status.counter("losses") == 1
    assert status.counter("expired_workers") == 0


def test_all_workers_die_and_others_come(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    status_of: Callable[[str], Status],
) -> None:
    """Requests wait without any worker, and go to the first that comes."""
    broker = pound_serve()
    status = status_of(broker.frontend)
    crew = [work(name, broker.backend, "--work", "0.002") for name in ("req", "ppp", "pnd")]
    load = load_on(broker.frontend)
    for _ in range(2):
        load.wait_answers(50)
        for victim in crew:
            victim.signal(signal.SIGKILL)
        status.wait_workers(0)
        crew = [work(name, broker.backend) for name in ("mdp1", "mdp2", "req")]
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]


@pytest.mark.timeout(120)
def test_broker_killed_and_restarted(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    status_of: Callable[[str], Status],
) -> None:
    """Workers of all dialects with heartbeats come back by themselves; PND clients lose nothing."""
    rates = {"ppp_heartbeat": "0.2", "mdp_heartbeat": "0.2", "heartbeat": "0.2"}
    broker = pound_serve(**rates)
    names = ["ppp", "ppp text", "mdp1", "mdp2", "pnd"]
    for name in names:
        work(name, broker.backend, "--work", "0.002", "--heartbeat", "0.2")
    status_of(broker.frontend).wait_workers(len(names))
    load = load_on(broker.frontend, "pnd")
    ends = ("--frontend", broker.frontend, "--backend", broker.backend)
    for _ in range(2):
        load.wait_answers(100)
        broker.process.signal(signal.SIGKILL)
        broker.process.wait()
        broker = pound_serve(*ends, **rates)
        status_of(broker.frontend).wait_workers(len(names))
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]


def test_foreign_clients_ask_again_after_a_restart(
    pound_serve: Callable[..., Served], work: Callable[..., Process]
) -> None:
    """A plain client's requests die with the broker; its next request is served."""
    broker = pound_serve(ppp_heartbeat="0.2")
    work("ppp", broker.backend, "--heartbeat", "0.2")
    ends = ("--frontend", broker.frontend, "--backend", broker.backend)
    with CLIENTS["dealer"](broker.frontend) as client:
        assert client.request([b"before"]) == digest([b"before"])
        broker.process.signal(signal.SIGKILL)
        broker.process.wait()
        pound_serve(*ends, ppp_heartbeat="0.2")
        assert client.request([b"after"]) == digest([b"after"])
