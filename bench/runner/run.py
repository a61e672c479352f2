"""``python -m bench``: interleaved rounds of all contestants on the shapes that are asked for.

Every round measures each contestant once, in an order that rotates from round to round. With
``--all`` everything that targets.toml lists, against its targets. A contestant that fails on a
shape is left out of its further rounds. Exit code 0; 1 if a measurement failed, had errors or was
too short to mean anything, if a target was not measured, or if one was missed in a run of enough
rounds; 2 for a usage error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.runner import copies, plan, plots
from bench.runner.contestants import CONTESTANTS
from bench.runner.figures import align, faults, summary, table
from bench.runner.machine import machine
from bench.runner.measure import Effort, build, favoured, measure, raise_file_limit
from bench.runner.plan import Budget, Group
from bench.runner.subjects import Shape, SubjectError, read_shape
from bench.runner.targets import MISSED, ROUNDS_MIN, Outcome, Target, outcomes, rows, unmeasured

SHAPE = "8x64x16x64"

Rounds = list[dict[str, dict[str, Any]]]  # figures by contestant, round by round
Pair = tuple[Shape, str]  # and the name of a contestant


@dataclass
class Measured:
    """All that was seen so far."""

    rounds: dict[str, Rounds] = field(default_factory=dict)  # by shape
    complaints: list[str] = field(default_factory=list)
    failed: set[Pair] = field(default_factory=set)  # left out from then on

    @contextmanager
    def trying(self, pair: Pair, what: str) -> Iterator[None]:
        """Note if `what`, a look at a pair, fails."""
        shape, name = pair
        try:
            yield
        except SubjectError as error:
            self.failed.add(pair)
            self.complaints.append(f"{shape} {what} {name}, left out from here on: {error}")


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, write the files, exit."""
    options = _parse(arguments)
    found = Measured()
    with favoured(options.nice):
        for group in options.groups:
            _measure_group(group, options, found)
            _print_group(group, found, options)
    results = outcomes(options.targets, found.rounds)
    found.complaints += unmeasured(_asked(options), results)
    _print_targets(results, found)
    report = _report(found, results, options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.plots:
        plots.draw(report, options.plots)
    for complaint in found.complaints:
        print(f"NOT VALID: {complaint}", file=sys.stderr)
    missed = [result for result in results if result.verdict == MISSED]
    sys.exit(1 if found.complaints or (missed and options.rounds >= ROUNDS_MIN) else 0)


def _asked(options: argparse.Namespace) -> list[Target]:
    """Return the targets that this run is to look at: of a chosen subset those that it tells of."""
    if options.all:
        return list(options.targets)
    return [
        target
        for target in options.targets
        if all(
            any(group.sees(*pair, target.figure) for group in options.groups)
            for pair in target.pairs
        )
    ]


def _measure_group(group: Group, options: argparse.Namespace, found: Measured) -> None:
    """Add the figures of all rounds of a group."""
    effort = Effort(options.seconds, options.warm_up, options.nice)
    for number in range(options.rounds):
        for shape in group.shapes:
            found.rounds.setdefault(str(shape), []).append({})
        for pair in _order(group, number, found):
            shape, name = pair
            _progress(f"{shape}: round {number + 1}/{options.rounds}, {name}")
            with found.trying(pair, f"round {number + 1}"):
                figures = measure(CONTESTANTS[name], shape, effort)
                found.rounds[str(shape)][number][name] = figures
                least = options.budget.windows
                found.complaints += faults(f"{shape} round {number + 1} {name}", figures, least)
    if group.copies:
        _count_copies(group, effort, found)
    _progress("")


def _order(group: Group, number: int, found: Measured) -> Iterator[Pair]:
    """Give the pairs of a group that did not fail, beginning elsewhere in each round."""
    pairs = [(shape, name) for name in group.contestants for shape in group.shapes]
    shift = number * 3 % len(pairs)
    yield from (pair for pair in pairs[shift:] + pairs[:shift] if pair not in found.failed)


def _count_copies(group: Group, effort: Effort, found: Measured) -> None:
    """Add the copies of bodies, which don't change from round to round, to the first one."""
    for pair in _order(group, 0, found):
        shape, name = pair
        _progress(f"{shape}: copies, {name}")
        with found.trying(pair, "copies"):
            first = found.rounds[str(shape)][0][name]
            first["copies"] = copies.count(CONTESTANTS[name], shape, effort)


# --- what is told


def _tell_absent() -> None:
    """Say which contestants this machine has no program for."""
    for name, contestant in CONTESTANTS.items():
        if not contestant.here():
            print(f"{name} is not here: it needs {contestant.needs[0]}", file=sys.stderr)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _print_group(group: Group, found: Measured, options: argparse.Namespace) -> None:
    for shape in group.shapes:
        rounds = [one for one in found.rounds.get(str(shape), ()) if one]
        if not rounds:
            continue
        busy = os.getloadavg()[0]
        print(
            f"\n{shape} (clients x outstanding x workers x bytes), medians of {len(rounds)} rounds"
            f" of {options.seconds} s, load average {busy:.1f} on {os.cpu_count()} cores"
        )
        print(table(rounds), flush=True)
        _print_few({name: sum(name in one for one in rounds) for name in rounds[0]})


def _print_few(rounds: Mapping[str, int]) -> None:
    """Say what had too few rounds, given how many each had."""
    few = [what for what, count in rounds.items() if count < ROUNDS_MIN]
    if few:
        which = "" if len(few) == len(rounds) else f" of {'; '.join(few)}"
        print(f"Fewer than {ROUNDS_MIN} rounds{which}: for orientation, not for a verdict.")


def _print_targets(results: Sequence[Outcome], found: Measured) -> None:
    print(
        "\nspread: (highest - lowest) / median. load: of one core; !: the generator is the limit."
    )
    if results:
        print(f"\nTargets\n{align(rows(results), left=2)}")
        targets = [result.target for result in results]
        _print_few({f"{one.shape}: {one}": one.rounds(found.rounds) for one in targets})


def _report(found: Measured, results: list[Outcome], options: argparse.Namespace) -> dict[str, Any]:
    shapes = {
        shape: {
            "summary": {name: summary(rounds, name) for name in rounds[0]},
            "rounds": [
                {name: _without_distribution(figures) for name, figures in one.items()}
                for one in rounds
            ],
        }
        for shape, rounds in found.rounds.items()
    }
    return {
        "command": "python -m bench " + " ".join(options.arguments),
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "shapes": shapes,
        "targets": [result.as_dict() for result in results],
        "faults": found.complaints,
    }


def _without_distribution(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key != "distribution_us"}


# --- the command line


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--all", action="store_true", help="everything that targets.toml lists")
    add("--shape", action="append", type=read_shape, help=f"default: {SHAPE}; repeatable")
    add("--only", type=_names, help="contestants, comma separated; default: all that are here")
    add("--rounds", type=int, help=f"default: {ROUNDS_MIN}")
    add("--seconds", type=float, help="measured in each round; default: 2")
    add("--warm-up", type=float, help="seconds before that; default: 0.4")
    add("--nice", type=int, default=0, help="niceness of load and subject; below 0 needs root")
    add("--json", type=Path, help="write all figures to this file")
    add("--plots", type=Path, metavar="FOLDER", help="draw them, as PNG and SVG")
    add("--quick", action="store_true", help="few and short rounds, for orientation")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    options.arguments = arguments
    whole = plan.read()
    options.targets = whole.targets
    _fill_in(options, whole.quick if options.quick else whole.run)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    build()
    raise_file_limit()
    _tell_absent()
    options.groups = _groups(options, whole)
    if not all(group.contestants for group in options.groups):
        parser.error("none of these contestants is here")
    return options


def _fill_in(options: argparse.Namespace, budget: Budget) -> None:
    options.budget = budget
    for key in ("rounds", "seconds", "warm_up"):
        value = getattr(budget, key)
        if getattr(options, key) is None:
            setattr(options, key, value)


def _groups(options: argparse.Namespace, whole: plan.Plan) -> list[Group]:
    """Return what is to be measured."""
    if options.all:
        return [group.here() for group in whole.groups]
    names = options.only or [plan.ALL]
    shapes = options.shape or [Shape.parse(SHAPE)]
    return [Group((shape,), tuple(names)).here() for shape in shapes]


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTESTANTS:
            known = ", ".join(CONTESTANTS)
            raise argparse.ArgumentTypeError(f"no contestant {name!r}; there are {known}")
    return names
