"""Flow control of streams: a worker goes as far as its client has read, and a window more.

Each end alone, before a scripted broker. What the broker passes on is in tests/interop/test_credit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pound
from tests.support import wait_until
from tests.unit.reference_broker import (
    CREDIT,
    ERROR,
    PARTIAL,
    READY,
    REPLY,
    REQUEST,
    RUN,
    WAIT_S,
    ReferenceBroker,
    credit,
    held,
    partial,
    record,
    reply,
    task,
    welcome,
)

CANCEL = 2
FIRST = 65536  # what a run's partials may cost before the first CREDIT
WINDOW = 1 << 20  # of the library's client, for a stream that is alone
PIECE = bytes(1000)
COST = 1000 + 64 + 64  # of a partial of one such piece
FIRST_PIECES = -(-FIRST // COST)  # the last of them exceeds the credit


# -- the client ---------------------------------------------------------------------------------


def read_credit(broker: ReferenceBroker) -> tuple[int, int]:
    """What is granted, and the attempt whose run it is."""
    said = broker.expect(CREDIT)
    assert said.id == 1
    cost, run = said.head
    return cost, run - RUN


def test_a_stream_that_is_short_costs_no_credit(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, PIECE) for n in range(FIRST // 4 // COST)), reply(1, b"end"))
    assert len(list(stream)) == FIRST // 4 // COST + 1
    assert broker.read(timeout=0.05) is None


def test_credit_follows_what_was_read_not_what_came(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, PIECE) for n in range(FIRST_PIECES)))
    assert next(stream).body == PIECE
    assert broker.read(timeout=0.05) is None, "a client that has not read it says CREDIT"
    for _ in range(FIRST_PIECES - 1):
        next(stream)
    said = broker.expect(CREDIT)
    cost, run = said.head
    assert (said.id, run, said.sequence) == (1, RUN + 1, FIRST_PIECES)
    read = cost - WINDOW
    assert read % COST == 0
    assert FIRST // 4 <= read <= FIRST_PIECES * COST


@pytest.mark.parametrize("size", [0, 1, 1000, 70_000, 2 << 20])
def test_no_stream_stands_still_while_its_reader_reads(client, broker, size):
    """A worker that uses up its credit gets more as soon as all that it sent was read."""
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    granted, sent, sequence = FIRST, 0, 0
    while sent < 8 * WINDOW and sequence < 10_000:
        pieces = -(-(granted - sent) // (size + 128))
        for n in range(pieces):
            broker.say(partial(1, sequence + n, bytes(size)))
        for _ in range(pieces):
            next(stream)
        sequence, sent = sequence + pieces, sent + pieces * (size + 128)
        while granted <= sent:
            granted, _ = read_credit(broker)
    stream.close()


def test_a_new_attempt_begins_with_the_first_credit_again(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, PIECE) for n in range(30)))
    for _ in range(30):
        next(stream)
    assert read_credit(broker)[1] == 1
    while broker.read(timeout=0.05) is not None:
        pass
    broker.say(*(partial(1, n, PIECE, attempt=2) for n in range(30)))
    assert next(stream).attempt == 2
    assert broker.read(timeout=0.05) is None, "what was read of attempt 1 makes no room in 2"
    for _ in range(29):
        next(stream)
    cost, attempt = read_credit(broker)
    assert attempt == 2
    assert cost <= 30 * COST + WINDOW


def test_unread_partials_of_a_lost_attempt_take_no_room_from_the_next(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(
        *(partial(1, n, PIECE) for n in range(FIRST_PIECES)),
        *(partial(1, n, PIECE, attempt=2) for n in range(FIRST_PIECES)),
    )
    for _ in range(FIRST_PIECES):
        assert next(stream).attempt == 1
    assert broker.read(timeout=0.05) is None, "a CREDIT for the attempt that was lost"
    for _ in range(FIRST_PIECES):
        assert next(stream).attempt == 2
    assert read_credit(broker)[1] == 2


def test_credit_that_is_due_as_the_next_attempt_begins_is_not_lost(client, broker):
    """What was read of attempt 1 is looked at when attempt 2 is on: it grants nothing there."""
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, PIECE) for n in range(30)))
    for _ in range(10):
        next(stream)  # less than what makes CREDIT due
    with held(client):
        broker.say(*(partial(1, n, PIECE, attempt=2) for n in range(FIRST_PIECES)))
        for _ in range(20):
            next(stream)
    for _ in range(FIRST_PIECES):
        assert next(stream).attempt == 2
    while read_credit(broker)[1] != 2:
        pass


def test_partials_that_are_passed_over_count_as_read(client, broker):
    """A task that was given back is a new run of the same attempt; its partials may be others."""
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, b"") for n in range(10)))
    for _ in range(10):
        next(stream)
    broker.say(*(partial(1, n, bytes(FIRST), run=RUN + 7) for n in range(2)))
    cost, run = read_credit(broker)
    assert run == 7
    assert cost >= 2 * FIRST
    broker.say(partial(1, 10, b"on", run=RUN + 7), reply(1, b"end"))
    assert [(item.body, item.attempt, item.sequence) for item in stream] == [
        (b"on", 1, 10),
        (b"end", 1, 11),
    ]


def test_partials_that_come_twice_in_a_run_count_for_nothing(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    for _ in range(3):
        broker.say(*(partial(1, n, bytes(1000)) for n in range(10)))
    broker.say(partial(1, 10, b"on"), partial(1, 0, bytes(FIRST), run=RUN))  # of an earlier run
    for n in range(10):
        assert (next(stream).sequence, n) == (n, n)
    assert next(stream).body == b"on"
    assert broker.read(timeout=0.05) is None, "CREDIT for what came again"


def test_credit_is_said_again_on_any_welcome(client, broker):
    stream = client.stream("count", b"")
    broker.expect(REQUEST)
    broker.say(*(partial(1, n, PIECE) for n in range(30)))
    for _ in range(30):
        next(stream)
    told = read_credit(broker)
    while (said := broker.read(timeout=0.05)) is not None:
        told = said.head[0], told[1]
    broker.say(welcome())
    broker.expect(REQUEST)
    assert read_credit(broker) >= told


def test_what_a_stream_has_is_said_behind_each_repeated_request(client, broker):
    streams = [client.stream("count", b"") for _ in range(3)]
    for _ in streams:
        broker.expect(REQUEST)
    broker.say(partial(1, 0, PIECE), partial(3, 0, PIECE), partial(3, 1, PIECE))
    next(streams[0]), next(streams[2]), next(streams[2])
    broker.say(welcome())
    said = [broker.read() for _ in range(5)]
    assert [(one.kind, one.id) for one in said] == [
        *((REQUEST, 1), (CREDIT, 1), (REQUEST, 2), (REQUEST, 3), (CREDIT, 3))
    ]
    assert [(one.head, one.sequence) for one in (said[1], said[4])] == [
        *(((0, RUN + 1), 1), ((0, RUN + 1), 2))
    ]


def test_many_streams_share_what_may_run_ahead(client, broker):
    streams = [client.stream("count", b"") for _ in range(100)]
    for _ in streams:
        broker.expect(REQUEST)
    broker.say(*(partial(1, n, PIECE) for n in range(30)))
    for _ in range(30):
        next(streams[0])
    assert read_credit(broker)[0] <= 30 * COST + FIRST


def test_a_plain_request_grants_the_partials_that_it_passes_over(client, broker):
    future = client.submit("count", b"")
    broker.expect(REQUEST)
    sent, granted, sequence = 0, FIRST, 0
    while sent < 4 * WINDOW:
        pieces = max(-(-(granted - sent) // COST), 1)
        broker.say(*(partial(1, sequence + n, PIECE) for n in range(pieces)))
        sequence, sent = sequence + pieces, sent + pieces * COST
        while granted <= sent:
            granted, attempt = read_credit(broker)
            assert attempt == 1
    broker.say(partial(1, 0, PIECE, attempt=2), partial(1, 1, bytes(FIRST), attempt=2))
    assert read_credit(broker)[1] == 2
    broker.say(reply(1, b"end"))
    assert future.result(WAIT_S) == b"end"


# -- the worker ---------------------------------------------------------------------------------


@pytest.fixture
def serve(broker: ReferenceBroker) -> Iterator[Callable[..., pound.Worker]]:
    """``serve(handler, **settings)``: a welcomed worker that offers `echo`."""
    workers: list[pound.Worker] = []

    def serve(handler: Any, **settings: Any) -> pound.Worker:
        worker = pound.Worker(broker.endpoint, {"echo": handler}, **settings)
        workers.append(worker)
        worker.start()
        broker.greet()
        broker.expect(READY)
        assert worker.wait_connected(WAIT_S)
        return worker

    yield serve
    broker.close(linger=1)
    for worker in workers:
        worker.stop()


class Streamer:
    """A handler that streams pieces until it is told to stop, and notes how it ended."""

    def __init__(self, count: int = 1 << 20) -> None:
        self.count = count
        self.given = 0
        self.ended: list[type[BaseException] | None] = []

    def __call__(self, task: pound.Task) -> bytes:
        try:
            for _ in range(self.count):
                task.partial(PIECE)
                self.given += 1
        except BaseException as error:
            self.ended.append(type(error))
            raise
        self.ended.append(None)
        return b"end"


def taken(broker: ReferenceBroker, count: int) -> None:
    for sequence in range(count):
        said = broker.expect(PARTIAL)
        assert said.head[0] == sequence


def test_a_worker_waits_for_credit_and_goes_on_with_it(serve, broker):
    handler = Streamer(200)
    serve(handler)
    broker.say(task(9))
    taken(broker, FIRST_PIECES)
    assert broker.read(timeout=0.05) is None, "it went beyond its credit"
    broker.say(credit(8, 100 * COST))  # not for this task
    broker.say(credit(9, 1))  # it takes nothing back
    assert broker.read(timeout=0.05) is None
    broker.say(credit(9, 100 * COST))
    for _ in range(FIRST_PIECES, 100):
        broker.expect(PARTIAL)
    assert broker.read(timeout=0.05) is None
    broker.say(credit(9, 2**64 - 1))
    for _ in range(100):
        broker.expect(PARTIAL)
    assert broker.expect(REPLY).parts == [b"end"]


def test_one_partial_may_exceed_the_credit(serve, broker):
    def handler(task: pound.Task) -> None:
        task.partial(bytes(8 << 20))
        task.partial(b"x")

    serve(handler)
    broker.say(task(9))
    assert len(broker.expect(PARTIAL).parts[0]) == 8 << 20
    assert broker.read(timeout=0.05) is None
    broker.say(credit(9, (8 << 20) + 129))
    assert broker.expect(PARTIAL).parts == [b"x"]
    broker.expect(REPLY)


def test_heartbeats_go_on_while_a_handler_waits(serve, broker):
    handler = Streamer()
    serve(handler, heartbeat=0.05, liveness=100)
    broker.say(task(9))
    taken(broker, FIRST_PIECES)
    assert [broker.heartbeat() for _ in range(3)]


def test_other_tasks_go_on_while_one_waits(serve, broker):
    handler = Streamer(FIRST_PIECES + 1)
    serve(handler, capacity=3)
    broker.say(task(1), task(2))
    for _ in range(2 * FIRST_PIECES):
        broker.expect(PARTIAL)
    broker.say(credit(2, 1 << 30))
    assert broker.expect(PARTIAL).id == 2
    assert broker.expect(REPLY).id == 2
    assert broker.read(timeout=0.05) is None


def cancel(broker: ReferenceBroker, worker: pound.Worker) -> None:
    broker.say(record(CANCEL, 9))


def stop(broker: ReferenceBroker, worker: pound.Worker) -> None:
    threading.Thread(target=worker.stop).start()


def drain(broker: ReferenceBroker, worker: pound.Worker) -> None:
    threading.Thread(target=worker.drain, args=(0.1,)).start()


def new_epoch(broker: ReferenceBroker, worker: pound.Worker) -> None:
    broker.epoch = bytes(16)
    broker.say(welcome())


@pytest.mark.parametrize("end", [cancel, stop, drain, new_epoch])
def test_a_handler_that_waits_for_credit_ends_with_its_task(serve, broker, end):
    handler = Streamer()
    worker = serve(handler)
    broker.say(task(9))
    taken(broker, FIRST_PIECES)
    end(broker, worker)
    wait_until(lambda: handler.ended == [pound.Cancelled])


def test_a_handler_that_waits_ends_at_its_deadline_without_a_broker(serve, broker):
    handler = Streamer()
    serve(handler)
    broker.say(task(9, remaining_ms=300))
    taken(broker, FIRST_PIECES)
    wait_until(lambda: handler.ended == [pound.Cancelled])
    assert broker.expect(ERROR).head[0] == 4


def test_the_end_of_a_cancelled_handler_is_no_failure(serve, broker, caplog):
    handler = Streamer()
    serve(handler)
    broker.say(task(9))
    taken(broker, FIRST_PIECES)
    broker.say(record(CANCEL, 9))
    said = broker.expect(ERROR)
    assert (said.id, said.head[0]) == (9, 1)
    assert "handler failed" not in caplog.text


def test_a_task_that_is_lost_and_comes_again_has_credit_of_its_own(serve, broker):
    handler = Streamer(FIRST_PIECES + 1)
    serve(handler, capacity=2)
    broker.say(task(1), credit(1, 1 << 30))
    for _ in range(FIRST_PIECES + 1):
        broker.expect(PARTIAL)
    broker.expect(REPLY)
    broker.say(task(2, attempt=2), credit(1, 1 << 30))
    taken(broker, FIRST_PIECES)
    assert broker.read(timeout=0.05) is None
