"""Tables made of what the peers' file says: numbers stay, and nobody is given another's."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from zmq.utils import z85

from pound.errors import ConfigError
from pound.security import edits, names
from pound.security import peer as peers
from pound.security.keyring import KeyDirectory, Keyring
from pound.security.keytable import NEVER, ROLE_BITS, Keytable
from pound.security.peer import Peer
from pound.security.tables import Tables
from tests import probe
from tests.support import ROOT
from tests.unit.security.pairs import pair_of

security = probe.load("security")
Role = security.Role

KEYS = [pair_of(number).public for number in range(1, 4)]
UTC = datetime.timezone.utc
NEXT_YEAR = datetime.datetime(2027, 1, 1, tzinfo=UTC)
NEXT_YEAR_NS = 1798761600 * 10**9


def test_facts_that_two_languages_declare_are_the_same() -> None:
    """Python checks what people wrote by its own numbers, before the compiled table does."""
    assert names.LISTENERS_MAX == security.LISTENERS_MAX
    assert peers.PATTERNS_MAX == security.PATTERNS_MAX
    assert peers.NAME.fullmatch("x" * security.NAME_MAX)
    assert not peers.NAME.fullmatch("x" * (security.NAME_MAX + 1))
    curve = (ROOT / "pound" / "_engine" / "curve.pxd").read_text()
    room = re.search(r"KEY_NAME_ROOM = (\d+)", curve)
    assert room is not None
    assert int(room[1]) == security.NAME_MAX + 1


def ring(*peers: Peer, **revoked: str) -> Keyring:
    """Return a keyring of these peers, and of revoked keys: ``name=key``."""
    return Keyring(
        {peer.name: peer for peer in peers}, {key: name for name, key in revoked.items()}
    )


def peer(name: str, key: int, **more: Any) -> Peer:
    return Peer(name=name, key=KEYS[key], roles=more.pop("roles", ("client",)), **more)


def built(tables: Tables, keyring: Keyring) -> Any:
    return security.Table.taken(tables.build(keyring))


def found(table: Any, key: int) -> Any:
    """Return (identity, serial, expires) of a key; None: it is unknown."""
    row = table.find(z85.decode(KEYS[key]))
    return None if row is None else row[1:]


def test_a_peer_is_an_identity_with_its_key() -> None:
    alice = peer("alice", 0, roles=("client", "operator"), connections_max=7, services=("a", "b*"))
    table = built(Tables(), ring(alice))
    assert found(table, 0) == (0, 1, NEVER)
    assert table.name_of(0) == (b"alice", Role.CLIENT | Role.OPERATOR, 0, 7)
    assert table.matches(0, b"a")
    assert table.matches(0, b"boat")
    assert not table.matches(0, b"c")
    assert found(table, 1) is None
    assert table.name_of(1) is None


def test_without_services_a_peer_may_use_all_and_with_none_of_them_none() -> None:
    table = built(Tables(), ring(peer("all", 0), peer("none", 1, services=())))
    grants = {table.name_of(number)[0]: table.name_of(number)[2] for number in (0, 1)}
    assert table.matches(grants[b"all"], b"anything")
    assert table.matches(grants[b"all"], b"")
    assert not table.matches(grants[b"none"], b"")


def test_a_peer_has_its_turns_and_quotas() -> None:
    alice = peer("alice", 0, weight=3, open_max=5, bytes_max=7, rate="10/s")
    assert built(Tables(), ring(alice)).limits_of(0) == {
        "weight": 3,
        "open_max": 5,
        "bytes_max": 7,
        "interval_ns": 10**8,
        "burst_ns": 19 * 10**8,
    }


def test_peers_with_the_same_services_share_a_grant() -> None:
    table = built(
        Tables(),
        ring(
            peer("a", 0, services=("x", "y")),
            peer("b", 1, services=("y", "x")),
            peer("c", 2, services=("x",)),
        ),
    )
    assert table.grants() == 2


def test_both_keys_of_a_rotation_are_the_peers_and_the_former_ends_first() -> None:
    alice = peer("alice", 0, next_key=KEYS[1], next_until=NEXT_YEAR)
    table = built(Tables(), ring(alice))
    assert found(table, 0) == (0, 1, NEXT_YEAR_NS)
    assert found(table, 1) == (0, 2, NEVER)


@pytest.mark.parametrize(
    ("expires", "end"),
    [
        (NEXT_YEAR, NEXT_YEAR_NS),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), -(10**9)),
        (datetime.datetime(9999, 1, 1, tzinfo=UTC), NEVER - 1),
        (datetime.datetime(1, 1, 1, tzinfo=UTC), -(2**63)),
    ],
    ids=["next year", "before 1970", "beyond 64 bits", "long before"],
)
def test_the_end_of_a_key_in_nanoseconds(expires: datetime.datetime, end: int) -> None:
    table = built(Tables(), ring(peer("alice", 0, expires=expires)))
    assert found(table, 0) == (0, 1, end)


def test_numbers_stay_while_a_broker_lives() -> None:
    tables = Tables()
    built(tables, ring(peer("alice", 0), peer("bob", 1)))
    table = built(tables, ring(peer("carol", 2), peer("bob", 1)))
    assert found(table, 1) == (1, 2, NEVER)
    assert found(table, 2) == (2, 3, NEVER)
    assert table.name_of(0)[:2] == (b"alice", Role(0))
    assert table.limits_of(0)["open_max"] == 0
    table = built(tables, ring(peer("alice", 0)))
    assert found(table, 0) == (0, 1, NEVER)


def test_a_key_that_changes_hands_has_another_serial() -> None:
    """A connection that proved it for alice is not bob's."""
    tables = Tables()
    built(tables, ring(peer("alice", 0)))
    assert found(built(tables, ring(peer("bob", 0))), 0) == (1, 2, NEVER)


