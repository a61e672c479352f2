"""What the broker holds is bounded in bytes, whoever has it: waiting, running, unread."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.catalogue import BEAT
from tests.peers.dealer_client import DealerClient
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until

BODY_BYTES = 8192
OPEN = 4  # bodies that fit the bound of these tests
BOUND_BYTES = OPEN * (BODY_BYTES + 64)


def test_bodies_of_running_requests_count(rig_of: Callable[..., Rig], own: Own) -> None:
    """A worker of a large capacity that keeps its tasks must not fill the broker with bodies."""
    rig = rig_of(waiting_bytes_max=BOUND_BYTES)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    client = own(PndClient(rig.frontend))
    client.welcome()
    rig.ready(worker)
    for _ in range(OPEN + 1):
        client.ask([os.urandom(BODY_BYTES)])
    with pytest.raises(FailedError, match="waiting_bytes_max") as failed:
        client.take()
    assert (failed.value.id, failed.value.code) == (OPEN + 1, 8)
    assert failed.value.retry_after_ms > 0
    tasks = [worker.task() for _ in range(OPEN)]
    assert rig.stat("waiting") == 0
    assert OPEN * BODY_BYTES <= rig.stat("running_bytes") <= BOUND_BYTES
    worker.answer(tasks[0], [b"done"])
    assert client.take() == (1, [b"done"])
    client.ask([os.urandom(BODY_BYTES)])
    assert len(worker.task().body[0]) == BODY_BYTES


def test_one_body_comes_in_whatever_its_size(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(waiting_bytes_max=BODY_BYTES)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    client = own(PndClient(rig.frontend))
    client.welcome()
    rig.ready(worker)
    client.ask([os.urandom(3 * BODY_BYTES)])
    worker.answer(worker.task(), [b"done"])
    assert client.take() == (1, [b"done"])
    wait_until(lambda: rig.stat("running_bytes") == 0)


def test_a_frontend_is_left_unread_while_running_bodies_fill_it(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(waiting_bytes_max=BOUND_BYTES, foreign_overflow="block")
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    rig.ready(worker)
    client = own(DealerClient(rig.frontend))
    for number in range(3 * OPEN):
        client.ask([b"%02d" % number + bytes(BODY_BYTES)])
    tasks = [worker.task() for _ in range(OPEN)]
    assert rig.stat("accepted") <= OPEN + 1
    for number in range(3 * OPEN):
        task = tasks.pop(0) if tasks else worker.task()
        worker.answer(task, [task.body[0][:2]])
        assert client.take() == [b"%02d" % number]
    assert rig.stat("refused_foreign") == 0
