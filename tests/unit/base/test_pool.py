"""Pools against a list of free numbers."""

from __future__ import annotations

from typing import Any


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
