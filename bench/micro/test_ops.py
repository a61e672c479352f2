"""``make bench-micro``: pytest-benchmark on the operations of ops.pyx.

The time of an operation is that of the fastest call, divided by `OPERATIONS`: whatever else the
machine does can only add to it. Each runs on ever more items; what is said to be O(1) or O(log n)
has to show it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from bench.micro import load

OPERATIONS = 100_000  # to a call
COUNTS = (10, 1_000, 100_000)
LEAVES = ("Lru", "Heap", "Index", "Names", "Queue", "Pool")
RECORDS = (1, 8, 64, 1_000)  # to a packet


@pytest.fixture(scope="session")
def ops() -> ModuleType:
    return load()


def measure(benchmark: Any, run: Callable[[int], None]) -> None:
    """Measure calls of `OPERATIONS` operations and note how many that are in a second."""
    benchmark(run, OPERATIONS)
    if benchmark.stats:
        per_s = OPERATIONS / benchmark.stats.stats.min
        benchmark.extra_info["operations_per_s"] = round(per_s)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf(benchmark: Any, ops: ModuleType, leaf: str, count: int) -> None:
    benchmark.group = leaf.lower()
    measure(benchmark, getattr(ops, leaf)(count).run)


@pytest.mark.parametrize("workers", [10, 100, 1_000, 10_000, 100_000])
def test_dispatcher(benchmark: Any, ops: ModuleType, workers: int) -> None:
    """A request's whole life: accepted, sent, answered, delivered, forgotten."""
    benchmark.group = "dispatcher, by workers"
    measure(benchmark, ops.Dispatcher(workers).run)


@pytest.mark.parametrize("records", RECORDS)
@pytest.mark.parametrize("what", ["write", "read"])
def test_codec(benchmark: Any, ops: ModuleType, what: str, records: int) -> None:
    benchmark.group = f"codec, {what}, by records in a packet"
    measure(benchmark, getattr(ops.Codec(records), what))
