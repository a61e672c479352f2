"""Pound's own ends as processes: handlers for ``pound worker``, and two clients.

The body of a request is ``<seconds> <words>``: so long a handler works on it. Each run is a line
of the file that RUNS names: what ran twice is seen there. `gated` works until a file is there.

    python -m tests.chaos.ends client|aio FRONTEND COUNT SECONDS SERVICE...

asks COUNT requests of each service at once, prints ``asked``, then ``answered COUNT``: of all of
them, those that were answered as they should be.

    python -m tests.chaos.ends load|aload FRONTEND

asks the service ``work`` until SIGTERM, then prints what came of it, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait

import pound
import pound.aio
from tests.peers.base import digest


def seconds(body: bytes) -> float:
    with open(os.environ["RUNS"], "ab") as runs:
        runs.write(body + b"\n")
    return float(body.split()[0])


def work(body: bytes) -> bytes:
    time.sleep(seconds(body))
    return body


def gated(body: bytes) -> bytes:
    """Work until the file of this name is there; then the file of the run is, too."""
    while not os.path.exists(body):
        time.sleep(0.01)
    seconds(b"0")
    return body


async def awork(body: bytes) -> bytes:
    await asyncio.sleep(seconds(body))
    return body


def requests(count: int, each: str, services: list[str], word: str = "") -> list[tuple[str, bytes]]:
    """Give `count` requests of each service, as (service, body); with another word, other ones."""
    names = [(service, n) for service in services for n in range(count)]
    return [(service, f"{each} {service} {word}{n}".encode()) for service, n in names]


def client(url: str, asked: list[tuple[str, bytes]]) -> None:
    with pound.Client(url) as client:
        futures = [client.submit(service, body) for service, body in asked]
        client.wait_connected(10)
        print("asked", flush=True)
        right = sum(f.result(60) == body for f, (_, body) in zip(futures, asked, strict=True))
        print("answered", right, flush=True)


async def aio(url: str, asked: list[tuple[str, bytes]]) -> None:
    async with pound.aio.Client(url) as client:
        futures = [client.request(service, body) for service, body in asked]
        await client.wait_connected(10)
        print("asked", flush=True)
        answers = await asyncio.gather(*futures)
        right = sum(got == body for got, (_, body) in zip(answers, asked, strict=True))
        print("answered", right, flush=True)


def work_digest(task: pound.Task) -> list[bytes]:
    time.sleep(0.003)
    return digest(task.parts)


async def awork_digest(task: pound.aio.Task) -> list[bytes]:
    await asyncio.sleep(0.003)
    return digest(task.parts)


class Account:
    """What a client asked under load, and what came of it."""

    WINDOW = 16

    def __init__(self) -> None:
        self.said = {"answered": 0, "lost": 0, "unexpected": 0, "slowest": 0.0}
        self.ends = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.ends.set())
        self.number = 0

    def next(self) -> bytes:
        self.number += 1
        return f"{os.getpid()} {self.number}".encode()

    def note(self, body: bytes, answer: pound.Answer, took: float) -> None:
        self.said["answered"] += 1
        self.said["unexpected"] += answer.parts != digest([body])
        self.said["slowest"] = max(self.said["slowest"], took)


def load(url: str) -> None:
    account = Account()
    pending: dict[Future[pound.Answer], tuple[bytes, float]] = {}
    with pound.Client(url) as client:
        while pending or not account.ends.is_set():
            while len(pending) < account.WINDOW and not account.ends.is_set():
                body = account.next()
                pending[client.submit_full("work", body)] = (body, time.monotonic())
            done, _ = wait(pending, 60, FIRST_COMPLETED)
            if not done:
                account.said["lost"] = len(pending)
                break
            for future in done:
                body, begun = pending.pop(future)
                account.note(body, future.result(), time.monotonic() - begun)
    print(json.dumps(account.said), flush=True)


async def aload(url: str) -> None:
    account = Account()

    async def ask(client: pound.aio.Client) -> None:
        while not account.ends.is_set():
            body, begun = account.next(), time.monotonic()
            try:
                answer = await asyncio.wait_for(client.request_full("work", body), 60)
            except asyncio.TimeoutError:
                account.said["lost"] += 1
            else:
                account.note(body, answer, time.monotonic() - begun)

    async with pound.aio.Client(url) as client:
        await asyncio.gather(*(ask(client) for _ in range(account.WINDOW)))
    print(json.dumps(account.said), flush=True)


if __name__ == "__main__":
    kind, url, *more = sys.argv[1:]
    if kind == "load":
        load(url)
    elif kind == "aload":
        asyncio.run(aload(url))
    else:
        asked = requests(int(more[0]), more[1], more[2:])
        if kind == "aio":
            asyncio.run(aio(url, asked))
        else:
            client(url, asked)
