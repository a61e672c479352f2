"""A link finds a broker, keeps it and leaves it as it should; and the simulation would notice.

A seed that fails prints the command that shows it again. The long parts run ahead of the tests that
judge them: see tests/ahead.py.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from typing import Any

import pytest

from tests.support import need

from .link_planted import PLANTS

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]

Ended = subprocess.CompletedProcess[str]

planted_ahead = pytest.mark.ahead("tests.simulation.link_planted")
compiles_and_runs_every_plant = pytest.mark.timeout(600)


@pytest.mark.ahead("tests.simulation.links", "--seeds", "60")
@pytest.mark.timeout(300)
def test_drawn_seeds(ahead: Ended) -> None:
    """Every seed: no invariant broken, and all is where it should be after each quiet time."""
    assert ahead.returncode == 0, ahead.stdout


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
    assert found["verdicts"].get(str(number)), f"not caught in {PLANTS[number - 1].function}"


@planted_ahead
@compiles_and_runs_every_plant
def test_the_unplanted_copy_is_clean(found: dict[str, Any]) -> None:
    """At each seed that caught a plant: it was the plant that was caught, not the copy."""
    assert found["verdicts"]
    assert found["copy"] == []
