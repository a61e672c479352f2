"""The dispatcher's rules on requests: admission, order, isolation, answers and their keeping.

Each test is one rule. Numbers of clients, workers, services and slots count up from 0.
"""

from __future__ import annotations

import pytest

from pound._dispatch.dispatcher import (
    ANS_COUNTED,
    ANS_DEAD,
    ANS_DROPPED,
    OPENED_OFFERED,
    OPENED_PINNED,
    READY_SAME_ROUTE,
    REQ_ANSWERED,
    REQ_BUSY,
    REQ_BUSY_BYTES,
    REQ_BUSY_MEMORY,
    REQ_BUSY_SERVICE,
    REQ_BUSY_SESSION,
    REQ_HELD,
    REQ_KEPT,
    REQ_NO_SERVICE,
    REQ_STALE,
    REQUEST_ANSWERED,
    REQUEST_KEPT,
    REQUEST_RUNNING,
    REQUEST_WAITING,
    Dispatcher,
)
from tests.unit.desk import FIRST_TOKEN, Desk, Task, lost_twice, open_desk, slots

CANCELLED, DEADLINE, NO_SERVICE = 1, 4, 5


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


# --- least recently used, by credit ---


def test_the_worker_that_was_sent_a_task_longest_ago_gets_the_next(desk: Desk) -> None:
    workers = [desk.worker(0, capacity=2) for _ in range(3)]
    order = []
    for id in range(1, 7):
        desk.ask(0, id, 0)
        order.append(desk.tasks[0].worker)
    assert order == workers * 2
    desk.ask(0, 7, 0)
    assert desk.tasks == []


def test_an_idle_worker_comes_before_a_busy_one_that_was_sent_a_task_longer_ago(desk: Desk) -> None:
    busy, idle = desk.worker(0, capacity=3), desk.worker(0)
    desk.ask(0, 1, 0)
    desk.ask(0, 2, 0)
    [task] = desk.send_all()
    assert task.worker == idle
    desk.reply(task)
    desk.ask(0, 3, 0)
    assert desk.tasks[0].worker == idle
    desk.ask(0, 4, 0)
    assert desk.tasks[0].worker == busy


def test_of_two_busy_workers_the_one_that_holds_less_comes_first(desk: Desk) -> None:
    full, spare = desk.worker(0, capacity=9), desk.worker(0, capacity=9)
    for id in (1, 2, 3):
        desk.ask(0, id, 0)
        [task] = desk.send_all()
    assert task.worker == full
    desk.ask(0, 4, 0)
    desk.reply(desk.send_all()[0])  # spare holds 1, full 2, and it is full's turn after the next
    desk.ask(0, 5, 0)
    assert desk.tasks[0].worker == spare
    desk.ask(0, 6, 0)
    assert desk.tasks[0].worker == full


def test_a_worker_that_hangs_is_passed_by_whatever_its_capacity(desk: Desk) -> None:
    hole, honest = desk.worker(0, capacity=65535), desk.worker(0, capacity=4)
    running: list[Task] = []
    for id in range(1, 500):
        desk.ask(0, id, 0)
        running += [task for task in desk.send_all() if task.worker == honest]
        if id > 9 and len(running) > 1:  # it always has some left
            desk.reply(running.pop(0))
    assert desk.d.worker(hole)["held"] < 9


def test_a_worker_keeps_its_place_across_ready(desk: Desk) -> None:
    first, _ = desk.worker(0), desk.worker(0)
    desk.ready(first, 0)
    desk.ask(0, 1, 0)
    assert desk.tasks[0].worker == first


def test_a_worker_of_several_services_serves_them_in_turn() -> None:
    desk = open_desk()
    for _ in range(2):
        desk.service_open(0, True, desk.now)
    for id in range(1, 10):
        desk.ask(0, id, id % 3)
    w = desk.worker(0, 1, 2)
    order = []
    for _ in range(6):
        [task] = desk.send_all()
        order.append(desk.d.request_of(task.slot)["service"])
        desk.reply(task)
    assert order == [0, 1, 2, 0, 1, 2]
    assert desk.d.worker(w)["held"] == 1


