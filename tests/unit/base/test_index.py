"""Indexes against dictionaries."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest


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
