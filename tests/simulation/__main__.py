"""Run seeds of the simulation; exit 1 if one fails, with the command that shows it again."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from .pair import Factory
from .seeds import SHOWN, parser_of, run_seeds
from .simulator import Simulation


def parsed() -> argparse.Namespace:
    parser = parser_of("python -m tests.simulation", __doc__)
    parser.add_argument("--steps", type=int, default=2000, help="turns of the broker per seed")
    parser.add_argument(
        "--no-audit", action="store_true", help="leave out the dispatcher's own check()"
    )
    parser.add_argument(
        "--dispatcher", help="the module of the dispatcher, if not the one of tests/probe"
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
    return run_seeds(arguments, lambda seed: run(dispatcher, seed, arguments), "calls")


if __name__ == "__main__":
    sys.exit(main())
