"""Clients and workers with keys, against a scripted broker behind a ZAP handler of the test's."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

import pound
from pound import aio
from pound.security.credential import Credential
from tests.support import wait_until
from tests.unit.reference_broker import (
    REQUEST,
    WAIT_S,
    ReferenceBroker,
    error,
    reply,
)
from tests.unit.security.pairs import pair_of

BROKER, PEER, OTHER = pair_of(1), pair_of(2), pair_of(3)
HEARD_S = 2.0  # within which a caller hears that it is denied
PERMISSION_DENIED, UNAUTHENTICATED = 7, 16


class Zap:
    """A handler that knows keys; it notes when it was asked."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.known: dict[str, bytes] = {}  # by public key: the status
        self.asked: list[float] = []
        self._context = context
        self._ended = False
        self._socket = context.socket(zmq.REP)
        self._socket.bind("inproc://zeromq.zap.01")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended:
            if self._socket.poll(20):
                _, number, *_, key = self._socket.recv_multipart()
                self.asked.append(time.monotonic())
                status = self.known.get(z85.encode(key).decode(), b"400")
                self._socket.send_multipart([b"1.0", number, status, b"", b"", b""])
        self._socket.close(0)

    def close(self) -> None:
        self._ended = True
        self._thread.join()


@pytest.fixture
def zap(context: zmq.Context[Any]) -> Iterator[Zap]:
    zap = Zap(context)
    yield zap
    zap.close()


@pytest.fixture
def listen(context: zmq.Context[Any], zap: Zap) -> Iterator[Callable[..., ReferenceBroker]]:
    """``listen(curve=True)``: a scripted broker with its keys, or without."""
    brokers: list[ReferenceBroker] = []

    def listen(curve: bool = True) -> ReferenceBroker:
        options = {
            zmq.CURVE_SERVER: 1,
            zmq.CURVE_SECRETKEY: BROKER.secret.encode(),
            zmq.ZAP_DOMAIN: b"pound/0",
        }
        brokers.append(ReferenceBroker(context, options=options if curve else {}))
        return brokers[-1]

    yield listen
    for broker in brokers:
        broker.close()


@pytest.fixture
def broker(listen: Callable[..., ReferenceBroker]) -> ReferenceBroker:
    return listen()


def credential(*endpoints: str, pair: Any = PEER, broker: str = BROKER.public) -> Credential:
    return Credential(
        name="press-7",
        roles=("client", "worker"),
        frontend=endpoints,
        backend=endpoints,
        broker=broker,
        pair=pair,
    )


@pytest.fixture
def keep(hands: Any) -> Iterator[Callable[[Any], Any]]:
    """``keep(end)`` closes a client or worker with the test."""
    kept: list[Any] = []

    def keep(end: Any) -> Any:
        kept.append(end)
        return end

    yield keep
    for end in kept:
        end.stop() if isinstance(end, pound.Worker) else end.close()


def denied(client: pound.Client) -> str:
    """What a request hears, in time."""
    began = time.monotonic()
    with pytest.raises(pound.Unauthenticated) as failure:
        client.request("echo", b"", timeout=WAIT_S)
    assert time.monotonic() - began < HEARD_S
    return failure.value.message


def test_a_file_is_all_that_a_client_needs(
    broker: ReferenceBroker, zap: Zap, keep: Any, tmp_path: Path, caplog: Any
) -> None:
    zap.known[PEER.public] = b"200"
    path = tmp_path / "press-7.key"
    credential(broker.endpoint).write(path)
    client = keep(pound.Client(key=path))
    answer = client.submit("echo", b"hello")
    broker.greet()
    asked = broker.expect(REQUEST)
    broker.say(reply(asked.id, b"hello"))
    assert answer.result(WAIT_S) == b"hello"
    assert len(zap.asked) == 1
    assert PEER.secret not in caplog.text + repr(client.__dict__)


def test_a_worker_has_a_key_too(broker: ReferenceBroker, zap: Zap, keep: Any) -> None:
    zap.known[PEER.public] = b"200"
    worker = keep(pound.Worker(services={"echo": bytes}, key=credential(broker.endpoint)))
    worker.start()
    broker.greet()
    assert worker.wait_connected(WAIT_S)


def test_no_python_object_keeps_the_key(broker: ReferenceBroker, zap: Zap, keep: Any) -> None:
    zap.known[PEER.public] = b"200"
    key = credential(broker.endpoint)
    seen = weakref.ref(key)
    keep(pound.Client(key=key))
    keep(pound.Worker(services={"echo": bytes}, key=key))
    del key
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize(
    ("key", "curve", "words"),
    [
        (credential("ipc://x"), True, "does not accept the key of press-7"),
        (None, True, "lets nobody in without a key"),
        (credential("ipc://x"), False, "listens without keys"),
        (credential("ipc://x", broker=OTHER.public), True, "its key is not the one"),
    ],
    ids=["unknown key", "no key", "no keys", "another broker's key"],
)
def test_a_client_that_is_denied_hears_why_and_what_to_do(
    listen: Any, keep: Any, key: Credential | None, curve: bool, words: str
) -> None:
    broker = listen(curve)
    client = keep(pound.Client(broker.endpoint, key=key))
    text = denied(client)
    assert broker.endpoint in text
    assert words in text
    assert "pound " in text  # the command that helps
    assert denied(client) == text  # what is asked later
    with pytest.raises(pound.Unauthenticated, match=words):
        client.wait_connected(WAIT_S)


