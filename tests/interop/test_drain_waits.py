"""What a draining broker waits for, and what it does not; what it says about what is left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import ClassVar

import pytest
import zmq

from tests.interop.rig import Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import SilenceError, Task, Worker
from tests.peers.catalogue import BEAT, WORKERS
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until

LONG = 20.0  # seconds; none of these drains takes so long
SOON = 10.0


class Drain:
    """``broker.drain`` in a thread."""

    def __init__(self, rig: Rig, timeout: float) -> None:
        self.finished: bool | None = None
        self._rig, self._timeout = rig, timeout
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        rig.wait_stat("draining", 1)

    def _run(self) -> None:
        self.finished = self._rig.broker.drain(self._timeout)

    @property
    def goes_on(self) -> bool:
        return bool(self._rig.broker.running)

    def ends(self, within: float = SOON) -> bool:
        """Wait for the end; tell whether everything was finished."""
        self._thread.join(within)
        assert not self._thread.is_alive()
        return self.finished is True


@pytest.fixture
def drain(rig: Rig) -> Iterator[Callable[..., Drain]]:
    drains: list[Drain] = []

    def start(timeout: float = LONG) -> Drain:
        drains.append(Drain(rig, timeout))
        return drains[-1]

    yield start
    rig.broker.stop()
    for begun in drains:
        begun.ends()


def serve_one(worker: Worker, body: bytes) -> None:
    """Answer tasks until that of `body` was among them."""
    while True:
        task: Task = worker.task()
        worker.answer(task, [b"a"])
        if task.body == [body]:
            return


def held_up(rig: Rig) -> None:
    """Let the drain look many times."""
    turns = rig.stat("turns")
    wait_until(lambda: rig.stat("turns") > turns + 3)


def test_worker_that_is_cut_is_waited_for(rig: Rig, own: Own, drain: Callable[..., Drain]) -> None:
    """It is back with its tokens, and its answers count."""
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=2))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.welcome()
    for body in (b"1", b"2"):
        client.ask([body])
    tasks = [worker.task(), worker.task()]
    draining = drain()
    worker.close()
    rig.wait_stat("workers", 0)
    rig.wait_stat("running", 0)
    held_up(rig)
    assert draining.goes_on
    back = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=2))
    back.session, back.held = worker.session, dict(worker.held)
    back.ready()
    rig.wait_stat("running", 2)
    for task in tasks:
        back.answer(task, [b"a"])
    assert [client.take(), client.take()] == [(1, [b"a"]), (2, [b"a"])]
    assert draining.ends()
    assert rig.stat("redelivered") == 0


@pytest.mark.parametrize("name", ["req", "ppp", "mdp1", "mdp2", "pnd"])
def test_request_of_a_foreign_client_waits_for_a_worker(
    rig: Rig, own: Own, drain: Callable[..., Drain], name: str
) -> None:
    """It could not be told that nobody will answer; READY counts in a drain, too."""
    client = own(DealerClient(rig.frontend))
    client.ask([b"q"])
    rig.wait_stat("waiting", 1)
    draining = drain()
    held_up(rig)
    assert draining.goes_on
    worker = own(WORKERS[name](rig.backend))
    worker.ready()
    serve_one(worker, b"q")
    assert client.take() == [b"a"]
    assert draining.ends()


def test_request_that_a_worker_had_waits_for_the_next(
    rig: Rig, own: Own, drain: Callable[..., Drain]
) -> None:
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.welcome()
    client.ask([b"q"])
    worker.task()
    draining = drain()
    worker.close()
    rig.wait_stat("waiting", 1)
    held_up(rig)
    assert draining.goes_on
    other = own(PndWorker(rig.backend, heartbeat=BEAT))
    other.ready()
    serve_one(other, b"q")
    assert client.take() == (1, [b"a"])
    assert draining.ends()


def test_request_that_a_pnd_client_can_ask_elsewhere_is_not_waited_for(
    rig: Rig, own: Own, drain: Callable[..., Drain]
) -> None:
    client = own(PndClient(rig.frontend))
    client.welcome()
    client.ask([b"q"], b"nobody")
    rig.wait_stat("waiting", 1)
    assert drain().ends()
    wait_until(lambda: client.pump(0.1) and client.byes == [1])


def test_answer_that_waits_for_its_client_is_waited_for(
    rig: Rig, own: Own, drain: Callable[..., Drain]
) -> None:
    """The client is away, in its grace, and comes back."""
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.welcome()
    client.ask([b"q"])
    task = worker.task()
    client.socket.close(linger=0)
    rig.wait_stat("routes", 1)
    draining = drain()
    worker.answer(task, [b"a"])
    rig.wait_stat("answered", 1)
    held_up(rig)
    assert draining.goes_on
    client.socket = client._open()
    client.hello()
    assert client.take() == (1, [b"a"])
    assert draining.ends()


def test_answer_of_a_client_that_has_long_left_is_not_waited_for(
    rig: Rig, own: Own, drain: Callable[..., Drain], caplog: pytest.LogCaptureFixture
) -> None:
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    rig.ready(worker)
    client.welcome()
    client.ask([b"q"])
    task = worker.task()
    client.close()
    rig.wait_stat("routes", 1)
    worker.answer(task, [b"a"])
    rig.wait_stat("answered", 1)
    assert drain().ends()  # after a liveness: a second
    assert "drained" not in "".join(r.getMessage() for r in caplog.records if r.levelno > 20)


def test_client_that_is_slow_to_read_gets_its_answers(
    rig: Rig, own: Own, drain: Callable[..., Drain]
) -> None:
    """libzmq has them, and has not sent them: they get the rest of the drain's time."""
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(SlowClient(rig.frontend))
    rig.ready(worker)
    for number in range(10):
        client.ask([b"%d" % number])
        worker.answer(worker.task(), [bytes(1 << 20)])
    begun = time.monotonic()
    draining = drain()
    wait_until(lambda: time.monotonic() - begun > 1.5)
    assert draining.goes_on or draining.finished is None
    for _ in range(10):
        assert client.take() == [bytes(1 << 20)]
    assert draining.ends()


