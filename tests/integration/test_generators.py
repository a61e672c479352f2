"""A handler that is a generator streams what it yields, and is closed when it can't go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pound
import pound.aio
from tests.support import WAIT_S, Process, Served, pound_command, wait_until


class Watched:
    """The same generator in each form, and what became of it."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.given: list[int] = []

    def items(self, body: bytes) -> Iterator[Any]:
        """Each form takes its items from here."""
        yield pound.Answer(b"first", {"n": "1"})
        yield [b"two", b"parts"]
        yield None
        if body == b"wrong":
            yield 3
        if body == b"large":
            yield b"x" * 3_000_000
        if body == b"raise":
            raise ValueError("in the middle")
        while body == b"endless":
            self.given.append(len(self.given))
            yield b"more"

    def plain(self, body: bytes) -> Iterator[Any]:
        try:
            yield from self.items(body)
            return pound.Answer(b"end", {"n": "4"})
        finally:
            self.closed.set()

    def with_task(self, task: pound.Task) -> Iterator[Any]:
        assert task.attempt == 1
        return (yield from self.plain(task.body))  # type: ignore[misc]

    def grumpy(self, body: bytes) -> Iterator[Any]:
        try:
            yield from self.items(body)
        finally:
            self.closed.set()
            raise KeyError("while it is closed")

    async def streamed(self, body: bytes) -> AsyncIterator[Any]:
        try:
            for item in self.items(body):
                yield item
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            self.closed.set()

    async def streamed_with_task(self, task: pound.aio.Task) -> AsyncIterator[Any]:
        assert isinstance(task, pound.aio.Task)
        async for item in self.streamed(task.body):
            yield item

    async def streamed_grumpily(self, body: bytes) -> AsyncIterator[Any]:
        try:
            async for item in self.streamed(body):
                yield item
        finally:
            raise KeyError("while it is closed")

    async def returned(self, body: bytes) -> Any:
        return self.plain(body)


FORMS = {  # its name, on a loop, what ends the stream
    "plain": (False, b"end"),
    "with_task": (False, b"end"),
    "plain in the executor": (True, b"end"),
    "with_task in the executor": (True, b"end"),
    "returned": (True, b"end"),
    "streamed": (True, b""),
    "streamed_with_task": (True, b""),
}
Serve = Callable[[str], Any]


