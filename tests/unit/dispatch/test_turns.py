"""Owners take turns for a service's workers: nobody waits behind another's queue."""

from __future__ import annotations

import pytest

from tests.probe.dispatcher import OPENED_PINNED, REQ_ACCEPTED
from tests.unit.dispatch.desk import Desk, open_desk

HEAVY, LIGHT, OTHER = 0, 1, 2


@pytest.fixture
def desk() -> Desk:
    """Three clients, a service without workers, and in it what the tests ask for."""
    desk = open_desk()
    desk.client_open()
    desk.client_open()
    return desk


def ask_many(desk: Desk, c: int, count: int, first: int = 1, **options: int) -> None:
    for id in range(first, first + count):
        desk.ask(c, id, 0, **options)


def served(desk: Desk, count: int) -> list[tuple[int, int]]:
    """Let a worker take so many tasks, one after the other; whose they were: (client, id)."""
    w = desk.worker(0)
    order = []
    for left in reversed(range(count)):
        [task] = desk.tasks
        request = desk.d.request_of(task.slot)
        order.append((request["client"], request["id"]))
        desk.give(task)
        if not left:
            desk.worker_leave(w, desk.now)
        desk.reply(task)
    desk.worker_gone(w, desk.now)
    return order


def clients_served(desk: Desk, count: int) -> list[int]:
    return [client for client, _ in served(desk, count)]


def test_a_single_request_waits_for_one_of_each_other_client(desk: Desk) -> None:
    ask_many(desk, HEAVY, 100)
    ask_many(desk, OTHER, 100)
    ask_many(desk, LIGHT, 1)
    assert clients_served(desk, 5) == [HEAVY, OTHER, LIGHT, HEAVY, OTHER]


def test_clients_take_turns_and_each_is_served_in_order(desk: Desk) -> None:
    ask_many(desk, HEAVY, 3)
    ask_many(desk, LIGHT, 2)
    assert served(desk, 5) == [(HEAVY, 1), (LIGHT, 1), (HEAVY, 2), (LIGHT, 2), (HEAVY, 3)]


def test_who_comes_again_comes_in_at_the_end(desk: Desk) -> None:
    ask_many(desk, LIGHT, 1)
    ask_many(desk, HEAVY, 2)
    ask_many(desk, OTHER, 2)
    assert clients_served(desk, 1) == [LIGHT]
    ask_many(desk, LIGHT, 1, first=2)
    assert clients_served(desk, 5) == [HEAVY, OTHER, LIGHT, HEAVY, OTHER]


def test_an_identity_is_given_as_many_tasks_in_its_turn_as_it_has_weight(desk: Desk) -> None:
    desk.owner_set(7, weight=3)
    desk.client_owner(HEAVY, 7)
    desk.client_owner(LIGHT, 9)  # an identity that was never set: weight 1
    ask_many(desk, HEAVY, 8)
    ask_many(desk, LIGHT, 8)
    order = clients_served(desk, 12)
    assert order == [*[HEAVY] * 3, LIGHT, *[HEAVY] * 3, LIGHT, *[HEAVY] * 2, LIGHT, LIGHT]


def test_what_is_left_of_a_turn_is_forfeited_by_who_has_nothing_waiting(desk: Desk) -> None:
    desk.owner_set(0, weight=3)
    desk.client_owner(LIGHT, 0)
    ask_many(desk, LIGHT, 1)
    ask_many(desk, HEAVY, 6)
    assert clients_served(desk, 1) == [LIGHT]
    ask_many(desk, LIGHT, 6, first=2)
    assert clients_served(desk, 6) == [HEAVY, LIGHT, LIGHT, LIGHT, HEAVY, LIGHT]


def test_the_turn_of_who_leaves_is_over(desk: Desk) -> None:
    desk.owner_set(0, weight=3)
    for client in (HEAVY, LIGHT):
        desk.client_owner(client, client)
    desk.owner_set(1, weight=2)
    ask_many(desk, HEAVY, 4)
    ask_many(desk, LIGHT, 4)
    ask_many(desk, OTHER, 4)
    assert clients_served(desk, 1) == [HEAVY]
    for id in range(2, 5):
        assert desk.cancel(HEAVY, id, desk.now)
    assert clients_served(desk, 4) == [LIGHT, LIGHT, OTHER, LIGHT]


