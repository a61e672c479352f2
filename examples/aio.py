"""A worker and a client for asyncio. Usage: aio.py [FRONTEND BACKEND].

A handler is a coroutine, an answer is awaited: one thread holds any number of both.
"""

import asyncio
import sys

import pound


async def slow(body: bytes) -> bytes:
    """Wait without holding anybody up, as for a database or another service."""
    await asyncio.sleep(0.05)
    return body.upper()


async def count_down(task: pound.aio.Task) -> bytes:
    """Send partials; a handler that nobody waits for any more is cancelled at its next await."""
    for number in range(int(task.parts[0]), 0, -1):
        await task.partial(b"%d" % number)
    return b"lift-off"


async def ask(frontend: str) -> None:
    """Ask for many at once, in order, piece by piece, and change one's mind."""
    async with pound.aio.Client(frontend) as client:
        words = [b"one", b"two", b"three"]
        requests = (client.request("slow", word, timeout=10) for word in words)
        print("gather:", *await asyncio.gather(*requests))

        async for answer in client.map("slow", words, window=2, timeout=10):
            print("map:", answer)

        async for partial in client.stream("count_down", b"3", timeout=10):
            print("stream:", partial.body)

        try:
            await asyncio.wait_for(client.request("slow", b"never mind"), 0.01)
        except asyncio.TimeoutError:
            print("given up: the request is cancelled at the broker, and its handler")


async def main(frontend: str, backend: str) -> None:
    """Serve and ask in one loop; they may as well be two programs, or two machines."""
    worker = pound.aio.Worker(backend, {"slow": slow, "count_down": count_down}, capacity=100)
    async with worker:
        await ask(frontend)


if __name__ == "__main__":
    ends = sys.argv[1:] or ["tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556"]
    asyncio.run(main(*ends))