def test_a_revoked_key_has_a_name_and_no_rights() -> None:
    table = built(Tables(), ring(peer("bob", 1), alice=KEYS[0]))
    identity, serial, _ = found(table, 0)
    assert serial == 0
    assert table.name_of(identity)[:2] == (b"alice", Role(0))
    assert not table.matches(table.name_of(identity)[2], b"")


def test_a_revoked_key_of_a_peer_that_is_back() -> None:
    table = built(Tables(), ring(peer("alice", 1), alice=KEYS[0]))
    assert found(table, 0)[:2] == (0, 0)
    assert found(table, 1)[:2] == (0, 1)


def test_the_bits_of_the_roles_are_those_of_the_table() -> None:
    assert {name: Role[name.upper()] for name in ROLE_BITS} == ROLE_BITS


def test_more_than_a_table_holds_is_refused_in_words() -> None:
    table = Keytable()
    grant = table.put_grant(())
    with pytest.raises(ConfigError, match="too many names since the broker was started: 65535"):
        table.put_identity(security.IDENTITIES_MAX, b"alice", 1, grant, 0)
    with pytest.raises(ConfigError, match="too many services of a peer: 64"):
        table.put_grant((b"x",) * (security.PATTERNS_MAX + 1))


def test_a_handle_is_of_use_once() -> None:
    table = Keytable()
    security.Table.taken(table)
    with pytest.raises(ValueError, match="taken before"):
        table.put_grant(())
    with pytest.raises(ValueError, match="taken before"):
        security.Table.taken(table)


def test_what_is_wrong_with_a_put_raises() -> None:
    table = Keytable()
    with pytest.raises(ValueError, match="32 bytes"):
        table.put_key(b"short", 0, 1, NEVER)
    with pytest.raises(ValueError, match="not for this table"):
        table.put_key(bytes(32), 0, 1, NEVER)


def crowd(count: int) -> list[Peer]:
    """Return peers with a service of their own each: more sets than a table holds."""
    return [
        Peer(
            name=f"p{number}",
            key=z85.encode(number.to_bytes(32, "big")).decode(),
            roles=("client",),
            services=(f"s{number}",),
        )
        for number in range(1, count + 1)
    ]


def test_a_keyring_that_is_refused_uses_up_no_number() -> None:
    tables = Tables()
    with pytest.raises(
        ConfigError, match="4097 different sets of services are too many, at most 4095: "
    ):
        tables.build(ring(*crowd(4097)))
    with pytest.raises(ValueError, match="not for this table"):
        tables.build(ring(peer("bob", 1), peer("carol", 1)))  # when both have their numbers
    table = built(tables, ring(peer("alice", 0)))
    assert found(table, 0) == (0, 1, NEVER)


@pytest.mark.slow
def test_a_command_writes_nothing_that_no_broker_takes(tmp_path: Path) -> None:
    """The broker would go on with the peers before, so that nothing later counts, no revocation."""
    directory = KeyDirectory(tmp_path / "keys")
    directory.init()
    text = directory.path / "peers.toml"
    tables = "".join(edits.add("", each.name, each.table()) for each in crowd(4095))
    text.write_text(tables)
    with pytest.raises(ConfigError, match="4096 different sets of services are too many"):
        directory.add(crowd(4096)[-1])
    assert text.read_text() == tables


@pytest.mark.slow
def test_a_command_ends_a_key_in_a_file_that_is_too_large(tmp_path: Path) -> None:
    directory = KeyDirectory(tmp_path / "keys")
    directory.init()
    text = directory.path / "peers.toml"
    text.write_text("".join(edits.add("", each.name, each.table()) for each in crowd(4097)))
    directory.expire("p2", NEXT_YEAR)
    keyring = directory.revoke("p1")
    assert "p1" not in keyring.peers
    assert directory.keyring() == keyring
    assert keyring.peers["p2"].expires == NEXT_YEAR
