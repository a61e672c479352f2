"""`Client.map` against a scripted broker: order, window, failure, leaving early."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pound
from tests.unit.reference_broker import (
    CANCEL,
    META,
    REQUEST,
    WAIT_S,
    ReferenceBroker,
    Said,
    error,
    reply,
)


def read_by_thread(answers: Iterator[Any]) -> tuple[threading.Thread, list[Any]]:
    """Read a map in a thread; what it raises ends up last in the list."""
    got: list[Any] = []

    def read() -> None:
        try:
            got.extend(answers)  # keeps what came before the failure
        except Exception as failure:
            got.append(failure)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, got


def answer(broker: ReferenceBroker, count: int) -> list[Said]:
    """Answer so many requests with their own bodies, the last one first."""
    asked = [broker.expect(REQUEST) for _ in range(count)]
    broker.say(*(reply(said.id, said.parts[0]) for said in reversed(asked)))
    return asked


@pytest.mark.parametrize("method", ["map", "map_full"])
def test_the_meta_of_a_map_goes_with_each_request(client, broker, method):
    thread, got = read_by_thread(getattr(client, method)("echo", [b"a", b"b"], meta={"k": "v"}))
    asked = [broker.expect(REQUEST) for _ in range(2)]
    assert [(said.flags, said.parts[0]) for said in asked] == [(META, b'{"k":"v"}')] * 2
    broker.say(*(reply(said.id, said.parts[1]) for said in asked))
    thread.join(WAIT_S)
    assert [getattr(one, "body", one) for one in got] == [b"a", b"b"]


def test_map_answers_in_order_and_reads_ahead_no_further_than_its_window(client, broker):
    taken: list[int] = []

    def bodies() -> Iterator[bytes]:
        for n in range(6):
            taken.append(n)
            yield b"%d" % n

    answers = client.map("echo", bodies(), window=2)
    assert taken == []
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.extend(answers))
    thread.start()
    for n in range(0, 6, 2):
        pair = [broker.expect(REQUEST), broker.expect(REQUEST)]
        broker.expect_silence(0.05)
        assert len(taken) == n + 2
        broker.say(*(reply(said.id, said.parts[0]) for said in reversed(pair)))
    thread.join(WAIT_S)
    assert got == [b"%d" % n for n in range(6)]


def test_map_fails_at_the_turn_of_the_failed_one_and_cancels_the_rest(client, broker):
    answers = client.map("echo", [b"0", b"1", b"2"], window=3)
    got: list[Any] = []

    def read() -> None:
        try:
            got.extend(answers)
        except pound.TaskFailed as failure:
            got.append(failure)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(3):
        broker.expect(REQUEST)
    broker.say(error(2, 2, "bad"), reply(1, b"good"))
    assert broker.expect(CANCEL).id == 3
    thread.join(WAIT_S)
    assert isinstance(got[-1], pound.TaskFailed)


def test_a_map_that_is_being_closed_is_not_read(client, broker):
    told: list[BaseException] = []

    def bodies() -> Iterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            try:
                next(answers)
            except BaseException as error:
                told.append(error)

    answers = client.map("echo", bodies(), window=1)
    reading = threading.Thread(target=next, args=(answers,))
    reading.start()
    answer(broker, 1)
    reading.join(WAIT_S)
    answers.close()
    assert [type(error) for error in told] == [ValueError]


def test_map_checks_its_window_at_once(client):
    with pytest.raises(ValueError, match="window"):
        client.map("echo", [], window=0)


def test_bodies_at_hand_travel_in_batches_and_a_generators_one_by_one(client, broker):
    numbers = [b"%d" % n for n in range(40)]
    packets = {}
    for kind, bodies in (("list", numbers), ("generator", (body for body in numbers))):
        thread, got = read_by_thread(client.map("echo", bodies, window=40))
        packets[kind] = {said.packet for said in answer(broker, 40)}
        thread.join(WAIT_S)
        assert got == numbers
    assert len(packets["list"]) <= 4  # a quarter of the window in each


def test_a_body_is_asked_with_before_the_next_one_is_read(client, broker):
    def bodies() -> Iterator[bytes]:
        yield b"first"
        broker.expect(REQUEST)  # would fail if the first body waited for company
        broker.say(reply(1, b"one"))
        yield b"second"

    answers = client.map("echo", bodies(), window=10)
    thread = threading.Thread(target=lambda: answer(broker, 1))
    assert next(answers) == b"one"
    thread.start()
    assert next(answers) == b"second"
    thread.join(WAIT_S)
    assert next(answers, None) is None


def test_an_answer_is_told_though_the_next_bodies_take_their_time(client, broker):
    read: list[int] = []

    def bodies() -> Iterator[bytes]:
        for n in range(1000):
            read.append(n)
            yield b"%d" % n
            said = broker.expect(REQUEST)
            broker.say(reply(said.id, b"answer"))

    answers = client.map("echo", bodies(), window=1000)
    assert next(answers) == b"answer"
    assert len(read) < 1000
    answers.close()


def test_a_window_of_one_asks_one_after_the_other(client, broker):
    thread, got = read_by_thread(client.map("echo", [b"a", b"b"], window=1))
    for body in (b"a", b"b"):
        said = broker.expect(REQUEST)
        broker.expect_silence(0.05)
        assert said.parts == [body]
        broker.say(reply(said.id, body.upper()))
    thread.join(WAIT_S)
    assert got == [b"A", b"B"]


def test_the_window_wraps_around_many_times(client, broker):
    thread, got = read_by_thread(client.map("echo", (b"%d" % n for n in range(500)), window=7))
    left = 500
    while left:
        said = broker.expect(REQUEST)
        broker.say(reply(said.id, said.parts[0]))
        left -= 1
    thread.join(WAIT_S)
    assert got == [b"%d" % n for n in range(500)]


@pytest.mark.parametrize("leave", ["close", "forget"])
def test_leaving_early_cancels_what_is_open(client, broker, leave):
    answers = client.map("echo", [b"0", b"1", b"2", b"3"], window=4)
    thread = threading.Thread(target=lambda: answer(broker, 2))
    thread.start()
    assert next(answers) == b"0"
    thread.join(WAIT_S)
    if leave == "close":
        answers.close()
        assert next(answers, None) is None
    else:
        del answers
        gc.collect()
    assert {broker.seek(CANCEL).id, broker.expect(CANCEL).id} == {3, 4}


def test_a_failing_iterable_fails_the_map_and_cancels(client, broker):
    def bodies() -> Iterator[bytes]:
        yield b"0"
        broker.expect(REQUEST)
        raise LookupError("no more")

    answers = client.map("echo", bodies(), window=4)
    with pytest.raises(LookupError):
        next(answers)
    assert broker.expect(CANCEL).id == 1
    assert next(answers, None) is None


@pytest.mark.parametrize("one", [b"abc", bytearray(b"abc"), memoryview(b"abc"), "abc"])
def test_one_body_is_no_iterable_of_bodies(client, one):
    with pytest.raises(
        TypeError, match=f"bodies is an iterable of bodies, not one {type(one).__name__}"
    ):
        client.map("s", one)


def test_what_is_no_body_fails_the_map(client):
    with pytest.raises(TypeError, match="bytes-like"):
        list(client.map("echo", ["text"]))
    with pytest.raises(TypeError, match="iterable"):
        client.map("echo", 5)


@pytest.mark.parametrize("settings", [{"timeout": -1.0}, {"priority": 10}])
def test_settings_out_of_range_fail_at_the_first_answer(client, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        next(client.map("echo", [b""], **settings))


def test_a_deadline_ends_the_map_at_its_turn(client, broker):
    answers = client.map("echo", [b"0", b"1"], timeout=0.2)
    with pytest.raises(pound.DeadlineExceeded):
        next(answers)
    assert next(answers, None) is None


def test_closing_the_client_ends_the_map(make_client: Callable[..., pound.Client], broker):
    client = make_client()
    broker.greet()
    thread, got = read_by_thread(client.map("echo", [b"0", b"1"]))
    broker.seek(REQUEST)
    client.close()
    thread.join(WAIT_S)
    assert isinstance(got[-1], pound.ClosedError)


def test_two_threads_can_not_read_one_map(client, broker):
    answers = client.map("echo", [b"0"])
    thread, got = read_by_thread(answers)
    said = broker.expect(REQUEST)  # so the thread is inside, or about to wait
    with pytest.raises(ValueError, match="one thread"):
        next(answers)
    broker.say(reply(said.id, b"zero"))
    thread.join(WAIT_S)
    assert got == [b"zero"]


def test_two_maps_and_a_call_share_a_client(client, broker):
    first, got_first = read_by_thread(client.map("echo", [b"a%d" % n for n in range(20)]))
    second, got_second = read_by_thread(client.map("echo", [b"b%d" % n for n in range(20)]))
    answer(broker, 40)
    first.join(WAIT_S)
    second.join(WAIT_S)
    assert got_first == [b"a%d" % n for n in range(20)]
    assert got_second == [b"b%d" % n for n in range(20)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("window", [1, 2])
def test_a_forked_child_can_not_go_on_with_a_map_and_the_parent_can(client, broker, window):
    answers = client.map("echo", [b"0", b"1"], window=window)
    thread = threading.Thread(target=lambda: [answer(broker, 1) for _ in range(2)])
    thread.start()
    assert next(answers) == b"0"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"went on"
        try:
            next(answers)
        except pound.ForkError:
            answers.close()
            del answers
            gc.collect()
            said = b"refused"
        finally:
            os.write(writing, said)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"refused"
    os.close(reading)
    os.close(writing)
    assert next(answers) == b"1"
    thread.join(WAIT_S)
