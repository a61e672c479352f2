"""A draining broker refuses new requests only: it answers repetitions, and it can be looked at."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.base import Task
from tests.peers.catalogue import BEAT, SERVICE
from tests.peers.mdp1 import Mdp1AsyncClient
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker


class Draining:
    """A broker that drains because one request is running, until `finish` answers that."""

    def __init__(self, rig: Rig, own: Own) -> None:
        self.rig = rig
        self.worker = own(PndWorker(rig.backend, heartbeat=BEAT))
        self.client = own(PndClient(rig.frontend))
        self.client.welcome()
        rig.ready(self.worker)
        self.client.ask([b"runs"])
        self.task: Task = self.worker.task()
        self.thread = threading.Thread(target=rig.broker.drain, args=(10.0,))
        self.thread.start()
        rig.wait_stat("draining", 1)

    def finish(self) -> None:
        self.worker.answer(self.task, [b"a"])
        self.thread.join(15)
        assert not self.rig.broker.running


@pytest.fixture
def draining(rig_of: Callable[..., Rig], own: Own) -> Iterator[Draining]:
    rig = rig_of(heartbeat=5.0)  # no silence makes the worker speak or go in the middle of a test
    drain = Draining(rig, own)
    yield drain
    rig.broker.stop()
    drain.thread.join(15)


def test_repetition_of_a_running_request_is_accepted(draining: Draining) -> None:
    """ERROR 14 would be a first final answer, and the REPLY a second one."""
    client = draining.client
    client.retry()
    while not client.accepted and not client.answers:
        client.pump(1.0)
    assert client.accepted == [1]
    draining.finish()
    assert client.take() == (1, [b"a"])
    assert draining.rig.broker.stats()["refused_draining"] == 0


def test_new_request_is_refused(draining: Draining) -> None:
    id = draining.client.ask([b"new"])
    with pytest.raises(FailedError) as failed:
        draining.client.take()
    assert (failed.value.id, failed.value.code) == (id, 14)
    assert failed.value.retry_after_ms > 0
    assert draining.rig.stat("refused_draining") == 1


def test_status_says_that_the_broker_drains(draining: Draining) -> None:
    client = draining.client
    client.ask([b""], b"pound.status")
    _, [page] = client.take()
    assert json.loads(page)["draining"] is True


def test_mmi_is_answered(draining: Draining, own: Own) -> None:
    client = own(Mdp1AsyncClient(draining.rig.frontend, service=b"mmi.service"))
    client.ask([SERVICE])
    assert client.take() == [b"200"]
    draining.finish()
