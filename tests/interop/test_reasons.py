"""What a request that failed is told: the reason that is the true one, not the next best."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import zmq

import pound
from tests.support import wait_until

Connect = Callable[..., Any]
LISTED = "; `pound services` lists those that are offered"


@pytest.fixture
def worker(broker: Any, connect: Connect) -> Callable[[], Any]:
    """``worker()``: a REQ worker of the default service that has said READY."""

    def make() -> Any:
        socket = connect(zmq.REQ, broker.backend_endpoints[0])
        socket.send(b"READY")
        return socket

    return make


@pytest.fixture
def client(broker: Any) -> Any:
    with pound.Client(broker.frontend_endpoints[0]) as client:
        yield client


def words_of(future: Any, kind: type[pound.RequestError] = pound.DeadlineExceeded) -> str:
    with pytest.raises(kind) as caught:
        future.result(15)
    return str(caught.value)


def test_no_worker_offers_the_service(client: Any) -> None:
    words = words_of(client.submit("nobody", b"", timeout=0.05))
    assert words == f"deadline exceeded: no worker offers this service now{LISTED}"


def test_every_worker_is_busy(broker: Any, client: Any, worker: Any) -> None:
    held = worker()
    client.submit("", b"")
    held.recv_multipart()
    words = words_of(client.submit("", b"", timeout=0.05))
    assert words == "deadline exceeded: no worker was free in time (1 offers this service)"


def test_a_worker_holds_it(client: Any, worker: Any) -> None:
    held = worker()
    future = client.submit("", b"", timeout=0.2)
    held.recv_multipart()
    words = words_of(future)
    assert words.startswith("deadline exceeded: sent to worker ")
    assert words.endswith("(attempt 1), not answered in time")


def test_its_only_worker_was_lost(client: Any, worker: Any) -> None:
    held = worker()
    future = client.submit("", b"", timeout=0.5)
    held.recv_multipart()
    held.close(0)
    assert words_of(future) == (
        "deadline exceeded: 1 worker with this request was lost, and no other offers this service"
        " now"
    )


def test_workers_were_lost_and_the_next_one_holds_it(broker: Any, client: Any, worker: Any) -> None:
    first, second = worker(), worker()
    wait_until(lambda: broker.stats()["workers"] == 2)
    future = client.submit("", b"", timeout=1.0)
    polled = zmq.Poller()
    for socket in (first, second):
        polled.register(socket, zmq.POLLIN)
    ((lost, _),) = polled.poll(15_000)
    lost.close(0)
    (second if lost is first else first).recv_multipart()
    assert words_of(future).endswith("(attempt 2), not answered in time; 1 before it was lost")


def test_a_lease_is_named_where_there_is_one(
    start_broker: Callable[..., Any], connect: Connect
) -> None:
    broker = start_broker(lease=0.05)
    socket = connect(zmq.REQ, broker.backend_endpoints[0])
    socket.send(b"READY")
    with pound.Client(broker.frontend_endpoints[0]) as client:
        words = words_of(client.submit("", b"", timeout=0.5))
    assert "1 worker with this request was lost or kept it beyond its lease, and" in words


def test_nobody_came_within_service_wait(
    start_broker: Callable[..., Any], connect: Connect
) -> None:
    broker = start_broker(service_wait=0.05)
    with pound.Client(broker.frontend_endpoints[0]) as client:
        words = words_of(client.submit("nobody", b""), pound.NoSuchService)
        wait = "within the broker's service_wait"
        assert words == f"given up: no worker offers this service {wait}{LISTED}"
        held = connect(zmq.REQ, broker.backend_endpoints[0])
        held.send(b"READY")
        future = client.submit("", b"")
        held.recv_multipart()
        held.close(0)
        words = words_of(future, pound.NoSuchService)
        assert words.startswith("given up: 1 worker with this request was lost, and no other")


def test_the_oldest_wait_is_that_of_the_first_in_line(
    broker: Any, client: Any, worker: Any
) -> None:
    """Of each priority, and of a request that came back from a lost worker."""

    def row(name: str) -> Any:
        rows = json.loads(client.request("pound.services", b"", timeout=15))["services"]
        return next((row for row in rows if row["name"] == name), {})

    held = worker()
    client.submit("", b"")
    held.recv_multipart()
    assert row("")["oldest_wait_ms"] is None
    client.submit("other", b"", priority=9)
    first = wait_until(lambda: row("other").get("oldest_wait_ms"))
    client.submit("other", b"")
    assert row("other")["oldest_wait_ms"] >= first
    held.close(0)
    assert wait_until(lambda: row("").get("oldest_wait_ms")) > 0
