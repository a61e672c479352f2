"""From single measurements to a table: medians, spreads, ratios, and what is wrong with them.

A ratio is taken within each round, between measurements that were neighbours in time, and the
median of those is told: what else the machine did in a round then hits both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bench.subjects import CONTESTANTS

Round = Mapping[str, Mapping[str, Any]]  # by the name of the contestant

# Below this a measurement says more about its beginning and its end than about its subject.
SECONDS_MIN = 0.2
WINDOWS_MIN = 10  # the requests that are open at once, so many times over
SATURATED = 0.95  # of one core: above it the generator is what limits the run

HEADINGS = (
    *("", "requests/s", "spread", "x floor", "x proxy", "x guide"),
    *("CPU us/req", "of it io", "p50 us", "p99 us", "p99.9 us", "load"),
)


def faults(name: str, figures: Mapping[str, Any]) -> list[str]:
    """Return what makes a measurement worthless, in words."""
    found = []
    if figures["errors"]:
        found.append(f"{name}: {figures['errors']} errors, first: {figures['first_error']}")
    if figures["lost"]:
        found.append(f"{name}: {figures['lost']} requests lost")
    if not figures.get("subject_us"):
        found.append(f"{name}: its CPU time was not seen")
    least = WINDOWS_MIN * figures["clients"] * figures["outstanding"]
    if figures["seconds"] < SECONDS_MIN or figures["requests"] < least:
        seen = f"{figures['requests']} requests in {figures['seconds']:.2f} s"
        found.append(f"{name}: too short, {seen} mean nothing")
    return found


def ratio(rounds: Sequence[Round], name: str, base: str) -> float | None:
    """Return the median over rounds of how many times as fast as `base` it was."""
    pairs = [(one[name]["per_s"], one[base]["per_s"]) for one in rounds if base in one]
    return median(a / b for a, b in pairs) if pairs and name != base else None


def spread(values: Sequence[float]) -> float:
    """Return the distance between the extremes, as a share of the median."""
    return (max(values) - min(values)) / median(values)


def summary(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    """Return the figures of one contestant over all rounds."""
    mine = [one[name] for one in rounds]
    rates = [one["per_s"] for one in mine]
    keys = ("p50_us", "p99_us", "p999_us", "load_cpu", "subject_us")
    floor = CONTESTANTS[name].floor
    return {
        "per_s": median(rates),
        "spread": spread(rates),
        "floor": ratio(rounds, name, floor) if floor else None,
        "proxy": ratio(rounds, name, "zmq_proxy"),
        "guide": ratio(rounds, name, "guide_queue"),
        **{key: median(one.get(key, 0.0) for one in mine) for key in keys},
        "io_us": median(map(_io_us, mine)),
    }


def _io_us(figures: Mapping[str, Any]) -> float:
    """Return the CPU us per request of libzmq's I/O threads, 0 where there are none."""
    threads: Sequence[tuple[str, float]] = figures.get("threads", ())
    return sum(us for name, us in threads if "/IO/" in name)


def table(rounds: Sequence[Round]) -> str:
    """Return the table of all contestants, aligned."""
    lines = [HEADINGS, *(_row(name, summary(rounds, name)) for name in rounds[0])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *rest = widths
    return "\n".join(
        "  ".join([line[0].ljust(first), *(map(str.rjust, line[1:], rest))]) for line in lines
    )


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{found['per_s']:,.0f}",
        f"{found['spread']:.0%}",
        *(_times(found[base]) for base in ("floor", "proxy", "guide")),
        f"{found['subject_us']:.2f}",
        f"{found['io_us']:.2f}",
        *(f"{found[key]:,.0f}" for key in ("p50_us", "p99_us", "p999_us")),
        f"{found['load_cpu']:.0%}" + ("!" if found["load_cpu"] > SATURATED else ""),
    )


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
