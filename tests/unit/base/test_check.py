"""The assertion of compiled code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", ["check(False, 42)", "check(True, 42)"])
def test_a_failed_check_ends_the_process_and_says_what_and_where(leaves: Any, kind: str) -> None:
    code = f"import tests.probe.leaves as leaves; leaves.{kind}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if kind == "check(False, 42)":
        assert done.returncode == -signal.SIGABRT
        assert "CHECK(" in done.stderr
        assert "value 42" in done.stderr
        assert "leaves.c:" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
