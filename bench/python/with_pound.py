"""pound.Client: `map` and `request` through one pound.Worker."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench.python.ends import Measures, broker_and_worker, ready
from bench.python.timing import (
    BODIES,
    WINDOW,
    Figures,
    bodies,
    rate_of_stream,
    round_trips,
)
from pound import Client, Worker

CAPACITY = 512


def work(url: str) -> None:
    """Echo until killed."""
    worker = Worker(url, {"echo": lambda body: body}, capacity=CAPACITY)
    worker.start()
    ready()
    threading.Event().wait()


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    with broker_and_worker("pound") as broker, Client(broker.frontend) as client:

        def rate(seconds: float) -> Figures:
            answers = client.map("echo", bodies(), window=WINDOW)
            return rate_of_stream(answers, seconds)

        ask = functools.partial(client.request, "echo")
        yield {"map": rate, "request": functools.partial(round_trips, ask, BODIES[0])}