def test_clients_of_one_identity_share_its_turn_in_order_of_acceptance(desk: Desk) -> None:
    desk.client_owner(HEAVY, 3)
    desk.client_owner(OTHER, 3)
    ask_many(desk, HEAVY, 1)
    ask_many(desk, OTHER, 1)
    ask_many(desk, HEAVY, 1, first=2)
    ask_many(desk, LIGHT, 2)
    assert clients_served(desk, 5) == [HEAVY, LIGHT, OTHER, LIGHT, HEAVY]


def test_turns_are_of_one_priority(desk: Desk) -> None:
    ask_many(desk, HEAVY, 2, priority=1)
    ask_many(desk, LIGHT, 2, priority=1)
    ask_many(desk, LIGHT, 1, first=3)
    ask_many(desk, HEAVY, 1, first=3)
    order = served(desk, 6)
    assert order[:4] == [(HEAVY, 1), (LIGHT, 1), (HEAVY, 2), (LIGHT, 2)]
    assert order[4:] == [(LIGHT, 3), (HEAVY, 3)]


def test_turns_are_of_one_service(desk: Desk) -> None:
    second = desk.service_open(0, OPENED_PINNED, desk.now)
    desk.ask(LIGHT, 1, second)
    ask_many(desk, HEAVY, 2)
    desk.ask(LIGHT, 2, 0)
    assert clients_served(desk, 3) == [HEAVY, LIGHT, HEAVY]
    desk.worker(second)
    assert len(desk.tasks) == 1


def test_what_returns_comes_before_all_turns(desk: Desk) -> None:
    ask_many(desk, HEAVY, 2)
    ask_many(desk, LIGHT, 2)
    desk.worker(0)
    [task] = desk.tasks
    desk.lose(task)
    [again] = desk.tasks
    assert again.slot == task.slot
    desk.reply(desk.give(again))
    [following] = desk.tasks
    assert desk.d.request_of(following.slot)["client"] == LIGHT


def test_all_that_waits_in_vain_ends_whoever_asked() -> None:
    desk = open_desk(service_wait_ns=50)
    desk.client_open()
    ask_many(desk, 0, 2)
    ask_many(desk, 1, 1)
    desk.now += 10
    ask_many(desk, 1, 1, first=2)
    ask_many(desk, 0, 1, first=3)
    assert desk.pass_time(40) == desk.now + 10
    assert [word for word, *_ in desk.others] == ["fail"] * 3
    assert clients_served(desk, 2) == [0, 1]


def test_a_weight_that_falls_ends_a_turn_that_is_longer(desk: Desk) -> None:
    desk.owner_set(0, weight=5)
    desk.client_owner(HEAVY, 0)
    ask_many(desk, HEAVY, 9)
    ask_many(desk, LIGHT, 9)
    assert clients_served(desk, 3) == [HEAVY] * 3
    desk.owner_set(0, weight=0)  # counts as 1
    assert clients_served(desk, 4) == [HEAVY, LIGHT, HEAVY, LIGHT]


def test_flows_end_with_their_last_request(desk: Desk) -> None:
    """A hundred clients come and go; the recount after each call finds no flow that is left."""
    clients = [desk.client_open() for _ in range(100)]
    for client in clients:
        for priority in (0, 5):
            desk.ask(client, priority, 0, priority=priority)
    for client in clients:
        desk.client_close(client, desk.now)
    assert desk.count("waiting") == 0
    result, _ = desk.request(LIGHT, 1, 0, now=desk.now)
    assert result == REQ_ACCEPTED
    assert clients_served(desk, 1) == [LIGHT]


@pytest.mark.parametrize("owner", [65535, 2**32 - 1])
def test_a_number_that_no_identity_has_is_refused(desk: Desk, owner: int) -> None:
    with pytest.raises(ValueError, match=f"owner {owner}"):
        desk.client_owner(LIGHT, owner)
    with pytest.raises(ValueError, match=f"owner {owner}"):
        desk.owner_set(owner)
    desk.client_owner(LIGHT, 65534)
