"""The weight and the quotas of a key: at the start, with each reload, and for all its clients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.keyed import KeyedRig, Keys, serving
from tests.interop.rig import Own
from tests.peers.base import SilenceError
from tests.peers.catalogue import BEAT
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "keys")
    keys.add("alice", "client")
    keys.add("bob", "client")
    keys.add("anvil", "worker")
    return keys


@pytest.fixture
def guarded(keys: Keys) -> Iterator[Callable[[], KeyedRig]]:
    """``guarded()``: a rig whose broker has read the keys as they are then."""
    with contextlib.ExitStack() as rigs:
        yield lambda: rigs.enter_context(serving(keys))


def client_of(rig: KeyedRig, own: Own, name: str) -> PndClient:
    client: PndClient = own(rig.keys.form(PndClient, name)(rig.frontend))
    client.welcome()
    return client


def served(rig: KeyedRig, own: Own, count: int) -> list[bytes]:
    """Give the bodies of the next tasks, one after the other."""
    worker = own(rig.keys.form(PndWorker, "anvil")(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    bodies = []
    for _ in range(count):
        task = worker.task()
        bodies.append(task.body[0])
        worker.answer(task, task.body)
    return bodies


def refusal(client: PndClient) -> str:
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.code == 8
    assert failed.value.retry_after_ms > 0
    return failed.value.text


def test_a_key_is_given_as_many_tasks_in_its_turn_as_it_has_weight(
    guarded: Callable[[], KeyedRig], keys: Keys, own: Own
) -> None:
    keys.edit("alice", weight=3)
    rig = guarded()
    clients = [client_of(rig, own, name) for name in ("alice", "alice", "bob")]
    for client, body in zip(clients, (b"alice", b"alice", b"bob"), strict=True):
        for _ in range(10):
            client.ask([body])
    rig.wait_stat("waiting", 30)
    assert served(rig, own, 12) == [*[b"alice"] * 3, b"bob"] * 3


def test_a_quota_is_of_all_clients_of_a_key(
    guarded: Callable[[], KeyedRig], keys: Keys, own: Own
) -> None:
    keys.edit("alice", open_max=2)
    rig = guarded()
    first, second = client_of(rig, own, "alice"), client_of(rig, own, "alice")
    first.ask([b"q"])
    second.ask([b"q"], b"elsewhere")
    rig.wait_stat("waiting", 2)
    second.ask([b"q"])
    assert "(its open_max; " in refusal(second)
    client_of(rig, own, "bob").ask([b"q"])
    rig.wait_stat("waiting", 3)
    assert rig.stat("refused_quota") == 1


@pytest.mark.parametrize(
    ("limit", "words"), [({"bytes_max": 100}, "(its bytes_max)"), ({"rate": "2/h"}, "(its rate)")]
)
def test_bytes_and_rate_of_a_key(
    guarded: Callable[[], KeyedRig], keys: Keys, own: Own, limit: Any, words: str
) -> None:
    keys.edit("alice", **limit)
    rig = guarded()
    client = client_of(rig, own, "alice")
    client.ask([b"q" * 50])
    client.ask([b"q" * 50])
    assert words in refusal(client)


def test_limits_change_with_the_file(guarded: Callable[[], KeyedRig], keys: Keys, own: Own) -> None:
    rig = guarded()
    client = client_of(rig, own, "alice")
    client.ask([b"q"])
    keys.edit("alice", open_max=1)
    rig.broker.reload_keys()

    def asked() -> bool:
        client.ask([b"q"])
        try:
            client.take(0.05)
        except FailedError as failed:
            return failed.code == 8
        except SilenceError:
            pass
        return False

    wait_until(asked)
    keys.edit("alice", open_max=0)
    rig.broker.reload_keys()
    waiting = rig.stat("waiting")

    def let_in() -> bool:
        client.ask([b"q"])
        return rig.stat("waiting") > waiting

    wait_until(let_in)
