"""Run seeds of the simulation; exit 1 if one fails, with the command that shows it again."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from importlib import import_module

from .pair import Factory
from .simulator import Simulation

SHOWN = 12
"""lines of the trace that a failing seed prints without --trace"""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on")
    parser.add_argument("--steps", type=int, default=2000, help="turns of the broker per seed")
    parser.add_argument("--trace", action="store_true", help="print every call with its actions")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument(
        "--no-audit", action="store_true", help="leave out the dispatcher's own check()"
    )
    parser.add_argument(
        "--dispatcher", help="the module of the dispatcher, if not the one of tests/probe"
    )
    parser.add_argument(
        "--patience", type=float, default=300, help="processor seconds for a seed: SIGPROF ends it"
    )
    return parser.parse_args()


def dispatcher_of(arguments: argparse.Namespace) -> Factory:
    """The class ``Dispatcher`` to be simulated."""
    if arguments.dispatcher:
        module = import_module(arguments.dispatcher)
    else:
        module = import_module("tests.probe").load("dispatcher")
    factory: Factory = module.Dispatcher
    return factory


def run(dispatcher: Factory, seed: int, arguments: argparse.Namespace) -> tuple[int, bool]:
    """How many calls the seed made, and whether it held."""
    show = print if arguments.trace else None
    simulation = Simulation(dispatcher, seed, show, audit=not arguments.no_audit)
    try:
        simulation.run(arguments.steps)
    except AssertionError as error:
        if show is None:
            print(*simulation.pair.trace()[-SHOWN:], sep="\n")
        print(f"seed {seed}: {type(error).__name__}: {error}")
        again = f"python -m tests.simulation --seed {seed} --steps {simulation.steps} --trace"
        print(f"again: {again}", flush=True)
        return simulation.calls, False
    return simulation.calls, True


def main() -> int:
    arguments = parsed()
    dispatcher = dispatcher_of(arguments)
    started, calls, failed = time.monotonic(), 0, 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        print(f"seed {seed} ...", file=sys.stderr, flush=True)
        # The default action, which no loop in C can hold up, and no busy machine brings about.
        signal.setitimer(signal.ITIMER_PROF, arguments.patience)
        made, held = run(dispatcher, seed, arguments)
        calls += made
        failed += not held
        if failed and arguments.first:
            break
    took = time.monotonic() - started
    print(f"{arguments.seeds} seeds, {failed} failed, {calls} calls, {took:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
