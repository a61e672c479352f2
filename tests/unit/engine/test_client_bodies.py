"""Bodies that are not copied, and memory that is given back."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

import pound
from pound._engine import client as client_engine
from tests import probe
from tests.support import wait_until
from tests.unit.reference_broker import (
    ATTACHED,
    CANCEL,
    REPLY,
    REQUEST,
    WAIT_S,
    ReferenceBroker,
    partial,
    record,
    reply,
)

SIZE = 1 << 20
SMALL = 4095  # the largest part that travels inside its packet


@pytest.fixture(scope="module")
def address() -> Callable[[Any], int]:
    """``address(view)``: where its memory begins; built before any client waits for heartbeats."""
    probed = probe.load("requests").address
    return lambda view: probed(memoryview(view))


@pytest.fixture
def near(address: Any, context: zmq.Context[Any]) -> Iterator[ReferenceBroker]:
    """A broker in this process, which passes messages on without a copy."""
    broker = ReferenceBroker(context, "inproc://frontend")
    yield broker
    broker.close()


def attach(broker: ReferenceBroker, id: int, frame: Any) -> None:
    """Answer by one attached part, which is not copied."""
    claim = bytearray(record(REPLY, id, flags=ATTACHED))
    claim[6] = 1
    head = b"PND\x01\x01\0\0\0" + broker.epoch + bytes(8)
    broker._router.send_multipart([broker.route, head + claim, frame], copy=False)


def attached_frame(broker: ReferenceBroker) -> Any:
    """The first attached frame of the next message that has one; its memory is the message's."""
    while True:
        assert broker._router.poll(int(WAIT_S * 1000))
        route, _, *attached = broker._router.recv_multipart(copy=False)
        if attached:
            broker.route = route.bytes
            return attached[0]


@pytest.mark.parametrize("kind", ["bytes", "frame", "read-only view"])
def test_a_body_goes_there_and_back_without_a_copy(context, near, address, kind):
    memory = bytearray(SIZE) if kind == "read-only view" else bytes(SIZE)
    body = {"bytes": memory, "frame": zmq.Frame(memory, copy=False)}.get(kind) or memoryview(
        memory
    ).toreadonly()
    with pound.Client("inproc://frontend", context=context, copy=False) as client:
        near.greet()
        future = client.submit("echo", body)
        frame = attached_frame(near)
        assert address(frame) == address(memory)
        attach(near, 1, frame)
        answer = future.result(WAIT_S)
        assert isinstance(answer, memoryview)
        assert (answer.readonly, answer.format, len(answer)) == (True, "B", SIZE)
        assert address(answer) == address(memory)


def test_what_can_be_written_to_is_copied_once(client, broker):
    body = bytearray(b"before" * 1000)
    future = client.submit("echo", body)
    body[:6] = b"after!"
    body.clear()  # would fail if its memory was lent
    said = broker.expect(REQUEST)
    assert said.parts == [b"before" * 1000]
    broker.say(reply(said.id, b""))
    assert future.result(WAIT_S) == b""


def test_lent_memory_is_given_back_with_the_answer(client, broker):
    body = bytearray(SIZE)
    future = client.submit("echo", memoryview(body).toreadonly())
    with pytest.raises(BufferError):
        body.clear()
    said = broker.expect(REQUEST)
    broker.say(reply(said.id, b""))
    future.result(WAIT_S)
    wait_until(lambda: cleared(client, body))


def cleared(client: pound.Client, body: bytearray) -> bool:
    """Whether the body can be changed again, after the client was used once more."""
    client.submit("echo", b"")
    try:
        body.clear()
    except BufferError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, SMALL])
def test_small_bodies_are_copied_and_not_held(client, broker, size):
    body = bytes(bytearray(size)) + b""
    before = sys.getrefcount(body)
    future = client.submit("echo", body)
    assert sys.getrefcount(body) == before
    said = broker.expect(REQUEST)
    assert said.parts == [body]
    broker.say(reply(said.id, body))
    assert future.result(WAIT_S) == body


def test_without_copies_only_large_parts_are_views(make_client, broker):
    client = make_client(copy=False)
    broker.greet()
    future = client.submit_full("echo", b"")
    said = broker.seek(REQUEST)
    claim = bytearray(record(REPLY, said.id, flags=ATTACHED))
    claim[6] = 3
    broker.say(bytes(claim), attached=[b"l" * 5000, b"small", bytes(4096)])
    large, small, edge = future.result(WAIT_S).parts
    assert (type(large), type(small), type(edge)) == (memoryview, bytes, memoryview)
    assert (bytes(large), small, bytes(edge)) == (b"l" * 5000, b"small", bytes(4096))
    client.close()
    del client
    gc.collect()
    assert bytes(large[-5:]) == b"lllll"  # its memory outlives the client


def test_an_attached_partial_is_a_view_too(make_client, broker):
    client = make_client(copy=False)
    broker.greet()
    stream = client.stream("count", b"")
    said = broker.seek(REQUEST)
    claim = bytearray(partial(said.id, 0, flags=ATTACHED))
    claim[6] = 1
    broker.say(bytes(claim), attached=[b"p" * 5000])
    broker.say(reply(said.id, b"end"))
    first, last = stream
    assert isinstance(first.body, memoryview)
    assert bytes(first.body) == b"p" * 5000
    assert last.body == b"end"


# -- what is given back ---------------------------------------------------------------------


def test_nothing_is_left_in_use_when_all_has_ended(context):
    gc.collect()
    before = client_engine.live()
    broker = ReferenceBroker(context)
    with pound.Client(broker.endpoint) as client:
        broker.greet()
        assert client.wait_connected(WAIT_S)
        futures = [client.submit("echo", bytes(size)) for size in (10, 10, 5000, 10)]
        asked = [broker.expect(REQUEST) for _ in futures]
        assert client_engine.live() >= before + 4
        futures[3].cancel()
        broker.seek(CANCEL)
        broker.say(reply(asked[0].id, b"answer"), reply(asked[2].id, b"answer"))
        assert [futures[n].result(WAIT_S) for n in (0, 2)] == [b"answer"] * 2
        stream = client.stream("count", b"")
        said = broker.expect(REQUEST)
        broker.say(partial(said.id, 0, b"a"), partial(said.id, 1, b"b"))
        next(stream)
        answers = client.map("echo", [bytes(100)] * 10)
        thread = threading.Thread(target=next, args=(answers,))
        thread.start()
        first = broker.expect(REQUEST)
        broker.say(reply(first.id, b""))
        thread.join(WAIT_S)
        broker.close()
    del stream, answers, futures, thread
    gc.collect()
    wait_until(lambda: client_engine.live() <= before)


def test_an_interrupt_ends_the_wait_and_cancels_the_request(client, broker):
    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            client.request("echo", b"")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    asked = broker.expect(REQUEST)
    assert broker.expect(CANCEL).id == asked.id


class Long(list):
    """A list that lies about what it holds; the test fails where it is read without bound."""

    def __iter__(self):
        for _ in range(200_000):
            yield b""
        pytest.fail("read without bound")


def test_a_body_is_read_as_far_as_a_record_can_carry(client):
    words = "a body of more than 65535 parts"
    for given in (Long(), [b""] * 65536):
        with pytest.raises(ValueError, match=words):
            client.submit("", given)
        with pytest.raises(ValueError, match=words):
            client.stream("", given)
        with pytest.raises(ValueError, match=words):
            list(client.map("", [given]))
        with pytest.raises(ValueError, match=words):
            _ = pound.Answer(given).parts
    with pytest.raises(ValueError, match=words):
        client.submit("", [b""] * 65535, meta={"k": "v"})
