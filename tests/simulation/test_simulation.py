"""The dispatcher does what its model does, whatever its peers do; and the simulation would notice.

``POUND_SIM_SEEDS`` and ``POUND_SIM_STEPS`` make it longer (the form for every push: 500 and 2000).
A seed that fails prints the command that shows it again; once understood it goes, with what was
wrong, into regressions.json. The long parts run ahead of the tests that judge them: see ahead.py.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.support import need

from .ahead import SEEDS, STEPS, simulate
from .planted import applied
from .plants import PLANTS, Plant

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
REGRESSIONS = json.loads(Path(__file__).with_name("regressions.json").read_text())

Ended = subprocess.CompletedProcess[str]

planted_ahead = pytest.mark.ahead("tests.simulation.ahead", "planted")
compiles_and_runs_every_plant = pytest.mark.timeout(600)


@pytest.mark.ahead("tests.simulation.ahead", "drawn")
@pytest.mark.timeout(60 + SEEDS * STEPS // 100)
def test_drawn_seeds(ahead: Ended) -> None:
    """Every seed: equal traces, no invariant broken, all ends when the faults end."""
    assert ahead.returncode == 0, ahead.stdout


@pytest.mark.parametrize("case", REGRESSIONS, ids=lambda case: f"seed-{case['seed']}")
def test_seeds_that_once_failed(case: dict[str, Any]) -> None:
    failed = simulate(case["seed"], 1, case["steps"])
    assert not failed, failed


@pytest.fixture
def found(ahead: Ended) -> dict[str, Any]:
    """How the plants were caught, and what the copy did without any."""
    for component in (COMPILER, "module:Cython", "module:setuptools"):
        need(component)
    if ahead.returncode:
        pytest.fail(ahead.stdout)
    found: dict[str, Any] = json.loads(ahead.stdout.splitlines()[-1])
    return found


@planted_ahead
@compiles_and_runs_every_plant
@pytest.mark.parametrize("number", range(1, len(PLANTS) + 1), ids=lambda n: PLANTS[n - 1].name)
def test_every_planted_bug_is_caught(found: dict[str, Any], number: int) -> None:
    assert found["verdicts"].get(str(number)), f"not caught in {PLANTS[number - 1].function}"


@planted_ahead
@compiles_and_runs_every_plant
def test_the_unplanted_copy_is_clean(found: dict[str, Any]) -> None:
    """At each seed that caught a plant: it was the plant that was caught, not the copy."""
    assert found["verdicts"]
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
