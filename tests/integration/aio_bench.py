"""A broker and a worker for the tests of `pound.aio.Client`, and what its handlers saw."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pound
import pound.aio
from tests.support import WAIT_S, wait_until


async def following(iterator: AsyncIterator[Any]) -> Any:
    """The next one, as a coroutine."""
    return await anext(iterator)


class Bench:
    """A broker, a worker in threads, and what its handlers saw."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self.began = threading.Semaphore(0)
        self.read = threading.Semaphore(0)
        self.hold = threading.Event()
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        services = {
            "echo": lambda body: body,
            "parts": lambda task: task.parts,
            "meta": lambda task: pound.Answer(task.body, {"got": task.meta.get("sent", "")}),
            "fail": self.fail,
            "held": self.held,
            "count": self.count,
            "spell": self.spell,
            "paced": self.paced,
        }
        worker = pound.Worker(broker.backend_endpoints, services, capacity=8)
        worker.start()
        assert worker.wait_connected(WAIT_S)
        self.worker: pound.Worker | None = worker

    def fail(self, body: bytes) -> bytes:
        raise ValueError(body.decode())

    def held(self, task: pound.Task) -> bytes:
        """Wait until it is let go, or until nobody waits for the answer."""
        self.began.release()
        wait_until(lambda: self.hold.is_set() or task.cancelled)
        return task.parts[0]

    def count(self, body: bytes) -> bytes:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(0.002)  # so that they overlap
        with self._lock:
            self.at_once -= 1
        return body

    def spell(self, task: pound.Task) -> bytes:
        for letter in task.parts[0].decode():
            if letter == "-":
                self.held(task)
            task.partial(letter.encode(), {"of": "spell"})
        return b"end"

    def paced(self, task: pound.Task) -> bytes:
        """Send each letter when the one before was read."""
        for letter in task.parts[0].decode():
            task.partial(letter.encode())
            assert self.read.acquire(timeout=WAIT_S)
        return b"end"

    def close(self) -> None:
        """Stop the worker; a second time it is gone."""
        self.hold.set()
        if self.worker is not None:
            self.worker.stop()
            self.worker = None

    def client(self, **settings: Any) -> pound.aio.Client:
        return pound.aio.Client(self.broker.frontend_endpoints, **settings)

    async def until(self, counter: str, value: int) -> None:
        """Wait until a counter of the broker has this value."""
        end = time.monotonic() + WAIT_S
        while self.broker.stats()[counter] != value:
            assert time.monotonic() < end, (counter, self.broker.stats())
            await asyncio.sleep(0.005)

    async def begun(self, count: int = 1) -> None:
        """Wait until that many more held tasks run."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            assert await loop.run_in_executor(None, self.began.acquire, True, WAIT_S)
