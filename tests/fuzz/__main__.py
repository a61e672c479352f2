"""Fuzz for minutes on demand: ``python -m tests.fuzz [--minutes N] [--seed N]``.

Each round prints its seed before it starts, so that a round that ends the process can be run again
alone with ``--seed``. Build with ``POUND_SANITIZE=1`` to see what a crash was about.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from tests.fuzz import checks, mutations

ROUND = 20_000  # messages of one seed


def one_round(seed: int) -> int:
    """Run `ROUND` messages from a seed; returns how many packets among them were sound."""
    rng = random.Random(seed)
    kept: list[mutations.Frames] = []  # sound ones, to be bent further
    sound = 0
    for _ in range(ROUND // 2):
        frames = mutations.mutated(rng, rng.choice(kept if kept and rng.random() < 0.5
                                                   else mutations.SOUND))  # fmt: skip
        if checks.check_packet(frames) is not None:
            sound += 1
            if len(frames[0]) < 4096:
                kept.append(frames)
                del kept[:-500]
        checks.check_dialect(mutations.mutated(rng, rng.choice(mutations.FOREIGN)))
    return sound


def main(arguments: Sequence[str] | None = None) -> None:
    """Run rounds until the time is over, or the one round of a given seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args(arguments)
    if given.seed is not None:
        print(f"seed {given.seed}: {one_round(given.seed)} sound packets")
        return
    end = time.monotonic() + 60 * given.minutes
    messages = sound = 0
    while time.monotonic() < end:
        seed = random.SystemRandom().getrandbits(32)
        print(f"seed {seed}", end="\r", flush=True)
        sound += one_round(seed)
        messages += ROUND
    print(f"{messages} messages, {sound} of them sound packets; nothing found")


if __name__ == "__main__":
    main()
