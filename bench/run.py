"""``python -m bench``: interleaved rounds of all contestants on the shapes that are asked for.

Every round measures each contestant once, in an order that rotates from round to round. Exit
code 0; 1 if a measurement had errors or was too short to mean anything; 2 for a usage error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from bench.figures import faults, summary, table
from bench.subjects import (
    CONTESTANTS,
    Contestant,
    Effort,
    Shape,
    SubjectError,
    build,
    favoured,
    measure,
)

SHAPE = "8x64x16x64"
QUICK_ROUNDS, QUICK = 3, Effort(seconds=0.5, warm_up=0.2)
ROUNDS_MIN = 7  # for a verdict


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table for each shape, exit."""
    options = _parse(arguments)
    complaints: list[str] = []
    report: dict[str, Any] = {"machine": _machine(), "rounds": options.rounds, "shapes": {}}
    try:
        build()
        for shape in options.shape:
            with favoured(options.nice):
                rounds = _rounds(shape, options, complaints)
            _print(shape, rounds, options)
            report["shapes"][str(shape)] = {
                "summary": {name: summary(rounds, name) for name in rounds[0]},
                "rounds": rounds,
            }
    except SubjectError as error:
        complaints.append(str(error))
    if options.json:
        options.json.write_text(json.dumps({**report, "faults": complaints}, indent=1) + "\n")
    for complaint in complaints:
        print(f"NOT VALID: {complaint}", file=sys.stderr)
    sys.exit(1 if complaints else 0)


def _rounds(
    shape: Shape, options: argparse.Namespace, complaints: list[str]
) -> list[dict[str, dict[str, Any]]]:
    """Return the figures of every round, by contestant."""
    effort = Effort(options.seconds, options.warm_up, options.nice)
    names = list(options.only)
    rounds = []
    for number in range(options.rounds):
        shift = number * 3 % len(names)
        found = {}
        for name in names[shift:] + names[:shift]:
            _progress(f"{shape}: round {number + 1}/{options.rounds}, {name}")
            found[name] = measure(CONTESTANTS[name], shape, effort)
            complaints += faults(f"{shape} round {number + 1} {name}", found[name])
        rounds.append({name: found[name] for name in names})
    _progress("")
    return rounds


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _print(
    shape: Shape, rounds: list[dict[str, dict[str, Any]]], options: argparse.Namespace
) -> None:
    busy = os.getloadavg()[0]
    print(
        f"\n{shape} (clients x outstanding x workers x bytes), medians of {len(rounds)} rounds of"
        f" {options.seconds} s, load average {busy:.1f} on {os.cpu_count()} cores"
    )
    if len(rounds) < ROUNDS_MIN:
        print(f"Fewer than {ROUNDS_MIN} rounds: for orientation, not for a verdict.")
    print(table(rounds))
    print("spread: (highest - lowest) / median. load: of one core; ! = the generator is the limit.")


def _machine() -> dict[str, Any]:
    """Return where this ran."""
    import zmq

    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "load_average": os.getloadavg(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--shape", action="append", type=Shape.parse, help=f"default: {SHAPE}; repeatable")
    add("--only", type=_names, help="contestants, comma separated; default: all that are here")
    add("--rounds", type=int, help=f"default: {ROUNDS_MIN}")
    add("--seconds", type=float, help="measured in each round; default: 2")
    add("--warm-up", type=float, help="seconds before that; default: 0.5")
    add("--nice", type=int, default=0, help="niceness of load and subject; below 0 needs root")
    add("--json", type=Path, help="write all figures to this file")
    add("--quick", action="store_true", help="few and short rounds, for orientation")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else Effort()
    defaults: dict[str, Any] = {
        "rounds": QUICK_ROUNDS if options.quick else ROUNDS_MIN,
        "seconds": effort.seconds,
        "warm_up": effort.warm_up,
        "shape": [Shape.parse(SHAPE)],
    }
    for key, value in defaults.items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    options.only = options.only or [c.name for c in CONTESTANTS.values() if _is_here(c)]
    return options


def _is_here(contestant: Contestant) -> bool:
    """Tell whether an optional contestant can run; the build makes it if its parts are here."""
    if contestant.needs is None:
        return True
    build()
    return contestant.needs.exists()


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CONTESTANTS:
            known = ", ".join(CONTESTANTS)
            raise argparse.ArgumentTypeError(f"no contestant {name!r}; there are {known}")
    return names


if __name__ == "__main__":
    main()
