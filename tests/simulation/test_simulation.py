"""The dispatcher does what its model does, whatever its peers do; and the simulation would notice.

``POUND_SIM_SEEDS`` and ``POUND_SIM_STEPS`` make it longer (the form for every push: 500 and 2000).
A seed that fails prints the command that shows it again; once understood it goes, with what was
wrong, into regressions.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import need

from .planted import PLANTS, build, caught

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "pound"
SEEDS = int(os.environ.get("POUND_SIM_SEEDS", "100"))
STEPS = int(os.environ.get("POUND_SIM_STEPS", "800"))
AT_ONCE = os.cpu_count() or 1
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
REGRESSIONS = json.loads(Path(__file__).with_name("regressions.json").read_text())


def simulate(seed: int, seeds: int, steps: int) -> str:
    """Run seeds in a process of their own; what failed, or nothing."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    command += ["--seeds", str(seeds), "--steps", str(steps)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = ran.stderr.splitlines()[-4:]  # the seed that was running, if the process was ended
    return "" if ran.returncode == 0 else "\n".join([ran.stdout, *last])


@pytest.mark.timeout(60 + SEEDS * STEPS // 100)
def test_drawn_seeds() -> None:
    """Every seed: equal traces, no invariant broken, all ends when the faults end."""
    size = max(1, SEEDS // (4 * AT_ONCE))
    starts = range(0, SEEDS, size)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = pool.map(lambda start: simulate(start, min(size, SEEDS - start), STEPS), starts)
        assert not (text := "\n".join(filter(None, failed))), text


@pytest.mark.parametrize("case", REGRESSIONS, ids=lambda case: f"seed-{case['seed']}")
def test_seeds_that_once_failed(case: dict[str, Any]) -> None:
    failed = simulate(case["seed"], 1, case["steps"])
    assert not failed, failed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the dispatcher with every plant in it."""
    for component in (COMPILER, "module:Cython", "module:setuptools"):
        need(component)
    target = tmp_path_factory.mktemp("planted")
    try:
        build(SOURCES, target)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"the planted copy does not compile:\n{error.output}")
    return target


@pytest.fixture(scope="module")
def verdicts(built: Path) -> Iterator[dict[int, str]]:
    """How each plant was caught; number 0 is the dispatcher without any."""
    numbers = range(len(PLANTS) + 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        words = pool.map(lambda number: caught(number, built, ROOT), numbers)
        yield dict(zip(numbers, words, strict=True))


@pytest.mark.timeout(600)  # compiles the copy and runs every plant
def test_the_unplanted_copy_is_clean(verdicts: dict[int, str]) -> None:
    assert verdicts[0] == ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(1, len(PLANTS) + 1), ids=lambda n: PLANTS[n - 1].name)
def test_every_planted_bug_is_caught(verdicts: dict[int, str], number: int) -> None:
    assert verdicts[number], f"not caught in {PLANTS[number - 1].file}"


def test_a_plant_without_its_text_fails_loudly() -> None:
    with pytest.raises(ValueError, match="occurs 0 times"):
        PLANTS[0].applied("nothing of it", 1)
