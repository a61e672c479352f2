"""Which requests come in: those that come twice, and the limits."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    OPENED_OFFERED,
    OPENED_PINNED,
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
    REQUEST_WAITING,
)
from tests.unit.dispatch.desk import (
    Desk,
    open_desk,
)


@pytest.fixture
def desk() -> Desk:
    return open_desk()


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
    guide = desk.client_open(is_guide=True)
    slot = desk.ask(guide, 1, 0, internal=True)
    desk.delivered(slot)
    assert desk.others == [("free", slot)]
    assert not desk.cancel(guide, 1, desk.now)


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
    guide = desk.client_open(is_guide=True)
    desk.ask(guide, 1, 0)
    desk.ask(guide, 2, 0)
    assert desk.refuse(guide, 3, 0) == REQ_BUSY_SESSION
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
