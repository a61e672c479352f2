"""What workers say: READY, tasks given back, BYE; and their loss."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    ANS_COUNTED,
    ANS_DEAD,
    ANS_DROPPED,
    ANS_RELEASED,
    READY_NEW_LIFE,
    READY_NEW_ROUTE,
    READY_SAME_ROUTE,
    REQ_BUSY,
    REQUEST_RUNNING,
    REQUEST_WAITING,
)
from tests.unit.dispatch.desk import (
    ABORTED,
    CANCELLED,
    DEADLINE,
    LEASE,
    NO_SERVICE,
    RELEASE,
    Desk,
    Task,
    lost_twice,
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


# --- capacity ---


@pytest.mark.parametrize("capacity", [0, 1, 3])
def test_a_worker_is_never_sent_more_than_its_capacity(desk: Desk, capacity: int) -> None:
    w = desk.worker(0, capacity=capacity)
    sent = 0
    for id in range(1, 6):
        desk.ask(0, id, 0)
        sent += len(desk.tasks)
    assert sent == capacity
    assert desk.d.worker(w)["held"] == capacity


def test_a_smaller_capacity_takes_nothing_back(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    desk.ask(0, 1, 0)
    tasks = desk.send_all()
    desk.ask(0, 2, 0)
    tasks += desk.send_all()
    desk.ready(w, 0, capacity=1, how=READY_SAME_ROUTE)
    desk.ask(0, 3, 0)
    desk.reply(tasks[0])
    assert desk.tasks == []
    desk.reply(tasks[1])
    assert slots(desk) == [2]


def test_a_larger_capacity_is_used_at_once(desk: Desk) -> None:
    w = desk.worker(0)
    for id in (1, 2, 3):
        desk.ask(0, id, 0)
    desk.ready(w, 0, capacity=3, how=READY_SAME_ROUTE)
    assert slots(desk) == [1, 2]


def test_ready_replaces_the_services(desk: Desk) -> None:
    other = desk.service_open(0, True, desk.now)
    w = desk.worker(0)
    desk.ask(0, 1, other)
    desk.ready(w, other, how=READY_SAME_ROUTE)
    assert slots(desk) == [0]
    assert desk.d.service(0)["workers"] == 0
    assert desk.d.service(0)["workerless_since"] == desk.now


def test_a_service_is_workerless_from_the_first_request_that_waits_for_a_worker(desk: Desk) -> None:
    """Not from when it was opened, or lost its last worker: nobody waited then."""
    desk.pass_time(1000)
    asked = desk.now
    desk.ask(0, 1, 0)
    desk.pass_time(500)
    desk.ask(0, 2, 0)
    assert desk.d.service(0)["workerless_since"] == asked


# --- READY: the same route, a new route, a new life ---


def holding(desk: Desk) -> tuple[int, Task, Task, Task, Task]:
    """Leave worker 0 with a running, a returned (by lease), an orphaned and an unsent task."""
    w = desk.worker(0, capacity=4)
    tasks = []
    desk.ask(0, 1, 0)
    tasks += desk.send_all()
    desk.ready(w, 0, capacity=1, how=READY_SAME_ROUTE)
    desk.pass_time(LEASE)  # the first is returned, and there is no credit to send it anew
    assert desk.tasks == []
    assert state(desk, tasks[0].slot) == REQUEST_WAITING
    for id in (2, 3, 4):
        desk.ask(0, id, 0, priority=9)
        desk.ready(w, 0, capacity=id, how=READY_SAME_ROUTE)
        tasks += desk.tasks if id == 4 else desk.send_all()
    desk.cancel(0, 3, desk.now)
    desk.delivered(2)
    returned, running, orphan, unsent = tasks
    assert desk.d.worker(w)["held"] == 4
    return w, running, returned, orphan, unsent


def test_ready_on_the_same_route_changes_no_task(leased: Desk) -> None:
    w, running, returned, orphan, unsent = holding(leased)
    leased.ready(w, 0, capacity=4, how=READY_SAME_ROUTE)
    assert (leased.tasks, leased.others) == ([], [])
    assert leased.partial(w, returned.token) == returned.slot
    assert leased.unsent(unsent.slot, unsent.token)
    assert leased.reply(orphan) == ANS_DROPPED
    assert leased.reply(running) == ANS_COUNTED


def test_ready_on_a_new_route_with_all_tokens_takes_tasks_up_again(leased: Desk) -> None:
    w, running, returned, orphan, unsent = holding(leased)
    listed = (running.token, returned.token, orphan.token, 77)
    leased.ready(w, 0, capacity=4, how=READY_NEW_ROUTE, tokens=listed)
    assert leased.others == [("cancel", w, orphan.token), ("cancel", w, 77)]
    assert slots(leased) == [unsent.slot]  # undone, and sent anew
    assert leased.tasks[0].token != unsent.token
    assert state(leased, returned.slot) == REQUEST_RUNNING
    assert leased.reply(returned) == ANS_COUNTED
    assert leased.reply(running) == ANS_COUNTED
    assert leased.reply(orphan) == ANS_DROPPED


def test_a_task_that_was_taken_up_again_has_a_new_lease(leased: Desk) -> None:
    w, _, returned, _, _ = holding(leased)
    leased.ready(w, 0, capacity=1, how=READY_NEW_ROUTE, tokens=(returned.token,))
    leased.pass_time(LEASE - 1)
    assert state(leased, returned.slot) == REQUEST_RUNNING
    leased.pass_time(1)
    assert state(leased, returned.slot) == REQUEST_WAITING


def test_ready_on_a_new_route_without_tokens_returns_all_uncounted(leased: Desk) -> None:
    w, running, returned, orphan, unsent = holding(leased)
    leased.ready(w, 0, capacity=0, how=READY_NEW_ROUTE)
    assert leased.others == []
    assert leased.d.worker(w)["held"] == 0
    for task in (running, returned, unsent):
        assert state(leased, task.slot) == REQUEST_WAITING
        assert leased.d.request_of(task.slot)["attempts"] == 0
        assert leased.reply(task) == ANS_DEAD
    assert leased.reply(orphan) == ANS_DEAD


def test_a_new_life_loses_all_counted(leased: Desk) -> None:
    w, running, returned, orphan, unsent = holding(leased)
    leased.ready(w, 0, capacity=0, how=READY_NEW_LIFE)
    assert leased.count("losses") == 2  # the lease that ran out, and the running task
    attempts = {t.slot: leased.d.request_of(t.slot)["attempts"] for t in (running, returned)}
    assert attempts == {running.slot: 1, returned.slot: 1}
    assert leased.d.request_of(unsent.slot)["attempts"] == 0
    assert all(leased.reply(task) == ANS_DEAD for task in (running, returned, orphan, unsent))


def test_a_new_life_at_the_limit_fails_the_request() -> None:
    desk = open_desk(attempts_max=1)
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    desk.send_all()
    desk.ready(w, 0)
    assert desk.others == [("fail", slot, ABORTED)]


def test_a_token_of_another_worker_is_not_taken_over(desk: Desk) -> None:
    desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    other = desk.worker()
    desk.ready(other, how=READY_NEW_ROUTE, tokens=(task.token,))
    assert desk.others == [("cancel", other, task.token)]
    assert desk.d.request_of(slot)["worker"] == task.worker


# --- the loss of a worker ---


def test_tasks_of_a_lost_worker_go_to_the_next_at_once_in_order(desk: Desk) -> None:
    first = desk.worker(0, capacity=3)
    for id in (1, 2, 3):
        desk.ask(0, id, 0)
        desk.send_all()
    second = desk.worker(0, capacity=3)
    desk.worker_gone(first, desk.now)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(s, second, 2) for s in range(3)]
    assert desk.others == [("worker free", first)]
    assert desk.count("losses") == desk.count("redelivered") == 3


def test_an_unsent_task_of_a_lost_worker_is_not_counted(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    desk.worker_gone(w, desk.now)
    assert desk.others == [("worker free", w)]
    assert desk.count("losses") == 0
    assert desk.d.request_of(slot)["attempts"] == 0


def test_the_old_token_counts_until_the_request_is_sent_anew(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.worker_gone(w, desk.now)
    assert desk.others == []  # its number stays while its task counts
    assert state(desk, slot) == REQUEST_WAITING
    assert desk.partial(w, task.token) == slot
    assert desk.reply(task) == ANS_COUNTED
    assert desk.others == [("worker free", w)]
    desk.worker(0)
    assert desk.tasks == []


def test_the_old_token_is_dead_once_the_request_is_dispatched_anew(desk: Desk) -> None:
    w = desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.worker_gone(w, desk.now)
    second = desk.worker(0)
    assert desk.others == [("worker free", w)]
    assert desk.reply(Task(0, second, task.token, 1)) == ANS_DEAD


def test_tasks_of_a_worker_without_the_right_go_to_the_next_at_once(desk: Desk) -> None:
    first = desk.worker(0, capacity=2)
    desk.ask(0, 1, 0)
    desk.send_all()
    desk.ask(0, 2, 0)  # is not sent yet
    second = desk.worker(0, capacity=2)
    desk.worker_void(first, desk.now)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(0, second, 2), (1, second, 1)]
    assert desk.others == [("worker free", first)]
    assert desk.count("losses") == 1


def test_no_answer_of_a_worker_without_the_right_counts(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.worker_void(w, desk.now)
    assert desk.others == [("worker free", w)]
    assert state(desk, slot) == REQUEST_WAITING
    again = desk.worker(0, capacity=0)  # under the same number
    assert again == w
    assert desk.reply(task) == ANS_DEAD
    assert desk.partial(again, task.token) is None
    other = desk.worker(0)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, other, 2)]


def test_a_worker_that_is_gone_can_lose_its_right(desk: Desk) -> None:
    w = desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.worker_gone(w, desk.now)
    assert desk.others == []
    desk.worker_void(w, desk.now)
    assert desk.others == [("worker free", w)]
    assert desk.worker(0, capacity=0) == w
    assert desk.reply(task) == ANS_DEAD


def test_the_last_attempt_fails_with_the_right_of_its_worker(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0)
    for _ in range(5):
        w = desk.worker(0)
        desk.send_all()
        desk.worker_void(w, desk.now)
    assert desk.others == [("fail", slot, ABORTED), ("worker free", w)]


def test_a_gone_worker_that_comes_back_goes_on_with_its_task(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.worker_gone(w, desk.now)
    desk.ready(w, 0, how=READY_NEW_ROUTE, tokens=(task.token,))
    assert (desk.tasks, desk.others) == ([], [])
    assert desk.d.worker(w)["held"] == 1
    assert state(desk, slot) == REQUEST_RUNNING
    assert desk.d.request_of(slot)["attempts"] == 1
    assert desk.reply(task) == ANS_COUNTED


def test_a_gone_worker_that_is_ready_on_its_old_route_holds_its_credit_again(desk: Desk) -> None:
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.worker_gone(w, desk.now)
    desk.ready(w, 0, capacity=2, how=READY_SAME_ROUTE)
    assert desk.others == [("cancel", w, task.token)]  # its returned request is sent anew
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, w, 2)]
    assert desk.d.worker(w)["held"] == 2
    assert desk.reply(task) == ANS_DROPPED


def test_orphans_of_a_lost_worker_are_forgotten(desk: Desk) -> None:
    w = desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    desk.cancel(0, 1, desk.now)
    desk.worker_gone(w, desk.now)
    assert desk.others == [("worker free", w)]
    assert not desk.unsent(task.slot, task.token)


def test_a_lost_worker_at_the_limit_fails_the_request() -> None:
    desk = open_desk(attempts_max=1)
    w = desk.worker(0)
    slot = desk.ask(0, 1, 0)
    desk.send_all()
    desk.worker_gone(w, desk.now)
    assert desk.others == [("fail", slot, ABORTED), ("worker free", w)]


def test_workers_are_counted_while_they_live(desk: Desk) -> None:
    w = desk.worker(0)
    desk.ask(0, 1, 0)
    desk.send_all()
    assert desk.count("workers") == 1
    desk.worker_gone(w, desk.now)
    assert desk.count("workers") == 0  # its number is still in use, for its task
    desk.ready(w, 0, how=READY_NEW_ROUTE)
    assert desk.count("workers") == 1


# --- release and BYE ---


def test_a_released_task_goes_back_uncounted(desk: Desk) -> None:
    first, second = desk.worker(0), desk.worker(0)
    slot = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert task.worker == first
    assert desk.reply(task, code=RELEASE) == ANS_RELEASED
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, second, 1)]
    assert desk.d.worker(first)["held"] == 0
    assert desk.reply(task) == ANS_DEAD
    assert (desk.count("released"), desk.count("redelivered")) == (1, 0)


def test_an_isolated_request_whose_attempt_is_taken_back_is_isolated_no_more(
    leased: Desk,
) -> None:
    w = leased.worker(0)
    slot = leased.ask(0, 1, 0)
    leased.lose(leased.tasks[0])
    [task] = leased.send_all()
    other = leased.service_open(0, True, leased.now)
    busy = leased.worker(0, other, capacity=2)
    leased.ask(0, 2, other)
    leased.pass_time(LEASE)
    assert leased.d.service(0)["isolated"] == 1
    assert leased.d.service(0)["reserved"] == busy
    leased.reply(task, code=RELEASE)
    assert leased.d.service(0)["reserved"] is None
    assert [(t.slot, t.worker, t.attempt) for t in leased.tasks] == [(slot, w, 2)]
    assert not leased.d.worker(w)["isolating"]


def delayed(desk: Desk, delay_ns: int = 100, **options: int) -> int:
    """A request that its worker has given back for a while; its slot."""
    slot = desk.ask(0, 1, 0, **options)
    [task] = desk.send_all()
    result = desk.answer(task.worker, task.token, RELEASE, 0, desk.now, desk.live, delay_ns)
    assert result == (ANS_RELEASED, slot)
    return slot


def test_a_released_request_waits_out_its_delay_whoever_is_free(desk: Desk) -> None:
    desk.worker(0, capacity=2)
    slot = delayed(desk)
    assert desk.tasks == []
    assert state(desk, slot) == REQUEST_WAITING
    assert (desk.count("waiting"), desk.count("delayed")) == (1, 1)
    second = desk.worker(0)
    assert desk.tasks == []
    other = desk.ask(0, 2, 0)
    assert [t.slot for t in desk.tasks] == [other]
    assert desk.pass_time(99) == desk.now + 1
    assert desk.tasks == []
    desk.pass_time(1)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, second, 1)]
    assert desk.count("delayed") == 0


def test_a_delayed_request_ends_by_its_deadline_by_cancel_and_with_its_client(desk: Desk) -> None:
    desk.worker(0)
    slot = delayed(desk, timeout_ns=50)
    desk.pass_time(50)
    assert desk.others == [("fail", slot, DEADLINE)]
    desk.undeliverable(slot)
    slot = desk.ask(0, 2, 0)
    [task] = desk.send_all()
    desk.answer(task.worker, task.token, RELEASE, 0, desk.now, desk.live, 100)
    assert desk.cancel(0, 2, desk.now)
    assert desk.others == [("fail", slot, CANCELLED)]
    desk.ask(0, 3, 0)
    [task] = desk.send_all()
    desk.answer(task.worker, task.token, RELEASE, 0, desk.now, desk.live, 100)
    desk.client_close(0, desk.now)
    assert desk.count("delayed") == 0
    assert desk.pass_time(1000) is None


def test_a_delayed_request_waits_for_a_first_worker_from_the_end_of_its_delay() -> None:
    desk = open_desk(service_wait_ns=1000)
    w = desk.worker(0)
    slot = delayed(desk)
    desk.worker_gone(w, desk.now)
    assert desk.pass_time(100) == desk.now + 1000
    desk.pass_time(999)
    assert desk.others == []
    desk.pass_time(1)
    assert desk.others == [("fail", slot, NO_SERVICE)]


def test_a_delayed_request_counts_for_the_limits() -> None:
    desk = open_desk(waiting_max=1)
    w = desk.worker(0)
    delayed(desk)
    desk.ask(0, 2, 0)  # the free worker's
    assert desk.refuse(0, 3, 0) == REQ_BUSY
    assert desk.d.worker(w)["held"] == 1


def test_bye_undoes_what_was_not_sent_and_leaves_the_rest(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    held = desk.ask(0, 1, 0)
    [task] = desk.send_all()
    unsent = desk.ask(0, 2, 0)
    desk.worker_leave(w, desk.now)
    assert state(desk, held) == REQUEST_RUNNING
    assert state(desk, unsent) == REQUEST_WAITING
    assert desk.reply(task) == ANS_COUNTED
    assert desk.tasks == []


# --- the end ---


def test_when_all_have_left_nothing_is_left(leased: Desk) -> None:
    workers = [leased.worker(0, capacity=2) for _ in range(3)]
    for id in range(1, 12):
        leased.ask(0, id, 0, priority=id % 3, timeout_ns=1000)
        leased.send_all()
    leased.pass_time(LEASE)
    assert leased.count("losses") > 0
    for w in workers:
        leased.worker_gone(w, leased.now)
    leased.client_close(0, leased.now)
    gauges = leased.d.counters()
    names = (
        "waiting",
        "running",
        "waiting_bytes",
        "running_bytes",
        "kept",
        "kept_bytes",
        "clients",
        "workers",
    )
    assert {name: gauges[name] for name in names} == dict.fromkeys(names, 0)
    assert gauges["services"] == 1  # the pinned one
    assert leased.pass_time(10_000) is None


def test_an_isolated_task_that_is_taken_up_again_is_alone_still(desk: Desk) -> None:
    w = desk.worker(0, capacity=3)
    task = desk.give(lost_twice(desk))
    desk.worker_gone(w, desk.now)
    desk.ready(w, 0, capacity=3, how=READY_NEW_ROUTE, tokens=(task.token,))
    desk.ask(0, 2, 0)
    assert desk.tasks == []
    desk.reply(task)
    assert slots(desk) == [1]


def test_a_cancel_that_was_missed_is_told_again_when_the_worker_lists_its_token() -> None:
    desk = open_desk()
    w = desk.worker(0, capacity=2)
    desk.ask(0, 1, 0)
    [over] = desk.send_all()
    desk.ask(0, 2, 0)
    [held] = desk.send_all()
    desk.cancel(0, 1, desk.now)
    desk.ready(w, 0, capacity=2, how=READY_SAME_ROUTE, tokens=(over.token, held.token))
    assert ("cancel", w, over.token) in desk.others
    assert ("cancel", w, held.token) not in desk.others
    assert desk.reply(held) == ANS_COUNTED
