"""Majordomo of both versions: DISCONNECT, heads, commands, MMI, reserved names."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.interop.rig import DISCONNECTS, HEARTBEATS, MDP_FORMS, QUIET, MdpForm, Own, Rig
from tests.peers.base import Task
from tests.peers.catalogue import BEAT, CLIENTS, SERVICE
from tests.peers.mdp1 import Mdp1AsyncClient, Mdp1Worker
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.support import wait_until

# ---- workers ----


@pytest.mark.parametrize("form", MDP_FORMS)
@pytest.mark.parametrize("said", ["heartbeat", "answer"])
def test_unknown_worker_is_told_disconnect(rig: Rig, own: Own, form: MdpForm, said: str) -> None:
    worker = own(form(rig.backend, service=SERVICE))
    if said == "heartbeat":
        worker.beat()
    else:
        worker.answer(Task(b"0123456789abcdef", [], []), [b"of another life"])
    assert worker.recv() == DISCONNECTS[form]
    assert rig.stat("workers") == 0


def test_disconnect_is_said_at_most_once_a_second(rig: Rig, own: Own) -> None:
    """The Guide's API answers it with an immediate READY: without a bound both would spin."""
    workers = {form: own(form(rig.backend, service=SERVICE)) for form in MDP_FORMS}
    start, told = time.monotonic(), dict.fromkeys(MDP_FORMS, 0)
    while min(told.values()) < 3:
        for form, worker in workers.items():
            worker.beat()
            frames = worker.poll(0.01)
            if frames is not None:
                assert frames == DISCONNECTS[form]
                told[form] += 1
        assert time.monotonic() - start < 10
    assert time.monotonic() - start >= 1.9
    assert max(told.values()) <= (time.monotonic() - start) / 0.95 + 1


@pytest.mark.parametrize("form", MDP_FORMS)
def test_worker_comes_back_from_disconnect(rig: Rig, own: Own, form: MdpForm) -> None:
    """As it does after a restart of the broker: it beats, is told, opens a new socket."""
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    worker.beat()
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]
    assert worker.disconnects == 1


@pytest.mark.parametrize("form", MDP_FORMS)
def test_worker_that_disconnects_is_sent_nothing_more(rig: Rig, own: Own, form: MdpForm) -> None:
    """Its task goes to the next worker at once."""
    worker, other = (own(form(rig.backend, service=SERVICE, heartbeat=BEAT)) for _ in range(2))
    client = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    worker.disconnect()
    client.ask([b"r"])
    rig.wait_stat("waiting", 2)
    other.ready()
    for body in ([b"q"], [b"r"]):
        again = other.task()
        assert again.body == body
        other.answer(again, [b"a", *body])
        assert client.take() == [b"a", *body]
    worker.answer(task, [b"old"])
    assert client.poll(QUIET) is None
    frames = worker.poll(0.0)
    while frames is not None:
        assert frames in (HEARTBEATS[form], DISCONNECTS[form])
        frames = worker.poll(0.0)


@pytest.mark.parametrize("form", MDP_FORMS)
def test_second_ready_loses_no_task(rig: Rig, own: Own, form: MdpForm) -> None:
    """The RFCs forbid it; whether it is a new life or answered by DISCONNECT, the task returns."""
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    rig.ready(worker)
    client.ask([b"q"])
    worker.task()
    worker.ready()
    again = worker.task()
    assert again.body == [b"q"]
    worker.answer(again, [b"a"])
    assert client.take() == [b"a"]


@pytest.mark.parametrize("form", MDP_FORMS)
@pytest.mark.parametrize("address", [b"0123456789abcdef", b"no address at all"])
def test_busy_worker_that_answers_another_task_is_told_disconnect(
    rig: Rig, own: Own, form: MdpForm, address: bytes
) -> None:
    """An answer says "I am free": whoever mangles an address must not stay busy for ever."""
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    rig.ready(worker)
    client.ask([b"q"])
    worker.task()
    worker.answer(Task(address, [], []), [b"mangled"])
    again = worker.task()
    assert again.body == [b"q"]
    assert worker.disconnects == 1
    worker.answer(again, [b"a"])
    assert client.take() == [b"a"]
    assert rig.stat("losses") == 1


@pytest.mark.parametrize("form", MDP_FORMS)
def test_heartbeats_to_an_idle_worker(rig: Rig, own: Own, form: MdpForm) -> None:
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    for _ in range(3):
        assert worker.recv() == HEARTBEATS[form]
        worker.beat()


def test_heartbeats_keep_the_delimiter(rig: Rig, own: Own) -> None:
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT, delimited=True))
    rig.ready(worker)
    assert worker.recv() == [b"", *HEARTBEATS[Mdp2Worker]]