def test_every_kind_of_request_hears_it(broker: ReferenceBroker, keep: Any) -> None:
    client = keep(pound.Client(key=credential(broker.endpoint)))
    asked = [client.submit("echo", b"") for _ in range(3)]
    for future in asked:
        assert isinstance(future.exception(WAIT_S), pound.Unauthenticated)
    with pytest.raises(pound.Unauthenticated):
        list(client.map("echo", [b""]))
    with pytest.raises(pound.Unauthenticated):
        list(client.stream("echo", b""))


@pytest.mark.slow
def test_a_denied_client_rests_and_recovers(broker: ReferenceBroker, zap: Zap, keep: Any) -> None:
    client = keep(pound.Client(key=credential(broker.endpoint)))
    denied(client)
    wait_until(lambda: len(zap.asked) == 3)
    first, second = zap.asked[1] - zap.asked[0], zap.asked[2] - zap.asked[1]
    assert first > 0.7  # a second, more or less
    assert second > 1.4
    zap.known[PEER.public] = b"200"
    broker.greet()
    wait_until(lambda: client.wait_connected(WAIT_S) if client._engine.denied is None else False)
    answer = client.submit("echo", b"now")
    broker.say(reply(broker.expect(REQUEST).id, b"now"))
    assert answer.result(WAIT_S) == b"now"


def test_a_worker_that_is_denied_logs_it_and_comes_in_later(
    broker: ReferenceBroker, zap: Zap, keep: Any, caplog: Any
) -> None:
    worker = keep(pound.Worker(services={"echo": bytes}, key=credential(broker.endpoint)))
    worker.start()
    with pytest.raises(pound.Unauthenticated, match="does not accept the key of press-7"):
        worker.wait_connected(WAIT_S)
    wait_until(lambda: "access denied" in caplog.text)
    assert PEER.secret not in caplog.text
    zap.known[PEER.public] = b"200"
    broker.greet()
    wait_until(lambda: worker._engine.denied is None)
    assert worker.wait_connected(WAIT_S)


def test_a_broker_that_denies_is_left_for_the_next(listen: Any, zap: Zap, keep: Any) -> None:
    first, second = listen(False), listen()
    zap.known[PEER.public] = b"200"
    client = keep(pound.Client(key=credential(first.endpoint, second.endpoint)))
    answer = client.submit("echo", b"")
    second.greet()
    second.say(reply(second.expect(REQUEST).id, b"second"))
    assert answer.result(WAIT_S) == b"second"


def test_not_now_is_no_refusal(broker: ReferenceBroker, zap: Zap, keep: Any) -> None:
    zap.known[PEER.public] = b"500"
    client = keep(pound.Client(key=credential(broker.endpoint)))
    answer = client.submit("echo", b"")
    wait_until(lambda: len(zap.asked) == 2)
    zap.known[PEER.public] = b"200"
    broker.greet()
    broker.say(reply(broker.expect(REQUEST).id, b"late"))
    assert answer.result(WAIT_S) == b"late"


def test_what_the_broker_says_of_a_client_is_what_its_callers_hear(
    broker: ReferenceBroker, zap: Zap, keep: Any
) -> None:
    zap.known[PEER.public] = b"200"
    client = keep(pound.Client(key=credential(broker.endpoint)))
    answer = client.submit("echo", b"")
    broker.greet()
    broker.expect(REQUEST)
    broker.say(error(0, UNAUTHENTICATED, "the key was revoked"))
    failure = answer.exception(WAIT_S)
    assert isinstance(failure, pound.Unauthenticated)
    assert failure.message == f"the broker at {broker.endpoint} says: the key was revoked"


def test_a_service_that_a_worker_may_not_offer(
    broker: ReferenceBroker, zap: Zap, keep: Any
) -> None:
    zap.known[PEER.public] = b"200"
    worker = keep(pound.Worker(services={"echo": bytes}, key=credential(broker.endpoint)))
    worker.start()
    broker.read()
    broker.say(error(0, PERMISSION_DENIED, "press-7 may not offer 'echo'"))
    with pytest.raises(pound.PermissionDenied, match="may not offer 'echo'"):
        worker.wait_connected(WAIT_S)


def test_an_event_loop_hears_it(broker: ReferenceBroker) -> None:
    async def main() -> None:
        async with aio.Client(key=credential(broker.endpoint)) as client:
            with pytest.raises(pound.Unauthenticated):
                await client.request("echo", b"")
            with pytest.raises(pound.Unauthenticated):
                await client.wait_connected(WAIT_S)

    asyncio.run(main())


# --- what is given as a key


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="key is the path of a credential file"):
        pound.Client(key=b"secret")  # type: ignore[call-overload]
    with pytest.raises(pound.ConfigError, match="cannot read"):
        pound.Client(key=tmp_path / "none.key")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "press-7.key"
    credential("tcp://127.0.0.1:1").write(path)
    path.chmod(0o644)
    with pytest.raises(pound.ConfigError, match="chmod g-w,o-rwx"):
        pound.Worker(services={"echo": bytes}, key=path)
