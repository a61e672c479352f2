"""Intrusive lists against Python's."""

from __future__ import annotations

import random
from typing import Any

import pytest


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
