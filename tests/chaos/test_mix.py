"""The short form of ``make chaos``: kills and stops of everyone, at once, under load."""

from __future__ import annotations

import pytest

from tests.chaos.mix import run

SECONDS = 12.0


@pytest.mark.timeout(180)
def test_kills_stops_and_pauses_under_load() -> None:
    report = run(1, SECONDS)
    assert not report.wrong, str(report)
    assert report.answered > 0