@contextmanager
def serving(broker: Any, handler: Any, on_loop: bool) -> Iterator[None]:
    """A worker of capacity 1, in threads or on the loop of a thread."""
    if not on_loop:
        with pound.Worker(broker.backend_endpoints, {"s": handler}):
            yield
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def worker() -> pound.aio.Worker:
        worker = pound.aio.Worker(broker.backend_endpoints, {"s": handler})
        await worker.start()
        return worker

    started = asyncio.run_coroutine_threadsafe(worker(), loop).result(WAIT_S)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(started.drain(), loop).result(WAIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()


@pytest.fixture
def broker(start_broker: Callable[..., Any]) -> Any:
    return start_broker(body_bytes_max=1_000_000)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def client(broker: Any, form: str, watched: Watched) -> Iterator[pound.Client]:
    """A client of a worker that serves this form."""
    handler = getattr(watched, form.partition(" ")[0])
    with (
        serving(broker, handler, FORMS[form][0]),
        pound.Client(broker.frontend_endpoints) as client,
    ):
        yield client


def test_items_are_partials_and_the_value_is_the_answer(client: pound.Client, form: str) -> None:
    got = list(client.stream("s", b"x", timeout=WAIT_S))
    last = FORMS[form][1]
    assert [part.parts for part in got] == [[b"first"], [b"two", b"parts"], [b""], [last]]
    assert [part.sequence for part in got] == [0, 1, 2, 3]
    assert [part.final for part in got] == [False] * 3 + [True]
    assert got[0].meta == {"n": "1"}
    assert got[3].meta == ({"n": "4"} if last else {})
    assert client.request("s", b"x", timeout=WAIT_S) == last


@pytest.mark.parametrize(
    ("body", "words"),
    [("wrong", "TypeError: a body"), ("large", "ValueError: "), ("raise", "ValueError: in the mi")],
)
def test_what_fails_after_some_items_fails_the_request(
    client: pound.Client, watched: Watched, body: str, words: str
) -> None:
    stream = client.stream("s", body.encode(), timeout=WAIT_S)
    assert [next(stream).parts for _ in range(3)] == [[b"first"], [b"two", b"parts"], [b""]]
    with pytest.raises(pound.TaskFailed) as failed:
        next(stream)
    assert str(failed.value).startswith(words)
    assert watched.closed.wait(WAIT_S)
    assert client.request("s", b"x", timeout=WAIT_S) is not None


def test_nobody_waits_any_more(client: pound.Client, watched: Watched, broker: Any) -> None:
    stream = client.stream("s", b"endless", timeout=WAIT_S)
    assert next(stream).body == b"first"
    stream.close()
    assert watched.closed.wait(WAIT_S)
    assert client.request("s", b"x", timeout=WAIT_S) is not None
    wait_until(lambda: broker.stats()["running"] == 0)


def test_the_deadline_passes(client: pound.Client, watched: Watched) -> None:
    with pytest.raises(pound.DeadlineExceeded):
        list(client.stream("s", b"endless", timeout=0.2))
    assert watched.closed.wait(WAIT_S)
    assert client.request("s", b"x", timeout=WAIT_S) is not None


@pytest.mark.parametrize(("name", "on_loop"), [("grumpy", False), ("streamed_grumpily", True)])
def test_what_it_raises_while_it_is_closed_is_logged(
    broker: Any, watched: Watched, name: str, on_loop: bool, caplog: pytest.LogCaptureFixture
) -> None:
    handler = getattr(watched, name)
    with (
        serving(broker, handler, on_loop),
        pound.Client(broker.frontend_endpoints) as client,
    ):
        with pytest.raises(pound.TaskFailed, match="TypeError: a body"):
            client.request("s", b"wrong", timeout=WAIT_S)
        with pytest.raises(pound.TaskFailed, match="KeyError: 'while it is closed'"):
            client.request("s", b"x", timeout=WAIT_S)
        wait_until(lambda: len(failures(caplog)) >= 3)
    first, second, third = failures(caplog)
    assert {type(first.exc_info[1]), type(second.exc_info[1])} == {TypeError, KeyError}  # type: ignore[index]
    assert third.exc_info is not None
    for record in (first, second):
        assert record.exc_info is not None
        assert not isinstance(record.exc_info[1].__context__, (TypeError, KeyError))  # type: ignore[union-attr]


def failures(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [r for r in caplog.records if r.getMessage().startswith("handler failed")]


def test_a_worker_without_a_loop_refuses_an_async_generator(broker: Any) -> None:
    with pytest.raises(pound.ConfigError, match=r"pound\.aio\.Worker"):
        pound.Worker(broker.backend_endpoints, {"s": Watched().streamed})
    with (
        pound.Worker(broker.backend_endpoints, {"s": lambda body: Watched().streamed(body)}),
        pound.Client(broker.frontend_endpoints) as client,
        pytest.raises(pound.TaskFailed, match=r"an async generator, which needs pound\.aio"),
    ):
        client.request("s", b"x", timeout=WAIT_S)


@pytest.mark.parametrize(
    "name", ["handlers:count", "async_handlers:count", "async_handlers:wrapped"]
)
def test_pound_worker_streams(
    serve: Callable[..., Served], spawn: Callable[..., Process], name: str
) -> None:
    served = serve()
    spawn(
        pound_command(
            "worker", f"tests.integration.{name}", "--service", "s", "--connect", served.backend
        )
    )
    with pound.Client(served.frontend) as client:
        got = [part.body for part in client.stream("s", b"3", timeout=WAIT_S)]
    assert got == [b"0", b"1", b"2", b""]