def test_a_service_named_twice_is_offered_once(desk: Desk) -> None:
    w = desk.worker(0, 0, 0)
    assert desk.d.worker(w)["services"] == [0]
    assert desk.d.service(0)["workers"] == 1


# --- priority ---


def test_higher_priority_first_and_in_order_within_one(desk: Desk) -> None:
    priorities = [0, 9, 3, 9, 0, 3]
    for id, priority in enumerate(priorities, 1):
        desk.ask(0, id, 0, priority=priority)
    desk.worker(0, capacity=6)
    assert slots(desk) == [1, 3, 2, 5, 0, 4]


def test_one_dispatch_in_sixteen_takes_the_lowest_priority(desk: Desk) -> None:
    for id in range(1, 33):
        desk.ask(0, id, 0, priority=9)
    low = [desk.ask(0, id, 0, priority=id % 2) for id in (34, 35)]
    desk.worker(0, capacity=40)
    assert [slots(desk).index(slot) for slot in low] == [15, 31]


def test_no_priority_starves_between_floods(desk: Desk) -> None:
    """Each that waits is served within 16 dispatches for each priority there is."""
    ids = iter(range(1, 10_000))
    waiting = {priority: desk.ask(0, next(ids), 0, priority=priority) for priority in range(10)}
    desk.worker(0)
    passed = 0
    while set(waiting) - {0, 9}:
        [task] = desk.send_all()
        waiting = {priority: slot for priority, slot in waiting.items() if slot != task.slot}
        for priority in (0, 9):
            desk.ask(0, next(ids), 0, priority=priority)
        desk.reply(task)
        passed += 1
        assert passed <= 160, waiting


def test_returned_requests_go_before_fresh_ones_in_order_of_acceptance(desk: Desk) -> None:
    for id in range(1, 6):
        desk.ask(0, id, 0)
    w = desk.worker(0, capacity=3)
    tasks = desk.send_all()
    desk.worker_leave(w, desk.now)
    for task in (tasks[1], tasks[2], tasks[0]):
        desk.reply(task, code=14)
    desk.worker(0, capacity=5)
    assert slots(desk) == [0, 1, 2, 3, 4]


# --- isolation ---


def test_nothing_joins_a_request_that_was_lost_twice(desk: Desk) -> None:
    w = desk.worker(0, capacity=4)
    task = lost_twice(desk)
    assert desk.d.worker(w)["isolating"]
    desk.ask(0, 2, 0)
    assert desk.tasks == []
    desk.give(task)
    desk.reply(task)
    assert slots(desk) == [1]


def isolated_beside_a_busy_worker(desk: Desk) -> tuple[Task, int]:
    """Leave an isolated request beside a busy worker with credit; its task, the former's slot."""
    ill = desk.worker(0)
    task = lost_twice(desk)
    busy = desk.worker(0, capacity=3)
    desk.ask(0, 2, 0)
    [other] = desk.send_all()
    assert other.worker == busy
    desk.give(task)
    desk.worker_gone(ill, desk.now)
    return other, task.slot


def test_a_busy_worker_runs_empty_for_an_isolated_request(desk: Desk) -> None:
    other, isolated = isolated_beside_a_busy_worker(desk)
    assert desk.tasks == []
    assert desk.d.service(0)["reserved"] == other.worker
    fresh = desk.ask(0, 3, 0)
    assert desk.tasks == []
    desk.reply(other)
    assert slots(desk) == [isolated]
    [task] = desk.send_all()
    desk.reply(task)
    assert slots(desk) == [fresh]


def test_another_idle_worker_ends_the_reservation(desk: Desk) -> None:
    other, isolated = isolated_beside_a_busy_worker(desk)
    fresh = desk.ask(0, 3, 0)
    desk.worker(0)
    assert [(t.slot, t.worker == other.worker) for t in desk.tasks] == [
        (isolated, False),
        (fresh, True),
    ]
    assert desk.d.service(0)["reserved"] is None


