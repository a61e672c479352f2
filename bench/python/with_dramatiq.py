"""dramatiq on Redis, with results: batches of messages, and their results as they are asked for."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.python.ends import Measures, broker_and_worker, ready
from bench.python.timing import BODIES, WINDOW, rate_of_batches, round_trips

THREADS = 8  # its default
PATIENCE_MS = 60_000


def _echo_actor(url: str) -> Any:
    """Return the actor, declared to the Redis at `url`; its bodies are text, as JSON wants."""
    address = url.replace("tcp://", "redis://")
    broker = RedisBroker(url=address)
    broker.add_middleware(Results(backend=RedisBackend(url=address)))
    dramatiq.set_broker(broker)

    @dramatiq.actor(store_results=True)
    def echo(body: str) -> str:
        return body

    return echo


def work(url: str) -> None:
    """Echo until killed."""
    actor = _echo_actor(url)
    dramatiq.Worker(actor.broker, worker_threads=THREADS).start()
    ready()
    threading.Event().wait()


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    with broker_and_worker("dramatiq") as broker:
        echo = _echo_actor(broker.frontend)
        batch = [body.decode() for body in BODIES[:WINDOW]]

        def answers(batch: Sequence[str]) -> list[str]:
            sent = dramatiq.group([echo.message(body) for body in batch]).run()
            return list(sent.get_results(block=True, timeout=PATIENCE_MS))

        def request(body: str) -> str:
            result: str = echo.send(body).get_result(block=True, timeout=PATIENCE_MS)
            return result

        yield {
            "map": functools.partial(rate_of_batches, answers, batch),
            "request": functools.partial(round_trips, request, batch[0]),
        }
