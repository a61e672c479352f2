"""What a file takes away counts, whatever else it says."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pound.security.keyring import Keyring
from pound.security.narrowed import narrowed
from pound.security.peer import Peer
from tests.unit.security.pairs import pair_of

KEYS = [pair_of(number).public for number in range(1, 4)]
UTC = datetime.timezone.utc
SOON, LATE = (datetime.datetime(year, 1, 1, tzinfo=UTC) for year in (2027, 2030))


def peer(name: str = "alice", key: int = 0, **more: Any) -> Peer:
    return Peer(name=name, key=KEYS[key], roles=more.pop("roles", ("client",)), **more)


def ring(*peers: Peer, **revoked: str) -> Keyring:
    return Keyring({one.name: one for one in peers}, {key: name for name, key in revoked.items()})


BOB = peer("bob", 2)


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        (ring(peer(), BOB), ring(BOB), ring(BOB)),
        (ring(peer(), BOB), ring(BOB, alice=KEYS[0]), ring(BOB, alice=KEYS[0])),
        (ring(peer()), ring(peer(key=1), alice=KEYS[0]), ring(alice=KEYS[0])),
        (ring(peer()), ring(peer("carol")), ring()),
        (ring(peer()), ring(peer(expires=SOON)), ring(peer(expires=SOON))),
        (ring(peer(expires=SOON)), ring(peer(expires=LATE)), ring(peer(expires=SOON))),
        (
            ring(peer(roles=("client", "worker"))),
            ring(peer(roles=("operator", "worker"))),
            ring(peer(roles=("worker",))),
        ),
        (ring(peer()), ring(peer(roles=("worker",))), ring()),
        (ring(peer()), ring(peer(open_max=5, services=("x",))), ring(peer())),
        (ring(BOB), ring(BOB, peer()), ring(BOB)),
        (ring(BOB), ring(BOB, alice=KEYS[0]), ring(BOB)),
        (
            ring(peer(next_key=KEYS[1], next_until=LATE)),
            ring(peer(next_key=KEYS[1], next_until=SOON)),
            ring(peer(next_key=KEYS[1], next_until=SOON)),
        ),
        (
            ring(peer(next_key=KEYS[1], next_until=SOON)),
            ring(peer(next_key=KEYS[1], next_until=SOON, expires=LATE)),
            ring(peer(next_key=KEYS[1], next_until=SOON, expires=LATE)),
        ),
        (
            ring(peer(next_key=KEYS[1], next_until=SOON, expires=LATE)),
            ring(peer(key=1), alice=KEYS[0]),
            ring(peer(key=1, expires=LATE), alice=KEYS[0]),
        ),
        (
            ring(peer(next_key=KEYS[1], next_until=SOON)),
            ring(peer(expires=LATE)),
            ring(peer(expires=SOON)),
        ),
    ],
    ids=[
        "removed",
        "revoked",
        "another key",
        "another name",
        "expires",
        "expires later",
        "a role less",
        "other roles",
        "other limits",
        "one more",
        "a key that was never known",
        "ends its rotation",
        "expires after its rotation",
        "the next key alone",
        "the former key alone",
    ],
)
def test_what_is_left(old: Keyring, new: Keyring, left: Keyring) -> None:
    assert narrowed(old, new) == left
