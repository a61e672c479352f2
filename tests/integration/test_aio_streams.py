"""Streams of `pound.aio.Client` against the real `pound.Broker`, on each kind of loop."""

from __future__ import annotations

import asyncio
import gc

import pytest

import pound
import pound.aio
from pound._engine import client as client_engine
from tests.integration.aio_bench import following


def test_a_stream_is_iterated(run, bench):
    async def main():
        async with bench.client() as client:
            got = [partial async for partial in client.stream("spell", b"abc")]
            assert [bytes(partial.body) for partial in got] == [b"a", b"b", b"c", b"end"]
            assert [partial.final for partial in got] == [False, False, False, True]
            assert [partial.sequence for partial in got] == [0, 1, 2, 3]
            assert got[0].meta == {"of": "spell"}
            assert (got[0].attempt, got[3].meta) == (1, {})

    run(main())


def test_many_streams_at_once(run, bench):
    async def main():
        async with bench.client() as client:

            async def read(word: bytes) -> bytes:
                return b"".join(
                    [bytes(partial.body) async for partial in client.stream("spell", word)]
                )

            words = [b"%d" % n * 5 for n in range(100)]
            assert await asyncio.gather(*map(read, words)) == [word + b"end" for word in words]

    run(main())


def test_a_stream_that_fails(run, bench):
    async def main():
        async with bench.client() as client:
            stream = client.stream("fail", b"boom")
            with pytest.raises(pound.TaskFailed, match="boom"):
                await anext(stream)
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    run(main())


def test_leaving_a_stream_cancels_its_request(run, bench):
    async def main():
        async with bench.client() as client:
            async for partial in client.stream("spell", b"a-b"):
                assert partial.body == b"a"
                break
            gc.collect()
            await bench.until("cancelled", 1)

    run(main())


def test_a_stream_that_is_never_read_is_cancelled_when_dropped(run, bench):
    async def main():
        async with bench.client() as client:
            stream = client.stream("spell", b"-")
            await bench.begun()
            del stream
            gc.collect()
            await bench.until("cancelled", 1)

    run(main())


def test_closing_a_stream_cancels_its_request(run, bench):
    async def main():
        async with bench.client() as client:
            stream = client.stream("spell", b"a-b")
            assert (await anext(stream)).body == b"a"
            await stream.aclose()
            await stream.aclose()
            assert [partial async for partial in stream] == []
            await bench.until("cancelled", 1)

    run(main())


def test_cancelling_the_reader_of_a_stream_cancels_its_request(run, bench):
    async def main():
        async with bench.client() as client:
            stream = client.stream("spell", b"-")

            async def read():
                return [partial async for partial in stream]

            task = asyncio.create_task(read())
            await bench.begun()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await bench.until("cancelled", 1)

    run(main())


def test_a_stream_has_one_reader(run, bench):
    async def main():
        async with bench.client() as client:
            stream = client.stream("spell", b"-")
            first = asyncio.create_task(following(stream))
            await bench.begun()
            with pytest.raises(RuntimeError, match="reads this stream"):
                await anext(stream)
            bench.hold.set()
            assert (await first).body == b"-"

    run(main())


def test_a_stream_that_is_read_too_slowly_ends(run, bench, monkeypatch):
    monkeypatch.setattr(client_engine, "STREAM_BYTES_MAX", 1000)

    async def main():
        async with bench.client() as client:
            stream = client.stream("spell", b"x" * 50 + b"-")
            await client.request("echo", b"")
            await bench.until("cancelled", 1)
            with pytest.raises(pound.Busy, match="1000 bytes of the stream"):
                _ = [partial async for partial in stream]

    run(main())


def test_a_stream_that_is_read_may_be_longer_than_what_may_wait(run, bench, monkeypatch):
    monkeypatch.setattr(client_engine, "STREAM_BYTES_MAX", 1000)

    async def main():
        count = 0
        async with bench.client() as client:
            async for _ in client.stream("paced", b"x" * 100):
                bench.read.release()
                count += 1
        assert count == 101

    run(main())