def test_task_of_each_version_is_exact(rig: Rig, own: Own) -> None:
    client = own(Mdp1AsyncClient(rig.frontend, service=SERVICE))
    for form, head in (
        (Mdp1Worker, [b"", b"MDPW01", b"\x02"]),
        (Mdp2Worker, [b"MDPW02", b"\x02"]),
    ):
        worker = own(form(rig.backend, service=SERVICE, heartbeat=2.5))
        rig.ready(worker)
        client.ask([b"q", b"", b"\0"])
        task = worker.task()
        assert task.frames == [*head, task.address, b"", b"q", b"", b"\0"]
        worker.answer(task, [b"a"])
        assert client.take() == [b"a"]
        worker.close()
        rig.wait_stat("workers", 0)


# ---- clients ----


@pytest.mark.parametrize("name", ["mdp1", "mdp1 async", "mdp2", "mdp2 delimited"])
def test_service_comes_back_as_it_was_asked(rig: Rig, own: Own, name: str) -> None:
    odd = b"\0odd \xff name"
    worker = own(Mdp1Worker(rig.backend, service=odd, heartbeat=2.5))
    client = own(CLIENTS[name](rig.frontend))
    rig.ready(worker)
    client.ask([b"q"], odd)
    worker.answer(worker.task(), [b"a", b""])
    assert client.take(service=odd) == [b"a", b""]


# ---- MMI ----


def mmi(client: Any, name: bytes, *body: bytes) -> list[bytes]:
    client.ask(list(body), name)
    answer: list[bytes] = client.take(service=name)
    return answer


@pytest.mark.parametrize("name", ["mdp1", "mdp1 async", "mdp2", "mdp2 delimited"])
def test_mmi_service(rig: Rig, own: Own, name: str) -> None:
    """200 with a worker, a busy one too; 404 without; the name is the last body frame."""
    client, other = own(CLIENTS[name](rig.frontend)), own(CLIENTS["dealer"](rig.frontend))
    worker = own(Mdp1Worker(rig.backend, service=SERVICE, heartbeat=2.5))
    assert mmi(client, b"mmi.service", SERVICE) == [b"404"]
    rig.ready(worker)
    assert mmi(client, b"mmi.service", SERVICE) == [b"200"]
    assert mmi(client, b"mmi.service", b"never heard of", SERVICE) == [b"200"]
    assert mmi(client, b"mmi.service", SERVICE, b"never heard of") == [b"404"]
    other.ask([b"q"])
    task = worker.task()
    assert mmi(client, b"mmi.service", SERVICE) == [b"200"]
    worker.answer(task, [b"a"])
    worker.close()
    rig.wait_stat("workers", 0)
    assert mmi(client, b"mmi.service", SERVICE) == [b"404"]


@pytest.mark.parametrize("name", ["mdp1", "mdp2"])
@pytest.mark.parametrize("service", [b"mmi.echo", b"mmi.", b"mmi.service.", b"mmi.x" + b"y" * 250])
def test_other_mmi_services_are_not_implemented(
    rig: Rig, own: Own, name: str, service: bytes
) -> None:
    assert mmi(own(CLIENTS[name](rig.frontend)), service, b"work") == [b"501"]


def test_mmi_names_are_no_services_of_their_own(rig: Rig, own: Own) -> None:
    client = own(Mdp2Client(rig.frontend, service=b""))
    for name in (b"mmi.service", b"nothing", b"", b"x" * 255):
        assert mmi(client, b"mmi.service", name) == [b"404"], name


@pytest.mark.parametrize("form", MDP_FORMS)
@pytest.mark.parametrize("name", [b"mmi.service", b"mmi.own", b"pound.status"])
def test_worker_that_registers_a_reserved_name_is_not_answered(
    rig: Rig, own: Own, form: MdpForm, name: bytes
) -> None:
    """The Guide's workers answer DISCONNECT with a new connection and READY, at once."""
    worker = own(form(rig.backend, service=name))
    client = own(Mdp1AsyncClient(rig.frontend, service=b""))
    worker.ready()
    rig.wait_stat("reserved_services", 1)
    for _ in range(3):
        worker.beat()
    assert worker.poll(QUIET) is None
    assert rig.stat("workers") == 0
    assert mmi(client, b"mmi.own", b"x") == [b"501"]


def test_mmi_is_answered_while_all_workers_are_busy(rig: Rig, own: Own) -> None:
    client = own(Mdp1AsyncClient(rig.frontend, service=b""))
    plain = own(CLIENTS["dealer"](rig.frontend))
    for _ in range(100):
        plain.ask([b"waits"])
    wait_until(lambda: rig.stat("waiting") == 100)
    assert mmi(client, b"mmi.service", SERVICE) == [b"404"]
