"""The linters as tests: what pre-commit and `make lint types` run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import need

ROOT = Path(__file__).parents[2]
SCRIPTS = sysconfig.get_path("scripts")
FACES = ("def ", "class ", "cdef class ", "cpdef ")


def check(*command: str) -> None:
    path = os.pathsep.join([SCRIPTS, os.environ["PATH"]])  # cython-lint starts pycodestyle by name
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path},
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_ruff() -> None:
    need("module:ruff")
    check(sys.executable, "-m", "ruff", "check", ".")


def test_cython_lint() -> None:
    need("module:cython_lint")
    check(sys.executable, "-m", "cython_lint.cython_lint", "pound", "tests")


@pytest.mark.timeout(240)
def test_mypy_strict() -> None:
    need("module:mypy")
    check(sys.executable, "-m", "mypy")


@pytest.mark.timeout(240)
def test_the_stubs_tell_the_truth_about_the_built_modules() -> None:
    need("module:mypy")
    modules = [f"pound.{stub.stem}" for stub in sorted((ROOT / "pound").glob("*.pyi"))]
    assert len(modules) >= 3
    allowed = ("--allowlist", "tests/unit/stubtest-allow.txt", "--ignore-unused-allowlist")
    check(sys.executable, "-m", "mypy.stubtest", "--concise", *allowed, *modules)


def test_every_compiled_module_that_python_imports_has_a_stub() -> None:
    """A .pyx with public Python names (a `def`, a class) needs a .pyi; a pure leaf does not."""
    for source in sorted((ROOT / "pound").glob("*.pyx")):
        faces = [line for line in source.read_text().splitlines() if line.startswith(FACES)]
        assert not faces or source.with_suffix(".pyi").exists(), f"{source.name}: {faces[0]}"
