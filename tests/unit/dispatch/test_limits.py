"""The default limits, and what a waiting request costs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests import probe


@pytest.fixture(scope="module")
def leaves() -> ModuleType:
    return probe.load()


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
