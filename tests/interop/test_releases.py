"""A task that its worker gives back (ERROR 14): to whom it goes, when, and what its client hears.

Times are asserted as lower bounds only: nothing comes back early.
"""

from __future__ import annotations

import logging
import threading
import time

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.catalogue import BEAT
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.req_client import ReqClient


@pytest.fixture
def worker(rig: Rig, own: Own) -> PndWorker:
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    return worker  # type: ignore[no-any-return]


@pytest.fixture
def client(rig: Rig, own: Own) -> PndClient:
    client = own(PndClient(rig.frontend))
    client.welcome()
    return client  # type: ignore[no-any-return]


def test_the_only_worker_gets_it_again_later_each_time(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    client.ask([b"q"])
    begun = time.monotonic()
    for longer in (0.0, 0.1, 0.3, 0.7):
        task = worker.task()
        assert time.monotonic() - begun >= longer
        worker.fail(task, 14, "not now")
    rig.wait_stat("delayed", 1)
    assert rig.stat("waiting") == 1
    worker.answer(worker.task(), [b"a"])
    assert client.take()[1] == [b"a"]
    assert (rig.stat("released"), rig.stat("delayed"), rig.stat("losses")) == (4, 0, 0)


def test_a_plain_client_waits_likewise(rig: Rig, worker: PndWorker, own: Own) -> None:
    client = own(ReqClient(rig.frontend))
    client.ask([b"q"])
    begun = time.monotonic()
    for _ in range(3):
        worker.fail(worker.task(), 14, "not now")
    worker.answer(worker.task(), [b"a"])
    assert time.monotonic() - begun >= 0.7


def test_nobody_gets_it_before_the_time_that_its_worker_names(
    rig: Rig, worker: PndWorker, client: PndClient, own: Own
) -> None:
    client.ask([b"q"])
    task = worker.task()
    begun = time.monotonic()
    worker.fail(task, 14, "in a moment", retry_after_ms=400)
    rig.wait_stat("delayed", 1)
    other = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(other)
    task = worker.task()  # whose turn comes before that of a worker that is new
    assert time.monotonic() - begun >= 0.4
    worker.answer(task, [b"a"])
    assert client.take()[1] == [b"a"]


def test_without_a_time_the_other_worker_gets_it_at_once(
    rig: Rig, worker: PndWorker, client: PndClient, own: Own
) -> None:
    other = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(other)
    client.ask([b"q"])
    worker.fail(worker.task(), 14, "not me")
    task = other.task()
    assert rig.stat("delayed") == 0
    other.fail(task, 14, "nor me")
    rig.wait_stat("delayed", 1)  # both have had it


def test_the_client_of_one_that_was_only_ever_given_back_is_told_so(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    client.ask([b"q"], timeout_ms=250)
    worker.fail(worker.task(), 14, "the database is away")
    worker.fail(worker.task(), 14, "the database is still away")
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.code == 4
    words = str(failed.value)
    assert "2 times" in words
    assert "the database is still away" in words


def test_a_cancelled_one_goes_nowhere(rig: Rig, worker: PndWorker, client: PndClient) -> None:
    id = client.ask([b"q"])
    worker.fail(worker.task(), 14, "not now", retry_after_ms=60_000)
    rig.wait_stat("delayed", 1)
    client.cancel(id)
    with pytest.raises(FailedError, match="cancelled"):
        client.take()
    assert rig.stat("delayed") == 0


def test_a_worker_that_leaves_is_no_reason_to_wait(
    rig: Rig, worker: PndWorker, client: PndClient, own: Own
) -> None:
    client.ask([b"q"], timeout_ms=10_000)
    task = worker.task()
    worker.bye()
    worker.fail(task, 14, "I go away")
    rig.wait_stat("released", 1)
    assert rig.stat("delayed") == 0
    other = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(other)
    other.answer(other.task(), [b"a"])
    assert client.take()[1] == [b"a"]


def test_a_drain_waits_for_it(rig: Rig, worker: PndWorker, client: PndClient) -> None:
    client.ask([b"q"])
    worker.fail(worker.task(), 14, "not now", retry_after_ms=300)
    rig.wait_stat("delayed", 1)
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(rig.broker.drain(10.0)))
    thread.start()
    worker.answer(worker.task(), [b"a"])
    assert client.take()[1] == [b"a"]
    thread.join(15)
    assert drained == [True]


def test_it_is_logged_once_for_a_service(
    rig: Rig, worker: PndWorker, client: PndClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pound")
    client.ask([b"q"])
    for _ in range(3):
        worker.fail(worker.task(), 14, "not now", retry_after_ms=10)
    worker.answer(worker.task(), [b"a"])
    client.take()
    rig.broker.stop()  # every event is written by then
    lines = [r.getMessage() for r in caplog.records if "tasks released" in r.getMessage()]
    assert len(lines) == 1
    assert "service=work" in lines[0]
