"""``python -m tests.simulation.ahead drawn|planted``: the long parts of test_simulation.py.

drawn    the seeds drawn for every push; prints what failed, or nothing
planted  all planted bugs; prints a JSON object: ``verdicts``, how each was caught, by number, and
         ``copy``, what failed without any plant at the seeds that had caught one
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

from .planted import build, caught
from .plants import PLANTS

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


def planted(folder: Path) -> str:
    """How the plants were caught in a copy of the dispatcher with all of them in it."""
    build(ROOT / "pound", folder)
    numbers = range(1, len(PLANTS) + 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(lambda number: caught(number, folder, ROOT), numbers))
        seeds = sorted({verdict.seed for verdict in verdicts if verdict})
        copy = pool.map(lambda seed: caught(0, folder, ROOT, range(seed, seed + 1)), seeds)
        found = {number: v.words for number, v in zip(numbers, verdicts, strict=True) if v}
        return json.dumps({"verdicts": found, "copy": [astuple(v) for v in copy if v]})


def main() -> int:
    if sys.argv[1] == "drawn":
        failed = drawn()
        print(failed, end="")
        return 1 if failed else 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(planted(Path(folder)))
        except subprocess.CalledProcessError as error:
            print(f"the planted copy does not compile:\n{error.output}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
