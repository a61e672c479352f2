"""The command line of a simulation: which seeds to run, and what came of them."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable

SHOWN = 12
"""lines of the trace that a failing seed prints without --trace"""


def parser_of(program: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every simulation has."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --seed on")
    parser.add_argument("--trace", action="store_true", help="print every fault, call and action")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that fails")
    parser.add_argument(
        "--patience", type=float, default=300, help="processor seconds for a seed: SIGPROF ends it"
    )
    return parser


def run_seeds(
    arguments: argparse.Namespace, run: Callable[[int], tuple[int, bool]], counted: str
) -> int:
    """Run the seeds and print a summary; give the exit code.

    `run` says of a seed how much it did, in what `counted` names, and whether it held.
    """
    started, total, failed = time.monotonic(), 0, 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        print(f"seed {seed} ...", file=sys.stderr, flush=True)
        # The default action, which no loop in C can hold up, and no busy machine brings about.
        signal.setitimer(signal.ITIMER_PROF, arguments.patience)
        count, held = run(seed)
        total += count
        failed += not held
        if failed and arguments.first:
            break
    took_s = time.monotonic() - started
    print(f"{arguments.seeds} seeds, {failed} failed, {total} {counted}, {took_s:.1f} s")
    return 1 if failed else 0
