"""Pound's own ends as processes: handlers for ``pound worker``, and two clients.

The body of a request is ``<seconds> <words>``: so long a handler works on it. Each run is a line
of the file that RUNS names: what ran twice is seen there.

    python -m tests.chaos.ends client|aio FRONTEND COUNT SECONDS SERVICE...

asks COUNT requests of each service at once, prints ``asked``, then ``answered COUNT``: of all of
them, those that were answered as they should be.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pound
import pound.aio


def seconds(body: bytes) -> float:
    with open(os.environ["RUNS"], "ab") as runs:
        runs.write(body + b"\n")
    return float(body.split()[0])


def work(body: bytes) -> bytes:
    time.sleep(seconds(body))
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
        futures = [client.submit(body, service) for service, body in asked]
        client.wait_connected(10)
        print("asked", flush=True)
        right = sum(f.result(60) == body for f, (_, body) in zip(futures, asked, strict=True))
        print("answered", right, flush=True)


async def aio(url: str, asked: list[tuple[str, bytes]]) -> None:
    async with pound.aio.Client(url) as client:
        futures = [client.request(body, service) for service, body in asked]
        await client.wait_connected(10)
        print("asked", flush=True)
        answers = await asyncio.gather(*futures)
        right = sum(got == body for got, (_, body) in zip(answers, asked, strict=True))
        print("answered", right, flush=True)


if __name__ == "__main__":
    kind, url, count, each, *services = sys.argv[1:]
    asked = requests(int(count), each, services)
    if kind == "aio":
        asyncio.run(aio(url, asked))
    else:
        client(url, asked)
