"""From single measurements to a table: medians, spreads, ratios, and what is wrong with them.

A ratio is taken within each round, between measurements that were neighbours in time, and the
median of those is told: what else the machine did in a round then hits both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.runner.contestants import CONTESTANTS
from bench.runner.targets import Round

# Below this a measurement says more about its beginning and its end than about its subject.
SECONDS_MIN = 0.2
WINDOWS_MIN = 10  # the requests that are open at once, so many times over
LIGHT_MIN = 100  # answers to light clients
OPEN_MAX = 25_000  # of those that are open no more count here: the rest only waits
SATURATED = 0.95  # of one core: above it the generator is what limits the run

OPTIONAL = ("waiting_bytes", "copies")  # figures that only some measurements have

HEADINGS = (
    *("", "requests/s", "spread", "x floor", "x zmq_floor", "x proxy", "x guide"),
    *("CPU us/req", "of it io", "p50 us", "p99 us", "p99.9 us", "load"),
)


def faults(name: str, figures: Mapping[str, Any], windows: int = WINDOWS_MIN) -> list[str]:
    """Return what makes a measurement worthless, in words."""
    found = []
    if figures["errors"]:
        found.append(f"{name}: {figures['errors']} errors, first: {figures['first_error']}")
    if figures["lost"]:
        found.append(f"{name}: {figures['lost']} requests lost")
    if not figures.get("subject_us"):
        found.append(f"{name}: its CPU time was not seen")
    if figures["seconds"] < SECONDS_MIN or _few(figures, windows):
        seen = f"{figures['requests']} requests in {figures['seconds']:.2f} s"
        found.append(f"{name}: too short, {seen} mean nothing")
    return found


def _few(figures: Mapping[str, Any], windows: int) -> bool:
    """Tell whether too few requests were answered, of all clients or of the light ones."""
    at_once = min(figures["clients"] * figures["outstanding"], OPEN_MAX)
    if figures.get("work_us"):  # what no worker is at only waits
        at_once = min(at_once, figures["workers"] * figures["capacity"])
    light = figures.get("light_requests", LIGHT_MIN)
    return bool(figures["requests"] < windows * at_once or light < LIGHT_MIN)


def ratio(rounds: Sequence[Round], name: str, base: str) -> float | None:
    """Return the median over rounds of how many times as fast as `base` it was."""
    both = [one for one in rounds if base in one and name in one]
    pairs = [(one[name]["per_s"], one[base]["per_s"]) for one in both]
    return median(a / b for a, b in pairs) if pairs and name != base else None


def spread(values: Sequence[float]) -> float:
    """Return the distance between the extremes, as a share of the median."""
    return (max(values) - min(values)) / median(values)


def summary(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    """Return the figures of one contestant over all rounds."""
    mine = [one[name] for one in rounds if name in one]
    rates = [one["per_s"] for one in mine]
    keys = ("p50_us", "p99_us", "p999_us", "load_cpu", "subject_us")
    floor = CONTESTANTS[name].floor
    return {
        "per_s": median(rates),
        "spread": spread(rates),
        "floor": ratio(rounds, name, floor) if floor else None,
        "zmq_floor": ratio(rounds, name, f"zmq_{floor}") if floor else None,
        "proxy": ratio(rounds, name, "zmq_proxy"),
        "guide": ratio(rounds, name, "guide_queue"),
        **{key: median(one.get(key, 0.0) for one in mine) for key in keys},
        "io_us": median(map(_io_us, mine)),
        **{key: median(seen) for key in OPTIONAL if (seen := [o[key] for o in mine if key in o])},
        "distribution_us": _merged(mine),
    }


def _merged(mine: Sequence[Mapping[str, Any]]) -> list[tuple[float, int]]:
    """Return the distribution of the latencies of all rounds."""
    total: Counter[float] = Counter()
    for figures in mine:
        total.update({upper: count for upper, count in figures.get("distribution_us", ())})
    return sorted(total.items())


def _io_us(figures: Mapping[str, Any]) -> float:
    """Return the CPU us per request of libzmq's I/O threads, 0 where there are none."""
    threads: Sequence[tuple[str, float]] = figures.get("threads", ())
    return sum(us for name, us in threads if "/IO/" in name)


def table(rounds: Sequence[Round]) -> str:
    """Return the table of all contestants, aligned."""
    return align([HEADINGS, *(cells(name, summary(rounds, name)) for name in rounds[0])])


def align(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return lines of cells as text in columns, the first `left` ones and words to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [str.ljust] * left + [str.rjust] * (len(widths) - left)
    return "\n".join(
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True))
        for line in lines
    )


def cells(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the row of a contestant, given its `summary`."""
    return (
        name,
        f"{found['per_s']:,.0f}",
        f"{found['spread']:.0%}",
        *(_times(found[base]) for base in ("floor", "zmq_floor", "proxy", "guide")),
        f"{found['subject_us']:.2f}",
        f"{found['io_us']:.2f}",
        *(f"{found[key]:,.0f}" for key in ("p50_us", "p99_us", "p999_us")),
        f"{found['load_cpu']:.0%}" + ("!" if found["load_cpu"] > SATURATED else ""),
    )


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
