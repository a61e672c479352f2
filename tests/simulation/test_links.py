"""A link finds a broker, keeps it and leaves it as it should.

A seed that fails prints the command that shows it again. The seeds run ahead of the test that
judges them: see tests/ahead.py.
"""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.ahead("tests.simulation.links", "--seeds", "60")
@pytest.mark.timeout(300)
def test_drawn_seeds(ahead: subprocess.CompletedProcess[str]) -> None:
    """Every seed: no invariant broken, and all is where it should be after each quiet time."""
    assert ahead.returncode == 0, ahead.stdout
