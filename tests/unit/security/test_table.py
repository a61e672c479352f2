"""The table of keys: what is found in it, what it refuses, and which names a grant holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests import probe


def public(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def table(security: Any) -> Any:
    """A table of one grant, 0, and one identity, 5."""
    table = security.Table()
    assert table.grant(b"*") == 0
    assert table.identity(5, b"alice", security.Role.CLIENT, 0) == security.Put.OK
    return table


def test_keys_are_found_by_their_bytes_and_by_their_serial(security: Any, table: Any) -> None:
    rng = random.Random(3)
    publics = [rng.randbytes(32) for _ in range(5000)]
    serials = rng.sample(range(1, security.SERIALS_MAX), len(publics))
    for each, serial in zip(publics, serials, strict=True):
        assert table.key(each, 5, serial, serial + 7) == security.Put.OK
    for each, serial in zip(publics, serials, strict=True):
        assert table.find(each) == (each, 5, serial, serial + 7)
        assert table.of_serial(serial) == (each, 5, serial, serial + 7)
        assert table.find(bytes([each[0] ^ 1]) + each[1:]) is None
        assert table.find(each[:31] + bytes([each[31] ^ 0x80])) is None
    assert table.of_serial(0) is None
    assert table.of_serial(next(n for n in range(1, 9999) if n not in serials)) is None


def colliding(hash_of: Callable[[int], int]) -> tuple[int, int]:
    """Return the first two numbers from 1 on that have the same hash of 32 bits."""
    seen: dict[int, int] = {}
    for number in count(1):
        other = seen.setdefault(hash_of(number) & 0xFFFFFFFF, number)
        if other != number:
            return other, number
    raise AssertionError


def test_keys_whose_hashes_collide_are_told_apart(security: Any) -> None:
    """Only a peer that knew the seeds could choose such a key; then the bytes must decide."""
    leaves, seeds = probe.load(), (3, 4)
    table = security.Table(*seeds)
    table.grant()
    table.identity(0, b"alice", 0, 0)
    known, stranger = colliding(lambda n: leaves.sip(public(n), *seeds))
    used, unused = colliding(lambda n: leaves.mixed(n ^ seeds[0]))
    assert table.key(public(known), 0, used) == security.Put.OK
    assert table.find(public(stranger)) is None
    assert table.of_serial(unused) is None
    assert table.key(public(stranger), 0, unused) == security.Put.OK
    assert table.find(public(known)) == table.of_serial(used)
    assert table.find(public(stranger)) == table.of_serial(unused)
    assert table.find(public(known)) != table.find(public(stranger))


def test_an_empty_table_knows_nobody(security: Any) -> None:
    table = security.Table()
    assert table.find(bytes(32)) is None
    assert table.of_serial(0) is None
    assert table.of_serial(1) is None
    assert table.next_expiry(0) == security.FOREVER


def test_an_identity_may_have_two_keys_and_a_key_one_identity(security: Any, table: Any) -> None:
    assert table.key(public(1), 5, 1) == security.Put.OK
    assert table.key(public(2), 5, 2) == security.Put.OK
    assert table.identity(6, b"bob", security.Role.WORKER, 0) == security.Put.OK
    assert table.key(public(1), 6, 3) == security.Put.TAKEN
    assert table.revoked(public(1), 6) == security.Put.TAKEN
    assert table.key(public(3), 6, 2) == security.Put.TAKEN
    assert table.find(public(1))[1] == table.find(public(2))[1] == 5
    assert table.find(public(3)) is None
    assert table.of_serial(3) is None


def test_a_revoked_key_is_known_and_has_no_serial(security: Any, table: Any) -> None:
    assert table.revoked(public(1), 5) == security.Put.OK
    assert table.revoked(public(2), 5) == security.Put.OK
    assert table.key(public(3), 5, 1, 10) == security.Put.OK
    assert table.state(public(1), 0) == (True, False)
    assert table.state(public(3), 0) == (False, False)
    assert table.of_serial(0) is None
    assert table.key(public(1), 5, 2) == security.Put.TAKEN


def test_a_key_expires_at_its_end_and_not_before(table: Any) -> None:
    table.key(public(1), 5, 1, 100)
    assert table.state(public(1), 99) == (False, False)
    assert table.state(public(1), 100) == (False, True)
    assert table.state(public(1), 101) == (False, True)


def test_the_next_expiry_is_that_of_a_key_that_has_not_expired(security: Any, table: Any) -> None:
    for serial, expires in enumerate((300, 100, 200, security.FOREVER), 1):
        table.key(public(serial), 5, serial, expires)
    table.revoked(public(9), 5)
    assert [table.next_expiry(now) for now in (0, 99, 100, 200, 299)] == [100, 100, 200, 300, 300]
    assert table.next_expiry(300) == security.FOREVER


def test_what_does_not_fit_is_refused_and_changes_nothing(security: Any, table: Any) -> None:
    Put = security.Put
    assert table.key(public(1), 5, 0) == Put.FULL
    assert table.key(public(1), 5, security.SERIALS_MAX) == Put.FULL
    assert table.key(public(1), 4, 1) == Put.UNKNOWN
    assert table.key(public(1), 2**32 - 1, 1) == Put.UNKNOWN
    assert table.revoked(public(1), 4) == Put.UNKNOWN
    assert table.find(public(1)) is None
    assert table.key(public(1), 5, security.SERIALS_MAX - 1) == Put.OK
    assert table.identity(5, b"bob", 0, 0) == Put.TAKEN
    assert table.identity(6, b"bob", 0, 1) == Put.UNKNOWN
    assert table.identity(6, b"", 0, 0) == Put.FORM
    assert table.identity(6, b"x" * (security.NAME_MAX + 1), 0, 0) == Put.FORM
    assert table.identity(security.IDENTITIES_MAX, b"bob", 0, 0) == Put.FULL
    assert table.key(public(2), 6, 2) == Put.UNKNOWN
    assert table.identity(6, b"x" * security.NAME_MAX, 0, 0) == Put.OK
    assert table.identity(security.IDENTITIES_MAX - 1, b"bob", 0, 0) == Put.OK


def test_a_table_may_be_emptied_and_filled_again(security: Any, table: Any) -> None:
    table.key(public(1), 5, 1)
    table.clear()
    assert table.find(public(1)) is None
    assert table.of_serial(1) is None
    assert table.key(public(1), 5, 1) == security.Put.UNKNOWN
    assert table.grant(b"a") == 0
    assert table.identity(5, b"alice", 0, 0) == security.Put.OK
    assert table.key(public(1), 5, 1) == security.Put.OK


# --- patterns


@pytest.mark.parametrize(
    ("patterns", "held", "others"),
    [
        ([b"echo"], [b"echo"], [b"", b"ech", b"echoes", b"Echo", b"xecho"]),
        ([b"img.*"], [b"img.", b"img.resize", b"img.*"], [b"", b"img", b"imgx", b"x.img.a"]),
        ([b"*"], [b"", b"echo", b"\0\xff", b"x" * 255, b"pound", b"mmi"], []),
        ([b""], [b""], [b"echo", b"\0"]),
        ([b"a", b"b.*", b""], [b"a", b"b.c", b""], [b"ab", b"b", b"c"]),
        ([], [], [b"", b"echo"]),
        ([b"a?c"], [b"a?c"], [b"abc"]),
        ([b"a\0b"], [b"a\0b"], [b"a", b"a\0", b"a\0c"]),
        ([b"x" * 255], [b"x" * 255], [b"x" * 254]),
        ([b"x" * 255 + b"*"], [b"x" * 255], [b"x" * 254]),
    ],
)
def test_a_grant_holds_names(
    security: Any, patterns: list[bytes], held: list[bytes], others: list[bytes]
) -> None:
    table = security.Table()
    table.grant(b"of another")
    grant = table.grant(*patterns)
    assert [name for name in held + others if table.matches(grant, name)] == held


@pytest.mark.parametrize("name", [b"pound.status", b"pound.", b"mmi.service", b"mmi."])
def test_no_grant_holds_the_brokers_own_services(security: Any, name: bytes) -> None:
    table = security.Table()
    grant = table.grant(b"*", b"p*", b"m*", name, name + b"*")
    assert not table.matches(grant, name)
    assert table.matches(grant, name.partition(b".")[0])


@pytest.mark.parametrize("text", [b"a*b", b"**", b"*a", b"x" * 256, b"x" * 256 + b"*"])
def test_a_pattern_of_another_form_is_refused(security: Any, text: bytes) -> None:
    table = security.Table()
    assert table.grant(text) == security.Put.FORM
    assert not table.matches(0, text[:255])
    assert table.pattern(1, b"a") == security.Put.UNKNOWN


def test_grants_and_their_patterns_are_bounded(security: Any) -> None:
    table = security.Table()
    for number in range(security.GRANTS_MAX):
        assert table.grant(b"%d" % number) == number
    assert table.grant() == security.Put.FULL
    last = security.GRANTS_MAX - 1
    for number in range(1, security.PATTERNS_MAX):
        assert table.pattern(last, b"more %d" % number) == security.Put.OK
    assert table.pattern(last, b"one more") == security.Put.FULL
    assert not table.matches(last, b"one more")
    assert table.matches(last, b"%d" % last)
    assert not table.matches(last, b"0")
