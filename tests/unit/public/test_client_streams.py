"""Streams of a client against a scripted broker: order, gaps, leaving early, several threads."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future
from typing import Any

import pytest

import pound
import pound.aio
from pound._engine import client as client_engine
from tests.unit.reference_broker import (
    CANCEL,
    META,
    REQUEST,
    WAIT_S,
    error,
    partial,
    reply,
)


def result(future: Future[Any]) -> Any:
    return future.result(WAIT_S)


def test_a_stream_yields_partials_then_the_final_answer(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 1, b'{"k":"v"}', b"b", flags=META), reply(1, b"end"))
    assert list(stream) == [
        pound.Partial(b"a", 1, 0, False, {}),
        pound.Partial(b"b", 1, 1, False, {"k": "v"}),
        pound.Partial(b"end", 1, 2, True, {}),
    ]


def test_a_lost_partial_is_data_loss_and_cancels(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 2, b"c"))
    assert next(stream).body == b"a"
    with pytest.raises(pound.DataLoss, match="partials 1 to 1"):
        next(stream)
    assert broker.expect(CANCEL).id == 1


def test_a_repeated_partial_and_one_of_an_earlier_attempt_are_passed_over(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 0, b"a"), partial(1, 0, b"A", attempt=2))
    broker.say(partial(1, 1, b"b", attempt=1), reply(1, b""))
    got = [(item.body, item.attempt, item.sequence) for item in stream]
    assert got == [(b"a", 1, 0), (b"A", 2, 0), (b"", 2, 1)]


def test_leaving_a_stream_early_cancels_it(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"))
    next(stream)
    stream.close()
    assert broker.expect(CANCEL).id == 1


def test_closing_a_stream_ends_the_iteration_of_the_thread_that_reads(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"))
    bodies: list[Any] = []
    begun, ended = threading.Event(), threading.Event()

    def read() -> None:
        for part in stream:
            bodies.append(part.body)
            begun.set()
        ended.set()

    threads = [threading.Thread(target=read, daemon=True)]
    threads[0].start()
    assert begun.wait(WAIT_S)
    threads += [threading.Thread(target=stream.close, daemon=True) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    assert broker.expect(CANCEL).id == 1
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert (bodies, ended.is_set()) == ([b"a"], True)
    assert list(stream) == []


def test_threads_may_share_a_stream(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    bodies: list[list[Any]] = [[], []]
    threads = [
        threading.Thread(target=lambda got: got.extend(part.body for part in stream), args=(got,))
        for got in bodies
    ]
    for thread in threads:
        thread.start()
    broker.say(*(partial(1, n, b"%d" % n) for n in range(20)), reply(1, b"end"))
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(bodies[0] + bodies[1]) == sorted([b"%d" % n for n in range(20)] + [b"end"])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_a_signal_may_close_the_stream_that_its_thread_reads(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    before = signal.signal(signal.SIGALRM, lambda *_: stream.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert list(stream) == []
    finally:
        signal.signal(signal.SIGALRM, before)
    assert broker.expect(CANCEL).id == 1


def test_a_stream_may_be_closed_by_the_thread_that_is_about_to_read(client, broker):
    """As by a signal handler, between the taking of the lock and the wait."""
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    with stream._lock:
        closing = threading.Thread(target=stream.close, daemon=True)
        stream.close()
    closing.start()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert list(stream) == []


def test_a_stream_that_is_not_read_is_bounded(make_client, broker, monkeypatch):
    monkeypatch.setattr(client_engine, "STREAM_BYTES_MAX", 1000)
    client = make_client()
    broker.greet()
    assert client.wait_connected(WAIT_S)
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, bytes(300)) for n in range(4)))
    assert broker.expect(CANCEL).id == 1
    with pytest.raises(pound.Busy, match="not read"):
        list(stream)


def test_a_stream_that_has_begun_is_not_run_again_when_the_broker_is_busy(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), error(1, 8, "not read"))
    with pytest.raises(pound.Busy, match="not read"):
        list(stream)
    broker.expect_silence(0.2)


def test_partials_are_passed_over_by_a_plain_request(client, broker):
    future = client.submit("count", b"")
    broker.expect(REQUEST)
    broker.say(partial(1, 0, b"a"), partial(1, 5, b"f"), reply(1, b"end"))
    assert result(future) == b"end"
