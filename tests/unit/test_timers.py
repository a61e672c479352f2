"""One timer a key: order, re-arming, memory."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pound._timers import DEAD_MIN, Timers


def test_due_keys_come_earliest_first_and_once():
    timers: Timers[str] = Timers()
    for key, when in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0)):
        timers.arm(key, when)
    assert timers.next_due() == 1.0
    assert timers.pop_due(3.0) == ["a", "b", "c"]
    assert timers.pop_due(3.0) == []
    assert (timers.next_due(), len(timers)) == (4.0, 1)


def test_the_last_time_counts_and_infinity_disarms():
    timers: Timers[str] = Timers()
    timers.arm("later", 1.0)
    timers.arm("later", 5.0)
    timers.arm("never", 1.0)
    timers.arm("never", math.inf)
    timers.disarm("unknown")
    assert timers.pop_due(4.0) == []
    assert timers.pop_due(5.0) == ["later"]
    assert timers.next_due() == math.inf


def test_memory_follows_the_armed_keys():
    timers: Timers[int] = Timers()
    for key in range(10_000):
        timers.arm(key, 1e9 + key)
        timers.disarm(key - 10)
    assert len(timers) == 10
    assert len(timers._heap) <= 2 * len(timers) + DEAD_MIN


@given(st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 50)))))
def test_it_equals_a_plain_dict(steps):
    timers: Timers[int] = Timers()
    plain: dict[int, float] = {}
    for now, (key, when) in enumerate(steps):
        if when is None:
            timers.disarm(key)
            plain.pop(key, None)
        else:
            timers.arm(key, float(when))
            plain[key] = float(when)
        due = {key for key, when in plain.items() if when <= now}
        assert set(timers.pop_due(now)) == due
        for key in due:
            del plain[key]
        assert timers.next_due() == min(plain.values(), default=math.inf)
