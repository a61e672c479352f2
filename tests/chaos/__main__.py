"""``python -m tests.chaos``: faults of one seed after the other; exit code 1 if all is not well."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.chaos.mix import run

SEEDS_MIN = 3


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one seed")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    given = parser.parse_args()
    logging.getLogger("pound").setLevel(logging.CRITICAL)  # to lose a paused broker is no news
    seconds = min(given.seconds, given.minutes * 60 / SEEDS_MIN)
    end = time.monotonic() + given.minutes * 60
    seed, wrong = given.seed, []
    while time.monotonic() < end:
        report = run(seed, seconds)
        print(f"seed {seed}: {report}", flush=True)
        if report.wrong:
            wrong.append(seed)
        seed += 1
    print(f"{seed - given.seed} seeds; wrong: {wrong or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
