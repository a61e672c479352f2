"""More foreign requests than may wait: left in the clients' queues, or refused with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1Worker
from tests.peers.pnd_client import PndClient
from tests.peers.req_worker import ReqWorker
from tests.support import wait_until

BOUND_BYTES = 10_000  # waiting_bytes_max of these tests
BODY = bytes(4000)


def come_and_go(rig: Rig, guest: str) -> None:
    """Let a PND client or a worker be on the frontend for a moment."""
    if guest == "client":
        client = PndClient(rig.frontend)
        client.welcome()
        client.close()
    else:
        worker = Mdp1Worker(rig.frontend, service=b"other")
        rig.ready(worker)
        worker.close()
    rig.wait_stat("closed_connections", 1)
    rig.wait_stat("workers", 0)


@pytest.mark.parametrize("seen", ["nobody", "client", "worker"])
def test_a_frontend_left_unread_loses_nothing(
    rig_of: Callable[..., Rig], own: Own, seen: str
) -> None:
    """The request that crosses the bound is taken; those behind it wait where they are.

    Whoever was on the frontend before, and is gone, makes no difference.
    """
    rig = rig_of(waiting_bytes_max=BOUND_BYTES, foreign_overflow="block")
    if seen != "nobody":
        come_and_go(rig, seen)
    client = own(DealerClient(rig.frontend))
    for number in range(8):
        client.ask([b"%d" % number + BODY])
    rig.wait_stat("waiting", BOUND_BYTES // len(BODY) + 1)
    worker = own(ReqWorker(rig.backend))
    worker.ready()
    for number in range(8):
        task = worker.task()
        assert task.body == [b"%d" % number + BODY]
        worker.answer(task, [b"%d" % number])
        assert client.take() == [b"%d" % number]
    assert rig.stat("refused_foreign") == 0


def test_a_service_keeps_its_own_bound(rig_of: Callable[..., Rig], own: Own) -> None:
    """One service must not hold up the clients of all: what is beyond its bound is dropped."""
    rig = rig_of(service_waiting_bytes_max=BOUND_BYTES, foreign_overflow="block")
    client = own(DealerClient(rig.frontend))
    for _ in range(8):
        client.ask([BODY])
    rig.wait_stat("refused_foreign", 8 - BOUND_BYTES // len(BODY))
    assert rig.stat("waiting") == BOUND_BYTES // len(BODY)


def test_a_service_without_workers_is_named_as_the_reason(
    rig_of: Callable[..., Rig], own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pound")
    rig = rig_of(unknown_service="reject")
    own(DealerClient(rig.frontend)).ask([b"body"])
    rig.wait_stat("refused_foreign", 1)

    def told() -> list[str]:
        lines = (record.getMessage() + str(record.__dict__) for record in caplog.records)
        return [line for line in lines if line.startswith("requests refused")]

    wait_until(told)
    assert "no worker offers this service" in told()[0]