class SlowClient(DealerClient):
    options: ClassVar[dict[int, int]] = {zmq.RCVHWM: 1, zmq.RCVBUF: 1 << 16}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("waits", "unnotified=1 undelivered=0"),
        ("runs", "unnotified=0 undelivered=0"),
        ("undelivered", "unnotified=0 undelivered=1"),
    ],
)
def test_what_is_left_at_the_end_is_said(
    rig: Rig,
    own: Own,
    drain: Callable[..., Drain],
    caplog: pytest.LogCaptureFixture,
    case: str,
    said: str,
) -> None:
    caplog.set_level(logging.INFO, "pound")
    worker, client = own(PndWorker(rig.backend, heartbeat=BEAT)), own(PndClient(rig.frontend))
    if case == "waits":
        own(Mdp1AsyncClient(rig.frontend, service=b"nobody")).ask([b"q"])
        rig.wait_stat("waiting", 1)
    else:
        rig.ready(worker)
        client.welcome()
        client.ask([b"q"])
        task = worker.task()
    if case == "undelivered":
        client.close()
        rig.wait_stat("routes", 1)
        worker.answer(task, [b"a"])
        rig.wait_stat("answered", 1)
    draining = drain(0.3)
    with suppress(SilenceError):
        worker.task(0.1)
    assert not draining.ends()
    (line,) = [r for r in caplog.records if r.getMessage().startswith("drained")]
    assert line.levelno == logging.WARNING
    assert f'left="{said}"' in line.getMessage()
    assert f"running={case == 'runs':d}" in line.getMessage()


def test_nothing_left_is_no_warning(
    rig: Rig, drain: Callable[..., Drain], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pound")
    assert drain().ends()
    (line,) = [r for r in caplog.records if r.getMessage().startswith("drained")]
    assert line.levelno == logging.INFO


def test_stopped_in_its_drain_it_has_not_finished(
    rig: Rig, own: Own, drain: Callable[..., Drain]
) -> None:
    own(DealerClient(rig.frontend)).ask([b"q"])
    rig.wait_stat("waiting", 1)
    draining = drain()
    rig.broker.stop()
    assert not draining.ends()


def test_unknown_worker_in_a_drain_is_asked_for_ready(
    rig: Rig, own: Own, drain: Callable[..., Drain]
) -> None:
    """It was silent for too long, and a request waits for it."""
    client, worker = own(DealerClient(rig.frontend)), own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    rig.wait_stat("expired_workers", 1)
    client.ask([b"q"])
    rig.wait_stat("waiting", 1)
    draining = drain()
    worker.put(wire.Record(wire.HEARTBEAT))  # the answer is BYE 0, then it says READY
    serve_one(worker, b"q")
    assert client.take() == [b"a"]
    assert draining.ends()
