"""The broker of the soak, and the parts of its load: a function each, told how much it answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pound
import pound.aio
from bench.runner.subjects import OUT
from tests.soak.load import load

CAPACITY = 64
WINDOW = 512
REQUESTS = 25_000  # of a run of Python ends

Part = Callable[[], int]


@contextmanager
def broker() -> Iterator[pound.Broker]:
    """Serve on free ports, and forget clients soon."""
    config = pound.Config(
        frontend=("tcp://127.0.0.1:*",), backend=("tcp://127.0.0.1:*",), client_grace=1.0
    )
    with pound.Broker(config) as served:
        yield served


def foreign(served: pound.Broker, dialect: str, capacity: int, size: int) -> Part:
    """Return a part that is driven by the load generator."""
    frontend, backend = served.frontend_endpoints[0], served.backend_endpoints[0]
    return lambda: load(OUT / "load", dialect, capacity, size, frontend, backend)


def ends(served: pound.Broker, size: int, requests: int = REQUESTS) -> Part:
    """Return a part that is driven by a client and a worker of Pound's own, made anew each time."""

    def run() -> int:
        bodies = [bytes(size)] * requests
        services = {"echo": lambda body: body}
        with (
            pound.Worker(served.backend_endpoints[0], services, capacity=CAPACITY),
            pound.Client(served.frontend_endpoints[0]) as client,
        ):
            return sum(len(reply) == size for reply in client.map("echo", bodies, window=WINDOW))

    return run


def aio_ends(served: pound.Broker, size: int, requests: int = REQUESTS) -> Part:
    """Return the same with those of `pound.aio`, on an event loop made anew each time."""

    async def echo(body: bytes) -> bytes:
        return body

    async def run() -> int:
        bodies = [bytes(size)] * requests
        async with (
            pound.aio.Worker(served.backend_endpoints[0], {"echo": echo}, capacity=CAPACITY),
            pound.aio.Client(served.frontend_endpoints[0]) as client,
        ):
            replies = client.map("echo", bodies, window=WINDOW)
            return sum([len(reply) == size async for reply in replies])

    return lambda: asyncio.run(run())
