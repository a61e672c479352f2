"""Compiled modules by which tests drive what Python can't see: leaves, dispatcher, engines."""

from __future__ import annotations

import fcntl
import importlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.support import need

SETUP = Path(__file__).with_name("setup.py")
LOCK = Path(__file__).parents[2] / "build" / "probe.lock"


def load(name: str = "leaves") -> ModuleType:
    """Import a probe, built anew if what it shows has changed; without a compiler skip."""
    need("cc")
    need("module:Cython")
    _build()
    return importlib.import_module(f"tests.probe.{name}")


@cache
def _build() -> None:
    """Build all of them, side by side; what has not changed costs a look.

    Processes that come at the same time build one after the other; of those that share the tests
    of one run (pytest-xdist), only the first.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if not run or lock.read() != run:
            _run()
            lock.truncate(0)
            lock.write(run)
    importlib.invalidate_caches()


def _run() -> None:
    built = subprocess.run([sys.executable, SETUP], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
