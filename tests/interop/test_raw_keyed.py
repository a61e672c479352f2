"""A peer with a key that speaks ZMTP by hand: what it does harms itself alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.keyed import KeyedRig, Keys, serving
from tests.peers.curve import CurveConnection
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until

PARTS = 1000  # sent at once


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[KeyedRig]:
    keys = Keys(tmp_path / "keys")
    for name, role in (("alice", "client"), ("bob", "client"), ("anvil", "worker")):
        keys.add(name, role)
    with serving(keys, frames_max=64) as rig:
        yield rig


@pytest.fixture
def ask(rig: KeyedRig, open_as: Callable[..., Any]) -> Callable[[], None]:
    """``ask()``: bob asks, and anvil answers."""
    worker = open_as(PndWorker, "anvil", service=b"work", heartbeat=None)
    rig.ready(worker)
    client = open_as(PndClient, "bob", service=b"work")

    def one() -> None:
        client.ask([b"q"])
        worker.answer(worker.task(), [b"a"])
        assert client.take()[1] == [b"a"]

    return one


Raw = Callable[[str], CurveConnection]


def test_an_endless_message_is_nobody_elses_trouble(
    rig: KeyedRig, raw: Raw, ask: Callable[[], None]
) -> None:
    endless = raw("alice")
    endless.hello()
    endless.initiate()
    for _ in range(10):
        endless.send([b"x"] * PARTS, ends=False)
        ask()
    assert rig.stat("messages_in") < 10 * PARTS
    endless.close()
    ask()


def test_a_message_of_too_many_frames_counts_against_its_sender(
    rig: KeyedRig, raw: Raw, ask: Callable[[], None]
) -> None:
    flood = raw("alice")
    flood.hello()
    flood.initiate()
    flood.send([b"x"] * PARTS)
    wait_until(lambda: rig.stat("bad_messages") == 1)
    ask()
