"""Streams through a real broker: the worker goes as fast as the client reads, and ends with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pound
from tests.support import WAIT_S, wait_until

PIECE = bytes(1000)
COST = 1000 + 64 + 64  # of a partial of one such piece
FIRST_PIECES = -(-65536 // COST)  # that a stream may have which nobody reads
COUNT = 20_000


class Streamer:
    """A handler that streams, and notes how far each of its tasks came and how it ended."""

    def __init__(self, count: int = COUNT) -> None:
        self.count = count
        self.lock = threading.Lock()
        self.given: list[int] = []
        self.ended: list[type[BaseException] | None] = []

    def begin(self) -> int:
        with self.lock:
            self.given.append(0)
            return len(self.given) - 1

    def sync(self, task: pound.Task) -> bytes:
        number = self.begin()
        try:
            for _ in range(self.count):
                task.partial(PIECE)
                self.given[number] += 1
        except BaseException as error:
            self.ended.append(type(error))
            raise
        self.ended.append(None)
        return b"end"

    async def coroutine(self, task: pound.aio.Task) -> bytes:
        number = self.begin()
        try:
            for _ in range(self.count):
                await task.partial(PIECE)
                self.given[number] += 1
        except BaseException as error:
            self.ended.append(type(error))
            raise
        self.ended.append(None)
        return b"end"


@pytest.fixture
def aio_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own, for workers of coroutines."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=["threads", "coroutines"])
def serve(
    request: pytest.FixtureRequest, aio_loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[..., Callable[[], None]]]:
    """``serve(broker, streamer)``: a worker of either kind; returns what stops it at once."""
    stops: list[Callable[[], None]] = []

    def on_loop(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, aio_loop).result(WAIT_S)

    async def start(broker: Any, streamer: Streamer, **settings: Any) -> pound.aio.Worker:
        worker = pound.aio.Worker(
            broker.backend_endpoints, {"s": streamer.coroutine, "echo": echo}, **settings
        )
        await worker.start()
        assert await worker.wait_connected(WAIT_S)
        return worker

    def serve(broker: Any, streamer: Streamer, **settings: Any) -> Callable[[], None]:
        stop: Callable[[], None]
        if request.param == "coroutines":
            aio_worker = on_loop(start(broker, streamer, **settings))

            def stop() -> None:
                on_loop(aio_worker.stop())
        else:
            worker = pound.Worker(
                broker.backend_endpoints, {"s": streamer.sync, "echo": lambda b: b}, **settings
            )
            worker.start()
            assert worker.wait_connected(WAIT_S)
            stop = worker.stop
        stops.append(stop)
        return stop

    yield serve
    for stop in stops:
        stop()


async def echo(body: Any) -> Any:
    return body


@pytest.fixture
def client(broker: Any) -> Iterator[pound.Client]:
    with pound.Client(broker.frontend_endpoints) as client:
        yield client


def stands(streamer: Streamer, *given: int) -> None:
    """Wait until each task of the streamer has come as far as its credit, and no further."""
    wait_until(lambda: sorted(streamer.given) == sorted(given))


def test_a_stream_waits_for_its_reader_and_loses_nothing(broker, serve, client):
    streamer = Streamer()
    serve(broker, streamer)
    stream = client.stream("s", b"", timeout=2 * WAIT_S)
    next(stream)
    stands(streamer, FIRST_PIECES)
    got = [partial.sequence for partial in stream]
    assert got == list(range(1, COUNT + 1))
    assert broker.stats()["partials_dropped"] == 0


def test_an_aio_stream_waits_for_its_reader_and_loses_nothing(broker, serve):
    streamer = Streamer()
    serve(broker, streamer)

    async def main() -> list[int]:
        async with pound.aio.Client(broker.frontend_endpoints) as client:
            stream = client.stream("s", b"", timeout=2 * WAIT_S)
            await anext(stream)
            await asyncio.to_thread(stands, streamer, FIRST_PIECES)
            return [partial.sequence async for partial in stream]

    assert asyncio.run(main()) == list(range(1, COUNT + 1))


def test_a_stream_that_nobody_reads_ends_at_its_deadline(broker, serve, client):
    streamer = Streamer()
    serve(broker, streamer)
    stream = client.stream("s", b"", timeout=1.0)
    wait_until(lambda: len(streamer.ended) == 1)
    assert streamer.ended[0] in (pound.Cancelled, asyncio.CancelledError)
    assert streamer.given == [FIRST_PIECES]
    with pytest.raises(pound.DeadlineExceeded):
        list(stream)


def test_a_handler_that_waits_ends_with_its_client(broker, serve):
    streamer = Streamer()
    serve(broker, streamer)
    with pound.Client(broker.frontend_endpoints) as client:
        stream = client.stream("s", b"")
        stands(streamer, FIRST_PIECES)
    wait_until(lambda: len(streamer.ended) == 1)
    with pytest.raises(pound.ClosedError):
        list(stream)


def test_a_stream_that_was_given_back_goes_on_at_its_next_worker(broker, serve, client):
    """The attempt is the same: what came before is passed over, and credit is not lost."""
    first, second = Streamer(), Streamer()
    stop = serve(broker, first)
    stream = client.stream("s", b"", timeout=2 * WAIT_S)
    got = [next(stream).sequence for _ in range(10 * FIRST_PIECES)]
    stop()
    wait_until(lambda: len(first.ended) == 1)
    serve(broker, second)
    got += [partial.sequence for partial in stream]
    assert got == list(range(COUNT + 1))
    assert second.ended == [None]


def test_many_streams_that_nobody_reads_hold_up_nothing_else(broker, serve, client):
    streamer = Streamer(2 * FIRST_PIECES)
    serve(broker, streamer, capacity=101)
    streams = [client.stream("s", b"") for _ in range(100)]
    stands(streamer, *[FIRST_PIECES] * 100)
    assert client.request("echo", b"x", timeout=WAIT_S) == b"x"
    for stream in streams:
        assert len(list(stream)) == 2 * FIRST_PIECES + 1


def test_a_plain_request_does_not_hold_a_stream_up(broker, serve, client):
    streamer = Streamer()
    serve(broker, streamer)
    assert client.request("s", b"", timeout=2 * WAIT_S) == b"end"
    assert streamer.given == [COUNT]


def test_a_stream_of_large_partials_may_be_read_slowly(broker, serve, client):
    """One partial may exceed every credit; the client's own bound counts what came before it."""
    size = 40 << 20

    class Large(Streamer):
        def sync(self, task: pound.Task) -> bytes:
            for _ in range(self.count):
                task.partial(bytes(size))
            return b"end"

        async def coroutine(self, task: pound.aio.Task) -> bytes:
            for _ in range(self.count):
                await task.partial(bytes(size))
            return b"end"

    streamer = Large(4)
    serve(broker, streamer)
    stream = client.stream("s", b"", timeout=2 * WAIT_S)
    sizes = [len(partial.body) for partial in stream]
    assert sizes == [size] * 4 + [3]
