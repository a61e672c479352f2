"""The rules of a link, event by event; tests/simulation/links.py draws the events."""

from __future__ import annotations

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
