"""Whatever a handler raises or returns ends its task, and neither its worker nor another task.

Each kind of handler of each kind of worker is put through all of it, with a capacity of 1: what
would cost a thread or the loop would cost every task that follows.
"""

from __future__ import annotations

import array
import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pound
import pound.aio
from tests.support import WAIT_S


class QuietError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class UndecidedError(Exception):
    def __bool__(self) -> bool:
        raise ValueError("neither")

    __repr__ = QuietError.__str__


class FalseError(Exception):
    def __bool__(self) -> bool:
        return False

    __len__ = __bool__


class Text(str):
    def __format__(self, spec: str) -> str:
        raise ValueError("no format")

    encode = join = __str__ = __repr__ = __format__  # type: ignore[assignment]


class WordedError(Exception):
    def __str__(self) -> str:
        return Text("worded")


class DisguisedError(Exception):
    @property
    def __class__(self) -> Any:
        raise KeyError("class")

    @property
    def __traceback__(self) -> Any:
        raise KeyError("trace")


class Nameless(type):
    @property
    def __name__(cls) -> Any:
        raise KeyError("name")


class UnnamedError(Exception, metaclass=Nameless):
    pass


def ring() -> BaseException:
    """Two exceptions, each the context of the other."""
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    first.__cause__, second.__cause__ = second, first
    return first


def deep() -> Any:
    return deep()


RAISED: dict[str, Callable[[], BaseException]] = {
    "Unnamed" if kind is UnnamedError else kind.__name__: kind
    for kind in (
        SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration,
        StopAsyncIteration, MemoryError, TimeoutError, pound.Cancelled, pound.TaskFailed,
        pound.ForkError, pound.ClosedError, QuietError, ExitingError, UndecidedError, FalseError,
        WordedError, DisguisedError, UnnamedError,
    )
} | {"ring": ring}  # fmt: skip


class Endless(list):
    def __iter__(self) -> Iterator[Any]:
        raise SystemExit("iter")


async def later() -> bytes:
    return b"late"


async def items() -> Any:
    yield b"item"


WRONG: dict[str, Callable[[], Any]] = {
    "int": lambda: 3,
    "str": lambda: "text",
    "bool": lambda: True,
    "object": object,
    "dict": dict,
    "set": lambda: {b"a"},
    "iterator": lambda: iter([b"a"]),
    "lock": threading.Lock,
    "class": lambda: bytes,
    "exception": lambda: ValueError("returned"),
    "parts of text": lambda: ["a"],
    "parts of parts": lambda: [[b"a"]],
    "parts and None": lambda: [b"a", None],
    "too many parts": lambda: [b""] * 70_000,
    "too large": lambda: b"x" * 3_000_000,
    "list that raises": lambda: Endless([b"a"]),
    "wrong META": lambda: pound.Answer(b"a", {"a": 1}),  # type: ignore[dict-item]
    "no META": lambda: pound.Answer(b"a", 3),  # type: ignore[arg-type]
    "wrong body with META": lambda: pound.Answer(3, {"a": "b"}),  # type: ignore[arg-type]
    "exception class": lambda: SystemExit,
}
RIGHT: dict[str, tuple[Callable[[], Any], Any]] = {
    "memoryview": (lambda: memoryview(b"x"), [b"x"]),
    "strided": (lambda: memoryview(b"abcd")[::2], [b"ac"]),
    "bytearray": (lambda: bytearray(b"x"), [b"x"]),
    "array": (lambda: array.array("B", b"xy"), [b"xy"]),
    "None": (lambda: None, [b""]),
    "tuple": (lambda: (b"a", bytearray(b"b")), [b"a", b"b"]),
    "deque": (lambda: deque([b"a", b"b"]), [b"a", b"b"]),
    "no parts": (list, []),
    "Answer": (lambda: pound.Answer(b"a", {"k": "v"}), [b"a"]),
}
CASES: dict[bytes, tuple[str, Any]] = (
    {name.encode(): ("raise", case) for name, case in RAISED.items()}
    | {name.encode(): ("return", case) for name, case in WRONG.items()}
    | {name.encode(): ("return", case) for name, (case, _) in RIGHT.items()}
)


def act(body: bytes) -> Any:
    """Do what the case says."""
    if body == b"recursion":
        deep()
    how, case = CASES[body]
    if how == "raise":
        raise case()
    return case()


def generator(body: bytes) -> Any:
    yield b"first"
    return act(body)


def yields(body: bytes) -> Any:
    yield act(body)


class Callee:
    def __call__(self, body: bytes) -> Any:
        return act(body)


async def coroutine(body: bytes) -> Any:
    await asyncio.sleep(0)
    return act(body)


async def at_once(body: bytes) -> Any:
    return act(body)


async def streaming(body: bytes) -> Any:
    await asyncio.sleep(0)
    yield act(body)


SYNC = {"plain": act, "generator": generator, "yields": yields, "object": Callee()}
ASYNC = {
    "coroutine": coroutine, "at once": at_once, "async generator": streaming,
    "in the executor": act, "generator in the executor": yields,
}  # fmt: skip


@contextmanager
def silent() -> Iterator[None]:
    """Nothing of this is to be seen in the log of the tests."""
    logger = logging.getLogger("pound.worker")
    before, logger.propagate = logger.propagate, False
    sink = logging.StreamHandler(open("/dev/null", "w"))  # noqa: SIM115 - closed with the handler
    logger.addHandler(sink)
    try:
        yield
    finally:
        logger.removeHandler(sink)
        sink.stream.close()
        logger.propagate = before


@contextmanager
def serving(broker: Any, handler: Any, on_loop: bool) -> Iterator[None]:
    """A worker of capacity 1, in threads or on the loop of a thread."""
    if not on_loop:
        with pound.Worker(broker.backend_endpoints, {"s": handler}):
            yield
        return
    started, stop = threading.Event(), threading.Event()

    async def main() -> None:
        async with pound.aio.Worker(broker.backend_endpoints, {"s": handler}):
            started.set()
            while not stop.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert started.wait(WAIT_S)
        yield
    finally:
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture
def broker(start_broker: Any) -> Any:
    return start_broker(body_bytes_max=1_000_000)


@pytest.mark.parametrize(
    ("handler", "on_loop"),
    [(h, False) for h in SYNC.values()] + [(h, True) for h in ASYNC.values()],
    ids=[f"sync {name}" for name in SYNC] + [f"aio {name}" for name in ASYNC],
)
def test_nothing_that_a_handler_does_ends_its_worker(
    broker: Any, handler: Any, on_loop: bool
) -> None:
    streams = handler in (generator, yields, streaming)
    with (
        silent(),
        serving(broker, handler, on_loop),
        pound.Client(broker.frontend_endpoints) as client,
    ):
        for name in [*RAISED, "recursion", *WRONG]:
            with pytest.raises(pound.RequestError) as failed:
                client.request("s", name.encode(), timeout=WAIT_S)
            assert not isinstance(failed.value, pound.DeadlineExceeded), name
            assert str(failed.value), name
        for name, (_, answer) in RIGHT.items():
            if streams and handler is not generator:
                got = [part.parts for part in client.stream("s", name.encode(), timeout=WAIT_S)]
                assert got == [answer, [b""]], name
            else:
                got = client.request_full("s", name.encode(), timeout=WAIT_S)
                assert got.parts == answer, name
