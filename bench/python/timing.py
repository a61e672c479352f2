"""How the three tasks are timed, and that every answer is the right one.

*map*: tasks per second with `WINDOW` open, in order or not as the library likes. *request*: one
at a time, the median of the round trips. *gather*: `GATHERED` requests begun at once in one
asyncio program, until the last answer. Every body is of `BODY_BYTES` bytes and comes back as it was
sent. What happens in the first `WARM_UP_S` is not counted.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from statistics import median, quantiles
from typing import Any

BODY_BYTES = 64
WINDOW = 512
GATHERED = 10_000
GATHERED_WARM = 1_000
WARM_UP_S = 0.3
TRIPS_MIN = 2
CHUNK = 64  # answers between two looks at the clock

BODIES = [f"{number:0{BODY_BYTES}d}".encode() for number in range(2 * WINDOW)]

Figures = dict[str, float]


class AnswerError(RuntimeError):
    """An answer is not the body that was sent."""


def bodies() -> Iterator[bytes]:
    """Return bodies without end."""
    return itertools.cycle(BODIES)


def demand(answer: Any, body: Any) -> None:
    """Raise `AnswerError` if they differ."""
    if answer != body:
        raise AnswerError(f"{answer!r} came back for {body!r}")


def rate_of_stream(answers: Iterator[Any], seconds: float) -> Figures:
    """Return the rate of the answers to `bodies()`, in their order."""
    expected = bodies()

    def step() -> int:
        for answer in itertools.islice(answers, CHUNK):
            demand(answer, next(expected))
        return CHUNK

    return _rate(step, seconds)


def rate_of_batches(
    call: Callable[[Sequence[Any]], Sequence[Any]], batch: Sequence[Any], seconds: float
) -> Figures:
    """Return the rate of tasks when `call` answers the whole batch again and again."""

    def step() -> int:
        for answer, body in zip(call(batch), batch, strict=True):
            demand(answer, body)
        return len(batch)

    return _rate(step, seconds)


def _rate(step: Callable[[], int], seconds: float) -> Figures:
    """Return how many per second `step` does, which returns how many it did."""
    warm = time.perf_counter() + WARM_UP_S
    while time.perf_counter() < warm:
        step()
    done = 0
    begin = now = time.perf_counter()
    while now < begin + seconds:
        done += step()
        now = time.perf_counter()
    return {"per_s": done / (now - begin), "requests": done}


def round_trips(call: Callable[[Any], Any], body: Any, seconds: float) -> Figures:
    """Return the times of calls one after another."""
    trips = Trips(seconds)
    while trips.go_on():
        answer = call(body)
        trips.note()
        demand(answer, body)
    return trips.figures()


async def round_trips_awaited(
    call: Callable[[bytes], Awaitable[bytes]], body: bytes, seconds: float
) -> Figures:
    """Return the times of awaited calls one after another."""
    trips = Trips(seconds)
    while trips.go_on():
        answer = await call(body)
        trips.note()
        demand(answer, body)
    return trips.figures()


class Trips:
    """The times of the round trips that began after the warm-up."""

    def __init__(self, seconds: float) -> None:
        self._counts_from = time.perf_counter() + WARM_UP_S
        self._end = self._counts_from + seconds
        self._times: list[float] = []
        self._begin = 0.0

    def go_on(self) -> bool:
        """Begin one more; False when the time is over and there are some."""
        self._begin = time.perf_counter()
        return self._begin < self._end or len(self._times) < TRIPS_MIN

    def note(self) -> None:
        """The one that began last has ended."""
        if self._begin >= self._counts_from:
            self._times.append(time.perf_counter() - self._begin)

    def figures(self) -> Figures:
        """Return the quantiles."""
        return {
            "p50_us": median(self._times) * 1e6,
            "p99_us": quantiles(self._times, n=100)[-1] * 1e6,
            "requests": len(self._times),
        }


async def gather_rate(call: Callable[[bytes], Awaitable[bytes]], seconds: float) -> Figures:
    """Return the rate of gathers of `GATHERED` calls: the median over `seconds`."""
    await _gather(call, GATHERED_WARM)
    end = time.perf_counter() + seconds
    rates = [await _gather(call, GATHERED)]
    while time.perf_counter() < end:
        rates.append(await _gather(call, GATHERED))
    return {"per_s": median(rates), "requests": len(rates) * GATHERED}


async def _gather(call: Callable[[bytes], Awaitable[bytes]], n: int) -> float:
    sent = list(itertools.islice(bodies(), n))
    begin = time.perf_counter()
    answers = await asyncio.gather(*map(call, sent))
    passed = time.perf_counter() - begin
    for answer, body in zip(answers, sent, strict=True):
        demand(answer, body)
    return n / passed
