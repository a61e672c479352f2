"""The dispatcher's leaves, each against its plain counterpart in Python."""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import probe

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def leaves() -> ModuleType:
    return probe.load()


# --- heap ---


def test_a_heap_gives_the_least_key_and_among_equals_the_least_number(leaves: Any) -> None:
    heap = leaves.Heap(10)
    assert heap.top() is None
    for key, item in ((5, 0), (3, 7), (3, 2), (9, 1), (-4, 9)):
        heap.push(key, item)
    order = []
    while len(heap):
        order.append(heap.top())
        heap.remove(heap.top())
    assert order == [9, 2, 7, 0, 1]


@pytest.mark.parametrize("seed", range(10))
def test_a_heap_stays_sound_under_pushes_moves_and_removals(leaves: Any, seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([1, 2, 5, 6, 60])
    heap, keys = leaves.Heap(count), dict[int, int]()
    for _ in range(600):
        item, key = rng.randrange(count), rng.randrange(-20, 20)
        if item not in keys:
            heap.push(key, item)
            keys[item] = key
        elif rng.random() < 0.5:
            heap.move(key, item)
            keys[item] = key
        else:
            heap.remove(item)
            del keys[item]
        assert heap.sound()
        assert len(heap) == len(keys)
        assert heap.top() == (min((key, item) for item, key in keys.items())[1] if keys else None)


def test_a_heap_sorts(leaves: Any) -> None:
    rng = random.Random(1)
    keys = [rng.randrange(-(2**63), 2**63) for _ in range(3000)]
    heap, plain = leaves.Heap(len(keys)), list[tuple[int, int]]()
    for item, key in enumerate(keys):
        heap.push(key, item)
        heapq.heappush(plain, (key, item))
    while plain:
        assert heap.top() == heapq.heappop(plain)[1]
        heap.remove(heap.top())
    assert len(heap) == 0


# --- queue ---


@pytest.mark.parametrize("seed", range(5))
def test_a_queue_keeps_order_and_loses_from_anywhere(leaves: Any, seed: int) -> None:
    rng = random.Random(seed)
    queue, plain = leaves.Queue(12), list[int]()
    for _ in range(400):
        item = rng.randrange(12)
        if item in plain:
            queue.remove(item)
            plain.remove(item)
        else:
            queue.append(item)
            plain.append(item)
        assert queue.forwards() == plain
        assert queue.backwards() == plain[::-1]


# --- lru ---


def test_a_rank_lists_what_comes_in_order_and_heaps_what_is_late(leaves: Any) -> None:
    lru = leaves.Lru(10)
    assert lru.first() is None
    for key, item in ((1, 3), (5, 0), (4, 8), (5, 2), (7, 1), (2, 6)):
        lru.enter(key, item)
    assert lru.order() == [3, 0, 1]
    assert lru.late() == [2, 6, 8]
    order = []
    while (first := lru.first()) is not None:
        order.append(first)
        lru.leave(first)
    assert order == [3, 6, 8, 0, 2, 1]  # among equals the least number


def test_whoever_gets_later_keys_is_never_late(leaves: Any) -> None:
    """What the LRU does with workers that answer in turn."""
    lru = leaves.Lru(5)
    for item in (2, 0, 4, 1, 3):
        lru.enter(-1 - item, item)
    for key in range(20):
        first = lru.first()
        lru.leave(first)
        lru.enter(key, first)
    assert lru.order() == [4, 3, 2, 1, 0]
    assert lru.late() == []


@pytest.mark.parametrize("seed", range(10))
def test_a_rank_gives_the_first_whatever_comes(leaves: Any, seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([1, 2, 5, 60])
    lateness = rng.choice([0, 3, 1000])
    lru, keys = leaves.Lru(count), dict[int, int]()
    for now in range(600):
        item = rng.randrange(count)
        if item in keys:
            lru.leave(item)
            del keys[item]
        else:
            keys[item] = now - rng.randint(0, lateness)
            lru.enter(keys[item], item)
        order, late = lru.order(), lru.late()
        assert sorted(order + late) == sorted(keys)
        assert all(keys[a] < keys[b] for a, b in itertools.pairwise(order))
        assert lateness or not late
        least = min((key, item) for item, key in keys.items())[1] if keys else None
        assert lru.first() == least


# --- pool ---


def test_a_pool_counts_up_and_reuses_the_last_freed_number_first(leaves: Any) -> None:
    pool = leaves.Pool()
    assert [pool.take() for _ in range(5)] == [0, 1, 2, 3, 4]
    for number in (1, 3, 2):
        pool.give(number)
    assert pool.used == 2
    assert [pool.take() for _ in range(4)] == [2, 3, 1, 5]


def test_what_a_pool_gives_is_zeroed_and_survives_growth(leaves: Any) -> None:
    pool = leaves.Pool()
    for i in range(1000):
        assert pool.take() == i
        assert pool.read(i) == (0, 0)
        pool.write(i, i + 1)
    assert all(pool.read(i) == (i + 1, i + 1) for i in range(1000))
    pool.give(500)
    assert pool.take() == 500
    assert pool.read(500) == (0, 0)


# --- table ---


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


# --- index ---


@pytest.mark.parametrize("shrinks", [False, True])
@pytest.mark.parametrize(
    "keys",
    [lambda rng, n: n, lambda rng, n: 64 * n, lambda rng, n: rng.randrange(2**64)],
    ids=["counted", "strides", "any"],
)
def test_an_index_finds_what_is_in_it_and_nothing_else(
    leaves: Any, keys: Callable[[random.Random, int], int], shrinks: bool
) -> None:
    rng = random.Random(5)
    index, plain, gone = leaves.Index(rng.randrange(2**64)), dict[int, int](), list[int]()
    for n in range(20000):
        # It fills up to 2,000 items, then empties.
        if plain and rng.random() < (0.4 if n < 10000 else 0.6):
            item = rng.choice(list(plain))
            index.remove(item)
            gone.append(plain.pop(item))
            if shrinks:
                index.shrink()
        elif len(plain) < 4096:
            item = next(i for i in range(4096) if i not in plain)
            plain[item] = keys(rng, n)
            index.put(plain[item], item)
        assert len(index) == len(plain)
        if plain:
            item = rng.choice(list(plain))
            assert index.find(plain[item]) == item
        if gone:
            assert index.find(rng.choice(gone)) is None


def test_keys_in_a_row_lie_side_by_side(leaves: Any) -> None:
    index = leaves.Index()
    for key in range(100000):
        index.put(10**12 + key, key % 4096)
        if key >= 1000:
            index.remove((key - 1000) % 4096)
    assert len(index) == 1000
    assert index.cells == 2048
    assert index.others == (0, 0)


def test_keys_that_share_a_cell_are_found_by_their_hash(leaves: Any) -> None:
    """A peer that chooses its keys so gets a table; what stays open for long goes there, too."""
    index = leaves.Index(salt=77)
    for item in range(4096):
        index.put(item << 40, item)
    assert index.cells == 16
    assert index.others == (4095, 8192)
    assert all(index.find(item << 40) == item for item in range(4096))
    assert index.find(4096 << 40) is None


@pytest.mark.parametrize("shift", [0, 40], ids=["in cells", "in the table"])
def test_a_shrunk_index_keeps_little_and_finds_what_is_left(leaves: Any, shift: int) -> None:
    """Whoever opens many and leaves a few open pins no memory."""
    index = leaves.Index(salt=77)
    for item in range(4096):
        index.put(item << shift, item)
    for item in range(4090):
        index.remove(item)
        index.shrink()
    assert index.cells <= 256
    assert index.others[1] <= 256
    assert [index.find(item << shift) for item in range(4080, 4096)] == [
        *[None] * 10,
        *range(4090, 4096),
    ]
    index.put(5000 << shift, 0)
    assert index.find(5000 << shift) == 0
    for item in (0, *range(4090, 4096)):
        index.remove(item)
    assert len(index) == 0


# --- names ---


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


# --- checks, limits, sizes ---


@pytest.mark.parametrize("kind", ["check(False, 42)", "check(True, 42)"])
def test_a_failed_check_ends_the_process_and_says_what_and_where(leaves: Any, kind: str) -> None:
    code = f"import tests.probe.leaves as leaves; leaves.{kind}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if kind == "check(False, 42)":
        assert done.returncode == -signal.SIGABRT
        assert "CHECK(" in done.stderr
        assert "value 42" in done.stderr
        assert "leaves.c:" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_default_limits_bound_everything(leaves: Any) -> None:
    limits = leaves.limits()
    assert limits["attempts_max"] == 5
    assert limits["service_waiting_max"] <= limits["waiting_max"]
    assert limits["requests_max"] < limits["waiting_max"]
    assert limits.pop("unknown_reject") == 0
    assert all(value > 0 for value in limits.values())


def test_a_waiting_request_costs_at_most_110_bytes(leaves: Any) -> None:
    """Its struct, a node of the heap of deadlines, and its cell at the worst filling."""
    sizes = leaves.sizes()
    node = 16
    cells = sizes["cell"] * 8 / 3  # a table that has just doubled is three eighths full
    assert sizes["request"] + node + cells <= 110
