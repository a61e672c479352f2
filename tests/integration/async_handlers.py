"""Coroutines for ``pound worker`` in the tests of the workers for asyncio."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pound.aio


async def loop(body: bytes) -> bytes:
    """Tell whose event loop this is."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0].encode()


async def hold(task: pound.aio.Task) -> bytes:
    """Make the file that the body names with .held, and wait for the file itself."""
    path = Path(bytes(task.parts[0]).decode())
    path.with_suffix(".held").touch()
    while not path.exists():
        await asyncio.sleep(0.005)
    return b"released"


async def count(body: bytes) -> AsyncIterator[bytes]:
    """Yield as many numbers as the body says."""
    for number in range(int(body)):
        await asyncio.sleep(0)
        yield b"%d" % number


@functools.wraps(count)
def wrapped(body: bytes) -> AsyncIterator[bytes]:
    return count(body)
