"""A broker with keys, and peers that prove theirs: real CURVE, on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zmq

import pound
from pound.security import edits
from pound.security.curve import Pair, new_pair
from pound.security.keyring import PEERS_FILE, KeyDirectory
from pound.security.peer import Peer as Enrolled
from tests.interop.rig import QUICK, Rig
from tests.peers.base import Peer
from tests.support import wait_until

P = TypeVar("P", bound=Peer)


class Keys:
    """A directory of keys; ``keys.add("alice", "client")`` enrols a peer and keeps its pair."""

    def __init__(self, path: Path) -> None:
        self.directory = KeyDirectory(path)
        self.path = str(path)
        self.server = self.directory.init().public
        self.pairs: dict[str, Pair] = {}

    def add(self, name: str, *roles: str, services: tuple[str, ...] | None = None) -> None:
        pair = self.pairs[name] = new_pair()
        self.directory.add(Enrolled(name=name, key=pair.public, roles=roles, services=services))

    def edit(self, name: str, **values: Any) -> None:
        """Change values of an enrolled peer, as a person would with an editor."""
        peers = Path(self.path) / PEERS_FILE
        peer = dataclasses.replace(self.directory.keyring().peers[name], **values)
        before, header, after = peers.read_text().partition(f'[peers."{name}"]\n')
        assert header
        rest = after[after.index("\n[") + 1 :] if "\n[" in after else ""
        peers.write_text(edits.add(before + rest, name, peer.table()))

    def options(self, name: str) -> dict[int, int | bytes]:
        pair = self.pairs[name]
        return {
            zmq.CURVE_SERVERKEY: self.server.encode(),
            zmq.CURVE_PUBLICKEY: pair.public.encode(),
            zmq.CURVE_SECRETKEY: pair.secret.encode(),
        }

    def form(self, form: type[P], name: str) -> type[P]:
        """Return `form` whose sockets prove the key of `name`."""
        return type(form.__name__, (form,), {"options": {**form.options, **self.options(name)}})


def lines_of(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """Wait for lines of an event; give all that there are."""

    def lines() -> list[str]:
        said = [record.getMessage() for record in caplog.records]
        return [line for line in said if line.startswith(event + " ")]

    return wait_until(lines)


class KeyedRig(Rig):
    """A rig whose broker has keys."""

    def __init__(self, broker: Any, keys: Keys) -> None:
        super().__init__(broker)
        self.keys = keys

    def wait_rise(self, name: str, before: int, by: int = 1) -> None:
        self.wait_stat(name, before + by)


@contextlib.contextmanager
def serving(keys: Keys, **settings: Any) -> Iterator[KeyedRig]:
    """Have a broker serve with these keys, quick timers and these settings."""
    quick = QUICK.keys() - ({"frontend", "backend"} if "listen" in settings else set())
    broker = pound.Broker(**{**{name: QUICK[name] for name in quick}, **settings}, keys=keys.path)
    broker.start()
    try:
        yield KeyedRig(broker, keys)
    finally:
        broker.stop()
