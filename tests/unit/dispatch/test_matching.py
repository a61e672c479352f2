"""Who gets the next task: least recently used, priority, isolation."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    READY_SAME_ROUTE,
)
from tests.unit.dispatch.desk import (
    Desk,
    Task,
    lost_twice,
    open_desk,
    slots,
)


@pytest.fixture
def desk() -> Desk:
    return open_desk()


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
