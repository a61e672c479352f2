"""Bodies of many small parts, from both sides and in every dialect.

PND carries up to 65,535 parts inline; a foreign peer is sent each in a frame of its own, however
many the broker itself would read (frames_max).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.base import Worker
from tests.peers.catalogue import CLIENTS, SERVICE, WORKERS
from tests.peers.mdp2 import Mdp2Client
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker

MANY = [9, 20_000, 65_535]
ANSWER = [b"seen"]
FOREIGN_WORKERS = [name for name in WORKERS if not name.startswith("pnd")]
FOREIGN_CLIENTS = [name for name in CLIENTS if not name.startswith("pnd")]


def parts(count: int) -> list[bytes]:
    return [b"%d" % i for i in range(count)]


def ready(rig: Rig, worker: Worker) -> Any:
    """A worker that does not beat: a task of 65,535 frames takes a while to read."""
    worker.heartbeat = None
    rig.ready(worker)
    return worker


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("name", FOREIGN_WORKERS)
def test_request_to_a_foreign_worker(
    rig_of: Callable[..., Rig], own: Own, name: str, count: int
) -> None:
    rig = rig_of(frames_max=8, ppp_liveness=1000, mdp_liveness=1000)
    worker = ready(rig, own(WORKERS[name](rig.backend)))
    client = own(PndClient(rig.frontend))
    client.ask(parts(count))
    task = worker.task()
    assert task.body == parts(count)
    worker.answer(task, ANSWER)
    assert client.take()[1] == ANSWER


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("name", FOREIGN_CLIENTS)
def test_answer_to_a_foreign_client(
    rig_of: Callable[..., Rig], own: Own, name: str, count: int
) -> None:
    rig = rig_of(frames_max=8)
    worker = ready(rig, own(PndWorker(rig.backend)))
    client = own(CLIENTS[name](rig.frontend))
    client.ask([b"q"])
    worker.answer(worker.task(), parts(count))
    assert client.take() == parts(count)


@pytest.mark.parametrize("count", MANY)
def test_partial_to_a_foreign_client(rig_of: Callable[..., Rig], own: Own, count: int) -> None:
    rig = rig_of(frames_max=8)
    worker = ready(rig, own(PndWorker(rig.backend)))
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    worker.partial(task, parts(count))
    worker.answer(task, ANSWER)
    assert client.take() == ANSWER
    assert client.partials == [parts(count)]
