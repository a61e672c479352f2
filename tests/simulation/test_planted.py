"""The simulations would notice: each catches every bug that is planted in a copy of its rules.

The copies are compiled and simulated ahead of the tests that judge them: see tests/ahead.py.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from typing import Any

import pytest

from tests.support import need

from .planted import COPIES, applied
from .plants import Plant

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
AHEAD = {name: pytest.mark.ahead("tests.simulation.planted", name) for name in COPIES}

compiles_and_runs_every_plant = pytest.mark.timeout(600)


@pytest.fixture
def found(ahead: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """How the plants were caught, and what the copy did without any."""
    for component in (COMPILER, "module:Cython", "module:setuptools"):
        need(component)
    if ahead.returncode:
        pytest.fail(ahead.stdout)
    found: dict[str, Any] = json.loads(ahead.stdout.splitlines()[-1])
    return found


@compiles_and_runs_every_plant
@pytest.mark.parametrize(
    ("number", "plant"),
    [
        pytest.param(number, plant, marks=AHEAD[name], id=f"{name}: {plant.name}")
        for name, copy in COPIES.items()
        for number, plant in enumerate(copy.plants, 1)
    ],
)
def test_every_planted_bug_is_caught(found: dict[str, Any], number: int, plant: Plant) -> None:
    assert found["verdicts"].get(str(number)), f"not caught in {plant.function}"


@compiles_and_runs_every_plant
@pytest.mark.parametrize("copy", [pytest.param(name, marks=AHEAD[name]) for name in COPIES])
def test_the_unplanted_copy_is_clean(found: dict[str, Any], copy: str) -> None:
    """At each seed that caught a plant: it was the plant that was caught, not the copy."""
    assert found["verdicts"], copy
    assert found["copy"] == []


SOURCE = """
cdef inline void other(worker_t *w) noexcept nogil:
    w.held -= 1


cdef inline void give(
    dispatcher_t *d, uint32_t t
) noexcept nogil:
    cdef worker_t *w = &d.workers[t]
    w.held -= 1
    if w.held < w.capacity:
        list(d, w)


cdef inline void later(worker_t *w) noexcept nogil:
    w.held -= 1
"""


def test_a_plant_is_found_by_its_function_and_its_pattern() -> None:
    text = applied(Plant("", "give", "$x.held -= 1", "$x.held -= 2", statement=True), SOURCE, 1)
    text = applied(Plant("", "give", "$x.held < $x.capacity", "$x.held <= $x.capacity"), text, 2)
    text = applied(Plant("", "give", "list(...)", "pass", statement=True), text, 3)
    changed = """
    cdef worker_t *w = &d.workers[t]
    if planted() == 1:
        w.held -= 2
    else:
        w.held -= 1
    if (<bint> (w.held <= w.capacity) if planted() == 2 else <bint> (w.held < w.capacity)):
        if planted() == 3:
            pass
        else:
            list(d, w)


cdef inline void later(worker_t *w) noexcept nogil:
    w.held -= 1
"""
    assert text.endswith(changed)
    assert text.startswith(SOURCE[:100])


@pytest.mark.parametrize(
    ("function", "pattern", "found"),
    [("nowhere", "$w.held -= 1", 0), ("give", "$w.held -= 3", 0), ("give", "$w.held", 2)],
)
def test_a_plant_that_is_not_found_once_fails_loudly(
    function: str, pattern: str, found: int
) -> None:
    with pytest.raises(ValueError, match=f"'a name': found {found} times in {function}"):
        applied(Plant("a name", function, pattern, ""), SOURCE, 1)