@pytest.mark.parametrize("how", ["leave", "gone", "ready"])
def test_a_reservation_passes_on_to_another_busy_worker(desk: Desk, how: str) -> None:
    other, _ = isolated_beside_a_busy_worker(desk)
    desk.service_open(0, True, desk.now)
    second = desk.worker(1, capacity=2)
    desk.ask(0, 3, 1)
    desk.ready(second, 0, 1, capacity=2, how=READY_SAME_ROUTE)
    assert desk.d.service(0)["reserved"] == other.worker
    if how == "leave":
        desk.worker_leave(other.worker, desk.now)
    elif how == "gone":
        desk.worker_gone(other.worker, desk.now)
    else:
        desk.ready(other.worker, 1, how=READY_SAME_ROUTE)
    assert desk.d.service(0)["reserved"] == second


def test_what_is_isolated_no_more_goes_to_a_busy_worker_that_is_not_reserved(desk: Desk) -> None:
    """A release takes one of two attempts back, by a worker that is gone but whose token counts."""
    second_tasks = []
    for id in (1, 2):
        ill = desk.worker(0)
        desk.ask(0, id, 0)
        desk.lose(desk.tasks[0])
        second_tasks += desk.send_all()
        desk.worker_leave(ill, desk.now)
    busy = [desk.worker(0, capacity=3) for _ in range(2)]
    for id in (3, 4):
        desk.ask(0, id, 0)
    for task in second_tasks:
        desk.worker_gone(task.worker, desk.now)
    assert desk.d.service(0)["isolated"] == 2
    assert desk.d.service(0)["reserved"] == busy[0]
    desk.reply(second_tasks[1], code=14)
    assert [(t.slot, t.worker) for t in desk.tasks] == [(second_tasks[1].slot, busy[1])]


def test_a_cancelled_isolated_request_ends_the_reservation(desk: Desk) -> None:
    other, _ = isolated_beside_a_busy_worker(desk)
    fresh = desk.ask(0, 3, 0)
    assert desk.cancel(0, 1, desk.now)
    assert [(t.slot, t.worker) for t in desk.tasks] == [(fresh, other.worker)]


def test_another_busy_service_cannot_starve_an_isolated_request(desk: Desk) -> None:
    """A worker with credit for both is reserved as soon as it is looked at."""
    ill = desk.worker(0)
    isolated = desk.give(lost_twice(desk)).slot
    desk.service_open(0, True, desk.now)
    shared = desk.worker(0, 1, capacity=2)
    running = []
    for id in (2, 3):
        desk.ask(0, id, 1)
        running += desk.send_all()
    assert {task.worker for task in running} == {shared}
    desk.worker_gone(ill, desk.now)
    desk.ask(0, 4, 1)
    desk.reply(running[0])
    assert desk.tasks == []
    assert desk.d.worker(shared)["reserved_for"] == 0
    desk.reply(running[1])
    assert slots(desk) == [isolated]


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
    desk.worker(0, tells=False)
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
    told = [("cancel", task.worker, task.token) for task in tasks]
    assert desk.others == [*told, ("fail", slot, DEADLINE)]
    assert desk.count("expired") == 1


def test_deadlines_fire_in_order_of_due_time_and_then_of_number(desk: Desk) -> None:
    for id, timeout_ns in enumerate((30, 10, 20, 10), 1):
        desk.ask(0, id, 0, timeout_ns=timeout_ns)
    desk.pass_time(30)
    assert desk.others == [("fail", slot, DEADLINE) for slot in (1, 3, 2, 0)]


# --- what comes in twice ---


