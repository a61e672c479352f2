"""Plain and PPP workers: READY in all its forms, silence, late answers, leases, cut connections."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import pytest
import zmq

from tests.chaos.proxy import Proxy
from tests.interop.rig import QUIET, Own, Rig
from tests.peers.base import Task, Worker
from tests.peers.catalogue import BEAT, SERVICE, WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1Worker
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker, TextPppWorker
from tests.peers.req_worker import ReqWorker, SimplePirateWorker
from tests.support import wait_until


class DealerReqWorker(ReqWorker):
    """A REQ worker as its bytes are on the wire; a DEALER lets it say what a REQ socket forbids."""

    kind = zmq.DEALER

    def send(self, frames: list[bytes]) -> None:
        super().send([b"", *frames])

    def parse(self, frames: list[bytes]) -> Task:
        assert frames[0] == b""
        return super().parse(frames[1:])


# ---- READY ----


@pytest.mark.parametrize("name", ["req", "req 0x01", "ppp", "ppp text"])
def test_first_word(rig: Rig, own: Own, name: str) -> None:
    worker = own(WORKERS[name](rig.backend))
    client = own(DealerClient(rig.frontend))
    client.ask([b"q"])
    worker.ready()
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("form", [PppWorker, TextPppWorker])
def test_ppp_is_answered_in_kind(rig: Rig, own: Own, form: type[PppWorker]) -> None:
    """The peer's parser refuses the other form's heartbeat."""
    worker = own(form(rig.backend, heartbeat=BEAT))
    rig.ready(worker)

    def heard() -> bool:
        worker.keep_alive()
        frames = worker.poll(BEAT)
        if frames is not None:
            assert worker.parse(frames) is None
        return bool(worker.beats >= 3)

    wait_until(heard)


@pytest.mark.parametrize("form", [PppWorker, TextPppWorker])
def test_heartbeat_from_an_unknown_ppp_worker_counts_as_ready(
    rig: Rig, own: Own, form: type[PppWorker]
) -> None:
    worker = own(form(rig.backend, heartbeat=BEAT))
    client = own(DealerClient(rig.frontend))
    worker.beat()
    rig.wait_stat("workers", 1)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("form", [DealerReqWorker, PppWorker])
def test_answer_with_a_dead_token_counts_as_ready(rig: Rig, own: Own, form: type[Worker]) -> None:
    """A worker that outlived the broker answers a task nobody knows: it has no other way."""
    worker = own(form(rig.backend))
    client = own(DealerClient(rig.frontend))
    worker.answer(Task(b"0123456789abcdef", [], []), [b"of another life"])
    rig.wait_stat("workers", 1)
    rig.wait_stat("answers_late", 1)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("address", [b"client-1", b"0123456789ABCDEF0", b"x" * 255, b"12"])
def test_answer_with_an_unknown_address_counts_as_ready(rig: Rig, own: Own, address: bytes) -> None:
    """The address of another broker's client is no token of ours, and no mistake of the worker."""
    worker = own(DealerReqWorker(rig.backend))
    client = own(DealerClient(rig.frontend))
    worker.answer(Task(address, [], []), [b"of another broker"])
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("form", [DealerReqWorker, PppWorker])
def test_second_ready_is_a_new_life(rig: Rig, own: Own, form: type[Worker]) -> None:
    """The task of the life before returns, and its answer no longer counts."""
    worker = own(form(rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    first = worker.task()
    worker.ready()
    second = worker.task()
    assert second.body == [b"q"]
    assert second.address != first.address
    worker.answer(second, [b"new"])
    assert client.take() == [b"new"]
    worker.answer(first, [b"old"])
    rig.wait_stat("answers_late", 1)
    assert client.poll(QUIET) is None
    assert rig.stat("losses") == 1


# ---- silence ----


@pytest.mark.parametrize("name", ["ppp", "mdp1", "mdp2", "pnd"])
def test_idle_worker_that_falls_silent_expires(rig: Rig, own: Own, name: str) -> None:
    worker = own(WORKERS[name](rig.backend))
    rig.ready(worker)
    rig.wait_stat("expired_workers", 1)
    rig.wait_stat("workers", 0)


@pytest.mark.parametrize("form", [PppWorker, TextPppWorker])
def test_expired_ppp_worker_is_back_with_a_heartbeat(
    rig: Rig, own: Own, form: type[PppWorker]
) -> None:
    worker = own(form(rig.backend, heartbeat=BEAT))
    client = own(DealerClient(rig.frontend))
    rig.ready(worker)
    rig.wait_stat("workers", 0)
    worker.beat()
    client.ask([b"q"])
    worker.heard = worker.beaten = 1e18  # it beats no more by itself
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("form", [PppWorker, Mdp1Worker])
def test_busy_foreign_worker_never_expires(rig: Rig, own: Own, form: type[Worker]) -> None:
    """It sends nothing while it computes; an idle one beside it, silent since later, expires."""
    busy = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(DealerClient(rig.frontend))
    rig.ready(busy)
    client.ask([b"q"])
    task = busy.task()
    for expired in (1, 2):
        rig.ready(own(PppWorker(rig.backend, heartbeat=BEAT)))
        rig.wait_stat("expired_workers", expired)
    busy.answer(task, [b"a"])
    assert client.take() == [b"a"]
    assert rig.stat("losses") == 0


@pytest.mark.parametrize("form", [ReqWorker, SimplePirateWorker])
def test_plain_worker_never_expires_and_is_left_alone(
    rig: Rig, own: Own, form: type[ReqWorker]
) -> None:
    """An unasked message would make its libzmq drop the connection, for good."""
    worker = own(form(rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(worker)
    for expired in (1, 2):
        rig.ready(own(PppWorker(rig.backend, heartbeat=BEAT)))
        rig.wait_stat("expired_workers", expired)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


# ---- leases ----


def test_answer_after_the_lease_counts_while_nobody_else_has_the_task(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(lease=0.1)
    worker = own(DealerReqWorker(rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"slow"])
    task = worker.task()
    rig.wait_stat("losses", 1)
    client.ask([b"next"])
    rig.wait_stat("waiting", 2)
    assert worker.poll(QUIET) is None, "nothing is sent to it until it speaks"
    worker.answer(task, [b"late"])
    assert client.take() == [b"late"]
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("form", [DealerReqWorker, PppWorker])
def test_late_answer_is_dropped_and_its_worker_ready_again(
    rig_of: Callable[..., Rig], own: Own, form: type[Worker]
) -> None:
    rig = rig_of(lease=0.1)
    zombie, second = own(form(rig.backend)), own(DealerReqWorker(rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(zombie)
    client.ask([b"q"])
    late = zombie.task()
    rig.ready(second)
    second.answer(second.task(), [b"right"])
    assert client.take() == [b"right"]
    second.close()
    rig.wait_stat("workers", 1)
    zombie.answer(late, [b"wrong"])
    client.ask([b"next"])
    zombie.answer(zombie.task(), [b"a"])
    assert client.take() == [b"a"]
    assert client.poll(QUIET) is None
    assert rig.stat("answers_late") + rig.stat("answers_dropped") == 1


# ---- connections ----


@pytest.mark.parametrize("name", list(WORKERS))
def test_task_of_a_worker_whose_connection_closed_goes_to_the_next(
    rig: Rig, own: Own, name: str
) -> None:
    first, second = own(WORKERS[name](rig.backend)), own(WORKERS[name](rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(first)
    client.ask([b"q"])
    first.task()
    rig.ready(second)
    first.close()
    worker_got = second.task()
    assert worker_got.body == [b"q"]
    second.answer(worker_got, [b"a"])
    assert client.take() == [b"a"]
    assert rig.stat("losses") == 1


@pytest.mark.parametrize("name", ["req", "ppp", "mdp1", "mdp2", "pnd"])
def test_idle_worker_that_closes_is_sent_nothing(rig: Rig, own: Own, name: str) -> None:
    worker = own(WORKERS[name](rig.backend))
    rig.ready(worker)
    worker.close()
    rig.wait_stat("workers", 0)


def test_idle_req_worker_with_an_explicit_id_is_back_after_a_cut(rig: Rig, own: Own) -> None:
    """It cannot say READY again: it still waits for its answer. So it is tried."""
    client = own(DealerClient(rig.frontend))
    with Proxy(rig.backend) as proxy:
        worker = own(ReqWorker(proxy.url, identity=b"worker-1"))
        rig.ready(worker)
        proxy.cut()
        rig.wait_stat("workers", 0)
        wait_until(lambda: proxy.accepted == 2)
        client.ask([b"q"])
        worker.answer(worker.task(), [b"a"])
        assert client.take() == [b"a"]
        client.ask([b"r"])
        worker.answer(worker.task(), [b"b"])
        assert client.take() == [b"b"]


def test_req_worker_that_left_for_good_is_logged_once(
    rig: Rig, own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    """Each waiting request has it tried, at most ten times a second; that is no news."""
    caplog.set_level(logging.INFO, "pound")
    worker = own(ReqWorker(rig.backend, identity=b"worker-1"))
    client = own(DealerClient(rig.frontend))
    rig.ready(worker)
    worker.close()
    rig.wait_stat("workers", 0)
    for tried in range(1, 4):
        while rig.stat("sends_unreachable") < tried:
            client.ask([b"q"])
            client.poll(0.02)
    other = own(ReqWorker(rig.backend))
    other.ready()
    assert other.task().body == [b"q"]

    def events() -> list[str]:
        lines = (record.getMessage() for record in caplog.records)
        return [line[: len("worker ....")] for line in lines if line.startswith("worker")]

    wait_until(lambda: events()[2:])
    assert events() == ["worker read", "worker gone", "worker read"]


def test_strange_connection_costs_a_silent_worker_nothing(rig: Rig, own: Own) -> None:
    """A health check of the port is not a worker: who was tried and works on goes on."""
    client = own(DealerClient(rig.frontend))
    with Proxy(rig.backend) as proxy:
        worker = own(ReqWorker(proxy.url, identity=b"worker-1"))
        rig.ready(worker)
        proxy.cut()
        rig.wait_stat("workers", 0)
        wait_until(lambda: proxy.accepted == 2)
        client.ask([b"q"])
        task = worker.task()
        closed = rig.stat("closed_connections")
        host, port = rig.backend.removeprefix("tcp://").split(":")
        socket.create_connection((host, int(port))).close()
        rig.wait_stat("closed_connections", closed + 1)
        assert rig.stat("losses") == 0
        worker.answer(task, [b"a"])
        assert client.take() == [b"a"]


def test_idle_req_worker_with_an_automatic_id_is_not(rig: Rig, own: Own) -> None:
    """Its new connection is a stranger; the request waits for a worker that is there."""
    client = own(DealerClient(rig.frontend))
    with Proxy(rig.backend) as proxy:
        worker = own(ReqWorker(proxy.url))
        rig.ready(worker)
        proxy.cut()
        rig.wait_stat("workers", 0)
        wait_until(lambda: proxy.accepted == 2)
        client.ask([b"q"])
        rig.wait_stat("waiting", 1)
        assert worker.poll(QUIET) is None
        other = own(ReqWorker(rig.backend))
        rig.ready(other)
        other.answer(other.task(), [b"a"])
        assert client.take() == [b"a"]


@pytest.mark.parametrize("name", ["ppp", "mdp1", "mdp2", "pnd"])
def test_worker_with_heartbeats_is_back_after_a_cut(rig: Rig, own: Own, name: str) -> None:
    client = own(DealerClient(rig.frontend))
    with Proxy(rig.backend) as proxy:
        worker = own(WORKERS[name](proxy.url))
        rig.ready(worker)
        for number in range(3):
            proxy.cut()
            client.ask([b"%d" % number])
            task = worker.task()
            assert task.body == [b"%d" % number]
            worker.answer(task, [b"a"])
            assert client.take() == [b"a"]


def test_pnd_worker_keeps_its_task_across_a_cut(rig: Rig, own: Own) -> None:
    """A session outlives its routes: a new READY lists the token, and the answer counts."""
    client = own(DealerClient(rig.frontend))
    with Proxy(rig.backend) as proxy:
        worker = own(PndWorker(proxy.url, heartbeat=BEAT))
        rig.ready(worker)
        client.ask([b"q"])
        task = worker.task()
        proxy.cut()
        rig.wait_stat("losses", 1)
        worker.ready()
        rig.wait_stat("running", 1)
        worker.answer(task, [b"a"])
        assert client.take() == [b"a"]
