"""The handle beneath the clients: every tag comes back once, whatever happens to its request."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import weakref
from collections import Counter
from typing import Any

import pytest

import pound
from pound._engine.client import ReplyQueue, StreamState, live
from tests.support import readable, wait_until
from tests.unit.reference_broker import (
    CANCEL,
    REQUEST,
    WAIT_S,
    ReferenceBroker,
    error,
    held,
    partial,
    reply,
    welcome,
)


def ask(client: pound.Client, box: ReplyQueue | None, tag: object, **options: Any) -> int:
    """Ask the client's engine itself; the number of the request."""
    given = {"service": "echo", "body": b"", "timeout": None, "priority": 0, "meta": None}
    return client._engine.submit(box, tag, **{**given, **options})


def take(box: ReplyQueue, count: int) -> list[Any]:
    """Take so many mails."""
    told: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    while len(told) < count:
        assert time.monotonic() < deadline, f"{len(told)} of {count} came"
        told += box.take(0.5)
    return told


def misbehave(broker: ReferenceBroker, rng: random.Random, stop: threading.Event) -> None:
    """Answer once, twice, late, with errors, busily or never; and welcome anew now and then."""
    while not stop.is_set():
        said = broker.read(0.02)
        if said is None or said.kind != REQUEST:
            continue
        broker.say(
            *rng.choice(
                [
                    [reply(said.id, b"answer")],
                    [reply(said.id, b"answer"), reply(said.id, b"again"), error(said.id, 13)],
                    [error(said.id, rng.choice([2, 4, 8, 14]), "no", retry_after_ms=1)],
                    [partial(said.id, 0, b"part"), reply(said.id, b"answer")],
                    [welcome(), reply(said.id, b"answer")],
                    [error(0, 3, "somebody else's")],
                ]
            )
        )


@pytest.mark.parametrize("seed", range(3))
def test_each_tag_comes_back_exactly_once(make_client, broker, seed):
    client = make_client(heartbeat=30.0)
    broker.greet()
    rng, stop, box = random.Random(seed), threading.Event(), ReplyQueue()
    thread = threading.Thread(target=misbehave, args=(broker, random.Random(seed), stop))
    thread.start()
    numbers: list[int] = []
    for tag in range(300):
        timeout = rng.choice([None, None, 0.001, 0.05, 30.0])
        numbers.append(ask(client, box, tag, timeout=timeout))
        if rng.random() < 0.3:
            for _ in range(2):
                client._engine.cancel(rng.choice(numbers))
    told = take(box, 100)
    stop.set()
    thread.join(WAIT_S)
    client.close()
    told += take(box, 300 - len(told))
    assert Counter(tag for tag, _, _ in told) == Counter(range(300))
    assert box.take() == []
    for _, ok, value in told:
        assert isinstance(value, bytes if ok else pound.PoundError)


def test_many_are_asked_at_once_under_numbers_that_follow_each_other(client, broker):
    box = ReplyQueue()
    with held(client):
        numbers = client._engine.submit_many(box, 40, "echo", [b"a", b"b", b"c"], 5.0, 3)
    asked = [broker.expect(REQUEST) for _ in range(3)]
    assert len(numbers) == 3
    assert len({said.packet for said in asked}) == 1
    client._engine.cancel(numbers[1])
    broker.say(reply(3, b"C"), reply(1, b"A"))
    told = {tag: (ok, value) for tag, ok, value in take(box, 3)}
    assert (told[40], told[42]) == ((True, b"A"), (True, b"C"))
    assert isinstance(told[41][1], pound.Cancelled)
    assert list(client._engine.submit_many(box, 0, "echo", [], None, 0)) == []


def test_a_batch_with_one_wrong_body_asks_nothing(client, broker):
    box = ReplyQueue()
    with pytest.raises(TypeError):
        client._engine.submit_many(box, 0, "echo", [b"a", "text"], None, 0)
    assert box.take(0.05) == []
    broker.expect_silence(0.05)


def test_a_box_waits_no_longer_than_it_is_told(client):
    began = time.monotonic()
    assert ReplyQueue().take(0.1) == []
    assert 0.1 <= time.monotonic() - began < WAIT_S


def test_a_box_rings_an_event_loops_descriptor(client, broker):
    out, ring = os.pipe()
    box = ReplyQueue(fd=ring)
    ask(client, box, "tag")
    assert not readable(out, 0.05)
    broker.expect(REQUEST)
    broker.say(reply(1, b"answer"))
    assert readable(out)
    assert box.take() == [("tag", True, b"answer")]
    os.close(out)
    os.close(ring)


def test_a_dropped_box_lives_until_its_answers_have_come(client, broker):
    ask(client, ReplyQueue(), object())
    broker.expect(REQUEST)
    gc.collect()
    broker.say(reply(1, b"nobody takes it"))
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(reply(2, b"next"))
    assert future.result(WAIT_S) == b"next"


def test_answers_that_nobody_takes_go_with_their_client(hands, broker):
    class Tag:
        pass

    gc.collect()
    before = live()
    client, box, tag = pound.Client(broker.endpoint), ReplyQueue(), Tag()
    broker.greet()
    left = weakref.ref(tag)
    ask(client, box, tag)
    ask(client, box, Tag())
    ask(client, ReplyQueue(), Tag())
    for _ in range(3):
        broker.expect(REQUEST)
    broker.say(reply(1, b"nobody takes it"))
    client.close()  # which answers the other two
    with pytest.raises(pound.ClosedError):
        ask(client, box, Tag())
    del client, box, tag
    wait_until(lambda: gc.collect() >= 0 and live() <= before)
    assert left() is None


def test_a_box_takes_the_answers_of_one_client_at_a_time(make_client, client, broker):
    box, other = ReplyQueue(), make_client(endpoints="tcp://127.0.0.1:1")
    ask(client, box, 1)
    with pytest.raises(ValueError, match="another client"):
        ask(other, box, 2)
    broker.expect(REQUEST)
    broker.say(reply(1, b"answer"))
    assert take(box, 1) == [(1, True, b"answer")]
    other._engine.cancel(ask(other, box, 2))
    assert [tag for tag, _, _ in take(box, 1)] == [2]


def test_draining_waits_for_what_was_cancelled(client, broker):
    box = ReplyQueue()
    for number in [ask(client, box, n) for n in range(5)]:
        client._engine.cancel(number)
    box.drain()
    assert box.take() == []


def test_partials_come_with_their_flow_and_what_is_read_makes_room(client, broker):
    box, flow = ReplyQueue(), StreamState("owner")
    number = ask(client, box, flow, meta={"a": "b"})
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 1, b"b"))
    (tag, ok, first), (_, _, second) = take(box, 2)
    assert (tag.owner, ok, first.body, second.body) == ("owner", None, b"a", b"b")
    flow.read()
    flow.read()
    with pytest.raises(IndexError):
        flow.read()  # nothing else was taken
    client._engine.cancel(number)
    assert broker.expect(CANCEL).id == 1
    ((_, ok, reason),) = take(box, 1)
    assert (ok, type(reason)) == (False, pound.Cancelled)


def test_a_partial_that_can_not_be_read_is_told_and_does_not_end_the_request(client, broker):
    box = ReplyQueue()
    number = ask(client, box, StreamState())
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"no json", b"x", flags=8))
    ((_, ok, reason),) = take(box, 1)
    assert (ok, type(reason)) == (None, pound.InternalError)
    client._engine.cancel(number)
    box.drain()
