"""Waits, blocked pipes, liveness and leases."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    ANS_COUNTED,
    ANS_DROPPED,
    LIVENESS_ALWAYS,
    LIVENESS_IDLE,
    READY_SAME_ROUTE,
    REQUEST_RUNNING,
    REQUEST_WAITING,
)
from tests.unit.dispatch.desk import (
    ABORTED,
    FIRST_TOKEN,
    LEASE,
    NO_SERVICE,
    Desk,
    Task,
    open_desk,
    slots,
    state,
)


@pytest.fixture
def desk() -> Desk:
    return open_desk()


@pytest.fixture
def leased() -> Desk:
    return open_desk(lease_ns=LEASE)


# --- the wait for a first worker ---


def test_a_service_without_workers_fails_its_requests_after_the_wait() -> None:
    desk = open_desk(service_wait_ns=100)
    first = desk.ask(0, 1, 0)
    desk.now += 30
    second, urgent = desk.ask(0, 2, 0), desk.ask(0, 3, 0, priority=9)
    assert desk.pass_time(69) == desk.now + 1
    assert desk.pass_time(1) == desk.now + 30
    assert desk.others == [("fail", first, NO_SERVICE)]
    assert desk.pass_time(30) is None
    assert desk.others == [("fail", urgent, NO_SERVICE), ("fail", second, NO_SERVICE)]


def test_a_worker_that_comes_and_goes_starts_the_wait_anew() -> None:
    desk = open_desk(service_wait_ns=100)
    for id in (1, 2):
        desk.ask(0, id, 0)
    desk.now += 90
    w = desk.worker(0)
    assert desk.pass_time(50) is None
    desk.worker_gone(w, desk.now)
    assert desk.pass_time(99) == desk.now + 1
    desk.pass_time(1)
    assert [word for word, *_ in desk.others] == ["fail", "fail"]


def test_returned_requests_wait_from_their_return_and_fail_in_order() -> None:
    """Their order is that of acceptance, whatever the order of their returns."""
    desk = open_desk(service_wait_ns=100)
    w = desk.worker(0, capacity=3)
    for id in (1, 2, 3):
        desk.ask(0, id, 0)
        desk.send_all()
    desk.ready(w, capacity=3, how=0)
    desk.now += 10
    for token in (FIRST_TOKEN + 2, FIRST_TOKEN + 1):
        desk.answer(w, token, 14, 0, desk.now, desk.live)
    desk.now += 20
    desk.answer(w, FIRST_TOKEN, 14, 0, desk.now, desk.live)
    desk.pass_time(80)
    assert desk.others == [("fail", 1, NO_SERVICE), ("fail", 2, NO_SERVICE)]
    desk.pass_time(19)
    assert desk.others == []
    desk.worker(0)
    assert slots(desk) == [0]


# --- a blocked pipe ---


def test_a_blocked_worker_gives_back_what_was_not_sent(desk: Desk) -> None:
    blocked, other = desk.worker(0, capacity=3), desk.worker(0, capacity=3)
    for id in (1, 2, 3):
        desk.ask(0, id, 0)
        if id == 1:
            desk.send_all()
    desk.blocked(blocked, desk.now)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(2, other, 1)]
    assert desk.d.worker(blocked) | {"held": 1, "blocked": True} == desk.d.worker(blocked)


def test_a_blocked_worker_is_tried_again_when_the_time_is_over_or_it_speaks() -> None:
    desk = open_desk(block_ns=5)
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    desk.blocked(w, desk.now)
    assert desk.tasks == []
    assert desk.pass_time(4) == desk.now + 1
    assert desk.tasks == []
    desk.pass_time(1)
    assert slots(desk) == [slot]
    desk.blocked(w, desk.now)
    desk.heard(w, desk.now, desk.live)
    assert slots(desk) == [slot]
    assert desk.pass_time(100) is None


# --- liveness ---


def test_a_silent_worker_is_gone_exactly_when_it_is_due(desk: Desk) -> None:
    w = desk.worker(0, mode=LIVENESS_ALWAYS, liveness_ns=50)
    slot = desk.ask(0, 1, 0)
    desk.send_all()
    assert desk.pass_time(49) == desk.now + 1
    assert desk.others == []
    desk.pass_time(1)
    assert desk.others == [("worker gone", w)]
    assert desk.count("expired_workers") == 1
    assert state(desk, slot) == REQUEST_WAITING


def test_any_record_is_a_sign_of_life(desk: Desk) -> None:
    w = desk.worker(0, mode=LIVENESS_ALWAYS, liveness_ns=50)
    desk.now += 30
    desk.heard(w, desk.now, desk.live)
    desk.pass_time(49)
    desk.reply(Task(0, w, 5, 1))
    assert desk.pass_time(49) == desk.now + 1
    assert desk.others == []
    desk.pass_time(1)
    assert desk.others == [("worker gone", w), ("worker free", w)]


def test_ready_is_a_sign_of_life_on_the_liveness_clock(desk: Desk) -> None:
    w = desk.worker(0, mode=LIVENESS_ALWAYS, liveness_ns=50)
    desk.now += 30
    desk.ready(w, 0, how=READY_SAME_ROUTE)
    assert desk.pass_time(60, pause=True) == desk.now + 50
    assert desk.others == []


def test_the_brokers_own_pause_does_not_count_as_silence(desk: Desk) -> None:
    w = desk.worker(0, mode=LIVENESS_ALWAYS, liveness_ns=50)
    desk.pass_time(20)
    assert desk.pass_time(1000, pause=True) == desk.now + 30
    assert desk.others == []
    desk.pass_time(30)
    assert desk.others == [("worker gone", w), ("worker free", w)]


def test_a_worker_that_is_silent_while_it_computes_expires_only_when_idle(desk: Desk) -> None:
    w = desk.worker(0, mode=LIVENESS_IDLE, liveness_ns=50)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert desk.pass_time(500) is None
    assert desk.others == []
    desk.reply(task)
    desk.pass_time(49)
    assert desk.others == []
    desk.pass_time(1)
    assert desk.others == [("worker gone", w), ("worker free", w)]


# --- leases ---


def test_a_lease_counts_from_sent_and_returns_the_request_but_no_credit(leased: Desk) -> None:
    w = leased.worker(0)
    slot = leased.ask(0, 1, 0)
    assert leased.pass_time(LEASE) is None
    [task] = [Task(slot, w, FIRST_TOKEN, 1)]
    leased.give(task)
    assert leased.pass_time(LEASE - 1) == leased.now + 1
    assert state(leased, slot) == REQUEST_RUNNING
    leased.pass_time(1)
    assert state(leased, slot) == REQUEST_WAITING
    assert leased.others == []
    assert leased.d.worker(w)["held"] == 1
    assert leased.count("losses") == 1
    assert leased.reply(task) == ANS_COUNTED


def test_a_request_whose_lease_ran_out_is_sent_anew_and_the_first_worker_told(
    leased: Desk,
) -> None:
    first = leased.worker(0)
    slot = leased.ask(0, 1, 0)
    [task] = leased.send_all()
    second = leased.worker(0)
    leased.pass_time(LEASE)
    assert leased.others == [("cancel", first, task.token)]
    assert [(t.slot, t.worker, t.attempt) for t in leased.tasks] == [(slot, second, 2)]
    assert leased.reply(task) == ANS_DROPPED
    assert leased.d.worker(first)["held"] == 0


def test_a_lease_that_runs_out_at_the_limit_fails_the_request() -> None:
    desk = open_desk(lease_ns=LEASE, attempts_max=1)
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.pass_time(LEASE)
    assert desk.others == [("cancel", w, task.token), ("fail", slot, ABORTED)]


def test_a_request_that_returned_keeps_its_deadline(leased: Desk) -> None:
    leased.worker(0)
    slot = leased.ask(0, 1, 0, timeout_ns=LEASE + 50)
    [task] = leased.send_all()
    assert leased.pass_time(LEASE) == leased.now + 50
    leased.pass_time(50)
    assert leased.others == [("cancel", task.worker, task.token), ("fail", slot, 4)]
