"""What one client, or services that no worker offers, may take of what all share."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import (
    OPENED_INTERNAL,
    OPENED_NAMED,
    OPENED_OFFERED,
    OPENED_PINNED,
    REQ_BUSY,
    REQ_BUSY_BYTES,
    REQ_BUSY_CLIENTS,
    REQ_BUSY_SESSION,
    REQ_BUSY_SHARE,
    REQ_BUSY_WINDOW,
    REQ_BUSY_WORKERLESS,
    REQ_MANY_NAMES,
    REQ_MANY_OWN_NAMES,
    REQ_MANY_SERVICES,
)
from tests.unit.dispatch.desk import Desk, open_desk


@pytest.fixture
def desk() -> Desk:
    return open_desk()


def names_of(desk: Desk, c: int | None, count: int) -> list[int | None]:
    """Open services that a client asks for and no worker offers; their numbers."""
    return [desk.service_open(0, OPENED_NAMED, desk.now, c) for _ in range(count)]


def test_names_that_nobody_offers_leave_room_for_workers() -> None:
    desk = open_desk(services_max=3)
    names = names_of(desk, None, 4)
    assert names[-1] is None
    assert desk.d.service_refusal(OPENED_NAMED) == REQ_MANY_NAMES
    offered = [desk.service_open(0, OPENED_OFFERED, desk.now) for _ in range(2)]
    assert desk.offerable([*offered, *offered])
    desk.worker(*offered)
    assert desk.d.service_refusal(OPENED_OFFERED) == REQ_MANY_SERVICES
    assert not desk.offerable(names[:1])
    assert desk.offerable(offered)
    assert desk.service_open(0, OPENED_INTERNAL, desk.now) is not None


def test_a_client_may_ask_for_some_of_the_names_that_nobody_offers() -> None:
    desk = open_desk(services_max=200)
    other = desk.client_open()
    names = names_of(desk, 0, 26)
    assert None not in names[:25]
    assert names[25] is None
    assert desk.d.service_refusal(OPENED_NAMED, 0) == REQ_MANY_OWN_NAMES
    assert desk.count("refused") == 1
    assert names_of(desk, other, 1) != [None]
    desk.worker(names[0])  # it is offered, and a name no more
    desk.service_drop(names[1])
    assert None not in names_of(desk, 0, 2)
    assert names_of(desk, 0, 1) == [None]


def test_names_of_a_client_that_has_left_are_nobodys() -> None:
    desk = open_desk(services_max=100)
    named = names_of(desk, 0, 16)
    assert names_of(desk, 0, 1) == [None]
    desk.client_close(0, desk.now)
    assert desk.client_open() == 0
    assert None not in names_of(desk, 0, 16)
    desk.service_drop(named[0])
    assert names_of(desk, 0, 1) == [None]


def test_the_oldest_in_its_grace_makes_room() -> None:
    desk = open_desk(clients_max=2)
    second = desk.client_open()
    slot = desk.ask(0, 1, 0)
    desk.client_lost(second, 500, desk.now)
    desk.client_lost(0, 400, desk.now)
    desk.client_room(desk.now)
    assert desk.others == [("free", slot), ("client free", 0)]
    assert desk.client_open() == 0
    desk.client_back(second)
    desk.client_room(desk.now)
    assert desk.others == []
    assert desk.client_open() is None


def test_a_reserve_of_clients_gets_what_the_broker_answers_itself() -> None:
    desk = open_desk(clients_max=1)
    reserve = [desk.client_open(reserve=True) for _ in range(17)]
    assert None not in reserve[:16]
    assert reserve[16] is None
    guest = reserve[0]
    assert guest is not None
    desk.ask(guest, 1, 0, internal=True)
    assert desk.refuse(guest, 2, 0) == REQ_BUSY_CLIENTS
    desk.client_close(0, desk.now)
    desk.ask(guest, 2, 0)
    assert desk.client_open() is None


def test_one_client_leaves_the_last_eighth_to_others() -> None:
    desk = open_desk(waiting_max=64, service_waiting_max=64)
    desk.worker(0)
    desk.ask(0, 1, 0)
    for id in range(2, 58):
        desk.ask(0, id, 0)
    assert desk.refuse(0, 58, 0) == REQ_BUSY_SHARE
    other = desk.client_open()
    for id in range(1, 8):
        desk.ask(other, id, 0)
    assert desk.count("waiting") == 63


def test_one_client_leaves_the_last_eighth_of_the_bytes_to_others() -> None:
    most = 1 << 20
    desk = open_desk(waiting_bytes_max=most)
    desk.worker(0)
    desk.ask(0, 1, 0, size=most // 2)
    desk.ask(0, 2, 0, size=most // 8 * 3)
    assert desk.refuse(0, 3, 0, size=1) == REQ_BUSY_SHARE
    other = desk.client_open()
    desk.ask(other, 1, 0, size=most // 16)
    assert desk.refuse(other, 2, 0, size=most // 8) == REQ_BUSY_BYTES


def test_services_without_workers_leave_half_to_others() -> None:
    desk = open_desk(waiting_max=64, requests_max=1000)
    alive = desk.service_open(0, OPENED_PINNED, desk.now)
    desk.worker(alive)
    for id in range(1, 33):
        desk.ask(0, id, 0)
    assert desk.refuse(0, 33, 0) == REQ_BUSY_WORKERLESS
    for id in range(33, 50):
        desk.ask(0, id, alive)
    desk.worker(0)  # then what waits for it counts no more
    dead = desk.service_open(0, OPENED_PINNED, desk.now)
    desk.ask(0, 50, dead)


def test_services_without_workers_leave_a_quarter_of_the_window() -> None:
    desk = open_desk(requests_max=100)
    alive = desk.service_open(0, OPENED_PINNED, desk.now)
    desk.worker(alive)
    for id in range(1, 76):
        desk.ask(0, id, 0)
    assert desk.refuse(0, 76, 0) == REQ_BUSY_WINDOW
    for id in range(76, 101):
        desk.ask(0, id, alive)
    assert desk.refuse(0, 101, alive) == REQ_BUSY_SESSION


def test_a_service_with_much_to_do_leaves_a_quarter_of_the_window() -> None:
    desk = open_desk(requests_max=100)
    quick = desk.service_open(0, OPENED_PINNED, desk.now)
    desk.worker(0)
    for id in range(1, 76):
        desk.ask(0, id, 0)
    assert desk.refuse(0, 76, 0) == REQ_BUSY_WINDOW
    desk.worker(quick)
    for id in range(76, 101):
        desk.ask(0, id, quick)
    assert desk.refuse(0, 101, quick) == REQ_BUSY_SESSION


def test_small_limits_and_those_not_to_be_shared_are_filled_by_one() -> None:
    for limits in ({"waiting_max": 63}, {"waiting_max": 100, "shares_from": 1 << 30}):
        desk = open_desk(**limits)
        for id in range(1, limits["waiting_max"] + 1):
            desk.ask(0, id, 0)
        assert desk.refuse(0, 1000, 0) == REQ_BUSY
