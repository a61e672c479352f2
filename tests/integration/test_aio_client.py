"""`pound.aio.Client` against the real `pound.Broker`, on each kind of loop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zmq

import pound
import pound.aio
from pound._engine import client as client_engine
from pound._engine import worker as worker_engine
from tests.integration.aio_bench import following
from tests.support import WAIT_S, wait_until

# -- requests -------------------------------------------------------------------------------


def test_a_request_is_awaited(run, bench):
    async def main():
        async with bench.client() as client:
            assert await client.request("echo", b"hello") == b"hello"
            answer = await client.request_full("parts", [b"a", b"b"], timeout=WAIT_S)
            assert answer == pound.Answer([b"a", b"b"])
            answers = [answer async for answer in client.map_full("parts", [[b"a", b"b"], b"c"])]
            assert [answer.parts for answer in answers] == [[b"a", b"b"], [b"c"]]
            with pytest.raises(pound.MultipartError) as error:
                await client.request("parts", [b"a", b"b"], timeout=WAIT_S)
            assert error.value.parts == [b"a", b"b"]
            with pytest.raises(pound.InvalidRequest, match="'echo' takes a body of one part"):
                await client.request("echo", [b"a", b"b"], timeout=WAIT_S)

    run(main())


def test_calls_for_a_dead_service_hold_up_no_others(run, bench):
    async def main():
        async with bench.client() as client:
            waiting = [asyncio.ensure_future(client.request("nobody", b"")) for _ in range(500)]
            await asyncio.sleep(0)
            for n in range(20):
                assert await client.request("echo", b"%d" % n, timeout=WAIT_S) == b"%d" % n
                assert await client.request("pound.status", b"", timeout=WAIT_S)
            for future in waiting:
                future.cancel()

    run(main())


def test_many_are_gathered_in_order(run, bench):
    async def main():
        async with bench.client() as client:
            answers = await asyncio.gather(
                *(client.request("echo", b"%d" % n) for n in range(3000))
            )
            assert answers == [b"%d" % n for n in range(3000)]

    run(main())
    stats = bench.broker.stats()
    assert (stats["accepted"], stats["answered"]) == (3000, 3000)


def test_large_bodies_pass(run, bench):
    async def main():
        body = os.urandom(300_000)
        async with bench.client() as client:
            assert await client.request("echo", body) == body

    run(main())


def test_meta_goes_both_ways(run, bench):
    async def main():
        async with bench.client() as client:
            answer = await client.request_full("meta", b"x", meta={"sent": "here"})
            assert answer == pound.Answer(b"x", {"got": "here"})
            assert await client.request("meta", b"x") == b"x"
            answers = client.map_full("meta", [b"a", b"b"], meta={"sent": "each"})
            assert [answer.meta async for answer in answers] == [{"got": "each"}] * 2

    run(main())


def test_errors_are_raised_where_it_is_awaited(run, bench):
    async def main():
        async with bench.client() as client:
            with pytest.raises(pound.TaskFailed, match="ValueError: so be it"):
                await client.request("fail", b"so be it")
            with pytest.raises(pound.DeadlineExceeded):
                await client.request("held", b"", timeout=0.1)
            assert await client.request("echo", b"on") == b"on"

    run(main())


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"body": "text"}, TypeError),
        ({"body": 3}, TypeError),
        ({"body": b"", "timeout": 0.0}, ValueError),
        ({"body": b"", "priority": 10}, ValueError),
        ({"body": b"", "service": "x" * 256}, ValueError),
        ({"body": b"", "meta": {"a": 1}}, TypeError),
    ],
)
def test_wrong_arguments_are_refused_at_once(run, bench, arguments, kind):
    async def main():
        async with bench.client() as client:
            with pytest.raises(kind):
                client.request(**{"service": "echo", **arguments})
            with pytest.raises(kind):
                client.stream(**{"service": "echo", **arguments})

    run(main())


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"endpoints": "nonsense"}, pound.ConfigError),
        ({"endpoints": []}, pound.ConfigError),
        ({"overflow": "drop"}, ValueError),
        ({"heartbeat": 0.0}, ValueError),
        ({"liveness": 0}, ValueError),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, kind):
    with pytest.raises(kind):
        pound.aio.Client(**settings)


# -- cancelling -----------------------------------------------------------------------------


def test_cancelling_the_task_that_awaits_cancels_the_request(run, bench):
    async def main():
        async with bench.client() as client:

            async def ask():
                return await client.request("held", b"")

            task = asyncio.create_task(ask())
            await bench.begun()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await bench.until("cancelled", 1)
            await bench.until("running", 0)  # its handler heard of it
            assert await client.request("echo", b"on") == b"on"

    run(main())


def test_a_timeout_of_asyncio_cancels_the_request(run, bench):
    async def main():
        async with bench.client() as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.request("held", b""), 0.05)
            await bench.until("cancelled", 1)

    run(main())


def test_cancelling_a_gathering_cancels_every_request(run, bench):
    async def main():
        async with bench.client() as client:
            gathering = asyncio.gather(*(client.request("held", b"") for _ in range(20)))
            await bench.begun(8)
            gathering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathering
            await bench.until("cancelled", 20)

    run(main())


def test_cancelling_twice_or_late_does_nothing(run, bench):
    async def main():
        async with bench.client() as client:
            request = client.request("echo", b"1")
            assert await request == b"1"
            assert not request.cancel()
            request = client.request("held", b"")
            assert request.cancel()
            assert not request.cancel()
            await bench.until("running", 0)

    run(main())


# -- map ------------------------------------------------------------------------------------


def test_map_keeps_the_order_and_the_window(run, bench):
    async def main():
        read: list[int] = []

        def bodies():
            for n in range(100):
                read.append(n)
                yield b"%d" % n

        async with bench.client() as client:
            answers = []
            async for answer in client.map("count", bodies(), window=4):
                answers.append(answer)
                assert len(read) <= len(answers) + 4
            assert answers == [b"%d" % n for n in range(100)]

    run(main())
    assert 1 < bench.most_at_once <= 4


def test_map_of_nothing(run, bench):
    async def main():
        async with bench.client() as client:
            assert [answer async for answer in client.map("echo", [])] == []
            with pytest.raises(ValueError, match="window"):
                client.map("echo", [], window=0)

    run(main())


def test_map_reads_bodies_as_they_arrive_and_no_answer_waits_for_the_next(run, bench):
    async def main():
        let_go = asyncio.Event()

        async def bodies() -> AsyncIterator[bytes]:
            yield b"1"
            yield b"2"
            await let_go.wait()
            yield b"3"

        async with bench.client() as client:
            answers = client.map("echo", bodies())
            assert await anext(answers) == b"1"
            assert await anext(answers) == b"2"
            let_go.set()
            assert [answer async for answer in answers] == [b"3"]

    run(main())


def test_a_source_that_fails_ends_the_map(run, bench):
    async def main():
        async def bodies() -> AsyncIterator[bytes]:
            yield b"1"
            await bench.begun()
            raise KeyError("source")

        async with bench.client() as client:
            with pytest.raises(KeyError, match="source"):
                _ = [answer async for answer in client.map("held", bodies())]
            await bench.until("cancelled", 1)

    run(main())


@pytest.mark.parametrize("arriving", [False, True])
def test_a_map_that_is_left_cancels_what_is_open(run, bench, arriving):
    async def main():
        async def arrive() -> AsyncIterator[bytes]:
            for n in range(50):
                yield b"%d" % n

        async with bench.client() as client:
            bodies = arrive() if arriving else (b"%d" % n for n in range(50))
            answers = client.map("held", bodies, window=8)
            reading = asyncio.create_task(following(answers))
            await bench.begun(8)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await bench.until("cancelled", 8)
            assert bench.broker.stats()["accepted"] == 8

    run(main())


def test_an_abandoned_map_cancels_what_is_open(run, bench):
    async def main():
        async with bench.client() as client:
            async for answer in client.map("echo", [b"1"] + [b"x" * 10] * 3, window=1):
                assert answer == b"1"
                break
            async for _ in client.map("spell", [b"", b"-", b"-"], window=3):
                break
            gc.collect()
            await bench.until("cancelled", 2)

    run(main())


def test_a_failure_is_raised_at_its_turn(run, bench):
    async def main():
        async with bench.client() as client:
            with pytest.raises(pound.TaskFailed, match="boom"):
                async for _ in client.map("fail", [b"boom", b"later"]):
                    pass

    run(main())


# -- the life of the client -----------------------------------------------------------------


def test_closing_fails_what_is_open(run, bench):
    async def main():
        client = bench.client()
        requests = [client.request("held", b"") for _ in range(3)]
        stream = client.stream("spell", b"-")
        reading = asyncio.create_task(following(stream))
        answers = client.map("held", [b"1", b"2"])
        mapped = asyncio.create_task(following(answers))
        await bench.begun(6)
        await client.close()
        for open_one in (*requests, reading, mapped):
            with pytest.raises(pound.ClosedError):
                await open_one

    run(main())


def test_a_closed_client_says_so(run, bench):
    async def main():
        client = bench.client()
        assert await client.request("echo", b"1") == b"1"
        await asyncio.gather(client.close(), client.close())
        await client.close()
        words = "^this client is closed; make a new one"
        with pytest.raises(pound.ClosedError, match=words):
            client.request("echo", b"")
        with pytest.raises(pound.ClosedError, match=words):
            client.stream("echo", b"")
        with pytest.raises(pound.ClosedError, match=words):
            await client.wait_connected()
        unused = bench.client()
        await unused.close()
        with pytest.raises(pound.ClosedError, match=words):
            unused.request("echo", b"")

    run(main())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"service": 5}, "^service is a str, not 5"),
        ({"timeout": "5"}, "^timeout is a positive number of seconds, not '5'"),
        ({"priority": 1.5}, r"^priority is a whole number, 0\.\.9, not 1\.5"),
        ({"meta": ["x"]}, "^meta maps str to str"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused_by_name(run, arguments, words):
    async def main():
        async with pound.aio.Client("tcp://127.0.0.1:1") as client:
            for ask in (client.request, client.request_full, client.stream):
                with pytest.raises(TypeError, match=words):
                    ask(**{"service": "echo", "body": b"", **arguments})

    run(main())


def test_the_connection_is_waited_for(run, bench):
    async def main():
        async with bench.client() as client:
            both = await asyncio.gather(client.wait_connected(WAIT_S), client.wait_connected())
            assert both == [True, True]
        async with pound.aio.Client("tcp://127.0.0.1:1") as alone:
            assert not await alone.wait_connected(0.05)
            waiting = asyncio.ensure_future(alone.wait_connected())
            await asyncio.sleep(0)
            await alone.close()
            with pytest.raises(pound.ClosedError):
                await waiting

    run(main())


def test_a_client_belongs_to_its_first_loop(run, bench):
    client = bench.client()  # needs no loop yet
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.request("echo", b"")

    async def first():
        assert await client.request("echo", b"1") == b"1"

    async def second():
        with pytest.raises(RuntimeError, match="another event loop"):
            client.request("echo", b"2")
        with pytest.raises(RuntimeError, match="another event loop"):
            await client.close()

    run(first())
    run(second())


def test_inproc(run, start_broker):
    context: zmq.Context[Any] = zmq.Context()
    broker = start_broker(context=context, frontend="inproc://c", backend="inproc://w")

    async def main():
        async with (
            pound.aio.Worker("inproc://w", {"echo": lambda body: body}, context=context),
            pound.aio.Client("inproc://c", context=context) as client,
        ):
            assert await client.request("echo", b"1", timeout=WAIT_S) == b"1"

    run(main())
    broker.stop()
    context.term()


def engines() -> set[str]:
    """The threads of engines of clients."""
    return {thread.name for thread in threading.enumerate() if thread.name == "pound-client"}


def test_a_dropped_client_ends(run, bench):
    async def main():
        client = bench.client()
        assert await client.request("echo", b"1") == b"1"
        request = client.request("held", b"")
        assert engines()
        del client
        gc.collect()
        with pytest.raises(pound.ClosedError):
            await request

    run(main())
    wait_until(lambda: not engines())


def test_nothing_is_left_of_a_client_whose_loop_was_closed(run, bench):
    async def main():
        client = bench.client()
        assert await client.request("echo", b"1") == b"1"
        return client, client.request("held", b"")

    run(main())  # the first time, some descriptors are opened for good
    gc.collect()
    wait_until(lambda: not engines())
    before = len(os.listdir("/proc/self/fd"))
    left = run(main())
    del left
    gc.collect()
    wait_until(lambda: not engines())
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_nothing_is_left_in_c(run, bench):
    """Bodies, requests and mails are freed, however a request ended."""

    async def main():
        async with bench.client() as client:
            requests = [client.request("echo", bytes(9000)) for _ in range(100)]
            for request in requests[::3]:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
            async for _ in client.stream("spell", b"abcdef"):
                break
            async for _ in client.map("echo", [bytes(9000)] * 20):
                break
            open_ones = [client.request("held", bytes(9000)) for _ in range(3)]
            await bench.begun(3)
        await asyncio.gather(*open_ones, return_exceptions=True)
        left_open = bench.client()
        for _ in range(3):
            left_open.request("held", bytes(9000))
        await bench.begun(3)

    run(main())
    gc.collect()
    wait_until(lambda: not engines())
    bench.close()
    wait_until(lambda: gc.collect() >= 0 and client_engine.live() == worker_engine.live() == 0)


def test_several_clients_share_a_loop(run, bench):
    async def main():
        async with bench.client() as one, bench.client() as two:
            answers = await asyncio.gather(
                *(client.request("echo", b"%d" % n) for n in range(100) for client in (one, two))
            )
            assert answers == [b"%d" % n for n in range(100) for _ in range(2)]

    run(main())


def test_each_thread_may_have_a_loop_and_a_client(bench, make_loop):
    def ask(got: list[Any]) -> None:
        async def main():
            async with bench.client() as client:
                requests = (client.request("echo", b"%d" % n) for n in range(200))
                got.extend(await asyncio.gather(*requests))

        make_loop().run_until_complete(main())

    results: list[list[Any]] = [[], [], []]
    threads = [threading.Thread(target=ask, args=(got,)) for got in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert results == [[b"%d" % n for n in range(200)]] * 3
