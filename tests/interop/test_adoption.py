"""A request that its client had sent to another broker meets the task that its worker has kept.

What the clients and workers of the library do is in tests/chaos/test_outlive.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from tests.interop.rig import QUIET, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.catalogue import BEAT, SERVICE
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_wire import ANSWERED, RUNNING
from tests.peers.pnd_worker import PndWorker
from tests.support import WAIT_S, wait_until

WAIT = 0.5  # for how long the broker holds a moved request back
TOKEN = 1000  # of another epoch: a lower one than any of this
ELSEWHERE = bytes(range(16))


@pytest.fixture
def rig(rig_of: Callable[..., Rig]) -> Rig:
    return rig_of(adopt_wait=WAIT)


@pytest.fixture
def worker(rig: Rig, own: Own) -> PndWorker:
    return own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT, capacity=2))


@pytest.fixture
def client(rig: Rig, own: Own) -> PndClient:
    client: PndClient = own(PndClient(rig.frontend, service=SERVICE))
    client.welcome()
    return client


def heard(worker: PndWorker, holds: Callable[[], bool]) -> None:
    """Let a worker read and beat until `holds()`; no task comes meanwhile."""

    def held() -> bool:
        worker.keep_alive()
        frames = worker.poll(BEAT / 4)
        if frames is not None:
            worker.heard = time.monotonic()
            assert worker.parse(frames) is None
        return holds()

    wait_until(held)


def quiet(worker: PndWorker) -> None:
    """No task comes for a while."""
    end = time.monotonic() + QUIET
    heard(worker, lambda: time.monotonic() > end)


def test_a_ready_that_names_another_epoch_makes_no_worker(rig: Rig, worker: PndWorker) -> None:
    worker.put(wire.ready(1, [SERVICE], [TOKEN], epoch=ELSEWHERE))
    wait_until(lambda: worker.poll(BEAT / 4) is not None)  # WELCOME
    assert rig.stat("workers") == 0
    rig.ready(worker)


def test_a_moved_request_is_adopted_by_the_task_that_was_kept(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    rig.ready(worker)
    key = os.urandom(16)
    worker.claim((TOKEN, key, 3, RUNNING))
    id = client.ask([b"q"], key=key, run=TOKEN)
    client.put(wire.credit(id, TOKEN, 500, sequence=2))
    heard(worker, lambda: worker.adopted == [TOKEN] and worker.wanted == {TOKEN: 2})
    assert worker.credits == {TOKEN: 500}
    worker.put(wire.partial(TOKEN, 2, 3, [b"part"]), wire.reply(TOKEN, [b"end"]))
    assert client.take() == (id, [b"end"])
    assert client.partials == [(3, 2, [b"part"], TOKEN)]
    assert rig.stat("adopted") == 1


def test_a_moved_request_waits_for_its_task(rig_of: Callable[..., Rig], own: Own) -> None:
    """A worker that is free does not get it."""
    rig = rig_of(adopt_wait=WAIT_S)
    worker = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    client = own(PndClient(rig.frontend, service=SERVICE))
    client.welcome()
    key = os.urandom(16)
    id = client.ask([b"q"], key=key, run=0)
    quiet(worker)
    holder = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(holder)
    holder.claim((TOKEN, key, 1, ANSWERED))
    heard(holder, lambda: holder.adopted == [TOKEN])
    holder.put(wire.reply(TOKEN, [b"kept"]))
    assert client.take() == (id, [b"kept"])


def test_a_moved_request_whose_task_nobody_has_runs(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    rig.ready(worker)
    began = time.monotonic()
    id = client.ask([b"q"], run=TOKEN)
    task = worker.task()
    assert time.monotonic() - began > 0.8 * WAIT
    assert (task.attempt, worker.token(task) > TOKEN) == (1, True)
    worker.answer(task, [b"run"])
    assert client.take() == (id, [b"run"])


@pytest.mark.parametrize("first", ["claim", "request"])
def test_an_older_run_than_the_client_has_seen_is_not_adopted(
    rig: Rig, worker: PndWorker, client: PndClient, first: str
) -> None:
    """Its partials would be taken for those of a run that is over."""
    rig.ready(worker)
    key = os.urandom(16)
    if first == "claim":
        worker.claim((TOKEN, key, 1, ANSWERED))
        quiet(worker)
    id = client.ask([b"q"], key=key, run=TOKEN + 1)
    if first == "request":
        quiet(worker)
        worker.claim((TOKEN, key, 1, ANSWERED))
    task = worker.task()
    assert worker.adopted == []
    worker.answer(task, [b"run"])
    assert client.take() == (id, [b"run"])


def test_a_claim_that_nobody_asks_for_is_cancelled(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(client_grace=0.2)
    worker = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    worker.claim((TOKEN, os.urandom(16), 1, RUNNING))
    heard(worker, lambda: worker.cancelled == [TOKEN])
    client = own(PndClient(rig.frontend, service=SERVICE))
    id = client.ask([b"q"])
    quiet(worker)  # it still holds the claim's slot
    worker.put(wire.error(TOKEN, 1))
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (id, [b"a"])


def test_of_two_claims_the_later_attempt_stays(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    other = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker, other)
    key = os.urandom(16)
    worker.claim((TOKEN, key, 1, ANSWERED))
    quiet(worker)
    other.claim((TOKEN + 1, key, 2, RUNNING))
    heard(worker, lambda: worker.cancelled == [TOKEN])
    id = client.ask([b"q"], key=key, run=0)
    heard(other, lambda: other.adopted == [TOKEN + 1])
    other.put(wire.reply(TOKEN + 1, [b"later"]))
    assert client.take() == (id, [b"later"])


def test_a_broker_that_does_not_wait_adopts_nothing(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(adopt_wait=0)
    worker = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    key = os.urandom(16)
    worker.claim((TOKEN, key, 1, RUNNING))
    client = own(PndClient(rig.frontend, service=SERVICE))
    id = client.ask([b"q"], key=key, run=0)
    worker.answer(worker.task(), [b"run"])
    assert client.take() == (id, [b"run"])
    assert worker.adopted == []


@pytest.mark.parametrize("adopt_wait", [0, 0.1])
def test_the_next_run_is_later_than_any_that_a_client_has_seen(
    rig_of: Callable[..., Rig], own: Own, adopt_wait: float
) -> None:
    """A broker that heard of others' tokens gives out some that are ahead of the clock."""
    rig = rig_of(adopt_wait=adopt_wait)
    worker = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    client = own(PndClient(rig.frontend, service=SERVICE))
    client.welcome()
    seen = int((time.time() + 30) * 1000) << 20
    client.ask([b"q"], key=os.urandom(16), run=seen)
    assert worker.token(worker.task()) > seen
