"""Pound's own clients and workers with keys, at a real broker that knows them, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pound
from pound.security.credential import Credential
from tests.interop.keyed import Keys, serving
from tests.keys import LONG_AGO
from tests.support import WAIT_S, wait_until

HEARD_S = 2.0


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "keys")
    keys.add("alice", "client")
    keys.add("anvil", "worker", services=("work",))
    return keys


@pytest.fixture
def broker(keys: Keys) -> Iterator[pound.Broker]:
    with serving(keys) as rig:
        yield rig.broker


@pytest.fixture
def credential(keys: Keys, broker: pound.Broker) -> Callable[[str], Credential]:
    def made(name: str) -> Credential:
        return Credential(
            name=name,
            roles=("client", "worker"),
            frontend=broker.frontend_endpoints,
            backend=broker.backend_endpoints,
            broker=keys.server,
            pair=keys.pairs[name],
        )

    return made


@pytest.fixture
def worker(credential: Any) -> Iterator[Callable[..., pound.Worker]]:
    """``worker(name, *services)``: a started one that answers with what it got."""
    started: list[pound.Worker] = []

    def start(name: str, *services: str) -> pound.Worker:
        handlers: dict[str, pound.Handler] = dict.fromkeys(services, bytes)
        started.append(pound.Worker(services=handlers, key=credential(name)))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def client(credential: Any) -> Iterator[Callable[[str], pound.Client]]:
    made: list[pound.Client] = []

    def make(name: str) -> pound.Client:
        made.append(pound.Client(key=credential(name)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_who_is_enrolled_asks_and_answers(client: Any, worker: Any) -> None:
    worker("anvil", "work")
    assert client("alice").request("work", b"hello", timeout=WAIT_S) == b"hello"


def test_who_is_revoked_hears_it_and_who_is_enrolled_again_goes_on(
    keys: Keys, broker: pound.Broker, client: Any, worker: Any
) -> None:
    alice = client("alice")
    assert alice.wait_connected(WAIT_S)
    waiting = alice.submit("work", b"")
    wait_until(lambda: broker.stats()["waiting"] == 1)
    keys.directory.revoke("alice")
    began = time.monotonic()
    broker.reload_keys()
    failure = waiting.exception(WAIT_S)
    assert isinstance(failure, pound.Unauthenticated)
    assert time.monotonic() - began < HEARD_S
    with pytest.raises(pound.Unauthenticated, match="revoked"):
        alice.request("work", b"", timeout=WAIT_S)


def test_who_is_enrolled_late_comes_in_by_itself(
    keys: Keys, broker: pound.Broker, client: Any, worker: Any, credential: Any
) -> None:
    keys.add("forge", "worker")  # in the directory, and not yet at the broker
    forge = worker("forge", "work")
    with pytest.raises(pound.Unauthenticated, match="does not accept the key of forge"):
        forge.wait_connected(WAIT_S)
    broker.reload_keys()
    assert client("alice").request("work", b"late", timeout=WAIT_S) == b"late"
    assert forge.wait_connected(WAIT_S)


def test_the_key_of_another_role(client: Any) -> None:
    began = time.monotonic()
    with pytest.raises(pound.Unauthenticated):
        client("anvil").request("work", b"", timeout=WAIT_S)
    assert time.monotonic() - began < HEARD_S


def test_the_key_of_another_role_at_a_listener_without_it(keys: Keys) -> None:
    """It is refused in the handshake."""
    listener = pound.Listener("tcp://127.0.0.1:*", roles=("client",))
    with serving(keys, frontend=(), listen=(listener,)) as rig:
        credential = Credential(
            name="anvil",
            roles=("worker",),
            frontend=(),
            backend=(rig.frontend,),
            broker=keys.server,
            pair=keys.pairs["anvil"],
        )
        assert_heard(pound.Worker(services={"work": bytes}, key=credential))


def test_an_expired_key(
    keys: Keys, broker: pound.Broker, credential: Callable[[str], Credential]
) -> None:
    keys.edit("alice", expires=LONG_AGO)
    keys.edit("anvil", expires=LONG_AGO)
    broker.reload_keys()
    assert_heard(pound.Client(key=credential("alice")))
    assert_heard(pound.Worker(services={"work": bytes}, key=credential("anvil")))


def assert_heard(denied: pound.Client | pound.Worker) -> None:
    """Fail unless it hears within `HEARD_S` that it is not let in, and what to do."""
    began = time.monotonic()
    if isinstance(denied, pound.Worker):
        denied.start()
    try:
        with pytest.raises(pound.Unauthenticated, match="compare with `pound keys list`"):
            denied.wait_connected(WAIT_S)
        assert time.monotonic() - began < HEARD_S
    finally:
        denied.stop() if isinstance(denied, pound.Worker) else denied.close()


def test_a_worker_of_a_service_that_its_key_may_not_offer(worker: Any) -> None:
    anvil = worker("anvil", "other")
    wait_until(lambda: anvil._engine.denied)  # it may have been welcomed before
    with pytest.raises(
        pound.PermissionDenied, match="the key of anvil may not use the service 'other'"
    ):
        anvil.wait_connected(WAIT_S)


def test_a_service_that_a_key_may_not_use(
    keys: Keys, broker: pound.Broker, client: Any, worker: Any
) -> None:
    keys.add("bob", "client", services=("img.*",))
    broker.reload_keys()
    bob = client("bob")
    with pytest.raises(pound.PermissionDenied):
        bob.request("work", b"", timeout=WAIT_S)
    with pytest.raises(pound.PermissionDenied, match="bob may not use the default service: add"):
        bob.request("", b"", timeout=WAIT_S)
    assert bob.wait_connected(WAIT_S)  # it is not barred for that
