"""``python -m tests.simulation.drawn``: the seeds drawn for every push; prints what failed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = int(os.environ.get("POUND_SIM_SEEDS", "100"))
STEPS = int(os.environ.get("POUND_SIM_STEPS", "800"))
AT_ONCE = os.cpu_count() or 1


def simulate(seed: int, seeds: int, steps: int) -> str:
    """Run seeds in a process of their own; what failed, or nothing."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    command += ["--seeds", str(seeds), "--steps", str(steps)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = ran.stderr.splitlines()[-4:]  # the seed that was running, if the process was ended
    return "" if ran.returncode == 0 else "\n".join([ran.stdout, *last])


def drawn() -> str:
    """What failed among the drawn seeds."""
    size = max(1, SEEDS // (4 * AT_ONCE))
    starts = range(0, SEEDS, size)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = pool.map(lambda start: simulate(start, min(size, SEEDS - start), STEPS), starts)
        return "\n".join(filter(None, failed))


def main() -> int:
    failed = drawn()
    print(failed, end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
