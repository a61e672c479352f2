"""The dispatcher does what its model does, whatever its peers do; and the simulation would notice.

``POUND_SIM_SEEDS`` and ``POUND_SIM_STEPS`` make it longer (the form for every push: 500 and 2000).
A seed that fails prints the command that shows it again; once understood it goes, with what was
wrong, into regressions.json. The long parts run ahead of the tests that judge them: see ahead.py.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.support import need

from .ahead import SEEDS, STEPS, simulate
from .planted import PLANTS

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
REGRESSIONS = json.loads(Path(__file__).with_name("regressions.json").read_text())

Ended = subprocess.CompletedProcess[str]

planted_ahead = pytest.mark.ahead("tests.simulation.ahead", "planted")
compiles_and_runs_every_plant = pytest.mark.timeout(600)


@pytest.mark.ahead("tests.simulation.ahead", "drawn")
@pytest.mark.timeout(60 + SEEDS * STEPS // 100)
def test_drawn_seeds(ahead: Ended) -> None:
    """Every seed: equal traces, no invariant broken, all ends when the faults end."""
    assert ahead.returncode == 0, ahead.stdout


@pytest.mark.parametrize("case", REGRESSIONS, ids=lambda case: f"seed-{case['seed']}")
def test_seeds_that_once_failed(case: dict[str, Any]) -> None:
    failed = simulate(case["seed"], 1, case["steps"])
    assert not failed, failed


@pytest.fixture
def found(ahead: Ended) -> dict[str, Any]:
    """How the plants were caught, and what the copy did without any."""
    for component in (COMPILER, "module:Cython", "module:setuptools"):
        need(component)
    if ahead.returncode:
        pytest.fail(ahead.stdout)
    found: dict[str, Any] = json.loads(ahead.stdout.splitlines()[-1])
    return found


@planted_ahead
@compiles_and_runs_every_plant
@pytest.mark.parametrize("number", range(1, len(PLANTS) + 1), ids=lambda n: PLANTS[n - 1].name)
def test_every_planted_bug_is_caught(found: dict[str, Any], number: int) -> None:
    assert found["verdicts"].get(str(number)), f"not caught in {PLANTS[number - 1].file}"


@planted_ahead
@compiles_and_runs_every_plant
def test_the_unplanted_copy_is_clean(found: dict[str, Any]) -> None:
    """At each seed that caught a plant: it was the plant that was caught, not the copy."""
    assert found["verdicts"]
    assert found["copy"] == []


def test_a_plant_without_its_text_fails_loudly() -> None:
    with pytest.raises(ValueError, match="occurs 0 times"):
        PLANTS[0].applied("nothing of it", 1)
