"""Hash tables against dictionaries, their hashes against the reference."""

from __future__ import annotations

import random
from typing import Any

import pytest


@pytest.mark.parametrize("hashes", [1, 3, 50, 2**32], ids=lambda n: f"{n} hashes")
def test_a_table_finds_all_items_of_a_hash(leaves: Any, hashes: int) -> None:
    rng = random.Random(hashes)
    table, plain = leaves.Table(), dict[int, int]()
    for _ in range(4000):
        item = rng.randrange(60)
        if item in plain:
            table.remove(plain.pop(item), item)
        else:
            plain[item] = rng.randrange(hashes) * 7 % 2**32
            table.put(plain[item], item)
        assert len(table) == len(plain)
        if plain:
            wanted = rng.choice(list(plain.values()))
            assert sorted(table.items(wanted)) == sorted(
                i for i, hash_ in plain.items() if hash_ == wanted
            )


def test_a_table_that_wraps_around_its_end_removes_rightly(leaves: Any) -> None:
    table = leaves.Table()
    last = 15  # the last of the 16 cells of a new table: its neighbours lie at the start
    for item in range(6):
        table.put(last, item)
    table.put(2, 6)
    for item in (0, 3, 5):
        table.remove(last, item)
    assert sorted(table.items(last)) == [1, 2, 4]
    assert table.items(2) == [6]
    assert table.cells == 16


def test_a_table_does_not_decay(leaves: Any) -> None:
    """Puts and removals without end need neither growth nor a rebuild: there are no tombstones."""
    table = leaves.Table()
    for i in range(20000):
        table.put(leaves.mixed(i) % 2**32, i)
        if i >= 7:
            table.remove(leaves.mixed(i - 7) % 2**32, i - 7)
    assert len(table) == 7
    assert table.cells == 16


def test_mixing_leaves_no_two_numbers_alike_and_spreads_neighbours(leaves: Any) -> None:
    low_bits = [leaves.mixed(i) % 1024 for i in range(1024)]
    assert len({leaves.mixed(i) for i in range(5000)}) == 5000
    assert max(low_bits.count(cell) for cell in set(low_bits)) < 10


def test_hashing_is_siphash_1_3(leaves: Any) -> None:
    """The reference's key, 00..0f, and texts, 00 01 02..: both halves of its 64 bits combined."""
    seeds = [int.from_bytes(bytes(range(i, i + 8)), "little") for i in (0, 8)]
    for size in (0, 1, 7, 8, 9, 16, 63, 255):
        key = bytes(range(size))
        assert leaves.sip(key, *seeds) == siphash_1_3(key, *seeds) % 2**32


def test_a_routing_id_of_libzmq_is_hashed_by_its_number(leaves: Any) -> None:
    seeds = 0x0123456789ABCDEF, 0xFEDCBA9876543210
    ids = [b"\0" + number.to_bytes(4, "little") for number in range(10_000)]
    hashes = [leaves.name_hash(id, *seeds) for id in ids]
    assert len({h % 2**14 for h in hashes}) > 7_000  # of 16,384 places, as chance has it
    assert hashes != [leaves.name_hash(id, *reversed(seeds)) for id in ids]
    for key in (b"", b"\0", b"\0abc", b"1abcd", b"\0abcde", bytes(255)):
        assert leaves.name_hash(key, *seeds) == leaves.sip(key, *seeds)


def siphash_1_3(key: bytes, seed0: int, seed1: int) -> int:
    """SipHash with one round a word and three at the end, as its paper defines it."""
    ones = 2**64 - 1
    v = [
        seed0 ^ 0x736F6D6570736575,
        seed1 ^ 0x646F72616E646F6D,
        seed0 ^ 0x6C7967656E657261,
        seed1 ^ 0x7465646279746573,
    ]

    def rotated(word: int, by: int) -> int:
        return (word << by | word >> (64 - by)) & ones

    def half(a: int, b: int, by: int) -> None:
        v[a] = (v[a] + v[b]) & ones
        v[b] = rotated(v[b], by) ^ v[a]

    def rounds(count: int) -> None:
        for _ in range(count):
            half(0, 1, 13)
            v[0] = rotated(v[0], 32)
            half(2, 3, 16)
            half(0, 3, 21)
            half(2, 1, 17)
            v[2] = rotated(v[2], 32)

    tail = len(key) % 8
    whole, rest = key[: len(key) - tail], key[len(key) - tail :]
    words = [whole[i : i + 8] for i in range(0, len(whole), 8)]
    words.append(rest + bytes(7 - tail) + bytes([len(key) % 256]))
    for word in (int.from_bytes(word, "little") for word in words):
        v[3] ^= word
        rounds(1)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(3)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@pytest.mark.parametrize("seed", range(3))
def test_names_are_a_dictionary(leaves: Any, seed: int) -> None:
    rng = random.Random(seed)
    names, plain = leaves.Names(rng.getrandbits(64), rng.getrandbits(64)), dict[bytes, int]()
    keys = [rng.randbytes(rng.choice([0, 1, 5, 16, 24, 25, 100, 255])) for _ in range(200)]
    for _ in range(3000):
        key, value = rng.choice(keys), rng.randrange(2**32 - 1)
        if rng.random() < 0.5:
            names.put(key, value)
            plain[key] = value
        else:
            assert names.remove(key) == plain.pop(key, None)
        assert len(names) == len(plain)
        assert all(names.get(key) == plain.get(key) for key in rng.choices(keys, k=3))
    names.clear()
    assert len(names) == 0
    assert all(names.get(key) is None for key in keys)


def test_names_differ_by_each_byte_and_by_length(leaves: Any) -> None:
    names = leaves.Names(1, 2)
    keys = [b"", b"\0", b"\0\0", b"a" * 24, b"a" * 25, b"a" * 24 + b"b", bytes(255), bytes(254)]
    for value, key in enumerate(keys):
        names.put(key, value)
    assert [names.get(key) for key in keys] == list(range(len(keys)))


def test_another_seed_gives_other_hashes(leaves: Any) -> None:
    keys = [bytes([i]) for i in range(64)]
    assert [leaves.sip(k, 1, 2) for k in keys] != [leaves.sip(k, 1, 3) for k in keys]
