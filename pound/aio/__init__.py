"""Pound for asyncio: a client whose requests are awaited, a worker whose handlers are coroutines.

The engine is the one of `pound.Client` and `pound.Worker`: a thread that owns the socket and needs
no GIL. It wakes the event loop once for everything that came meanwhile. asyncio's own loop and
uvloop are tested on Linux; macOS is expected to work. A loop without ``add_reader`` is woken by a
thread instead.
"""

from pound._engine.handlers import AsyncHandler as Handler
from pound._engine.values import Answer, Partial
from pound.aio.client import Client, Stream
from pound.aio.worker import Task, Worker

__all__ = ["Answer", "Client", "Handler", "Partial", "Stream", "Task", "Worker"]
