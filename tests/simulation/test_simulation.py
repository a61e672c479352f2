"""The dispatcher does what its model does, whatever its peers do.

``POUND_SIM_SEEDS`` and ``POUND_SIM_STEPS`` make it longer (the form for every push: 500 and 2000).
A seed that fails prints the command that shows it again; once understood it goes, with what was
wrong, into regressions.json. The drawn seeds run ahead of the test that judges them: see
tests/ahead.py.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .drawn import SEEDS, STEPS, simulate

REGRESSIONS = json.loads(Path(__file__).with_name("regressions.json").read_text())

Ended = subprocess.CompletedProcess[str]


@pytest.mark.ahead("tests.simulation.drawn")
@pytest.mark.timeout(60 + SEEDS * STEPS // 100)
def test_drawn_seeds(ahead: Ended) -> None:
    """Every seed: equal traces, no invariant broken, all ends when the faults end."""
    assert ahead.returncode == 0, ahead.stdout


@pytest.mark.parametrize("case", REGRESSIONS, ids=lambda case: f"seed-{case['seed']}")
def test_seeds_that_once_failed(case: dict[str, Any]) -> None:
    failed = simulate(case["seed"], 1, case["steps"])
    assert not failed, failed
