"""How requests end without an answer, and with their client."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    ANS_DROPPED,
)
from tests.unit.dispatch.desk import (
    CANCELLED,
    DEADLINE,
    Desk,
    open_desk,
    slots,
)


@pytest.fixture
def desk() -> Desk:
    return open_desk()


# --- attempts ---


def test_an_attempt_counts_when_it_is_sent(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    for _ in range(10):
        desk.worker_leave(w, desk.now)  # an unsent task is undone
        desk.ready(w, 0)
        assert desk.tasks[0].attempt == 1
    desk.lose(desk.tasks[0])
    assert desk.tasks[0].attempt == 2
    assert desk.d.request_of(slot)["attempts"] == 1


def test_attempts_used_up_fail_the_request() -> None:
    desk = open_desk(attempts_max=3)
    desk.worker(0)
    slot = desk.ask(0, 1, 0)
    for attempt in (1, 2, 3):
        assert desk.tasks[0].attempt == attempt
        desk.lose(desk.tasks[0])
    assert desk.others == [("fail", slot, 10)]
    assert desk.tasks == []
    assert (desk.count("losses"), desk.count("failed")) == (3, 1)
    assert desk.count("redelivered") == 2


# --- cancel, deadlines ---


def test_cancelling_a_waiting_request_ends_it(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    assert desk.cancel(0, 1, desk.now)
    assert desk.others == [("fail", slot, CANCELLED)]
    assert not desk.cancel(0, 1, desk.now)
    assert not desk.cancel(0, 2, desk.now)


def test_cancelling_a_running_request_tells_the_worker_whose_credit_stays_taken(
    desk: Desk,
) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.ask(0, 2, 0)
    assert desk.cancel(0, 1, desk.now)
    assert desk.others == [("cancel", w, task.token), ("fail", slot, CANCELLED)]
    assert desk.tasks == []
    assert desk.partial(w, task.token) is None
    assert desk.reply(task) == ANS_DROPPED
    assert desk.count("answers_dropped") == 1
    assert slots(desk) == [1]


def test_a_worker_that_is_not_told_is_not_told(desk: Desk) -> None:
    desk.worker(0, notified=False)
    slot = desk.ask(0, 1, 0)
    desk.send_all()
    desk.cancel(0, 1, desk.now)
    assert desk.others == [("fail", slot, CANCELLED)]


def test_cancelling_an_unsent_task_leaves_no_trace_of_it(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.tasks
    desk.cancel(0, 1, desk.now)
    assert desk.others == [("fail", slot, CANCELLED)]
    assert desk.d.worker(w)["held"] == 0
    assert not desk.unsent(slot, task.token)
    assert not desk.sent(slot, task.token, desk.now)


@pytest.mark.parametrize("running", [False, True])
def test_a_deadline_ends_a_request_exactly_when_it_is_due(desk: Desk, running: bool) -> None:
    if running:
        desk.worker(0)
    slot = desk.ask(0, 1, 0, timeout_ns=50)
    tasks = desk.send_all()
    assert desk.pass_time(49) == desk.now + 1
    assert desk.others == []
    assert desk.pass_time(1) is None
    cancels = [("cancel", task.worker, task.token) for task in tasks]
    assert desk.others == [*cancels, ("fail", slot, DEADLINE)]
    assert desk.count("expired") == 1


def test_deadlines_fire_in_order_of_due_time_and_then_of_number(desk: Desk) -> None:
    for id, timeout_ns in enumerate((30, 10, 20, 10), 1):
        desk.ask(0, id, 0, timeout_ns=timeout_ns)
    desk.pass_time(30)
    assert desk.others == [("fail", slot, DEADLINE) for slot in (1, 3, 2, 0)]


# --- clients go ---


def test_closing_a_client_forgets_its_requests_oldest_first(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    sent = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    unsent, waiting = desk.ask(0, 2, 0), desk.ask(0, 3, 0)
    ended = desk.ask(0, 4, 0, internal=True)
    kept = desk.ask(0, 5, 0, internal=True)
    desk.delivered(kept)
    desk.client_close(0, desk.now)
    assert desk.others == [
        ("cancel", w, task.token),
        *(("free", slot) for slot in (sent, unsent, waiting, ended, kept)),
        ("client free", 0),
    ]
    assert desk.tasks == []
    assert desk.d.worker(w)["held"] == 1
    assert (desk.count("cancelled"), desk.count("answers_dropped")) == (3, 1)
    assert desk.reply(task) == ANS_DROPPED


def test_a_lost_client_is_closed_after_its_grace_unless_it_comes_back(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    desk.client_lost(0, 50, desk.now)
    assert desk.pass_time(49) == desk.now + 1
    desk.client_back(0)
    assert desk.pass_time(100) is None
    desk.client_lost(0, 50, desk.now)
    desk.pass_time(50)
    assert desk.others == [("free", slot), ("client free", 0)]
