"""Peers in the broker's own process: inproc has no connection that could be seen to close."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.catalogue import CLIENTS, WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.pnd_client import PndClient


@pytest.fixture
def inproc_rig(rig_of: Callable[..., Rig]) -> Rig:
    import zmq

    name = uuid.uuid4().hex
    return rig_of(
        context=zmq.Context.instance(),
        frontend=f"inproc://front-{name}",
        backend=f"inproc://back-{name}",
        client_grace=0.1,
    )


@pytest.mark.parametrize("name", list(WORKERS))
def test_peers_meet(inproc_rig: Rig, own: Own, name: str) -> None:
    worker = own(WORKERS[name](inproc_rig.backend))
    client = own(CLIENTS["pnd"](inproc_rig.frontend))
    inproc_rig.ready(worker)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (1, [b"a"])


def test_a_frame_that_its_sender_lent_is_given_back_at_once(inproc_rig: Rig) -> None:
    """However small it is, and though no other message follows."""
    import zmq

    with zmq.Context.instance().socket(zmq.DEALER) as client:
        client.linger = 0
        client.copy_threshold = 0
        client.connect(inproc_rig.frontend)
        tracker = client.send(b"abc", copy=False, track=True)
        tracker.wait(5)
    inproc_rig.wait_stat("messages_in", 1)


@pytest.mark.parametrize("name", ["ppp", "mdp1", "mdp2", "pnd"])
def test_task_of_a_busy_worker_that_closed_goes_to_the_next(
    inproc_rig: Rig, own: Own, name: str
) -> None:
    """Foreign workers say nothing while they work: the broker's heartbeat finds them gone."""
    rig = inproc_rig
    first, second = own(WORKERS[name](rig.backend)), own(WORKERS[name](rig.backend))
    client = own(DealerClient(rig.frontend))
    rig.ready(first)
    client.ask([b"q"])
    first.task()
    rig.ready(second)
    first.close()
    second.answer(second.task(), [b"a"])
    assert client.take() == [b"a"]
    assert rig.stat("losses") == 1


def test_pnd_client_that_closed_without_bye_is_given_up(inproc_rig: Rig, own: Own) -> None:
    rig = inproc_rig
    client = own(PndClient(rig.frontend))
    client.welcome()
    client.ask([b"abandoned"])
    rig.wait_stat("waiting", 1)
    client.close()
    rig.wait_stat("clients", 0)
    assert rig.stat("cancelled") == 1


def test_pnd_client_that_is_there_is_kept(inproc_rig: Rig, own: Own) -> None:
    """The heartbeats that look for those who left do no harm to the others."""
    rig = inproc_rig
    gone, client = own(PndClient(rig.frontend)), own(PndClient(rig.frontend))
    gone.welcome()
    client.welcome()
    rig.wait_stat("clients", 2)
    gone.close()
    rig.wait_stat("clients", 1)
    worker = own(WORKERS["pnd"](rig.backend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (1, [b"a"])


def test_peers_may_keep_the_very_bytes_that_they_have_read(inproc_rig: Rig) -> None:
    """What a peer in this process was lent and has read is not unread."""
    import zmq

    import pound

    context = zmq.Context.instance()
    kept: list[object] = []

    def keep(body: object) -> object:
        kept.append(body)
        return body

    body = bytes(inproc_rig.broker.config.undelivered_bytes_max // 4)
    with (
        pound.Worker(inproc_rig.backend, {"keep": keep}, context=context, copy=False),
        pound.Client(inproc_rig.frontend, context=context, copy=False) as client,
    ):
        for _ in range(12):
            kept.append(client.request("keep", body, timeout=10))
    assert len(kept) == 24
    assert inproc_rig.stat("sends_blocked") == 0
