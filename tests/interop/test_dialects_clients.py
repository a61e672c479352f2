"""Clients that leave, come back or ask again, and the broker that leaves: client_grace, drain."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.chaos.proxy import Proxy
from tests.interop.rig import DISCONNECTS, HEARTBEATS, QUIET, Own, Rig
from tests.peers.catalogue import BEAT, CLIENTS, SERVICE, WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1Worker
from tests.peers.mdp2 import Mdp2Worker
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker
from tests.peers.req_client import LazyPirate
from tests.support import wait_until

# ---- clients with automatic ids never return ----


@pytest.mark.parametrize("name", ["req", "dealer", "bare", "mdp1", "mdp1 async", "mdp2"])
def test_requests_of_a_foreign_client_that_left_are_not_run(rig: Rig, own: Own, name: str) -> None:
    client = own(CLIENTS[name](rig.frontend))
    client.ask([b"abandoned"])
    rig.wait_stat("waiting", 1)
    client.close()
    rig.wait_stat("cancelled", 1)
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    other = own(CLIENTS[name](rig.frontend))
    other.ask([b"wanted"])
    task = worker.task()
    assert task.body == [b"wanted"]
    worker.answer(task, [b"a"])
    assert other.take() == [b"a"]


def test_lazy_pirate(rig: Rig, own: Own) -> None:
    """Each try is a new client; only the last one's request is run when a worker comes."""
    client = own(LazyPirate(rig.frontend))
    client.patience = 0.1
    answers: list[list[bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(client.request([b"q"], 15.0)))
    client.retries = 100
    asking.start()
    wait_until(lambda: client.attempts >= 4)
    client.patience = 10.0
    wait_until(lambda: rig.stat("waiting") == 1)
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    while not answers:
        task = worker.task()
        worker.answer(task, [b"a"])
        asking.join(1.0)
    assert answers == [[b"a"]]
    assert rig.stat("cancelled") >= 2


def test_answer_to_a_client_that_left_is_dropped(rig: Rig, own: Own) -> None:
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    client, other = own(DealerClient(rig.frontend)), own(DealerClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    client.close()
    rig.wait_stat("cancelled", 1)
    worker.answer(task, [b"too late"])
    rig.wait_stat("answers_dropped", 1)
    other.ask([b"r"])
    worker.answer(worker.task(), [b"a"])
    assert other.take() == [b"a"]


# ---- explicit ids and PND sessions have client_grace ----


def test_client_with_an_explicit_id_gets_its_answer_after_a_cut(rig: Rig, own: Own) -> None:
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    with Proxy(rig.frontend) as proxy:
        client = own(DealerClient(proxy.url, identity=b"client-1"))
        client.ask([b"q"])
        task = worker.task()
        proxy.cut()
        wait_until(lambda: proxy.accepted == 2)
        client.ask([b"second"])
        worker.answer(task, [b"a"])
        second = worker.task()
        worker.answer(second, [b"b"])
        assert client.take() == [b"a"]
        assert client.take() == [b"b"]


def test_pnd_client_gets_its_answer_after_a_cut(rig: Rig, own: Own) -> None:
    """It is welcomed on its new route, asks again, and the request runs once."""
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    with Proxy(rig.frontend) as proxy:
        client = own(PndClient(proxy.url))
        client.heartbeat = BEAT
        id = client.ask([b"q"])
        task = worker.task()
        proxy.cut()
        worker.answer(task, [b"a"])
        assert client.take() == (id, [b"a"])
        assert rig.stat("accepted") == 1
        assert client.strays == []


def test_grace_ends(rig_of: Callable[..., Rig], own: Own) -> None:
    """Then waiting requests are cancelled, and PND workers that run one are told."""
    rig = rig_of(client_grace=0.2)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.ask([b"runs"])
    task = worker.task()
    client.ask([b"waits"])
    rig.wait_stat("waiting", 1)
    client.close()
    rig.wait_stat("cancelled", 2)

    def told() -> bool:
        worker.keep_alive()
        frames = worker.poll(BEAT / 2)
        if frames is not None:
            assert worker.parse(frames) is None
        return bool(worker.cancelled == [worker.token(task)])

    wait_until(told)


def test_within_grace_nothing_is_cancelled(rig: Rig, own: Own) -> None:
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    client = own(PndClient(rig.frontend))
    client.ask([b"q"])
    rig.wait_stat("waiting", 1)
    client.close()
    rig.ready(worker)
    worker.answer(worker.task(), [b"a"])
    rig.wait_stat("answered", 1)
    assert rig.stat("cancelled") == 0


# ---- what PND asks for, a foreign worker may do ----


@pytest.mark.parametrize("name", ["req", "ppp", "mdp1", "mdp2"])
def test_deadline_of_a_request_that_a_foreign_worker_holds(rig: Rig, own: Own, name: str) -> None:
    """The request ends; the worker's slot stays taken; its late answer is dropped."""
    worker = own(WORKERS[name](rig.backend))
    client = own(PndClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"], timeout_ms=100)
    task = worker.task()
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.code == 4
    id = client.ask([b"r"])
    rig.wait_stat("waiting", 1)
    worker.answer(task, [b"late"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (id, [b"a"])
    assert client.strays == []


@pytest.mark.parametrize("name", ["req", "ppp", "mdp1", "mdp2"])
def test_cancel_of_a_request_that_a_foreign_worker_holds(rig: Rig, own: Own, name: str) -> None:
    worker = own(WORKERS[name](rig.backend))
    client = own(PndClient(rig.frontend))
    rig.ready(worker)
    id = client.ask([b"q"])
    task = worker.task()
    client.cancel(id)
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.code == 1
    worker.answer(task, [b"late"])
    again = client.ask([b"r"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (again, [b"a"])


# ---- drain ----


@pytest.mark.parametrize("form", [Mdp1Worker, Mdp2Worker])
def test_drain_finishes_what_runs_then_disconnects(
    rig: Rig, own: Own, form: type[Mdp1Worker] | type[Mdp2Worker]
) -> None:
    worker = own(form(rig.backend, service=SERVICE, heartbeat=2.5))
    client, late = own(DealerClient(rig.frontend)), own(DealerClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    draining = threading.Thread(target=rig.broker.drain, args=(10.0,))
    draining.start()
    try:
        rig.wait_stat("draining", 1)
        late.ask([b"refused"])
        assert late.poll(QUIET) is None
        worker.answer(task, [b"a"])
        assert client.take() == [b"a"]
        assert drop_heartbeats(worker) == DISCONNECTS[form]
    finally:
        draining.join(15)
    assert not rig.broker.running
    assert late.poll(0.0) is None


def drop_heartbeats(worker: Mdp1Worker | Mdp2Worker) -> list[bytes]:
    while True:
        frames = worker.recv()
        if frames != HEARTBEATS[type(worker)]:
            return frames


def test_drain_says_bye_to_pnd_peers(rig: Rig, own: Own) -> None:
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.welcome()
    client.ask([b"q"])
    task = worker.task()
    draining = threading.Thread(target=rig.broker.drain, args=(10.0,))
    draining.start()
    try:
        worker.answer(task, [b"a"])
        assert client.take() == (1, [b"a"])

        def told() -> bool:
            frames = worker.poll(0.05)
            if frames is not None:
                worker.parse(frames)
            client.pump(0.05)
            return bool(worker.byes and client.byes)

        wait_until(told)
    finally:
        draining.join(15)
    assert worker.byes == [1]
    assert client.byes == [1]
