"""Compiled modules: tests drive by them what Python can't see, inline leaves and engines."""

from __future__ import annotations

import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.support import need

SETUP = Path(__file__).with_name("setup.py")


def load(name: str = "leaves") -> ModuleType:
    """Import a probe, built anew if what it shows has changed; without a compiler skip."""
    need("cc")
    need("module:Cython")
    _build()
    return importlib.import_module(f"tests.probe.{name}")


@cache
def _build() -> None:
    """Build all of them, side by side; what has not changed costs a look."""
    built = subprocess.run([sys.executable, SETUP], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    importlib.invalidate_caches()
