"""A compiled module that lets tests drive the inline leaves, which Python can't see."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from tests.support import need

SETUP = Path(__file__).with_name("setup.py")


def load() -> ModuleType:
    """Import the probe, built anew if a leaf has changed; without a compiler skip."""
    need("cc")
    need("module:Cython")
    built = subprocess.run(
        [sys.executable, SETUP, "build_ext", "--inplace"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    importlib.invalidate_caches()
    return importlib.import_module("tests.probe.leaves")
