"""Targets and verdicts: what a figure should be, and whether it is.

A measurement can't tell what is nearer to the bar than `NEAR`: that is "at the bar", whichever
side it fell on. Only "missed" is a failure, and only with `ROUNDS_MIN` rounds it is a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Round = Mapping[str, Mapping[str, Any]]  # figures by the name of the contestant

ROUNDS_MIN = 7
NEAR = 0.03

MISSED, AT_THE_BAR, MET, AIM_MET = "missed", "at the bar", "met", "aim met"
HEADINGS = ("shape", "what", "must", "aim", "seen", "lowest - highest", "verdict")
UNITS = {
    "per_s": "requests/s",
    "p50_us": "p50",
    "light_p99_us": "p99 of a light client",
    "subject_us": "CPU per request",
    "waiting_bytes": "bytes each",
    "copies": "copies of each byte",
}


@dataclass(frozen=True)
class Target:
    """One row of the table of targets; targets.toml says what the fields mean."""

    shape: str
    contestant: str
    figure: str
    must: float
    aim: float | None = None
    base: str = ""
    base_shape: str = ""
    better: str = "more"

    @property
    def is_ratio(self) -> bool:
        """Whether it compares two figures."""
        return bool(self.base or self.base_shape)

    def __str__(self) -> str:
        """Return what is compared, in words."""
        what = self.contestant
        if self.base:
            what += f" / {self.base}"
        if self.base_shape:
            what += f", {self.shape} / {self.base_shape}"
        return f"{what}, {UNITS.get(self.figure, self.figure)}"

    @property
    def pairs(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The shape and the contestant, and those that it is compared with: the same if none."""
        return (
            (self.shape, self.contestant),
            (self.base_shape or self.shape, self.base or self.contestant),
        )

    def rounds(self, rounds: Mapping[str, Sequence[Round]]) -> int:
        """Return in how many rounds all that it is about was measured."""
        return sum(map(all, zip(*(_measured(rounds, *pair) for pair in self.pairs), strict=False)))

    def values(self, rounds: Mapping[str, Sequence[Round]]) -> list[float]:
        """Return what each round saw, from the rounds of each shape; [] if it was not measured."""
        mine, base = (_figures(rounds, *pair, self.figure) for pair in self.pairs)
        if not self.is_ratio:
            return [one for one in mine if one is not None]
        return [a / b for a, b in zip(mine, base, strict=False) if a is not None and b]

    def verdict(self, seen: float) -> str:
        """Return one of the four words."""
        sign = 1 if self.better == "more" else -1
        if self.aim is not None and sign * (seen - self.aim) >= 0:
            return AIM_MET
        if abs(seen - self.must) <= NEAR * self.must:
            return AT_THE_BAR
        return MET if sign * (seen - self.must) > 0 else MISSED


def _measured(rounds: Mapping[str, Sequence[Round]], shape: str, contestant: str) -> list[bool]:
    return [contestant in one for one in rounds.get(shape, ())]


def _figures(
    rounds: Mapping[str, Sequence[Round]], shape: str, contestant: str, figure: str
) -> list[float | None]:
    return [one.get(contestant, {}).get(figure) for one in rounds.get(shape, ())]


@dataclass(frozen=True)
class Outcome:
    """A target and what came of it."""

    target: Target
    seen: float  # median over the rounds
    low: float
    high: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for the report."""
        return {
            **vars(self.target),
            "seen": self.seen,
            "low": self.low,
            "high": self.high,
            "verdict": self.verdict,
        }


def outcomes(targets: Sequence[Target], rounds: Mapping[str, Sequence[Round]]) -> list[Outcome]:
    """Return the outcome of every target whose figures were measured."""
    found = []
    for target in targets:
        if values := target.values(rounds):
            seen = median(values)
            found.append(Outcome(target, seen, min(values), max(values), target.verdict(seen)))
    return found


def unmeasured(targets: Sequence[Target], found: Sequence[Outcome]) -> list[str]:
    """Return which of these targets have no outcome, in words."""
    looked_at = [outcome.target for outcome in found]
    return [
        f"not measured: {target.shape}: {target}" for target in targets if target not in looked_at
    ]


def rows(found: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return the table of targets as words, its heading first."""
    return [HEADINGS, *map(target_cells, found)]


def target_cells(outcome: Outcome) -> tuple[str, ...]:
    """Return the row of one target."""
    target = outcome.target
    sign = "≥" if target.better == "more" else "≤"
    return (
        target.shape,
        str(target),
        f"{sign} {target.must:g}",
        "" if target.aim is None else f"{target.aim:g}",
        _number(outcome.seen),
        f"{_number(outcome.low)} - {_number(outcome.high)}",
        outcome.verdict,
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3g}"
