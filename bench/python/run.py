"""``python -m bench.python``: interleaved rounds of all contestants, against targets.toml.

Every round measures each contestant once, in an order that rotates from round to round. Exit
code 0; 1 if a measurement failed, if something that a target needs is not here, or if a target
was missed in a run of enough rounds; 2 for a usage error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.python.contestants import CONTESTANTS, ONE_CORE, Contestant
from bench.python.tables import table
from bench.python.timing import BODY_BYTES, GATHERED, WINDOW
from bench.runner.figures import align
from bench.runner.machine import machine
from bench.runner.measure import build
from bench.runner.subjects import ROOT, SubjectError
from bench.runner.targets import MISSED, ROUNDS_MIN, Outcome, Target, outcomes, rows, unmeasured

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("targets.toml")
TASKS = {  # and what is told of them
    "map": f"tasks/s of {BODY_BYTES} bytes through one worker process, {WINDOW} outstanding",
    "request": "one at a time, us",
    ONE_CORE: "the same with all processes on one core: no wake-up crosses to an idle one",
    "gather": f"requests/s, asyncio.gather of {GATHERED:,}",
}
BEST = "best"  # a contestant made of the best figures of those that compete
LOWER_IS_BETTER = {"p50_us", "p99_us"}
SLACK_S = 120.0  # a contestant may take so much longer than it should
STOP_S = 15.0

Rounds = dict[str, list[dict[str, dict[str, float]]]]  # by task, round, contestant


@dataclass
class Measured:
    """All that was seen so far."""

    rounds: Rounds = field(default_factory=lambda: {task: [] for task in TASKS})
    complaints: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, write the file, exit."""
    options = _parse(arguments)
    found = Measured()
    here = _here(options.only, found)
    try:
        build()
    except SubjectError as error:
        sys.exit(f"bench.python: {error}")
    for number in range(options.rounds):
        _measure_round(here, number, options, found)
    _progress("")
    results = outcomes(options.targets, found.rounds)
    if options.whole:
        found.complaints += unmeasured(options.targets, results)
    _print(found, results, options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(_report(found, results, here, options), indent=1) + "\n")
    for complaint in found.complaints:
        print(f"NOT VALID: {complaint}", file=sys.stderr)
    missed = any(result.verdict == MISSED for result in results)
    sys.exit(1 if found.complaints or (missed and options.rounds >= ROUNDS_MIN) else 0)


def _here(names: Sequence[str], found: Measured) -> list[Contestant]:
    """Return the contestants that can run; what the others lack becomes a complaint."""
    here = []
    for name in names:
        missing = CONTESTANTS[name].missing()
        found.complaints += [f"{name} is not measured: {one} is not here" for one in missing]
        if not missing:
            here.append(CONTESTANTS[name])
    return here


# --- the measurements


def _measure_round(
    here: Sequence[Contestant], number: int, options: argparse.Namespace, found: Measured
) -> None:
    """Add the figures of one round."""
    for task in TASKS:
        found.rounds[task].append({})
    shift = number * 2 % max(1, len(here))
    for contestant in [*here[shift:], *here[:shift]]:
        _progress(f"round {number + 1}/{options.rounds}, {contestant.name}")
        try:
            seen = _measure(contestant, options.seconds)
        except SubjectError as error:
            found.complaints.append(f"round {number + 1}: {error}")
            continue
        for task, figures in seen.items():
            found.rounds[task][number][contestant.name] = figures
    for task in TASKS:
        _add_best(found.rounds[task][number])


def _measure(contestant: Contestant, seconds: float) -> dict[str, dict[str, float]]:
    """Return the figures of a contestant by task."""
    found = _figures(contestant, seconds)
    if contestant.one_core:
        found |= _figures(contestant, seconds, "--one-core")
    return found


def _figures(contestant: Contestant, seconds: float, *more: str) -> dict[str, dict[str, float]]:
    """Return what a process of its own measured."""
    command = [sys.executable, "-m", "bench.python.one", contestant.name]
    with subprocess.Popen(
        [*command, "--seconds", str(seconds), *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            timeout = SLACK_S + seconds * len(contestant.tasks)
            printed, complaint = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it started
            raise SubjectError(f"{contestant.name} did not end in {timeout:.0f} s") from None
        finally:
            _stop(process)
    if process.returncode or not printed:
        last = complaint.strip().splitlines()[-1:] or ["no figures"]
        raise SubjectError(f"{contestant.name}: {last[0]}")
    found: dict[str, dict[str, float]] = json.loads(printed.splitlines()[-1])
    return found


def _stop(process: subprocess.Popen[str]) -> None:
    """Kill it if it is still there after STOP_S."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _add_best(one: dict[str, dict[str, float]]) -> None:
    """Add to a round of a task the best figures of those that compete."""
    rivals = [figures for name, figures in one.items() if CONTESTANTS[name].competes]
    if rivals:
        one[BEST] = {
            key: (min if key in LOWER_IS_BETTER else max)(figures[key] for figures in rivals)
            for key in rivals[0]
        }


# --- what is told


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _print(found: Measured, results: Sequence[Outcome], options: argparse.Namespace) -> None:
    print(
        f"Medians of {options.rounds} rounds of {options.seconds} s for each task, load average"
        f" {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for task, about in TASKS.items():
        if lines := table(found.rounds[task]):
            print(f"\n{task}: {about}\n{align(lines)}")
    if results:
        print(f"\nTargets\n{align(rows(results), left=2)}")
        if not options.whole:
            print(f"{BEST}: of those that were measured.")
    if options.rounds < ROUNDS_MIN:
        print(f"Fewer than {ROUNDS_MIN} rounds: for orientation, not for a verdict.")


def _report(
    found: Measured,
    results: Sequence[Outcome],
    here: Sequence[Contestant],
    options: argparse.Namespace,
) -> dict[str, Any]:
    return {
        "command": " ".join(["python -m bench.python", *options.arguments]),
        "machine": machine(),
        "versions": {contestant.name: contestant.versions() for contestant in here},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "tasks": {f"{task}: {about}": found.rounds[task] for task, about in TASKS.items()},
        "targets": [result.as_dict() for result in results],
        "faults": found.complaints,
    }


# --- the command line


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.python", description=__doc__)
    add = parser.add_argument
    add("--only", type=_names, help="contestants, comma separated; default: all")
    add("--rounds", type=int, help="default: what targets.toml says")
    add("--seconds", type=float, help="for each task, in each round; default: targets.toml")
    add("--json", type=Path, help="write all figures to this file")
    add("--quick", action="store_true", help="few and short rounds, for orientation")
    options = parser.parse_args(arguments)
    plan = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for key, value in plan["quick" if options.quick else "run"].items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    options.arguments = sys.argv[1:] if arguments is None else arguments
    options.targets = [Target(**one) for one in plan["target"]]
    options.whole = not options.only
    options.only = options.only or list(CONTESTANTS)
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTESTANTS:
            known = ", ".join(CONTESTANTS)
            raise argparse.ArgumentTypeError(f"no contestant {name!r}; there are {known}")
    return names


if __name__ == "__main__":
    main()
