"""pound.aio.Client: a gather of many requests, through the same worker as pound.Client's."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from contextlib import contextmanager

from bench.python.ends import Measures, broker_and_worker
from bench.python.timing import Figures, gather_rate
from bench.python.with_pound import work
from pound.aio import Client

__all__ = ["running", "work"]


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    with broker_and_worker("pound.aio") as broker:

        async def gather(seconds: float) -> Figures:
            async with Client(broker.frontend) as client:
                return await gather_rate(functools.partial(client.request, "echo"), seconds)

        yield {"gather": lambda seconds: asyncio.run(gather(seconds))}
