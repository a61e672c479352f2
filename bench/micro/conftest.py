"""Prints what matters of the micro-benchmarks: operations per second, and whether they are flat."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print a table of operations per second for each group."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, list[Any]] = defaultdict(list)
    for found in getattr(session, "benchmarks", ()):
        if "operations_per_s" in found.extra_info:
            groups[found.group].append(found)
    for group, members in groups.items():
        terminalreporter.write_line(f"\n{group}")
        first = members[0].extra_info["operations_per_s"]
        for found in members:
            per_s = found.extra_info["operations_per_s"]
            terminalreporter.write_line(
                f"  {found.param:<14} {per_s:>14,} operations/s"
                f" {1e9 / per_s:8.1f} ns  {per_s / first:5.2f} x the first"
            )
