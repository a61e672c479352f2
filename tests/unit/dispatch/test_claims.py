"""Tasks of another epoch: workers claim them, requests that are held back adopt them."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    ANS_COUNTED,
    ANS_DEAD,
    ANS_DROPPED,
    ANS_RELEASED,
    CLAIM_ADOPTED,
    CLAIM_NONE,
    CLAIM_OPEN,
    CLAIM_OTHER,
    LIVENESS_IDLE,
    QUEUED_FRESH,
    QUEUED_HELD,
    QUEUED_ISOLATED,
    READY_NEW_LIFE,
    READY_NEW_ROUTE,
    READY_SAME_ROUTE,
    REQ_BUSY,
    REQ_HELD,
    REQ_QUOTA_OPEN,
    REQUEST_RUNNING,
    REQUEST_WAITING,
)
from tests.unit.dispatch.desk import (
    ABORTED,
    CANCELLED,
    DEADLINE,
    FIRST_TOKEN,
    LEASE,
    RELEASE,
    Desk,
    Task,
    lost_twice,
    open_desk,
    slots,
    state,
)

HOLD = 100
OLD, OLDER = 1 << 60, 7  # tokens of other epochs


@pytest.fixture
def desk() -> Desk:
    return open_desk()


@pytest.fixture
def leased() -> Desk:
    return open_desk(lease_ns=LEASE)


def claim(desk: Desk, w: int, *tokens: int, running: bool = True) -> int:
    """Let a worker claim tokens; how many are claims now."""
    said: int = desk.claims(w, [(token, running) for token in tokens], desk.now)
    return said


def adopted(desk: Desk, running: bool = True) -> tuple[int, Task]:
    """A request that was held back and has adopted a claim of a new worker: its slot, its task."""
    slot = desk.ask(0, 1, 0, hold_ns=HOLD)
    w = desk.worker(0)
    claim(desk, w, OLD, running=running)
    assert desk.adopt(w, OLD, slot, desk.now)
    return slot, Task(slot, w, OLD, 1)


# --- requests that are held back ---


def test_a_request_that_is_held_back_goes_to_no_worker_before_its_time(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    slot = desk.ask(0, 1, 0, hold_ns=HOLD)
    assert desk.tasks == []
    assert desk.d.request_of(slot)["queued"] == QUEUED_HELD
    assert (desk.count("waiting"), desk.count("delayed")) == (1, 1)
    fresh = desk.ask(0, 2, 0)
    assert slots(desk) == [fresh]
    assert desk.pass_time(HOLD - 1) == desk.now + 1
    assert desk.tasks == []
    desk.pass_time(1)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, w, 1)]
    assert desk.count("delayed") == 0


def test_what_was_held_back_is_fresh_then_in_the_order_in_which_it_came(desk: Desk) -> None:
    desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    held = [desk.ask(0, id, 0, hold_ns=HOLD) for id in (2, 3)]
    fresh = desk.ask(0, 4, 0)
    desk.pass_time(HOLD + 2)
    assert [desk.d.request_of(slot)["queued"] for slot in held] == [QUEUED_FRESH] * 2
    served = []
    for _ in range(3):
        desk.reply(task)
        [task] = desk.send_all()
        served.append(task.slot)
    assert served == [fresh, *held]


def test_what_is_held_back_is_not_rejected_for_want_of_a_worker() -> None:
    desk = open_desk(unknown_reject=1)
    desk.refuse(0, 1, 0)
    held = desk.ask(0, 2, 0, hold_ns=HOLD)
    desk.pass_time(HOLD)
    desk.worker(0)
    assert [task.slot for task in desk.tasks] == [held]


def test_a_request_that_is_held_back_counts_for_the_limits_whoever_is_free() -> None:
    desk = open_desk(waiting_max=1)
    desk.worker(0, capacity=9)
    desk.ask(0, 1, 0, hold_ns=HOLD)
    assert desk.refuse(0, 2, 0, hold_ns=HOLD) == REQ_BUSY
    desk.ask(0, 2, 0)  # a worker can take it at once
    assert desk.refuse(0, 1, 0, hold_ns=HOLD) == REQ_HELD


def test_a_request_that_is_held_back_counts_for_its_quota(desk: Desk) -> None:
    desk.client_owner(0, 5)
    desk.owner_set(5, open_max=1)
    desk.ask(0, 1, 0, hold_ns=HOLD)
    assert desk.refuse(0, 2, 0) == REQ_QUOTA_OPEN


def test_a_request_that_is_held_back_expires_and_is_cancelled(desk: Desk) -> None:
    desk.worker(0)
    slot = desk.ask(0, 1, 0, hold_ns=HOLD, timeout_ns=10)
    other = desk.ask(0, 2, 0, hold_ns=HOLD)
    desk.pass_time(10)
    assert desk.others == [("fail", slot, DEADLINE)]
    assert desk.cancel(0, 2, desk.now)
    assert desk.others == [("fail", other, CANCELLED)]
    assert desk.count("delayed") == 0
    assert desk.pass_time(HOLD) is None


# --- claims ---


@pytest.mark.parametrize(("running", "held"), [(True, 1), (False, 0)])
def test_a_claim_holds_credit_while_it_runs(desk: Desk, running: bool, held: int) -> None:
    w = desk.worker(0)
    assert desk.d.claim_state(w, OLD) == CLAIM_NONE
    assert claim(desk, w, OLD, running=running) == 1
    assert desk.d.claim_state(w, OLD) == CLAIM_OPEN
    assert desk.d.worker(w)["held"] == held
    slot = desk.ask(0, 1, 0)
    assert slots(desk) == [] if running else [slot]


def test_a_claim_that_is_answered_gives_its_credit_back_at_once(desk: Desk) -> None:
    w = desk.worker(0)
    claim(desk, w, OLD)
    slot = desk.ask(0, 1, 0)
    assert claim(desk, w, OLD, running=False) == 1
    assert slots(desk) == [slot]


def test_a_claim_that_is_dropped_gives_its_credit_back_at_once(desk: Desk) -> None:
    w = desk.worker(0)
    claim(desk, w, OLD)
    slot = desk.ask(0, 1, 0)
    desk.claim_drop(w, OLDER, desk.now)
    assert desk.tasks == []
    desk.claim_drop(w, OLD, desk.now)
    assert (slots(desk), desk.others) == ([slot], [])
    assert desk.d.claim_state(w, OLD) == CLAIM_NONE


def test_what_the_worker_was_not_sent_yet_makes_room_for_its_claims(desk: Desk) -> None:
    w = desk.worker(0, capacity=3)
    desk.ask(0, 1, 0)
    [sent] = desk.send_all()
    first = desk.ask(0, 2, 0)
    second = desk.ask(0, 3, 0)
    [unsent] = desk.tasks
    assert claim(desk, w, OLD) == 1
    assert slots(desk) == [first]  # undone, and one of them sent anew
    assert not desk.unsent(second, unsent.token)
    assert desk.d.worker(w)["held"] == 3
    assert (state(desk, sent.slot), state(desk, second)) == (REQUEST_RUNNING, REQUEST_WAITING)


def test_claims_that_fit_undo_nothing(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    slot = desk.ask(0, 1, 0)
    [task] = desk.tasks
    claim(desk, w, OLD)
    assert desk.unsent(slot, task.token)
    claim(desk, w, OLDER, running=False)
    assert desk.unsent(slot, task.token)


def test_claims_beyond_the_capacity_are_all_made(desk: Desk) -> None:
    w = desk.worker(0, capacity=1)
    assert claim(desk, w, OLD, OLDER) == 2
    assert desk.d.worker(w)["held"] == 2
    slot = desk.ask(0, 1, 0)
    desk.claim_drop(w, OLD, desk.now)
    assert desk.tasks == []
    desk.claim_drop(w, OLDER, desk.now)
    assert slots(desk) == [slot]


def test_nothing_that_runs_joins_an_isolated_task_that_was_not_sent(desk: Desk) -> None:
    w = desk.worker(0, capacity=3)
    task = lost_twice(desk)
    claim(desk, w, OLD)
    assert not desk.unsent(task.slot, task.token)
    assert desk.d.request_of(task.slot)["queued"] == QUEUED_ISOLATED
    assert desk.d.service(0)["reserved"] == w
    desk.claim_drop(w, OLD, desk.now)
    assert slots(desk) == [task.slot]


def test_a_late_claim_beside_an_isolated_task_changes_nothing_for_it(desk: Desk) -> None:
    w = desk.worker(0, capacity=3)
    task = desk.give(lost_twice(desk))
    claim(desk, w, OLD)
    slot = desk.ask(0, 2, 0)
    assert desk.tasks == []  # it is alone still, as far as it can be
    desk.reply(task)
    assert slots(desk) == [slot]


def test_an_answer_to_a_claim_does_not_count(desk: Desk) -> None:
    w = desk.worker(0)
    claim(desk, w, OLD)
    assert desk.reply(Task(0, w, OLD, 1)) == ANS_DEAD
    assert desk.partial(w, OLD) is None
    assert (desk.count("answers_late"), desk.count("partials_late")) == (1, 1)
    assert desk.d.claim_state(w, OLD) == CLAIM_OPEN
    assert desk.d.worker(w)["held"] == 1


def test_only_the_worker_itself_may_claim_again(desk: Desk) -> None:
    w, other = desk.worker(0), desk.worker(0)
    claim(desk, w, OLD)
    assert desk.d.claim_state(other, OLD) == CLAIM_OTHER
    assert claim(desk, other, OLD, OLDER) == 1
    assert (desk.d.worker(w)["held"], desk.d.worker(other)["held"]) == (1, 1)
    desk.claim_drop(other, OLD, desk.now)
    assert desk.d.claim_state(w, OLD) == CLAIM_OPEN


def test_tasks_of_this_epoch_are_no_claims(desk: Desk) -> None:
    w, other = desk.worker(0, capacity=2), desk.worker(0)
    desk.ask(0, 1, 0)
    [task] = desk.tasks
    assert desk.d.claim_state(w, task.token) == CLAIM_OTHER  # not sent yet
    desk.give(task)
    assert desk.d.claim_state(w, task.token) == CLAIM_ADOPTED
    assert desk.d.claim_state(other, task.token) == CLAIM_OTHER
    assert claim(desk, w, task.token) == 0
    desk.cancel(0, 1, desk.now)
    assert desk.d.claim_state(w, task.token) == CLAIM_OTHER  # an orphan
    assert claim(desk, w, task.token) == 0
    assert desk.reply(task) == ANS_DROPPED
    assert desk.d.claim_state(w, task.token) == CLAIM_NONE


@pytest.mark.parametrize("ahead", [0, 1, (1 << 44) - 1])
def test_a_token_that_is_given_out_soon_may_not_be_claimed(desk: Desk, ahead: int) -> None:
    w = desk.worker(0)
    assert desk.d.claim_state(w, FIRST_TOKEN + ahead) == CLAIM_OTHER
    assert claim(desk, w, FIRST_TOKEN + ahead, FIRST_TOKEN - 1, FIRST_TOKEN + (1 << 44)) == 2


def test_claims_of_one_call_are_read_in_order(desk: Desk) -> None:
    w = desk.worker(0)
    assert desk.claims(w, [(OLD, True), (OLD, False), (OLDER, False), (OLDER, True)], 0) == 4
    assert desk.d.worker(w)["held"] == 1


def test_a_worker_that_computes_a_claim_is_not_silent() -> None:
    desk = open_desk()
    w = desk.worker(0, mode=LIVENESS_IDLE, liveness_ns=50)
    claim(desk, w, OLD)
    desk.pass_time(1000)
    assert desk.others == []
    claim(desk, w, OLD, running=False)
    desk.pass_time(50)
    assert desk.others == [("worker gone", w), ("worker free", w)]


# --- READY, and the loss of a worker, with claims ---


def test_ready_on_the_same_route_leaves_the_claims_that_it_lists(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    claim(desk, w, OLD)
    desk.ready(w, 0, capacity=2, how=READY_SAME_ROUTE, tokens=(OLD, OLDER))
    assert desk.others == [("cancel", w, OLDER)]
    assert desk.d.claim_state(w, OLD) == CLAIM_OPEN
    assert desk.d.worker(w)["held"] == 1
    desk.ready(w, 0, capacity=2, how=READY_SAME_ROUTE)
    assert desk.d.claim_state(w, OLD) == CLAIM_NONE
    assert desk.d.worker(w)["held"] == 0


def test_ready_on_a_new_route_leaves_the_claims_that_it_lists(desk: Desk) -> None:
    w = desk.worker(0, capacity=2)
    claim(desk, w, OLD, OLDER)
    desk.ready(w, 0, capacity=2, how=READY_NEW_ROUTE, tokens=(OLD,))
    assert desk.others == []
    assert desk.d.claim_state(w, OLD) == CLAIM_OPEN
    assert desk.d.claim_state(w, OLDER) == CLAIM_NONE
    assert desk.d.worker(w)["held"] == 1
    desk.ready(w, 0, capacity=2, how=READY_NEW_ROUTE)
    assert desk.d.worker(w)["held"] == 0


def test_a_new_life_ends_claims(desk: Desk) -> None:
    w = desk.worker(0)
    claim(desk, w, OLD, OLDER)
    desk.ready(w, 0, how=READY_NEW_LIFE)
    assert desk.d.worker(w)["held"] == 0
    assert (desk.d.claim_state(w, OLD), desk.count("losses")) == (CLAIM_NONE, 0)


def test_claims_end_with_their_worker(desk: Desk) -> None:
    w = desk.worker(0)
    claim(desk, w, OLD)
    desk.worker_gone(w, desk.now)
    assert desk.others == [("worker free", w)]
    assert desk.count("losses") == 0
    other = desk.worker(0)
    assert desk.d.claim_state(other, OLD) == CLAIM_NONE


def test_a_worker_that_is_gone_claims_nothing(desk: Desk) -> None:
    w = desk.worker(0)
    desk.ask(0, 1, 0)
    desk.send_all()
    desk.worker_gone(w, desk.now)
    assert claim(desk, w, OLD) == 0
    assert desk.d.claim_state(w, OLD) == CLAIM_NONE


def test_a_leaving_worker_keeps_its_claims_and_its_requests_are_adopted(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0, hold_ns=HOLD)
    w = desk.worker(0)
    desk.worker_leave(w, desk.now)
    assert claim(desk, w, OLD) == 1
    assert desk.adopt(w, OLD, slot, desk.now)
    assert desk.reply(Task(slot, w, OLD, 1)) == ANS_COUNTED


# --- adoption ---


@pytest.mark.parametrize("running", [True, False])
def test_an_adopted_request_runs_and_is_answered_by_its_worker(desk: Desk, running: bool) -> None:
    slot, task = adopted(desk, running)
    assert (desk.tasks, desk.others) == ([], [])
    assert state(desk, slot) == REQUEST_RUNNING
    request = desk.d.request_of(slot)
    assert (request["attempts"], request["token"], request["sent"]) == (1, OLD, True)
    assert desk.d.worker(task.worker)["held"] == running
    assert desk.d.claim_state(task.worker, OLD) == CLAIM_ADOPTED
    assert (desk.count("adopted"), desk.count("delayed"), desk.count("running")) == (1, 0, 1)
    assert desk.partial(task.worker, OLD) == slot
    assert desk.reply(task) == ANS_COUNTED
    assert desk.d.worker(task.worker)["held"] == 0
    assert (desk.count("answered"), desk.count("redelivered")) == (1, 0)


def test_a_fresh_and_a_returned_request_adopt_too(desk: Desk) -> None:
    fresh = desk.ask(0, 1, 0)
    returned = desk.ask(0, 2, 0, hold_ns=HOLD)
    desk.pass_time(HOLD)
    w = desk.worker(0, capacity=0)
    claim(desk, w, OLD, OLDER)
    assert desk.adopt(w, OLD, fresh, desk.now)
    assert desk.adopt(w, OLDER, returned, desk.now)
    assert (desk.count("running"), desk.count("waiting")) == (2, 0)
    assert desk.count("adopted") == 2


def test_a_request_that_was_dispatched_and_not_sent_adopts(desk: Desk) -> None:
    """Its wait was over when the worker came back: READY has matched it before its claim does."""
    slot = desk.ask(0, 1, 0)
    w = desk.worker(0)
    [task] = desk.tasks
    claim(desk, w, OLD)
    assert desk.adopt(w, OLD, slot, desk.now)
    assert not desk.d.unsent(slot, task.token)
    assert desk.d.request_of(slot)["state"] == REQUEST_RUNNING
    assert desk.answer(w, OLD, 0, 10, desk.now, desk.now) == (ANS_COUNTED, slot)


def test_who_cannot_adopt_changes_nothing(desk: Desk) -> None:
    other = desk.service_open(0, True, desk.now)
    w, second = desk.worker(other), desk.worker(0)
    slot = desk.ask(0, 1, 0, hold_ns=HOLD)
    claim(desk, w, OLD)
    claim(desk, second, OLDER)
    assert not desk.adopt(w, OLD, slot, desk.now)  # it does not offer the service
    assert not desk.adopt(second, OLD, slot, desk.now)  # it is another's claim
    assert not desk.adopt(second, 9, slot, desk.now)  # nobody's
    assert state(desk, slot) == REQUEST_WAITING
    assert desk.adopt(second, OLDER, slot, desk.now)
    assert not desk.adopt(second, OLDER, slot, desk.now)  # it is adopted
    claim(desk, second, 9)
    assert not desk.adopt(second, 9, slot, desk.now)  # it runs
    desk.cancel(0, 1, desk.now)
    assert not desk.adopt(second, 9, slot, desk.now)  # it has ended
    assert desk.count("adopted") == 1


def test_a_request_that_waits_and_still_has_a_task_adopts_nothing(leased: Desk) -> None:
    leased.worker(0)
    slot = leased.ask(0, 1, 0)
    [task] = leased.send_all()
    leased.pass_time(LEASE)
    assert state(leased, slot) == REQUEST_WAITING
    w = leased.worker(0, capacity=0)
    claim(leased, w, OLD)
    if state(leased, slot) == REQUEST_WAITING:
        assert not leased.adopt(w, OLD, slot, leased.now)
    assert leased.reply(task) == ANS_COUNTED


def test_a_request_that_was_lost_twice_adopts_nothing(desk: Desk) -> None:
    w = desk.worker(0)
    task = lost_twice(desk)
    desk.ready(w, 0, capacity=0, how=READY_SAME_ROUTE)
    desk.blocked(w, desk.now)
    assert desk.d.request_of(task.slot)["queued"] == QUEUED_ISOLATED
    claim(desk, w, OLD)
    assert not desk.adopt(w, OLD, task.slot, desk.now)
    assert desk.d.request_of(task.slot)["queued"] == QUEUED_ISOLATED


def test_an_adopted_request_has_a_lease_of_its_own(leased: Desk) -> None:
    slot, task = adopted(leased)
    leased.pass_time(LEASE - 1)
    assert state(leased, slot) == REQUEST_RUNNING
    leased.pass_time(1)
    assert (state(leased, slot), leased.count("losses")) == (REQUEST_WAITING, 1)
    other = leased.worker(0)
    assert leased.others == [("cancel", task.worker, OLD)]
    assert [(t.slot, t.worker, t.attempt) for t in leased.tasks] == [(slot, other, 2)]
    assert leased.reply(task) == ANS_DROPPED


def test_an_adopted_request_whose_worker_is_lost_runs_again(desk: Desk) -> None:
    slot, task = adopted(desk)
    other = desk.worker(0)
    desk.worker_gone(task.worker, desk.now)
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, other, 2)]
    assert desk.others == [("worker free", task.worker)]


def test_the_only_attempt_of_an_adopted_request_fails_with_its_worker() -> None:
    desk = open_desk(attempts_max=1)
    slot, task = adopted(desk)
    desk.worker_gone(task.worker, desk.now)
    assert desk.others == [("fail", slot, ABORTED), ("worker free", task.worker)]


def test_an_adopted_request_that_is_given_back_is_not_counted(desk: Desk) -> None:
    slot, task = adopted(desk)
    assert desk.reply(task, code=RELEASE) == ANS_RELEASED
    assert [(t.slot, t.worker, t.attempt) for t in desk.tasks] == [(slot, task.worker, 1)]


@pytest.mark.parametrize("running", [True, False])
def test_an_adopted_request_that_is_cancelled_leaves_an_orphan(desk: Desk, running: bool) -> None:
    desk.client_owner(0, 5)
    desk.owner_set(5, open_max=1)
    slot, task = adopted(desk, running)
    assert desk.cancel(0, 1, desk.now)
    assert desk.others == [("cancel", task.worker, OLD), ("fail", slot, CANCELLED)]
    assert desk.d.claim_state(task.worker, OLD) == CLAIM_OTHER
    assert desk.refuse(0, 2, 0) == REQ_QUOTA_OPEN
    assert desk.reply(task) == ANS_DROPPED
    desk.ask(0, 2, 0)


def test_an_adopted_request_expires_and_ends_with_its_client(desk: Desk) -> None:
    slot = desk.ask(0, 1, 0, hold_ns=HOLD, timeout_ns=50)
    other = desk.ask(0, 2, 0, hold_ns=HOLD)
    w = desk.worker(0, capacity=2)
    claim(desk, w, OLD, OLDER)
    desk.adopt(w, OLD, slot, desk.now)
    desk.adopt(w, OLDER, other, desk.now)
    desk.pass_time(50)
    assert desk.others == [("cancel", w, OLD), ("fail", slot, DEADLINE)]
    desk.client_close(0, desk.now)
    assert ("cancel", w, OLDER) in desk.others
    assert (desk.count("expired"), desk.count("cancelled")) == (1, 1)
    assert desk.d.worker(w)["held"] == 2


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("how", [READY_SAME_ROUTE, READY_NEW_ROUTE])
def test_an_adopted_task_is_taken_up_again_with_the_credit_that_it_had(
    desk: Desk, running: bool, how: int
) -> None:
    slot, task = adopted(desk, running)
    desk.worker_gone(task.worker, desk.now)
    desk.ready(task.worker, 0, capacity=0, how=how, tokens=(OLD,))
    assert desk.d.worker(task.worker)["held"] == running
    assert desk.reply(task) == ANS_COUNTED
    assert state(desk, slot) != REQUEST_WAITING


def test_after_all_have_left_no_claim_is_left(desk: Desk) -> None:
    _, task = adopted(desk)
    claim(desk, task.worker, OLDER)
    claim(desk, task.worker, 9, running=False)
    desk.client_close(0, desk.now)
    desk.worker_gone(task.worker, desk.now)
    assert ("worker free", task.worker) in desk.others
    gauges = desk.d.counters()
    assert [gauges[name] for name in ("waiting", "running", "delayed", "clients", "workers")] == (
        [0] * 5
    )
