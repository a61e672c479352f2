"""The bench of the Python ends: what it counts, what it refuses, what it says is missing."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.python import page, run, timing
from bench.python.contestants import CONTESTANTS, ONE_CORE
from bench.runner.targets import Target

BRIEF_S = 0.01


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "WARM_UP_S", BRIEF_S)
    monkeypatch.setattr(timing, "GATHERED", 100)
    monkeypatch.setattr(timing, "GATHERED_WARM", 10)


def test_streams_batches_and_round_trips_are_counted() -> None:
    def same(batch: Sequence[bytes]) -> Sequence[bytes]:
        return batch

    stream = timing.rate_of_stream(timing.bodies(), BRIEF_S)
    assert stream["requests"] % timing.CHUNK == 0
    assert 0 < stream["per_s"] <= stream["requests"] / BRIEF_S
    batches = timing.rate_of_batches(same, timing.BODIES[:7], BRIEF_S)
    assert batches["requests"] % 7 == 0
    trips = timing.round_trips(lambda body: body, b"x", BRIEF_S)
    assert 0 < trips["p50_us"] <= trips["p99_us"]


def test_gathers_are_counted() -> None:
    async def echo(body: bytes) -> bytes:
        return body

    found = asyncio.run(timing.gather_rate(echo, BRIEF_S))
    assert found["requests"] % 100 == 0
    assert found["per_s"] > 0


def test_wrong_answers_are_refused() -> None:
    shifted = itertools.islice(timing.bodies(), 1, None)
    with pytest.raises(timing.AnswerError):
        timing.rate_of_stream(shifted, BRIEF_S)
    with pytest.raises(timing.AnswerError):
        timing.rate_of_batches(lambda batch: [b"?"] * len(batch), [b"a"], BRIEF_S)
    with pytest.raises(timing.AnswerError):
        timing.round_trips(lambda body: b"?", b"a", BRIEF_S)


def test_best_is_the_best_of_those_that_compete() -> None:
    one = {
        "pound": {"p50_us": 1.0, "p99_us": 1.0, "requests": 9},
        "nats-py": {"p50_us": 5.0, "p99_us": 9.0, "requests": 3},
        "dask": {"p50_us": 7.0, "p99_us": 8.0, "requests": 4},
    }
    run._add_best(one)
    assert one["best"] == {"p50_us": 5.0, "p99_us": 8.0, "requests": 4}
    alone: dict[str, Any] = {"pound": {"per_s": 1.0}}
    run._add_best(alone)
    assert "best" not in alone


def test_targets_name_what_is_measured() -> None:
    options = run._parse([])
    assert options.rounds >= 7
    for target in options.targets:
        assert target.shape in CONTESTANTS[target.contestant].tasks
        assert target.base == run.BEST or target.shape in CONTESTANTS[target.base].tasks
        assert run.unmeasured([target], []) == [f"not measured: {target.shape}: {target}"]
    assert len(options.targets) == 4
    assert all(isinstance(target, Target) for target in options.targets)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(
        CONTESTANTS["dask"],
        packages={"no_such_module": "a-package"},
        broker=dataclasses.replace(CONTESTANTS["nats-py"].broker, needs=("no-such-server",)),
    )
    monkeypatch.setitem(run.CONTESTANTS, "dask", absent)
    found = run.Measured()
    assert run._here(["dask"], found) == []
    package, program = found.complaints
    assert "a-package" in package
    assert "bench-python" in package
    assert "no-such-server" in program


def test_a_run_becomes_a_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = run._parse(["--rounds", "1"])
    found = run.Measured()
    for task in run.TASKS:
        names = [name for name, one in CONTESTANTS.items() if task in one.tasks or one.one_core]
        one: dict[str, Any] = {name: {"per_s": 8.0, "p50_us": 2.0, "p99_us": 3.0} for name in names}
        run._add_best(one)
        found.rounds[task].append(one)
    results = run.outcomes(options.targets, found.rounds)
    assert run.unmeasured(options.targets, results) == []
    report = json.dumps(run._report(found, results, list(CONTESTANTS.values()), options))
    (tmp_path / "python.json").write_text(report)
    written = tmp_path / "page.md"
    written.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")
    monkeypatch.setattr(page, "PAGE", written)
    page.main([str(tmp_path / "python.json")])
    text = written.read_text()
    assert text.startswith(f"before\n{page.BEGIN}")
    assert text.endswith(f"{page.END}after\n")
    assert "old" not in text
    assert "| map | pound / best, requests/s | ≥ 3 |  | 1 | 1 - 1 | missed |" in text
    assert "| nats-py | 8 | 2 | 3 | 0% |" in text


@pytest.mark.parametrize("name", ["pyzmq", "pound"])
def test_a_contestant_measures_itself(name: str) -> None:
    found = run._measure(CONTESTANTS[name], 0.05)
    assert set(found) == {*CONTESTANTS[name].tasks, ONE_CORE}
    assert all(figures["requests"] > 0 for figures in found.values())
