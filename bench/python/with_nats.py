"""nats-py: requests to a queue group with one subscriber.

*map* is not made of its `request()`: that costs a future and a timer for each, several times
what is measured here. An inbox is subscribed once, and each answer that comes sends the next
request; nobody looks which answer belongs to which request. Nothing that matches answers to
requests can be faster on this library. *request* and *gather* are its `request()`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.python.ends import Measures, broker_and_worker, ready
from bench.python.timing import (
    BODIES,
    WARM_UP_S,
    WINDOW,
    AnswerError,
    Figures,
    gather_rate,
    round_trips_awaited,
)

PATIENCE_S = 60.0


def work(url: str) -> None:
    """Echo until killed."""
    asyncio.run(_work(_address(url)))


async def _work(url: str) -> None:
    client = await nats.connect(url)

    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe("echo", queue="workers", cb=echo)
    await client.flush()
    ready()
    await asyncio.Event().wait()


def _address(url: str) -> str:
    return url.replace("tcp://", "nats://")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Client]:
    client = await nats.connect(url)
    yield client
    if not client.is_closed:
        await client.close()


async def _rate(client: Client, seconds: float) -> Figures:
    """Return the rate of answers while each one sends the next request."""
    body, inbox = BODIES[0], client.new_inbox()
    answers = wrong = 0
    going = True

    async def answered(message: Msg) -> None:
        nonlocal answers, wrong
        answers += 1
        wrong += message.data != body
        if going:
            await client.publish("echo", body, reply=inbox)

    await client.subscribe(inbox, cb=answered)
    for _ in range(WINDOW):
        await client.publish("echo", body, reply=inbox)
    await asyncio.sleep(WARM_UP_S)
    before, begin = answers, time.perf_counter()
    await asyncio.sleep(seconds)
    done, passed = answers - before, time.perf_counter() - begin
    going = False
    if wrong:
        raise AnswerError(f"{wrong} of {answers} answers are not the body that was sent")
    await client.drain()
    return {"per_s": done / passed, "requests": done}


def _request(client: Client) -> Callable[[bytes], Awaitable[bytes]]:
    async def request(body: bytes) -> bytes:
        return (await client.request("echo", body, timeout=PATIENCE_S)).data

    return request


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    with broker_and_worker("nats-py") as broker:
        url = _address(broker.frontend)

        async def rate(seconds: float) -> Figures:
            async with _connected(url) as client:
                return await _rate(client, seconds)

        async def request(seconds: float) -> Figures:
            async with _connected(url) as client:
                return await round_trips_awaited(_request(client), BODIES[0], seconds)

        async def gather(seconds: float) -> Figures:
            async with _connected(url) as client:
                return await gather_rate(_request(client), seconds)

        yield {
            "map": lambda seconds: asyncio.run(rate(seconds)),
            "request": lambda seconds: asyncio.run(request(seconds)),
            "gather": lambda seconds: asyncio.run(gather(seconds)),
        }
