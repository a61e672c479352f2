"""Heaps against `heapq`."""

from __future__ import annotations

import heapq
import random
from typing import Any

import pytest


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
