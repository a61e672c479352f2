"""The way of a request, its answer, and the numbers of what comes and goes."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    ANS_COUNTED,
    ANS_DEAD,
    REQ_BUSY_SESSION,
    REQ_HELD,
    REQUEST_ANSWERED,
    REQUEST_RUNNING,
    REQUEST_WAITING,
    Dispatcher,
)
from tests.unit.dispatch.desk import (
    CANCELLED,
    FIRST_TOKEN,
    Desk,
    Task,
    open_desk,
    slots,
)


@pytest.fixture
def desk() -> Desk:
    return open_desk()


# --- a request's way ---


def test_a_request_goes_to_an_idle_worker_at_once(desk: Desk) -> None:
    desk.worker(0)
    slot = desk.ask(0, 1, 0)
    assert desk.tasks == [Task(slot, worker=0, token=FIRST_TOKEN, attempt=1)]
    assert desk.d.request_of(slot)["state"] == REQUEST_RUNNING


def test_a_request_waits_for_a_worker(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    assert desk.tasks == []
    assert desk.d.request_of(slot)["state"] == REQUEST_WAITING
    desk.worker(0)
    assert slots(desk) == [slot]


def test_the_answer_ends_a_request_and_gives_the_credit_back(desk: Desk) -> None:
    desk.worker(0)
    first, second = desk.ask(0, 1, 0), 1
    [task] = desk.tasks
    desk.give(task)
    assert desk.ask(0, 2, 0) == second
    assert desk.tasks == []
    assert desk.reply(task, size=77) == ANS_COUNTED
    assert slots(desk) == [second]
    assert desk.d.request_of(first)["state"] == REQUEST_ANSWERED
    assert desk.d.request_of(first)["bytes"] == 77


def test_an_error_of_a_worker_is_an_answer(desk: Desk) -> None:
    desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert desk.reply(task, code=13) == ANS_COUNTED
    assert desk.count("answered") == 1


def test_tokens_count_up_and_wrap_around() -> None:
    desk = Desk()
    desk.d = Dispatcher(token_seed=2**64 - 1)
    desk.client_open()
    desk.service_open()
    desk.worker(0, capacity=2)
    desk.ask(0, 1, 0)
    [last] = desk.send_all()
    desk.ask(0, 2, 0)
    [first] = desk.send_all()
    assert (last.token, first.token) == (2**64 - 1, 0)
    assert desk.reply(first) == ANS_COUNTED
    assert desk.reply(last) == ANS_COUNTED


def test_an_internal_request_is_answered_when_it_comes(desk: Desk) -> None:
    desk.worker(0)
    slot = desk.ask(0, 1, 0, internal=True, timeout_ns=5)
    assert desk.tasks == []
    assert desk.d.request_of(slot)["state"] == REQUEST_ANSWERED
    desk.answer_bytes(slot, 500)
    assert desk.d.request_of(slot)["bytes"] == 500
    assert desk.pass_time(10) is None


# --- an answer counts only with the token of a task that its sender holds ---


def test_an_answer_with_an_unknown_token_is_dead(desk: Desk) -> None:
    w = desk.worker(0)
    assert desk.reply(Task(0, w, token=5, attempt=1)) == ANS_DEAD
    assert desk.count("answers_late") == 1


def test_an_answer_with_the_token_of_another_worker_is_dead(desk: Desk) -> None:
    desk.worker(0)
    thief = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert task.worker != thief
    assert desk.reply(Task(slot, thief, task.token, 1)) == ANS_DEAD
    assert desk.partial(thief, task.token) is None
    assert desk.reply(task) == ANS_COUNTED


def test_a_second_answer_is_dead(desk: Desk) -> None:
    desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert desk.reply(task) == ANS_COUNTED
    assert desk.reply(task) == ANS_DEAD


def test_an_unsent_task_cannot_be_answered(desk: Desk) -> None:
    desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.tasks
    assert desk.reply(task) == ANS_DEAD
    assert desk.partial(task.worker, task.token) is None
    assert desk.count("partials_late") == 1


def test_partial_answers_name_the_request_and_change_nothing(desk: Desk) -> None:
    desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert desk.partial(task.worker, task.token) == slot
    assert desk.partial(task.worker, task.token) == slot
    assert desk.d.request_of(slot)["state"] == REQUEST_RUNNING


# --- services come and go ---


def test_a_service_is_freed_with_its_last_request_or_offer(desk: Desk) -> None:
    s = desk.service_open(0, False, desk.now)
    w = desk.worker(s)
    slot = desk.ask(0, 1, s)
    desk.send_all()
    desk.worker_gone(w, desk.now)
    assert ("service free", s) not in desk.others
    desk.cancel(0, 1, desk.now)
    assert desk.others == [("worker free", w), ("fail", slot, CANCELLED)]
    desk.delivered(slot)
    desk.client_done(0, 2)
    assert desk.others == [("free", slot), ("service free", s)]


@pytest.mark.parametrize("result", [REQ_BUSY_SESSION, REQ_HELD])
def test_a_service_opened_for_a_request_that_does_not_come_in_is_freed(result: int) -> None:
    desk = open_desk(requests_max=1)
    desk.ask(0, 1, 0)
    s = desk.service_open(0, False, desk.now)
    assert desk.refuse(0, 2 if result == REQ_BUSY_SESSION else 1, s) == result
    assert desk.others == [("service free", s)]


def test_a_service_that_a_worker_keeps_is_not_freed_between(desk: Desk) -> None:
    kept, dropped = (desk.service_open(0, False, desk.now) for _ in range(2))
    w = desk.worker(kept, dropped)
    desk.ready(w, 0, kept)
    assert desk.others == [("service free", dropped)]


# --- numbers ---


def test_numbers_are_reused_last_freed_first(desk: Desk) -> None:
    freed = [desk.ask(0, id, 0, internal=True) for id in (1, 2, 3)]
    for slot in freed:
        desk.undeliverable(slot)
    assert [desk.ask(0, id, 0) for id in (4, 5, 6, 7)] == [2, 1, 0, 3]


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.request(1, 1, 0),
        lambda d: d.request(0, 1, 1),
        lambda d: d.request(0, 1, 0, priority=10),
        lambda d: d.cancel(7, 1, 0),
        lambda d: d.delivered(0),
        lambda d: d.undeliverable(2**32 - 1),
        lambda d: d.answer_bytes(3, 1),
        lambda d: d.client_close(1, 0),
        lambda d: d.worker_gone(0, 0),
        lambda d: d.answer(0, 0, 0, 0, 0, 0),
        lambda d: d.worker_open(3, 0, False, 0),
        lambda d: d.request_of(0),
        lambda d: d.service(1),
        lambda d: Dispatcher(no_such_limit=1),
    ],
)
def test_a_wrong_number_is_an_error(desk: Desk, call: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        call(desk.d)  # type: ignore[operator]
    desk.check()


def test_only_an_ended_request_can_be_delivered(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    with pytest.raises(ValueError, match="no answer"):
        desk.delivered(slot)
