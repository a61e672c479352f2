"""The rules of a link, event by event; tests/simulation/links.py draws the events."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests import probe

MS = 1_000_000
SECOND = 1000 * MS
PAUSE = 250 * MS
EPOCH = b"e" * 16
LIMITS = (1000, 300, 2, 5)
BYE_UNKNOWN, BYE_GOING = 0, 1
FIRST, SECOND_ONE = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"


def opened(*endpoints: str, follows: bool = False) -> Any:
    """A link of 1 s x 5 that was opened at 1 s and is connected."""
    link = probe.load("links").Link(endpoints or (FIRST,), SECOND, 5, follows, 1)
    link.open(SECOND)
    assert [kind for kind, *_ in link.actions()] == ["open"]
    link.connected(SECOND)
    return link


def greeted(link: Any, now: int) -> Any:
    assert link.greets(now)
    return link


def welcome(link: Any, now: int) -> bool:
    link.packet(EPOCH, now)
    return bool(link.welcome(1000, 5, LIMITS, now))


def with_room(link: Any) -> Any:
    """The link, once two looks have found room at its first endpoint."""
    for _ in range(2):
        link.looked(0, "room", SECOND)
    return link


def kinds(link: Any) -> list[str]:
    return [kind for kind, *_ in link.actions()]


def test_a_link_greets_when_it_is_connected_and_each_second_until_welcome() -> None:
    link = greeted(opened(), SECOND)
    assert not link.greets(SECOND + 700 * MS)
    assert link.greets(SECOND + 1300 * MS)
    assert welcome(link, 3 * SECOND)
    assert kinds(link) == ["found"]
    assert link.limits() == LIMITS
    assert not link.greets(30 * SECOND)


def test_a_broker_that_turns_a_link_away_twice_is_left_for_the_next() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    assert welcome(link, SECOND)
    link.disconnected(SECOND + 10 * MS)
    assert kinds(link) == ["found", "lost"]
    link.connected(SECOND + 200 * MS)
    assert welcome(greeted(link, SECOND + 200 * MS), SECOND + 210 * MS)
    link.disconnected(SECOND + 300 * MS)
    assert kinds(link) == ["drop", "lost", "close", "open"]
    assert link.target() == (SECOND_ONE, False)


def test_a_broker_that_is_lost_after_a_while_is_not_left() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    for now in (2 * SECOND, 10 * SECOND):
        assert welcome(link, now)
        link.disconnected(now + 2 * SECOND)
        link.connected(now + 3 * SECOND)
        greeted(link, now + 3 * SECOND)
    assert link.target() == (FIRST, False)


def test_a_greeting_that_is_answered_by_bye_0_is_not_repeated_at_once() -> None:
    link = greeted(opened(), SECOND)
    link.bye(BYE_UNKNOWN, 0, SECOND + MS)
    assert not link.greets(SECOND + MS)
    assert link.next_due() == SECOND + PAUSE
    assert link.greets(SECOND + PAUSE)


def test_a_broker_that_forgets_a_link_is_greeted_at_once() -> None:
    link = greeted(opened(), SECOND)
    assert welcome(link, SECOND)
    link.bye(BYE_UNKNOWN, 0, 2 * SECOND)
    assert link.greets(2 * SECOND)


@pytest.mark.parametrize(("retry_ms", "rest"), [(0, SECOND), (1, PAUSE), (8000, 8 * SECOND)])
def test_the_only_broker_that_goes_away_is_left_alone_for_a_while(retry_ms: int, rest: int) -> None:
    link = greeted(opened(), SECOND)
    link.bye(BYE_GOING, retry_ms, SECOND)
    assert SECOND + 3 * rest // 4 <= link.next_due() <= SECOND + 5 * rest // 4
    assert link.resting(link.next_due() - 1)
    link.tick(link.next_due())
    assert kinds(link) == ["close", "open"]


def test_a_record_behind_the_broker_s_bye_does_not_cut_the_pause_short() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    link.bye(BYE_GOING, 0, SECOND + MS)
    link.forgotten(SECOND + MS)
    link.tick(SECOND + MS)
    assert kinds(link) == ["close"]
    link.tick(SECOND + PAUSE)
    assert kinds(link) == ["open"]


def test_a_welcome_of_a_connection_that_has_broken_does_not_count() -> None:
    link = greeted(opened(), SECOND)
    link.disconnected(SECOND + MS)
    assert not welcome(link, SECOND + MS)
    link.connected(SECOND + 2 * MS)
    assert not welcome(link, SECOND + 2 * MS)
    assert link.greets(SECOND + 2 * MS)
    assert not link.welcomed


def test_a_pause_of_our_own_is_no_silence() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    assert welcome(link, SECOND)
    link.wake(0, SECOND)
    link.wake(SECOND, 60 * SECOND)
    link.tick(60 * SECOND)
    assert kinds(link) == ["found"]


@pytest.mark.parametrize("follows", [False, True])
def test_heartbeats_follow_what_was_heard_or_said(follows: bool) -> None:
    link = greeted(opened(follows=follows), SECOND)
    assert welcome(link, 4 * SECOND)
    link.said(2 * SECOND)
    assert link.next_beat() == (3 if follows else 5) * SECOND
    link.beat(6 * SECOND)
    assert link.next_beat() == 7 * SECOND


# --- endpoints that don't let us in


def rests(link: Any, now: int, denial: str = "key") -> int:
    """For how long a link stays away that is denied now; it is opened again after that."""
    link.denied(denial, now)
    link.actions()
    due: int = link.next_due()
    link.tick(due - 1)
    assert kinds(link) == []
    link.tick(due)
    assert kinds(link) == ["open"]
    return due - now


def test_the_rest_after_a_denial_doubles_up_to_half_a_minute() -> None:
    link, now = opened(), SECOND
    for seconds in (1, 2, 4, 8, 16, 30, 30):
        rest = rests(link, now)
        assert 3 * seconds * SECOND // 4 <= rest <= 5 * seconds * SECOND // 4
        assert link.barred
        now += rest


def test_a_link_is_barred_when_the_last_endpoint_has_denied_it() -> None:
    link = opened(FIRST, SECOND_ONE)
    assert rests(link, SECOND) == PAUSE
    assert (link.target(), link.barred) == ((SECOND_ONE, False), False)
    assert rests(link, 2 * SECOND) >= 3 * SECOND // 4
    assert (link.target(), link.barred) == ((FIRST, False), True)


def test_a_welcome_ends_a_bar() -> None:
    link = opened()
    now = SECOND + rests(link, SECOND)
    link.connected(now)
    assert welcome(greeted(link, now), now)
    assert not link.barred
    assert rests(link, now + MS) >= 3 * SECOND // 2  # it did not last
    link.connected(now + 2 * SECOND)
    assert welcome(greeted(link, now + 2 * SECOND), now + 2 * SECOND)
    assert rests(link, now + 60 * SECOND) <= 5 * SECOND // 4


def test_a_broker_that_lets_nobody_in_now_bars_nobody() -> None:
    link = opened()
    assert rests(link, SECOND, "now") >= 3 * SECOND // 4
    assert not link.barred


def test_a_broker_that_is_not_there_any_more_bars_nobody() -> None:
    link = opened()
    now = SECOND + rests(link, SECOND)
    link.refused(now)
    assert not link.barred


def test_three_handshakes_without_an_end_are_a_denial_for_who_has_a_key() -> None:
    link = with_room(opened())
    for _ in range(5):
        link.failed(False, SECOND)
    assert kinds(link) == []
    link.failed(True, SECOND)
    assert kinds(link) == ["denied", "close"]
    known = greeted(opened(), SECOND)
    assert welcome(known, SECOND)
    known.disconnected(SECOND)
    known.actions()
    with_room(known)
    for _ in range(99):
        known.failed(True, SECOND)
    assert kinds(known) == []
    known.failed(True, SECOND)
    assert kinds(known) == ["denied", "close"]
    fresh = with_room(opened())
    for _ in range(2):
        fresh.failed(True, SECOND)
    fresh.connected(SECOND)
    with_room(fresh).failed(True, SECOND)
    assert "denied" not in kinds(fresh)


def test_handshakes_without_an_end_are_no_denial_by_a_broker_that_may_be_full() -> None:
    link = opened()
    for _ in range(9):
        link.failed(True, SECOND)
    link.looked(0, "room", SECOND)
    link.failed(True, SECOND)
    assert kinds(link) == []
    link.looked(0, "full", SECOND)
    with_room(link)
    for _ in range(2):
        link.failed(True, SECOND)
    assert kinds(link) == []
    link.failed(True, SECOND)
    assert kinds(link) == ["denied", "close"]


def test_what_failed_at_one_endpoint_says_nothing_about_another() -> None:
    link = opened(FIRST, SECOND_ONE)
    with_room(link)
    for _ in range(3):
        link.failed(True, SECOND)
    assert kinds(link) == ["denied", "close"]
    link.tick(2 * SECOND)
    for _ in range(2):
        link.looked(1, "room", 2 * SECOND)
        link.failed(True, 2 * SECOND)
    assert kinds(link) == ["open"]
    link.failed(True, 2 * SECOND)
    assert (kinds(link), link.barred) == (["denied", "close"], True)


def test_an_endpoint_that_wants_the_other_mechanism_is_a_denial() -> None:
    link = opened(FIRST, SECOND_ONE)
    link.disconnected(SECOND)
    link.actions()
    link.looked(0, "foreign", SECOND)
    link.looked(1, "foreign", SECOND)  # not the one in use: it is known when that is tried
    assert (kinds(link), link.barred) == (["denied", "close"], False)
    link.looked(0, "foreign", SECOND)
    assert kinds(link) == []  # there is no socket that could be denied
    link.tick(2 * SECOND)
    link.failed(False, 2 * SECOND)
    assert (kinds(link), link.barred) == (["open", "denied", "close"], True)


def test_an_endpoint_that_takes_us_wants_no_other_mechanism() -> None:
    link = opened()
    link.connected(SECOND)
    link.looked(0, "foreign", SECOND)  # it was the broker before this one
    link.connected(SECOND)
    link.disconnected(SECOND)
    link.actions()
    link.failed(False, SECOND)
    assert kinds(link) == []
    link.looked(0, "foreign", SECOND)
    assert kinds(link) == ["denied", "close"]
    link.looked(0, "room", SECOND)
    link.tick(9 * SECOND)
    link.failed(False, 9 * SECOND)
    assert "denied" not in kinds(link)


def test_a_link_that_is_denied_by_a_record_has_lost_its_broker() -> None:
    link = greeted(opened(), SECOND)
    assert welcome(link, SECOND)
    link.denied("record", 2 * SECOND)
    assert kinds(link) == ["found", "lost", "denied", "close"]
    assert not link.welcomed


def refused(link: Any, lost_at: int, *after: int) -> list[str]:
    """What a link does that loses its connection, and is refused so long after that."""
    link.disconnected(lost_at)
    link.actions()
    for ns in after:
        link.refused(lost_at + ns)
    return kinds(link)


def test_an_endpoint_that_refuses_for_a_second_after_it_let_us_in_is_left_for_the_next() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    assert welcome(link, SECOND)
    assert refused(link, 9 * SECOND, 0, 100 * MS, 999 * MS) == []
    link.refused(10 * SECOND)
    assert kinds(link) == ["close", "open"]
    assert link.target()[0] == SECOND_ONE


def test_a_broker_that_is_back_within_a_second_keeps_its_peers() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    assert refused(link, 9 * SECOND, 0, 700 * MS) == []
    link.connected(9 * SECOND + 900 * MS)
    assert kinds(link) == ["drop"]
    assert refused(link, 10 * SECOND, 0, 100 * MS) == []  # the second counts from this loss
    assert link.target()[0] == FIRST


def test_the_only_endpoint_is_not_left_though_it_refuses() -> None:
    assert refused(greeted(opened(), SECOND), 9 * SECOND, 0, 4 * SECOND) == []


def test_a_name_that_asked_for_a_rest_is_left_alone_though_it_refuses() -> None:
    link = greeted(opened("tcp://localhost:1"), SECOND)
    assert welcome(link, SECOND)
    link.bye(BYE_GOING, 30_000, 2 * SECOND)
    assert refused(link, 3 * SECOND, 0, 4 * SECOND) == []
    assert link.next_due() > 20 * SECOND


def away(now: int = 9 * SECOND) -> Any:
    """A link that is welcomed by the second of its endpoints."""
    link = opened(FIRST, SECOND_ONE)
    link.bye(BYE_GOING, 0, now - SECOND)
    link.connected(now)
    assert welcome(greeted(link, now), now)
    link.actions()
    return link


def looked(link: Any, found: str) -> int:
    """When the next look at the preferred endpoint begins, and finds this there."""
    now: int = link.next_due()
    while not link.looks_home(now):
        link.packet(EPOCH, now)  # so that the broker does not count as silent
        now = link.next_due()
    link.looked(0, found, now)
    return now


def test_a_link_that_is_at_its_first_endpoint_looks_at_nothing() -> None:
    link = greeted(opened(FIRST, SECOND_ONE), SECOND)
    assert welcome(link, SECOND)
    assert not link.looks_home(1000 * SECOND)


def test_a_link_goes_home_after_two_looks_in_a_row_that_found_it_serving() -> None:
    link = away()
    first = looked(link, "room")
    assert 3 * SECOND // 2 <= first - 9 * SECOND <= 5 * SECOND // 2
    assert not link.wants_home
    looked(link, "nothing")
    looked(link, "room")
    assert not link.wants_home
    now = looked(link, "room")
    assert link.wants_home
    link.go_home(now)
    kind, endpoint, reason, _ = link.actions()[0]
    assert (kind, endpoint, reason) == ("lost", SECOND_ONE, "preferred")
    assert link.target()[0] == FIRST
    assert not link.wants_home


def test_a_dead_home_is_looked_at_ever_more_rarely() -> None:
    link = away()
    times = [looked(link, "nothing") for _ in range(8)]
    pauses = [after - before for before, after in pairwise(times)]
    assert 3 * SECOND // 2 <= pauses[0] <= 5 * SECOND // 2
    assert all(15 * SECOND // 2 <= pause <= 25 * SECOND // 2 for pause in pauses[-3:])


def test_each_time_that_home_was_in_vain_a_link_stays_away_twice_as_long() -> None:
    link, now = away(), 9 * SECOND
    for seconds in (2, 4, 8, 16, 32, 60, 60):
        first = looked(link, "room")
        assert 3 * seconds * SECOND // 4 <= first - now <= 5 * seconds * SECOND // 4
        now = looked(link, "room")
        link.go_home(now)
        link.connected(now)
        link.actions()
        now += SECOND
        link.bye(BYE_GOING, 0, now)
        link.connected(now)
        assert welcome(greeted(link, now), now)
        link.actions()


def test_a_home_that_kept_the_link_for_half_a_minute_was_not_in_vain() -> None:
    link = away()
    for lasts, seconds in ((29, 4), (31, 2)):
        looked(link, "room")
        now = looked(link, "room")
        link.go_home(now)
        link.connected(now)
        assert welcome(greeted(link, now), now)
        now += lasts * SECOND
        link.bye(BYE_GOING, 0, now)
        link.connected(now)
        assert welcome(greeted(link, now), now)
        link.actions()
        first = looked(link, "nothing")
        assert 3 * seconds * SECOND // 4 <= first - now <= 5 * seconds * SECOND // 4


def test_inproc_has_nothing_looked_at() -> None:
    link = opened("inproc://first", SECOND_ONE)
    link.bye(BYE_GOING, 0, 8 * SECOND)
    link.connected(9 * SECOND)
    assert welcome(greeted(link, 9 * SECOND), 9 * SECOND)
    assert not link.looks_home(1000 * SECOND)


def test_a_look_for_another_reason_is_none_at_home() -> None:
    link = away()
    for _ in range(5):
        link.looked(0, "room", 9 * SECOND)
    assert not link.wants_home
