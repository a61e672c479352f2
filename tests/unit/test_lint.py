"""The linters as tests: what pre-commit and `make lint types` run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import probe
from tests.support import need

ROOT = Path(__file__).parents[2]
PROBES = sorted((ROOT / "tests" / "probe").glob("*.pyi"))
STUBS = sorted([*(ROOT / "pound").rglob("*.pyi"), *PROBES])
PUBLIC = ("def ", "class ", "cdef class ", "cpdef ")
ALLOWED = ("--allowlist", "tests/unit/stubtest-allow.txt", "--ignore-unused-allowlist")


for stub in PROBES:  # stubtest imports them
    probe.load(stub.stem)


def module_of(path: Path) -> str:
    """Return the dotted name of a source below the root."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


Ended = subprocess.CompletedProcess[str]


def check(ended: Ended, module: str) -> None:
    need(f"module:{module}")
    assert ended.returncode == 0, f"{ended.args}\n{ended.stdout}"


@pytest.mark.ahead("ruff", "check", ".")
@pytest.mark.timeout(240)
def test_ruff(ahead: Ended) -> None:
    check(ahead, "ruff")


@pytest.mark.ahead("ruff", "format", "--check", ".")
@pytest.mark.timeout(240)
def test_ruff_format(ahead: Ended) -> None:
    check(ahead, "ruff")


@pytest.mark.ahead("cython_lint.cython_lint", "pound", "tests", "bench")
@pytest.mark.timeout(240)
def test_cython_lint(ahead: Ended) -> None:
    check(ahead, "cython_lint")


@pytest.mark.ahead("mypy")
@pytest.mark.timeout(240)
def test_mypy_strict(ahead: Ended) -> None:
    check(ahead, "mypy")


@pytest.mark.ahead("mypy.stubtest", "--concise", *ALLOWED, *map(module_of, STUBS))
@pytest.mark.timeout(240)
def test_the_stubs_tell_the_truth_about_the_built_modules(ahead: Ended) -> None:
    assert len(STUBS) >= 3 + len(PROBES) >= 5
    check(ahead, "mypy")


def test_every_compiled_module_that_python_imports_has_a_stub() -> None:
    """A .pyx with public Python names (a `def`, a class) needs a .pyi; a pure leaf does not."""
    for source in sorted((ROOT / "pound").rglob("*.pyx")):
        names = [line for line in source.read_text().splitlines() if line.startswith(PUBLIC)]
        assert not names or source.with_suffix(".pyi").exists(), f"{source.name}: {names[0]}"