def test_a_request_that_is_held_is_not_taken_twice(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    assert desk.request(0, 1, 0, now=desk.now) == (REQ_HELD, slot)
    assert desk.count("accepted") == 1


def test_a_kept_answer_is_delivered_again(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0, internal=True)
    desk.answer_bytes(slot, 30)
    assert desk.request(0, 1, 0, now=desk.now) == (REQ_ANSWERED, slot)
    desk.delivered(slot)
    assert desk.d.request_of(slot)["state"] == REQUEST_KEPT
    assert desk.count("kept_bytes") == 30
    assert desk.request(0, 1, 0, now=desk.now) == (REQ_KEPT, slot)
    assert desk.d.request_of(slot)["state"] == REQUEST_ANSWERED
    assert desk.count("kept_bytes") == 0


def test_an_error_is_kept_as_an_answer_is(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    desk.cancel(0, 1, desk.now)
    desk.delivered(slot)
    assert desk.request(0, 1, 0, now=desk.now) == (REQ_KEPT, slot)


def test_a_request_below_done_is_stale_and_one_above_is_new(desk: Desk) -> None:
    desk.ask(0, 10, 0)
    desk.client_done(0, 5)
    assert desk.refuse(0, 4, 0) == REQ_STALE
    assert desk.ask(0, 5, 0) == 1
    assert desk.count("refused") == 0


def test_done_frees_answers_below_it_and_leaves_open_requests_alone(desk: Desk) -> None:
    delivered, ended, above = (desk.ask(0, id, 0, internal=True) for id in (1, 2, 4))
    desk.delivered(delivered)
    waiting = desk.ask(0, 3, 0)
    desk.client_done(0, 4)
    assert desk.others == [("free", delivered), ("free", ended)]
    assert desk.count("answers_dropped") == 1
    assert desk.d.request_of(waiting)["state"] == REQUEST_WAITING
    assert desk.d.request_of(above)["state"] == REQUEST_ANSWERED
    desk.client_done(0, 2)
    assert desk.others == []


def test_done_far_ahead_frees_in_order_of_acceptance(desk: Desk) -> None:
    last, *below = [desk.ask(0, id, 0, internal=True) for id in (12, 5, 2, 9)]
    desk.client_done(0, 12)
    assert desk.others == [("free", slot) for slot in below]
    desk.client_done(0, 2**63)
    assert desk.others == [("free", last)]


def test_an_answer_that_the_client_is_done_with_is_not_kept(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    desk.client_done(0, 2)
    desk.cancel(0, 1, desk.now)
    desk.delivered(slot)
    assert desk.others == [("free", slot)]


def test_kept_answers_make_room_oldest_first() -> None:
    desk = open_desk(answers_bytes_max=100)
    kept = [desk.ask(0, id, 0, internal=True) for id in (1, 2, 3)]
    for slot, size in zip(kept, (60, 40, 30), strict=True):
        desk.answer_bytes(slot, size)
        desk.delivered(slot)
    assert desk.others == [("free", kept[0])]
    assert (desk.count("kept"), desk.count("kept_bytes")) == (2, 70)
    assert desk.count("answers_evicted") == 1
    assert desk.ask(0, 1, 0, internal=True) == kept[0]


def test_an_answer_larger_than_all_that_is_kept_is_not_kept() -> None:
    desk = open_desk(answers_bytes_max=100)
    slot = desk.ask(0, 1, 0, internal=True)
    desk.answer_bytes(slot, 101)
    desk.delivered(slot)
    assert desk.others == [("free", slot)]


def test_an_undeliverable_answer_is_dropped_and_counted(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0, internal=True)
    desk.undeliverable(slot)
    assert desk.others == [("free", slot)]
    assert desk.count("answers_dropped") == 1


def test_a_foreign_clients_answers_are_not_kept(desk: Desk) -> None:
    foreign = desk.client_open(foreign=True)
    slot = desk.ask(foreign, 1, 0, internal=True)
    desk.delivered(slot)
    assert desk.others == [("free", slot)]
    assert not desk.cancel(foreign, 1, desk.now)


# --- limits ---


def test_what_waits_is_bounded_in_all() -> None:
    desk = open_desk(waiting_max=2)
    desk.service_open(0, True, desk.now)
    desk.ask(0, 1, 0)
    desk.ask(0, 2, 1)
    assert desk.refuse(0, 3, 0) == REQ_BUSY
    assert desk.count("refused") == 1
    desk.worker(0)
    assert desk.ask(0, 3, 0) == 2


def test_bytes_that_wait_are_bounded_in_all_and_for_a_service() -> None:
    desk = open_desk(waiting_bytes_max=100, service_waiting_bytes_max=60)
    desk.service_open(0, True, desk.now)
    desk.ask(0, 1, 0, size=60)
    assert desk.refuse(0, 2, 0, size=1) == REQ_BUSY_SERVICE
    assert desk.refuse(0, 2, 1, size=41) == REQ_BUSY_BYTES
    desk.ask(0, 2, 1, size=40)


def test_bytes_of_running_requests_count_until_their_answer() -> None:
    desk = open_desk(waiting_bytes_max=100)
    desk.worker(0, capacity=9)
    desk.ask(0, 1, 0, size=60)
    assert (desk.count("waiting_bytes"), desk.count("running_bytes")) == (0, 60)
    assert desk.refuse(0, 2, 0, size=41) == REQ_BUSY_BYTES
    desk.ask(0, 2, 0, size=40)
    desk.cancel(0, 1, desk.now)
    assert desk.count("running_bytes") == 40
    desk.ask(0, 3, 0, size=60)


def test_one_request_comes_in_whatever_its_size() -> None:
    desk = open_desk(waiting_bytes_max=100)
    desk.ask(0, 1, 0, size=1000)
    assert desk.refuse(0, 2, 0, size=1) == REQ_BUSY_BYTES


def test_nothing_comes_in_while_the_memory_is_kept_for_answers() -> None:
    desk = open_desk()
    desk.worker(0)
    desk.d.full(True)
    assert desk.refuse(0, 1, 0) == REQ_BUSY_MEMORY
    desk.ask(0, 2, 0, internal=True)
    desk.d.full(False)
    desk.ask(0, 1, 0)


def test_what_waits_for_a_service_is_bounded() -> None:
    desk = open_desk(service_waiting_max=1)
    desk.service_open(0, True, desk.now)
    desk.ask(0, 1, 0)
    assert desk.refuse(0, 2, 0) == REQ_BUSY_SERVICE
    desk.ask(0, 2, 1)


def test_no_limit_on_waiting_holds_back_what_a_worker_can_take_at_once() -> None:
    desk = open_desk(waiting_max=0, service_waiting_max=0)
    desk.worker(0)
    desk.ask(0, 1, 0)
    assert desk.refuse(0, 2, 0) == REQ_BUSY


def test_open_requests_of_a_client_are_bounded() -> None:
    desk = open_desk(requests_max=1, foreign_window=2)
    desk.ask(0, 1, 0)
    assert desk.refuse(0, 2, 0) == REQ_BUSY_SESSION
    foreign = desk.client_open(foreign=True)
    desk.ask(foreign, 1, 0)
    desk.ask(foreign, 2, 0)
    assert desk.refuse(foreign, 3, 0) == REQ_BUSY_SESSION
    desk.cancel(0, 1, desk.now)
    desk.ask(0, 2, 0)


def test_a_refused_request_may_come_again_under_its_number() -> None:
    desk = open_desk(requests_max=1)
    desk.ask(0, 1, 0)
    assert desk.refuse(0, 2, 0) == REQ_BUSY_SESSION
    desk.cancel(0, 1, desk.now)
    desk.ask(0, 3, 0, internal=True)
    desk.ask(0, 2, 0)


def test_a_service_without_workers_may_be_refused_at_once() -> None:
    desk = open_desk(unknown_reject=1)
    assert desk.refuse(0, 1, 0) == REQ_NO_SERVICE
    desk.worker(0)
    desk.ask(0, 1, 0)
    desk.ask(0, 2, 0)


def test_numbers_of_clients_workers_and_services_are_bounded() -> None:
    desk = open_desk(clients_max=1, workers_max=1, services_max=1)
    assert desk.client_open() is None
    assert desk.service_open(0, OPENED_PINNED, 0) is None
    assert desk.service_open(0, OPENED_OFFERED, 0) is None
    desk.worker(0)
    assert desk.worker_open(0, 0, True, 0) is None
    desk.client_close(0, desk.now)
    assert desk.client_open() == 0


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
