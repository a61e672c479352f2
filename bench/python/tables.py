"""The figures of a task as a table: medians over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from bench.python.contestants import CONTESTANTS
from bench.runner.figures import spread
from bench.runner.targets import Round

HEADINGS = {"per_s": "per s", "p50_us": "p50 us", "p99_us": "p99 us"}


def table(rounds: Sequence[Round]) -> list[tuple[str, ...]]:
    """Return the rows, the heading first; [] if nobody was measured."""
    names = [name for name in CONTESTANTS if any(name in one for one in rounds)]
    if not names:
        return []
    seen = next(one[names[0]] for one in rounds if names[0] in one)
    keys = [key for key in HEADINGS if key in seen]
    heading = ("", *(HEADINGS[key] for key in keys), "spread")
    return [heading, *(_row(name, keys, rounds) for name in names)]


def _row(name: str, keys: Sequence[str], rounds: Sequence[Round]) -> tuple[str, ...]:
    columns = {key: [one[name][key] for one in rounds if name in one] for key in keys}
    medians = (f"{median(values):,.0f}" for values in columns.values())
    return (name, *medians, f"{spread(columns[keys[0]]):.0%}")
