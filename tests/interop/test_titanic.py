"""The Guide's Titanic (RFC 9): a program of its own beside the broker, as three Majordomo workers.

`titanic.*` are names like any others as long as the broker offers no Titanic itself. This one keeps
its requests in memory; the flow of messages is the Guide's.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest

from tests.interop.rig import Own, Rig
from tests.peers.base import Body, Serving, SilenceError, demand
from tests.peers.catalogue import BEAT, SERVICE, WORKERS
from tests.peers.mdp1 import Mdp1Client, Mdp1Worker
from tests.support import wait_until

OK, PENDING, UNKNOWN = b"200", b"300", b"400"


class Titanic:
    """Takes requests, has them answered one after the other, keeps the answers until CLOSE."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._requests: dict[bytes, Body] = {}
        self._answers: dict[bytes, Body] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._dispatcher = threading.Thread(target=self._dispatch, name="titanic", daemon=True)
        self._workers = [
            Serving(lambda: self._worker(b"titanic.request"), self._request),
            Serving(lambda: self._worker(b"titanic.reply"), self._reply),
            Serving(lambda: self._worker(b"titanic.close"), self._close),
        ]

    def _worker(self, name: bytes) -> Mdp1Worker:
        return Mdp1Worker(self._rig.backend, service=name, heartbeat=BEAT)

    def _request(self, body: Body) -> Body:
        name = uuid.uuid4().hex.upper().encode()
        with self._lock:
            self._requests[name] = body
        return [OK, name]

    def _reply(self, body: Body) -> Body:
        with self._lock:
            if body[0] in self._answers:
                return [OK, *self._answers[body[0]]]
            return [PENDING if body[0] in self._requests else UNKNOWN]

    def _close(self, body: Body) -> Body:
        with self._lock:
            self._requests.pop(body[0], None)
            self._answers.pop(body[0], None)
        return [OK]

    def _dispatch(self) -> None:
        """Ask MMI whether the service is there, then the service itself, as a client."""
        with Mdp1Client(self._rig.frontend, service=b"") as client:
            while not self._stop.wait(0.01):
                with self._lock:
                    open_ = {n: b for n, b in self._requests.items() if n not in self._answers}
                for name, (service, *body) in open_.items():
                    client.ask([service], b"mmi.service")
                    if client.take(service=b"mmi.service") != [b"200"]:
                        continue
                    client.ask(body, service)
                    answer = client.take(service=service)
                    with self._lock:
                        self._answers[name] = answer

    def __enter__(self) -> Titanic:
        for worker in self._workers:
            worker.__enter__()
        self._dispatcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._dispatcher.join(10)
        for worker in self._workers:
            worker.__exit__(None)


@pytest.fixture
def titanic(rig: Rig) -> Iterator[Titanic]:
    with Titanic(rig) as running:
        rig.wait_stat("workers", 3)
        yield running


def test_titanic_beside_the_broker(rig: Rig, own: Own, titanic: Titanic) -> None:
    """What the Guide's ticlient does: the answer comes although the worker is not there yet."""
    client = own(Mdp1Client(rig.frontend, service=b""))

    def ask(service: bytes, *body: bytes) -> Body:
        client.ask(list(body), service)
        answer = client.take(service=service)
        demand(answer[0] in (OK, PENDING, UNKNOWN), "not a status of RFC 9", answer)
        return answer

    status, name = ask(b"titanic.request", SERVICE, b"Hello world")
    assert status == OK
    assert ask(b"titanic.reply", name) == [PENDING]
    with Serving(lambda: WORKERS["mdp1"](rig.backend), lambda body: [b"served", *body]):
        answer = wait_until(lambda: [a for a in [ask(b"titanic.reply", name)] if a[0] == OK])
        assert answer == [[OK, b"served", b"Hello world"]]
    assert ask(b"titanic.close", name) == [OK]
    assert ask(b"titanic.reply", name) == [UNKNOWN]
    assert rig.stat("reserved_services") == 0


def test_titanic_names_wait_for_a_worker_like_any_other(rig: Rig, own: Own) -> None:
    client = own(Mdp1Client(rig.frontend, service=b"titanic.request"))
    client.ask([b"q"])
    with pytest.raises(SilenceError):
        client.take(0.1)
    worker = own(Mdp1Worker(rig.backend, service=b"titanic.request"))
    worker.ready()
    worker.answer(worker.task(), [OK])
    assert client.take() == [OK]
