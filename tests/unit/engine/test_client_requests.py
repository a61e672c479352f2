"""A client's open requests in their places, with their ids and timers, against plain counterparts;
and the cancels that it remembers."""

from __future__ import annotations

import random
from collections import OrderedDict
from types import ModuleType
from typing import Any

import pytest

from tests import probe

PLACES = FRESH, RETURNED, BUSY, OPEN = range(1, 5)  # of the enum in _engine/requests.pxd
GRACE_NS = 100_000_000


@pytest.fixture(scope="module")
def requests() -> ModuleType:
    return probe.load("requests")


# -- places and ids -------------------------------------------------------------------------


def test_ids_are_given_at_sending_and_done_is_the_lowest_open_one(requests: Any) -> None:
    held = requests.Requests()
    for number in (10, 11, 12):
        held.new(number)
    assert held.done() == 1
    assert [held.send(11), held.send(10)] == [1, 2]
    assert (held.by_id(1), held.by_id(2), held.by_id(3)) == (11, 10, None)
    held.end(11)
    assert (held.done(), held.by_id(1)) == (2, None)
    held.put_off(10, until=5)
    assert held.done() == 3
    assert held.send(10) == 3


def test_what_the_broker_refused_keeps_its_number_and_loses_its_id(requests: Any) -> None:
    held = requests.Requests()
    held.new(1)
    held.send(1)
    held.put_off(1, until=50)
    assert (held.place(OPEN), held.place(BUSY), held.by_id(1)) == ([], [1], None)
    assert (held.due(49), held.due(50)) == (None, 1)
    held.bring_back(1)
    assert (held.place(RETURNED), held.due(10**18)) == ([1], None)


def test_open_ones_go_again_once_each_in_order_of_ids(requests: Any) -> None:
    held = requests.Requests()
    for number in range(6):
        held.new(number)
    for number in range(4):
        held.send(number)
    held.again()
    assert held.send_again() == 0
    held.end(1)
    held.send(4)  # after the welcome: it need not go again
    assert [held.send_again() for _ in range(3)] == [2, 3, None]
    held.again()
    assert [held.send_again() for _ in range(5)] == [0, 2, 3, 4, None]


# -- timers ---------------------------------------------------------------------------------


def test_a_deadline_has_grace_only_while_the_broker_knows_the_request(requests: Any) -> None:
    held = requests.Requests()
    held.new(1, deadline=1000)
    held.new(2)
    assert (held.expires(1), held.expires(2)) == (1000, None)
    held.send(1)
    assert held.expires(1) == 1000 + GRACE_NS
    held.put_off(1, until=10**15)
    assert held.expires(1) == 1000
    assert held.due(1000) == 1


@pytest.mark.parametrize("seed", range(8))
def test_places_ids_and_timers_equal_a_plain_model(requests: Any, seed: int) -> None:
    rng = random.Random(seed)
    held, model = requests.Requests(), Model()
    for now in range(1500):
        step = rng.choice(["new", "new", "send", "put_off", "bring_back", "end"])
        picked = rng.choice(list(model.place)) if model.place else None
        if step == "new":
            deadline = rng.choice([None, now + rng.randrange(300)])
            held.new(now, deadline)
            model.new(now, deadline)
        elif step == "send" and model.place.get(picked) in (FRESH, RETURNED):
            assert held.send(picked) == model.send(picked)
        elif step == "put_off" and model.place.get(picked) == OPEN:
            until = now + rng.randrange(100)
            held.put_off(picked, until)
            model.put_off(picked, until)
        elif step == "bring_back" and model.place.get(picked) == BUSY:
            held.bring_back(picked)
            model.bring_back(picked)
        elif step == "end" and picked is not None:
            held.end(picked)
            model.end(picked)
        assert held.due(now) == model.due(now)
        if now % 50 == 0:
            assert [held.place(place) for place in PLACES] == model.places()
            assert held.done() == model.done()
            assert held.counts() == model.counts()


class Model:
    """The same in dicts; its timers are armed as the requests' are, at the same moments."""

    def __init__(self) -> None:
        self.place: OrderedDict[int, int] = OrderedDict()  # in order of entering the place
        self.ids: dict[int, int] = {}
        self.deadline: dict[int, int | None] = {}
        self.timers: dict[int, tuple[int, int]] = {}  # when, and the slot, which breaks ties
        self.slots: dict[int, int] = {}
        self.free: list[int] = []
        self.next_id = 1

    def new(self, number: int, deadline: int | None) -> None:
        self.slots[number] = self.free.pop() if self.free else len(self.slots)
        self.deadline[number] = deadline
        self.enter(number, FRESH)
        self.arm(number, deadline)

    def enter(self, number: int, place: int) -> None:
        self.place.pop(number, None)
        self.place[number] = place
        self.ids.pop(number, None)

    def arm(self, number: int, *times: int | None) -> None:
        due = [time for time in times if time is not None]
        self.timers.pop(number, None)
        if due:
            self.timers[number] = (min(due), self.slots[number])

    def send(self, number: int) -> int:
        self.enter(number, OPEN)
        self.ids[number] = self.next_id
        self.next_id += 1
        return self.ids[number]

    def put_off(self, number: int, until: int) -> None:
        self.enter(number, BUSY)
        self.arm(number, self.deadline[number], until)

    def bring_back(self, number: int) -> None:
        self.enter(number, RETURNED)
        self.arm(number, self.deadline[number])

    def end(self, number: int) -> None:
        del self.place[number], self.deadline[number]
        self.ids.pop(number, None)
        self.timers.pop(number, None)
        self.free.append(self.slots.pop(number))

    def due(self, now: int) -> int | None:
        late = [(key, number) for number, key in self.timers.items() if key[0] <= now]
        return min(late)[1] if late else None

    def done(self) -> int:
        return min(self.ids.values(), default=self.next_id)

    def places(self) -> list[list[int]]:
        return [[n for n, at in self.place.items() if at == place] for place in PLACES]

    def counts(self) -> tuple[int, ...]:
        every, opened = len(self.place), len(self.ids)
        return every, opened, len(self.timers), every, opened


# -- cancels --------------------------------------------------------------------------------


def told(cancels: Any) -> list[int]:
    ids = []
    while number := cancels.next():
        ids.append(number)
    return ids


def test_a_cancel_is_told_once_and_again_until_its_answer_is_heard(requests: Any) -> None:
    cancels = requests.Cancels()
    for number in (3, 5, 8):
        cancels.add(number)
    assert told(cancels) == [3, 5, 8]
    assert told(cancels) == []
    cancels.heard(5)
    cancels.heard(77)
    cancels.again()
    assert told(cancels) == [3, 8]
    cancels.heard(3)
    cancels.heard(8)
    cancels.again()
    assert told(cancels) == []


def test_one_that_was_not_told_yet_is_not_forgotten(requests: Any) -> None:
    cancels = requests.Cancels()
    for number in range(1, 2 * requests.REMEMBERED):
        cancels.add(number)
    assert told(cancels) == list(range(1, 2 * requests.REMEMBERED))
    cancels.again()
    assert told(cancels) == list(range(requests.REMEMBERED, 2 * requests.REMEMBERED))


def test_memory_follows_what_is_remembered(requests: Any) -> None:
    cancels = requests.Cancels()
    for number in range(1, 100_000):
        cancels.add(number)
        assert cancels.next() == number
        if number % 3:
            cancels.heard(number)
    assert cancels.room() <= 4 * requests.REMEMBERED
