"""The life of a client: what it waits for is logged, closing, forks, threads, inproc."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from concurrent.futures import Future
from queue import Queue
from typing import Any

import pytest

import pound
import pound.aio
from pound._engine import client as client_engine
from tests.unit.reference_broker import (
    ACCEPTED,
    BYE,
    REQUEST,
    WAIT_S,
    ReferenceBroker,
    bye,
    record,
    reply,
)


def result(future: Future[Any]) -> Any:
    return future.result(WAIT_S)


def waiting_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about requests that wait; a slow machine's client has others, too."""
    lines = [line.getMessage() for line in caplog.records]
    return [line for line in lines if line.startswith("request waiting")]


def test_one_line_says_what_a_long_request_waits_for(make_client, broker, caplog, monkeypatch):
    monkeypatch.setattr(client_engine, "LOG_AFTER", 0.1)
    client = make_client()
    broker.greet()
    assert client.wait_connected(WAIT_S)
    with caplog.at_level(logging.WARNING, "pound.client"):
        client.submit("slow", b"")
        client.submit("timed", b"", timeout=60.0)
        broker.expect(REQUEST)
        broker.say(record(ACCEPTED, 1))
        deadline = time.monotonic() + WAIT_S
        while not waiting_lines(caplog) and time.monotonic() < deadline:
            broker.read(0.02)
        broker.read(0.3)
    lines = waiting_lines(caplog)
    assert len(lines) == 1
    assert "service=slow" in lines[0]
    assert "no worker has answered" in lines[0]


def test_a_service_has_one_line_at_a_time_that_counts_what_waits_long(
    make_client, broker, caplog, monkeypatch
):
    monkeypatch.setattr(client_engine, "LOG_AFTER", 0.5)
    client = make_client()
    broker.greet()
    assert client.wait_connected(WAIT_S)
    with caplog.at_level(logging.WARNING, "pound.client"):
        for n in range(40):  # one by one, so that each begins to wait long in a turn of its own
            client.submit("slow", b"")
            if n % 10 == 0:
                client.submit("other", b"")
            broker.expect(REQUEST)
        deadline = time.monotonic() + WAIT_S
        wanted = {"requests=40 service=slow", "requests=4 service=other"}
        while wanted and time.monotonic() < deadline:
            broker.read(0.02)
            lines = waiting_lines(caplog)
            wanted = {words for words in wanted if not any(words in line for line in lines)}
        broker.read(0.7)
    lines = waiting_lines(caplog)
    assert not wanted, lines
    for service in ("slow", "other"):  # one line where the engine slept until all waited long
        assert 1 <= len([line for line in lines if f"service={service}" in line]) <= 2, lines


def test_closing_says_bye_and_fails_what_is_open(client, broker):
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    client.close()
    assert broker.expect(BYE).head[0] == 1
    with pytest.raises(pound.ClosedError, match="the client was closed before the answer came"):
        result(future)
    with pytest.raises(pound.ClosedError, match="this client is closed; make a new one"):
        client.submit("echo", b"")
    with pytest.raises(pound.ClosedError, match="this client is closed; make a new one"):
        client.wait_connected(WAIT_S)
    client.close()


def test_closing_waits_until_bye_has_arrived(make_client, broker, monkeypatch):
    monkeypatch.setattr(client_engine, "LEAVE_WITHIN", WAIT_S)
    client = make_client()
    broker.greet()
    assert client.wait_connected(WAIT_S)
    thread = threading.Thread(target=client.close)
    thread.start()
    assert broker.expect(BYE).packet == broker.heartbeat().packet
    assert thread.is_alive()
    broker.say(bye(0))
    thread.join(WAIT_S / 2)
    assert not thread.is_alive()
    assert broker.read(0) is None  # no HELLO, though the broker does not know us any more


@pytest.mark.parametrize("timeout", [None, WAIT_S])
def test_waiting_for_a_broker_ends_when_the_client_is_closed(make_client, timeout):
    client = make_client(endpoints="tcp://127.0.0.1:1")
    assert not client.wait_connected(0.01)
    told: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(pound.ClosedError) as raised:
            client.wait_connected(timeout)
        told.append(raised.value)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    client.close()
    thread.join(WAIT_S / 2)
    assert told, "it waits on"
    with pytest.raises(pound.ClosedError):
        client.wait_connected(timeout)


def test_a_callback_is_told_that_it_cannot_wait_for_a_broker(make_client):
    client = make_client(endpoints="tcp://127.0.0.1:1")
    told: Queue[Any] = Queue()

    def wait(_: Any) -> None:
        try:
            told.put(client.wait_connected(WAIT_S))
        except RuntimeError as error:
            told.put(error)

    client.submit("", b"", timeout=0.01).add_done_callback(wait)
    assert isinstance(told.get(timeout=WAIT_S / 2), RuntimeError)


def test_a_forgotten_client_closes(make_client, broker):
    client = pound.Client(broker.endpoint)
    broker.greet()
    assert client.wait_connected(WAIT_S)
    del client
    gc.collect()
    broker.expect(BYE)


def test_a_client_without_a_broker_closes_at_once(monkeypatch):
    monkeypatch.setattr(client_engine, "LEAVE_WITHIN", 10 * WAIT_S)
    client = pound.Client("tcp://127.0.0.1:1")
    client.close()  # returns in any case
    assert not client._engine.alive()


def test_a_callback_may_submit_but_not_wait(client, broker):
    told: Future[Any] = Future()

    def then(future: Future[Any]) -> None:
        inner = client.submit("echo", b"2")
        try:
            client.request("echo", b"3")
        except RuntimeError as refusal:
            told.set_result((inner, str(refusal)))

    client.submit("echo", b"1").add_done_callback(then)
    broker.expect(REQUEST)
    broker.say(reply(1, b""))
    inner, refusal = result(told)
    assert "submit()" in refusal
    said = broker.expect(REQUEST)
    assert said.parts == [b"2"]
    broker.say(reply(said.id, b"two"))
    assert result(inner) == b"two"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_the_parent_is_not_disturbed(client, broker):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"used"
        try:
            client.submit("echo", b"")
        except pound.ForkError:
            client.close()
            said = b"refused"
        finally:
            os.write(writing, said)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"refused"
    os.close(reading)
    os.close(writing)
    future = client.submit("echo", b"")
    broker.expect(REQUEST)
    broker.say(reply(1, b"parent"))
    assert result(future) == b"parent"


def test_many_threads_share_a_client(client, broker):
    got: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda n=n: got.append(client.request("echo", b"%d" % n) == b"%d" % n)
        )
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for _ in range(20):
        said = broker.expect(REQUEST)
        broker.say(reply(said.id, said.parts[0]))
    for thread in threads:
        thread.join(WAIT_S)
    assert got == [True] * 20


def test_inproc_with_a_shared_context(context):
    broker = ReferenceBroker(context, "inproc://frontend")
    with pound.Client("inproc://frontend", context=context) as client:
        broker.greet()
        future = client.submit("echo", b"")
        said = broker.seek(REQUEST)
        broker.say(reply(said.id, b"near"))
        assert result(future) == b"near"
    broker.close()
