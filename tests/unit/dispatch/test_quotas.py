"""What an owner may have open, and how often it may ask: in all, and in one service."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    OPENED_PINNED,
    REQ_ACCEPTED,
    REQ_BUSY_SESSION,
    REQ_QUOTA_BYTES,
    REQ_QUOTA_OPEN,
    REQ_QUOTA_RATE,
    REQ_SERVICE_QUOTA_BYTES,
    REQ_SERVICE_QUOTA_OPEN,
    REQ_SERVICE_QUOTA_RATE,
)
from tests.unit.dispatch.desk import Desk, open_desk

ME = 5  # an identity


@pytest.fixture
def desk() -> Desk:
    """Clients 0 and 1 are of one identity, 2 of none; services 0 and 1 have no workers."""
    desk = open_desk()
    desk.client_open()
    desk.client_open()
    desk.client_owner(0, ME)
    desk.client_owner(1, ME)
    desk.service_open(0, OPENED_PINNED, desk.now)
    return desk


def test_an_identity_has_so_many_open_in_all(desk: Desk) -> None:
    desk.owner_set(ME, open_max=2)
    desk.ask(0, 1, 0)
    desk.ask(1, 1, 1)
    assert desk.refuse(0, 2, 0) == REQ_QUOTA_OPEN
    assert desk.refuse(1, 2, 1) == REQ_QUOTA_OPEN
    assert (desk.count("refused"), desk.count("refused_quota")) == (2, 2)
    desk.ask(2, 1, 0)  # is not of it
    desk.cancel(0, 1, desk.now)
    desk.ask(1, 2, 0)


def test_running_requests_count_and_answered_ones_do_not(desk: Desk) -> None:
    desk.owner_set(ME, open_max=1)
    desk.worker(0, capacity=5)
    desk.ask(0, 1, 0)
    [task] = desk.send_all()
    assert desk.refuse(0, 2, 0) == REQ_QUOTA_OPEN
    desk.reply(task)
    desk.ask(0, 2, 0)


def test_a_task_that_goes_on_without_its_request_counts_until_it_ends(desk: Desk) -> None:
    desk.owner_set(ME, open_max=2)
    desk.worker(0, capacity=9)
    desk.ask(0, 1, 0, size=500)
    [first] = desk.send_all()
    desk.ask(0, 2, 0, timeout_ns=10)
    [second] = desk.send_all()
    desk.cancel(0, 1, desk.now)
    desk.pass_time(10)
    assert desk.count("expired") == 1
    assert desk.refuse(1, 3, 0) == REQ_QUOTA_OPEN
    desk.reply(first)
    desk.ask(1, 3, 0)
    assert desk.refuse(0, 4, 0) == REQ_QUOTA_OPEN
    desk.reply(second)
    desk.ask(0, 4, 0)


def test_what_was_cancelled_has_no_bytes(desk: Desk) -> None:
    desk.owner_set(ME, bytes_max=100)
    desk.worker(0)
    desk.ask(0, 1, 0, size=100)
    desk.send_all()
    desk.cancel(0, 1, desk.now)
    desk.ask(0, 2, 0, size=500)


def test_what_goes_on_counts_for_an_identity_whose_client_is_gone(desk: Desk) -> None:
    desk.owner_set(ME, open_max=1)
    w = desk.worker(0)
    desk.ask(0, 1, 0)
    desk.send_all()
    desk.client_close(0, desk.now)
    assert desk.refuse(1, 1, 0) == REQ_QUOTA_OPEN
    desk.worker_gone(w, desk.now)
    desk.ask(1, 1, 0)


def test_what_goes_on_counts_for_a_service(desk: Desk) -> None:
    desk.service_quota(1, open_max=1)
    desk.worker(1, capacity=9)
    desk.ask(2, 1, 1)  # without an identity
    [task] = desk.send_all()
    desk.cancel(2, 1, desk.now)
    assert desk.refuse(2, 2, 1) == REQ_SERVICE_QUOTA_OPEN
    desk.ask(2, 2, 0)
    desk.client_close(2, desk.now)
    again = desk.client_open()
    assert again == 2
    desk.ask(again, 1, 1)  # another client, under the same number
    desk.reply(task)
    assert desk.refuse(again, 2, 1) == REQ_SERVICE_QUOTA_OPEN


def test_bytes_are_bounded_but_one_request_comes_in_whatever_its_size(desk: Desk) -> None:
    desk.owner_set(ME, bytes_max=100)
    desk.ask(0, 1, 0, size=500)
    assert desk.refuse(1, 1, 0, size=0) == REQ_QUOTA_BYTES
    desk.cancel(0, 1, desk.now)
    desk.ask(0, 2, 0, size=60)
    assert desk.refuse(0, 3, 0, size=41) == REQ_QUOTA_BYTES
    desk.ask(0, 3, 0, size=40)


def test_a_rate_that_is_raised_counts_at_once(desk: Desk) -> None:
    desk.owner_set(ME, interval_ns=1_000_000, burst_ns=1_000_000)
    desk.ask(0, 1, 0)
    desk.ask(0, 2, 0)
    assert desk.quota_wait(0, None, desk.now) == 1_000_000
    desk.owner_set(ME, interval_ns=100, burst_ns=50, now=desk.now)
    assert desk.quota_wait(0, None, desk.now) == 100
    desk.owner_set(ME, now=desk.now)
    desk.ask(0, 3, 0)


def test_a_rate_lets_a_burst_in_and_then_one_in_each_interval(desk: Desk) -> None:
    desk.owner_set(ME, interval_ns=100, burst_ns=200)
    for id in range(1, 4):
        desk.ask(0, id, 0)
    assert desk.refuse(0, 4, 0) == REQ_QUOTA_RATE
    assert desk.quota_wait(0, 0, desk.now) == 100
    desk.now += 99
    assert desk.refuse(1, 4, 0) == REQ_QUOTA_RATE
    assert desk.quota_wait(1, None, desk.now) == 1
    desk.now += 1
    desk.ask(0, 4, 0)
    assert desk.refuse(0, 5, 0) == REQ_QUOTA_RATE
    desk.now += 10_000  # the burst is whole again, and no larger
    for id in range(5, 8):
        desk.ask(0, id, 0)
    assert desk.refuse(0, 8, 0) == REQ_QUOTA_RATE
    assert desk.quota_wait(2, 0, desk.now) == 0


def test_a_refused_request_uses_nothing_of_the_rate_and_a_repeated_one_is_known(
    desk: Desk,
) -> None:
    desk.owner_set(ME, interval_ns=100, open_max=1)
    desk.ask(0, 1, 0)
    desk.now += 100
    assert desk.refuse(0, 2, 0) == REQ_QUOTA_OPEN
    desk.refuse(0, 1, 0)  # held: it does not count again
    desk.cancel(0, 1, desk.now)
    desk.ask(0, 2, 0)


def test_a_service_has_a_quota_of_each_client_and_of_each_identity(desk: Desk) -> None:
    desk.service_quota(1, open_max=1)
    desk.ask(2, 1, 1)
    assert desk.refuse(2, 2, 1) == REQ_SERVICE_QUOTA_OPEN
    desk.ask(0, 1, 1)
    assert desk.refuse(1, 1, 1) == REQ_SERVICE_QUOTA_OPEN
    desk.ask(1, 1, 0)
    desk.ask(2, 2, 0)


def test_bytes_and_rate_of_a_service(desk: Desk) -> None:
    desk.service_quota(1, bytes_max=100, interval_ns=50, burst_ns=50)
    desk.ask(2, 1, 1, size=70)
    assert desk.refuse(2, 2, 1, size=31) == REQ_SERVICE_QUOTA_BYTES
    desk.ask(2, 2, 1, size=30)
    desk.cancel(2, 1, desk.now)
    assert desk.refuse(2, 3, 1, size=1) == REQ_SERVICE_QUOTA_RATE
    assert desk.quota_wait(2, 1, desk.now) == 50
    assert desk.quota_wait(2, 0, desk.now) == 0
    assert desk.quota_wait(0, 1, desk.now) == 0
    desk.now += 50
    desk.ask(2, 3, 1, size=1)


def test_a_new_client_inherits_nothing_of_one_that_left(desk: Desk) -> None:
    desk.service_quota(1, open_max=1, interval_ns=1_000_000)
    desk.ask(2, 1, 1)
    desk.client_close(2, desk.now)
    assert desk.client_open() == 2
    desk.ask(2, 1, 1)


def test_an_identity_that_comes_again_has_used_what_it_used(desk: Desk) -> None:
    desk.service_quota(1, interval_ns=1_000)
    desk.owner_set(ME, interval_ns=10)
    desk.ask(0, 1, 1)
    desk.client_close(0, desk.now)
    desk.now += 10
    assert desk.client_open() == 0
    desk.client_owner(0, ME)
    assert desk.refuse(0, 1, 1) == REQ_SERVICE_QUOTA_RATE
    desk.ask(0, 1, 0)


def test_a_client_that_is_known_by_its_key_later_leaves_its_own_account(desk: Desk) -> None:
    desk.service_quota(1, interval_ns=1_000_000)
    desk.ask(2, 1, 1)
    with pytest.raises(ValueError, match="client 2 has requests open"):
        desk.client_owner(2, ME)
    desk.cancel(2, 1, desk.now)
    desk.client_owner(2, ME)
    desk.ask(2, 2, 1)


def test_limits_change_from_one_request_to_the_next(desk: Desk) -> None:
    desk.ask(0, 1, 0)
    desk.ask(0, 2, 0)
    desk.owner_set(ME, open_max=2)
    assert desk.refuse(0, 3, 0) == REQ_QUOTA_OPEN
    desk.owner_set(ME)
    desk.ask(0, 3, 0)


def test_the_window_of_a_session_comes_first() -> None:
    desk = open_desk(requests_max=1)
    desk.client_owner(0, ME)
    desk.owner_set(ME, open_max=1)
    desk.ask(0, 1, 0)
    assert desk.refuse(0, 2, 0) == REQ_BUSY_SESSION


def test_a_quota_comes_before_what_others_fill() -> None:
    desk = open_desk(waiting_max=2)
    desk.client_open()
    desk.client_owner(0, ME)
    desk.owner_set(ME, open_max=1)
    desk.ask(0, 1, 0)
    desk.ask(1, 1, 0)
    assert desk.refuse(0, 2, 0) == REQ_QUOTA_OPEN


def test_internal_requests_count_for_no_quota(desk: Desk) -> None:
    desk.owner_set(ME, open_max=1, interval_ns=1_000_000)
    desk.ask(0, 1, 0)
    result, _ = desk.request(0, 2, 1, internal=True, now=desk.now)
    assert result == REQ_ACCEPTED
