"""The broker inside a program: what its host may do to it, and timers that a send arms."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import zmq

import pound
from tests.interop.rig import Own, Rig
from tests.interrupts import pound_threads
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.peers.req_worker import ReqWorker
from tests.support import WAIT_S, wait_until


class PndClientOfThatId(PndClient):
    def _open(self) -> zmq.Socket[bytes]:
        self.identity = b"one-id"
        return super()._open()


def test_what_is_no_context_is_refused() -> None:
    with pytest.raises(TypeError, match="context is a zmq"):
        pound.Broker(context=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["term", "destroy"])
def test_a_host_may_end_its_context_under_the_broker(end: str) -> None:
    """destroy() closes the sockets that it knows of: the broker's are not among them."""
    context: zmq.Context[Any] = zmq.Context()
    broker = pound.Broker(frontend="inproc://clients", backend="inproc://workers", context=context)
    broker.start()
    assert context._sockets is not None
    assert not context._sockets
    ending = threading.Thread(target=getattr(context, end), daemon=True)
    ending.start()
    ending.join(WAIT_S)
    assert not ending.is_alive()
    assert broker.wait(WAIT_S)
    assert not broker.running


@pytest.mark.parametrize("name", ["pound-broker", "pound-broker-log"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_broker_that_gets_no_thread_or_is_interrupted_gives_back_its_endpoints(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    """A signal comes while the new thread, which runs already, is waited for."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name != name:
            return start(thread)
        if error is KeyboardInterrupt:
            start(thread)
        raise error("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        broker = pound.Broker(frontend="tcp://127.0.0.1:*", backend="tcp://127.0.0.1:*")
        with pytest.raises(error, match="new thread"):
            broker.start()
    assert not broker.running
    wait_until(lambda: not {"pound-broker", "pound-broker-log"} & set(pound_threads()))
    assert broker.drain()
    with pound.Broker(
        frontend=broker.frontend_endpoints[0], backend=broker.backend_endpoints[0]
    ) as second:
        assert second.running


def test_a_blocked_client_is_tried_again_every_few_milliseconds(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """Nothing else happens meanwhile: the retry must be a timer of its own."""
    rig = rig_of(
        heartbeat=10.0, ppp_heartbeat=10.0, mdp_heartbeat=10.0, undelivered_bytes_max=64 << 20
    )
    worker = own(Mdp2Worker(rig.backend, service=b"flood"))
    client = own(Mdp2Client(rig.frontend, service=b"flood"))
    rig.ready(worker)
    client.ask([b"go"])
    task = worker.task()
    for _ in range(8000):
        worker.partial(task, [b"x" * 3000])
    wait_until(lambda: rig.stat("sends_blocked") > 0)
    before = rig.stat("sends_blocked")
    wait_until(lambda: rig.stat("sends_blocked") >= before + 20, timeout=4.0)
    assert rig.stat("partials_dropped") == 0


def test_a_lost_worker_may_come_back_as_something_else(rig: Rig, own: Own) -> None:
    """An idle REQ worker's id, cut and remembered, is used by a PND session next."""
    worker = own(ReqWorker(rig.backend, identity=b"one-id"))
    rig.ready(worker)
    worker.close()
    rig.wait_stat("workers", 0)
    other = own(PndClientOfThatId(rig.backend))
    other.welcome()
    client = own(DealerClient(rig.frontend))
    client.ask([b"q"])
    rig.wait_stat("waiting", 1)
    late = own(ReqWorker(rig.backend))
    rig.ready(late)
    late.answer(late.task(), [b"a"])
    assert client.take() == [b"a"]
