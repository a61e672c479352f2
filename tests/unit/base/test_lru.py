"""LRUs against a sorted list."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest


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
