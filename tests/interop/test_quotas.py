"""What each client may have open in a service, and how its requests take turns with others'."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import zmq

import pound
from tests.interop.rig import Own, Rig
from tests.peers.catalogue import BEAT
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker


def welcomed(rig: Rig, own: Own) -> PndClient:
    client: PndClient = own(PndClient(rig.frontend))
    client.welcome()
    return client


def refusal(client: PndClient) -> FailedError:
    """Give the client's next final answer, which must be ERROR 8."""
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.code == 8
    return failed.value


def test_a_client_has_so_many_open_in_a_service(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(services={"work": {"client_open_max": 2}})
    client, other = welcomed(rig, own), welcomed(rig, own)
    for _ in range(3):
        client.ask([b"q"])
    failed = refusal(client)
    assert (failed.id, failed.retry_after_ms) == (3, 100)
    assert "(client_open_max)" in failed.text
    client.ask([b"q"], b"elsewhere")
    other.ask([b"q"])
    rig.wait_stat("waiting", 4)
    assert (rig.stat("refused"), rig.stat("refused_quota")) == (1, 1)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (1, [b"a"])
    client.ask([b"q"])
    rig.wait_stat("waiting", 3)


def test_a_client_has_so_many_bytes_open_in_a_service(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(services={"work": {"client_bytes_max": "1k"}})
    client = welcomed(rig, own)
    client.ask([b"q" * 5000])  # one comes in whatever its size
    client.ask([b"q"])
    failed = refusal(client)
    assert failed.id == 2
    assert "(client_bytes_max)" in failed.text


def test_retry_after_says_when_the_rate_allows_the_next_request(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(services={"work": {"client_rate": "30/m"}})
    client = welcomed(rig, own)
    begun = time.monotonic()
    client.ask([b"q"])
    client.ask([b"q"])
    failed = refusal(client)
    assert failed.id == 2
    assert "(client_rate)" in failed.text
    passed_ms = (time.monotonic() - begun) * 1000
    assert 2000 - passed_ms <= failed.retry_after_ms <= 2001
    welcomed(rig, own).ask([b"q"])  # another client has a rate of its own
    rig.wait_stat("waiting", 2)


def test_a_burst_is_two_seconds_of_the_rate(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(services={"work": {"client_rate": "180/h"}, "quick": {"client_rate": "2.5/s"}})
    client = welcomed(rig, own)
    for _ in range(6):
        client.ask([b"q"], b"quick")
    assert refusal(client).id == 6
    client.ask([b"q"])
    client.ask([b"q"])
    failed = refusal(client)
    assert failed.id == 8
    assert failed.retry_after_ms > 15_000


def test_a_client_of_the_guide_is_not_answered_and_counted(
    rig_of: Callable[..., Rig], connect: Callable[..., zmq.Socket[bytes]]
) -> None:
    rig = rig_of(services={"work": {"client_open_max": 1}})
    dealer = connect(zmq.DEALER, rig.frontend)
    for number in range(3):
        dealer.send_multipart([b"", b"%d" % number])
    rig.wait_stat("refused_quota", 2)
    assert rig.stat("refused_foreign") == 2
    assert rig.stat("waiting") == 1


def test_the_library_asks_again_until_the_quota_lets_it_in(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(services={"work": {"client_open_max": 1}})
    with pound.Client(rig.frontend) as client:
        futures = [client.submit("work", b"%d" % number) for number in range(3)]
        rig.wait_stat("waiting", 1)
        worker = own(PndWorker(rig.backend, heartbeat=BEAT))
        rig.ready(worker)
        for _ in futures:
            task = worker.task()
            worker.answer(task, task.body)
        assert [future.result(10) for future in futures] == [b"0", b"1", b"2"]
    assert rig.stat("refused_quota") > 0


def test_a_single_request_waits_for_one_task_of_another_client(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """Of 2,000 requests that were there before, one is served first."""
    rig = rig_of()
    heavy, light = welcomed(rig, own), welcomed(rig, own)
    for _ in range(2000):
        heavy.ask([b"heavy"])
    rig.wait_stat("waiting", 2000)
    light.ask([b"light"])
    rig.wait_stat("waiting", 2001)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    bodies = []
    for _ in range(4):
        task = worker.task()
        bodies.append(task.body)
        worker.answer(task, task.body)
    assert bodies == [[b"heavy"], [b"light"], [b"heavy"], [b"heavy"]]
    assert light.take() == (1, [b"light"])
