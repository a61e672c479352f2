"""When a standby serves, by the times at which its preferred broker came and went."""

from __future__ import annotations

import math

import pytest

from pound._broker.takeover import FIRST_S, LOST_S, SETTLE_MAX_S, SETTLE_S, STEADY_S, Takeover

SOON = 0.001


def changes(takeover: Takeover, events: list[tuple[float, bool]], end: float) -> list[float]:
    """Return when a standby that looks at each event, and when it is due, changed its mind."""
    found = []
    served = takeover.serves
    for at, there in [*events, (end, None)]:
        while (due := takeover.due()) < at:
            if takeover.decide(due) != served:
                served = not served
                found.append(due)
        if there is not None:
            takeover.note(there, at)
    return found


def test_a_preferred_broker_that_is_not_there_at_the_start_has_time_to_come() -> None:
    assert changes(Takeover(10.0), [], 100.0) == [10.0 + FIRST_S]
    assert changes(Takeover(10.0), [(10.0 + FIRST_S - SOON, True)], 100.0) == []


def test_one_that_is_lost_is_missed_soon_and_a_short_absence_is_none() -> None:
    assert changes(Takeover(0.0), [(0.1, True), (20.0, False)], 100.0) == [20.0 + LOST_S]
    blinks = [(0.1, True), (20.0, False), (20.0 + LOST_S - SOON, True)]
    assert changes(Takeover(0.0), blinks, 100.0) == []


def test_of_several_the_next_one_has_time_to_take_over() -> None:
    takeover = Takeover(0.0, several=True)
    assert changes(takeover, [(0.1, True), (20.0, False)], 100.0) == [20.0 + FIRST_S]


def test_one_that_is_back_has_to_stay_before_it_gets_its_peers() -> None:
    events = [(0.1, True), (20.0, False), (30.0, True)]
    times = [20.0 + LOST_S, 30.0 + SETTLE_S]
    assert changes(Takeover(0.0), events, 100.0) == times
    gone_again = [*events, (30.0 + SETTLE_S - SOON, False)]
    assert changes(Takeover(0.0), gone_again, 100.0) == times[:1]


def test_one_that_comes_and_goes_has_to_stay_for_ever_longer() -> None:
    takeover, now, waits = Takeover(0.0), 0.0, []
    for _ in range(9):
        lost, back = now, now + 2.0
        events = [(lost + SOON, True), (lost + 2 * SOON, False), (back + SOON, True)]
        times = changes(takeover, events, back + 2 * SETTLE_MAX_S)
        waits.append(round(times[-1] - back - SOON, 6))
        now = times[-1] + 1.0
        takeover.note(False, now)
        assert takeover.due() == now + LOST_S
        takeover.decide(now + LOST_S)
        takeover.note(True, now + LOST_S)
        now = takeover.due()
        takeover.decide(now)
    assert waits[0] == SETTLE_S
    assert waits == sorted(waits)
    assert waits[-1] == SETTLE_MAX_S


def test_one_that_stayed_for_long_is_trusted_as_at_first() -> None:
    takeover = Takeover(0.0)
    events = [(0.1, True), (20.0, False), (30.0, True), (40.0, False), (50.0, True)]
    first = changes(takeover, events, 60.0)
    assert first[-1] == 50.0 + 2 * SETTLE_S
    lost = 50.0 + 2 * SETTLE_S + STEADY_S
    later = changes(takeover, [(lost, False), (lost + 10.0, True)], lost + 100.0)
    assert later == [lost + LOST_S, lost + 10.0 + SETTLE_S]


@pytest.mark.parametrize("there", [True, False])
def test_it_is_due_only_while_there_is_something_to_decide(there: bool) -> None:
    takeover = Takeover(0.0)
    takeover.note(True, 0.1)
    if not there:
        takeover.note(False, 1.0)
        assert takeover.due() == 1.0 + LOST_S
        assert takeover.decide(1.0 + LOST_S)
    assert takeover.due() == math.inf
