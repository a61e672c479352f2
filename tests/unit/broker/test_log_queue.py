"""The queue of the broker's log events: its rates, its bound, and its two threads."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import pytest

from tests import probe
from tests.support import WAIT_S

MS = 1_000_000
S = 1_000_000_000
KIND = 7
OTHER = 8


@pytest.fixture(scope="module")
def queue() -> ModuleType:
    """The probe of the queue."""
    return probe.load("logs")


@pytest.fixture
def logs(queue: ModuleType) -> Any:
    """An empty queue, made at time 0."""
    return queue.Logs()


def test_events_come_in_order(logs: Any) -> None:
    for number in range(5):
        logs.put(number, KIND, b"x", 0, number)
    assert logs.take() == [(KIND, b"x", number, 0, 0) for number in range(5)]
    assert logs.take() == []


def test_what_repeats_has_one_line_and_a_later_one_says_how_often(queue: Any, logs: Any) -> None:
    for number in range(10):
        logs.put(S * number, KIND, b"x", 1, number)
    assert logs.take() == [(KIND, b"x", 0, 0, 0)]
    logs.put(queue.WINDOW_NS, KIND, b"x", 1, 10)
    assert logs.take() == [(KIND, b"x", 10, 9, 0)]


def test_labels_and_kinds_have_lines_of_their_own(logs: Any) -> None:
    for kind, label in ((KIND, b"x"), (KIND, b"y"), (OTHER, b"x"), (KIND, b"x")):
        logs.put(1, kind, label)
    assert [event[:2] for event in logs.take()] == [(KIND, b"x"), (KIND, b"y"), (OTHER, b"x")]


def test_a_kind_may_have_several_lines_in_a_window(logs: Any) -> None:
    for number in range(5):
        logs.put(1, KIND, b"x", 3, number)
    assert [event[2] for event in logs.take()] == [0, 1, 2]


def test_what_never_comes_again_is_told_when_its_window_is_over(queue: Any, logs: Any) -> None:
    logs.put(0, KIND, b"x", 1, 1)
    logs.put(S, KIND, b"x", 1, 2)
    logs.put(2 * S, KIND, b"x", 1, 3)
    logs.take()
    logs.sweep(queue.WINDOW_NS - 1)
    assert logs.take() == []
    logs.sweep(queue.WINDOW_NS)
    assert logs.take() == [(KIND, b"x", 3, 1, (queue.WINDOW_NS - 2 * S) // MS)]
    logs.sweep(3 * queue.WINDOW_NS)
    assert logs.take() == []


def test_a_steady_flood_has_one_line_a_window(queue: Any, logs: Any) -> None:
    for ms in range(0, 4 * queue.WINDOW_NS // MS, 10):
        logs.put(ms * MS, KIND, b"x")
        if ms % 1000 == 0:
            logs.sweep(ms * MS)
    logs.close(4 * queue.WINDOW_NS)
    events = logs.take()
    assert len(events) == 5
    assert sum(event[3] + 1 for event in events) == 4 * queue.WINDOW_NS // MS // 10


def test_a_full_queue_counts_what_it_drops(queue: Any, logs: Any) -> None:
    for number in range(queue.ROOM + 3):
        logs.put(1, KIND, b"x", 0, number)
    assert logs.dropped() == 3
    assert len(logs.take()) == queue.ROOM
    logs.put(1, KIND, b"x", 0, 1)
    assert len(logs.take()) == 1
    logs.lost(2)
    assert logs.dropped() == 5


def test_peers_of_ever_new_names_are_bounded_by_their_kind(queue: Any, logs: Any) -> None:
    """Every event is in a line, in a count of repeats, held back or dropped."""
    seen, sent = 0, 0
    lines = 0
    for second in range(60):
        for _ in range(500):
            sent += 1
            logs.put(second * S, KIND, b"%d" % sent)
        logs.sweep(second * S)
        for kind, _, _, repeated, _ in logs.take():
            lines += 1
            seen += repeated + 1 if kind == KIND else 0
    logs.close(60 * S)
    rest = logs.take()
    assert lines <= queue.BURST + 60 * queue.RATE + 3
    assert [event[0] for event in rest][-1] == 0
    assert rest[-1][2] == KIND
    assert logs.dropped() == 0


def test_held_back_lines_are_counted_exactly(queue: Any, logs: Any) -> None:
    for number in range(queue.BURST + 9):
        logs.put(1, KIND, b"%d" % number)
        if number % 100 == 0:
            logs.take()
    logs.take()
    logs.put(1, OTHER, b"x")  # other kinds are not held back
    assert [event[0] for event in logs.take()] == [OTHER]
    logs.close(2)
    assert logs.take() == [(0, b"", KIND, 0, 0)]


def test_many_keys_that_repeat_lose_no_count(queue: Any, logs: Any) -> None:
    told = 0
    for _ in range(2):
        for number in range(200):
            logs.put(1, KIND, b"%d" % number)
    logs.close(2)
    told = sum(event[3] + 1 for event in logs.take())
    assert told == 400


def test_two_threads_lose_nothing_and_the_taker_ends(queue: Any, logs: Any) -> None:
    got: list[int] = []

    def take() -> None:
        while logs.wait():
            got.extend(event[2] for event in logs.take())

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    total = 20_000
    for number in range(total):
        logs.put(1, KIND, b"x", 0, number)
    logs.close(1)
    taker.join(WAIT_S)
    assert not taker.is_alive()
    assert got == sorted(got)
    assert len(got) + logs.dropped() == total
