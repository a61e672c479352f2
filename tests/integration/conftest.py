"""The loops that the tests of `pound.aio` run on: the same bodies on each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.integration.aio_bench import Bench
from tests.support import WAIT_S, need


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop that lacks what some loops lack (Windows' default one); its signals still work."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
        raise NotImplementedError

    def remove_reader(self, fd: Any) -> Any:
        raise NotImplementedError


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": _uvloop,
    "no-reader": WithoutReaders,
}
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def make_loop(request: pytest.FixtureRequest) -> Iterator[Callable[[], Any]]:
    """``make_loop()``: a new loop of one of the kinds."""
    if request.param == "uvloop":
        need("module:uvloop")  # before a test has made a coroutine, or a thread
    loops: list[asyncio.AbstractEventLoop] = []

    def make() -> asyncio.AbstractEventLoop:
        loops.append(LOOPS[request.param]())
        return loops[-1]

    yield make
    for loop in loops:
        loop.close()


@pytest.fixture
def run(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> Run:
    """``run(main)``: `asyncio.run` on such a loop, with a bound."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        loop = make_loop()
        try:
            return loop.run_until_complete(asyncio.wait_for(main, 2 * WAIT_S))
        finally:
            end(loop)

    return run


@pytest.fixture
def bench(broker: Any) -> Iterator[Bench]:
    """A broker and a worker that offers what the tests of a client ask for."""
    bench = Bench(broker)
    yield bench
    bench.close()


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs and close, as `asyncio.run` does."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True)) if left else None
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
