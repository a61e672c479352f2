"""A handler of `pound.aio.Worker` makes its own worker go, and waits for that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import pound.aio
from tests.support import WAIT_S


@pytest.mark.parametrize("how", ["thread", "generator in a thread", "task"])
def test_a_handler_that_waits_for_its_worker_to_go_is_not_waited_for(run, broker, how):
    async def main():
        loop, drained = asyncio.get_running_loop(), []

        def in_thread(body: bytes) -> bytes:
            drained.append(asyncio.run_coroutine_threadsafe(worker.drain(), loop).result(WAIT_S))
            return b"last"

        def generator(body: bytes) -> Any:
            yield in_thread(body)

        async def in_task(body: bytes) -> bytes:
            drained.append(await asyncio.create_task(worker.drain()))
            return b"last"

        handlers = {"thread": in_thread, "generator in a thread": generator, "task": in_task}
        worker = pound.aio.Worker(
            broker.backend_endpoints, {"s": handlers[how]}, drain_timeout=2 * WAIT_S
        )
        async with pound.aio.Client(broker.frontend_endpoints) as client:
            running = asyncio.create_task(worker.run())
            if how.startswith("generator"):
                parts = [part.body async for part in client.stream("s", b"")]
                assert parts == [b"last", b""]
            else:
                assert await client.request("s", b"", timeout=WAIT_S) == b"last"
            await running
        assert drained == [False]

    run(main())


def test_what_a_handler_began_may_drain_once_the_handler_has_ended(run, broker):
    async def main():
        answered, draining = asyncio.Event(), []

        async def later() -> bool:
            await answered.wait()
            return await worker.drain()

        async def handler(body: bytes) -> bytes:
            draining.append(asyncio.create_task(later()))
            return body

        worker = pound.aio.Worker(broker.backend_endpoints, {"s": handler})
        async with pound.aio.Client(broker.frontend_endpoints) as client:
            await worker.start()
            assert await client.request("s", b"it", timeout=WAIT_S) == b"it"
            answered.set()
            assert await draining[0]

    run(main())
