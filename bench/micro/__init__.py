"""Operations per second of the inline leaves, the dispatcher and the codec.

What is measured runs in C, thousands of operations to a call: ops.pyx, built by `load`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

SETUP = Path(__file__).with_name("setup.py")


def load() -> ModuleType:
    """Import the compiled operations, built anew if they or what they measure changed."""
    built = subprocess.run(
        [sys.executable, SETUP, "build_ext", "--inplace"], capture_output=True, text=True
    )
    if built.returncode:
        raise RuntimeError(built.stderr)
    importlib.invalidate_caches()
    return importlib.import_module("bench.micro.ops")
