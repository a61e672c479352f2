"""`pound.aio.Worker` against the real `pound.Broker`, on each kind of loop."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import pound
import pound.aio
from pound.aio.worker import is_async
from tests.support import WAIT_S, need, pound_command, wait_until


async def echo(body: Any) -> Any:
    return body


@pytest.fixture
def make(broker: Any) -> Callable[..., pound.aio.Worker]:
    """``make(services, **settings)``: a worker of the broker, not started."""

    def make(services: dict[str, Any], **settings: Any) -> pound.aio.Worker:
        return pound.aio.Worker(broker.backend_endpoints, services, **settings)

    return make


@pytest.fixture
def ask(broker: Any) -> Callable[[], pound.aio.Client]:
    """``ask()``: a client of the broker."""
    return lambda: pound.aio.Client(broker.frontend_endpoints)


async def until(predicate: Callable[[], Any]) -> None:
    """Wait until `predicate` is true."""
    end = time.monotonic() + WAIT_S
    while not predicate():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


# -- handlers -------------------------------------------------------------------------------


def test_coroutines_answer(run, make, ask):
    async def slow(body: bytes) -> bytes:
        await asyncio.sleep(0.001)
        return body.upper()

    async def main():
        async with make({"echo": echo, "slow": slow}, capacity=8), ask() as client:
            assert await client.request("echo", b"a") == b"a"
            requests = [client.request("slow", b"x%d" % n) for n in range(100)]
            assert await asyncio.gather(*requests) == [b"X%d" % n for n in range(100)]

    run(main())


def test_capacity_is_how_many_run_at_once(run, make, ask):
    async def main():
        running: list[int] = []
        full, let_go = asyncio.Event(), asyncio.Event()

        async def handler(body: bytes) -> bytes:
            running.append(len(running))
            if len(running) == 5:
                full.set()
            await let_go.wait()
            return body

        async with make({"s": handler}, capacity=5), ask() as client:
            gathering = asyncio.gather(*(client.request("s", b"%d" % n) for n in range(12)))
            await full.wait()
            # A sixth would come with this answer, if there were one.
            await client.request("pound.status", b"")
            assert len(running) == 5
            let_go.set()
            assert await gathering == [b"%d" % n for n in range(12)]

    run(main())


class Callee:
    async def __call__(self, body: bytes) -> bytes:
        return b"object"

    async def method(self, body: bytes) -> bytes:
        return b"method"


async def two(prefix: bytes, body: bytes) -> bytes:
    return prefix + body


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        (Callee(), b"object"),
        (Callee().method, b"method"),
        (functools.partial(two, b"partial "), b"partial x"),
        (lambda body: two(b"lambda ", body), b"lambda x"),
        (lambda body: b"plain " + body, b"plain x"),
        (bytes.upper, b"X"),
    ],
)
def test_handlers_of_every_kind(run, make, ask, handler, answer):
    async def main():
        async with make({"s": handler}), ask() as client:
            assert await client.request("s", b"x", timeout=WAIT_S) == answer

    run(main())


def test_plain_handlers_run_beside_the_loop(run, make, ask):
    async def main():
        loop_thread = threading.get_ident()
        let_go = threading.Event()

        def blocking(task: pound.Task) -> bytes:
            assert isinstance(task, pound.Task)
            assert threading.get_ident() != loop_thread
            task.partial(b"first")
            let_go.wait(WAIT_S)
            return b"last"

        async with make({"block": blocking, "echo": echo}, capacity=2), ask() as client:
            stream = client.stream("block", b"")
            assert (await anext(stream)).body == b"first"
            assert await client.request("echo", b"meanwhile") == b"meanwhile"
            let_go.set()
            assert (await anext(stream)).body == b"last"

    run(main())


def test_a_task_tells_everything(run, make, ask):
    async def handler(task: pound.aio.Task) -> pound.Answer:
        told = [task.service, task.attempt, task.cancelled, task.remaining, task.deadline]
        assert task.parts == [b"a", b"b"]
        with pytest.raises(pound.MultipartError):
            task.body  # noqa: B018
        assert 0 < task.remaining <= WAIT_S
        return pound.Answer(repr(told[:3]).encode(), task.meta)

    async def main():
        async with make({"s": handler}), ask() as client:
            answer = await client.request_full("s", [b"a", b"b"], timeout=WAIT_S, meta={"k": "v"})
            assert answer == pound.Answer(b"['s', 1, False]", {"k": "v"})

    run(main())


def test_a_handler_of_one_part_is_not_given_several(run, make, ask):
    async def on_loop(body: bytes) -> bytes:
        return body

    async def main():
        async with make({"loop": on_loop, "executor": lambda body: body}), ask() as client:
            for service in ("loop", "executor"):
                with pytest.raises(pound.InvalidRequest, match=f"'{service}' takes a body of one"):
                    await client.request(service, [b"a", b"b"], timeout=WAIT_S)
                assert await client.request(service, [], timeout=WAIT_S) == b""
                assert await client.request(service, b"a", timeout=WAIT_S) == b"a"

    run(main())


def test_partials_are_awaited(run, make, ask):
    async def handler(task: pound.aio.Task) -> None:
        await task.partial(b"1", {"k": "v"})
        await task.progress(1, 4)
        await task.progress(2)

    async def main():
        async with make({"s": handler}), ask() as client:
            got = [partial async for partial in client.stream("s", b"")]
            assert [(partial.body, partial.meta) for partial in got] == [
                (b"1", {"k": "v"}),
                (b"", {"progress": "1/4"}),
                (b"", {"progress": "2"}),
                (b"", {}),
            ]

    run(main())


def test_partials_that_find_no_room_wait_without_blocking_the_loop(run, make, ask):
    """More than may be on its way is sent in order, while another handler answers."""
    piece, count = bytes(1 << 20), 40

    async def handler(task: pound.aio.Task) -> None:
        for n in range(count):
            await task.partial([b"%d" % n, piece])

    async def main():
        async with make({"s": handler, "echo": echo}, capacity=2), ask() as client:
            stream = client.stream("s", b"")
            got = [int((await anext(stream)).parts[0])]
            assert await client.request("echo", b"1") == b"1"
            got += [int(partial.parts[0]) async for partial in stream if not partial.final]
            assert got == list(range(count))

    run(main())


def test_a_wrong_partial_is_the_handlers_error(run, make, ask):
    async def handler(task: pound.aio.Task) -> None:
        await task.partial("text")

    async def main():
        async with make({"s": handler}), ask() as client:
            with pytest.raises(pound.TaskFailed, match="TypeError"):
                await client.request("s", b"")

    run(main())


# -- failures -------------------------------------------------------------------------------


async def failing(body: bytes) -> bytes:
    raise ValueError(body.decode())


async def wrong(body: bytes) -> Any:
    return 5


async def leaving(body: bytes) -> bytes:
    raise SystemExit("out")


async def cancelling(body: bytes) -> bytes:
    raise asyncio.CancelledError("by itself")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (failing, "ValueError: so"),
        (wrong, "TypeError"),
        (leaving, "SystemExit: out"),
        (cancelling, "CancelledError: by itself"),
        (lambda body: body.nothing, "AttributeError"),
    ],
)
def test_what_a_handler_raises_is_the_answer(run, make, ask, caplog, handler, words):
    async def main():
        async with make({"s": handler, "echo": echo}), ask() as client:
            with pytest.raises(pound.TaskFailed, match=words):
                await client.request("s", b"so", timeout=WAIT_S)
            assert await client.request("echo", b"on") == b"on"

    with caplog.at_level(logging.ERROR, "pound.worker"):
        run(main())
    assert "handler failed" in caplog.text


def test_a_released_task_goes_to_another_worker(run, make, ask, broker):
    async def main():
        taken: list[int] = []

        def worker(number: int) -> pound.aio.Worker:
            async def handler(task: pound.aio.Task) -> bytes:
                taken.append(number)
                if len(taken) == 1:
                    raise pound.Release("not me")
                return b"%d" % task.attempt

            return make({"s": handler})

        async with worker(1), worker(2), ask() as client:
            assert await client.request("s", b"") == b"1"
        assert len(taken) == 2

    run(main())
    assert broker.stats()["released"] == 1


# -- cancelling -----------------------------------------------------------------------------


def test_a_cancelled_request_cancels_its_handler(run, make, ask, broker):
    async def main():
        began, cleaned = asyncio.Event(), asyncio.Event()
        seen: list[bool] = []

        async def handler(task: pound.aio.Task) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(task.cancelled)
                cleaned.set()

        async with make({"s": handler, "echo": echo}), ask() as client:
            request = client.request("s", b"")
            await began.wait()
            request.cancel()
            await cleaned.wait()
            assert seen == [True]
            assert await client.request("echo", b"on", timeout=WAIT_S) == b"on"

    run(main())
    assert broker.stats()["cancelled"] == 1


def test_a_handler_that_its_own_program_cancels_has_failed(run, make, ask):
    async def main():
        running: list[asyncio.Task[Any]] = []

        async def handler(body: bytes) -> None:
            running.append(asyncio.current_task())
            await asyncio.Event().wait()

        async def abort(body: bytes) -> bytes:
            running[0].cancel()
            return b"aborted"

        async with make({"s": handler, "abort": abort}, capacity=2), ask() as client:
            request = client.request("s", b"")
            await until(lambda: running)
            assert await client.request("abort", b"") == b"aborted"
            with pytest.raises(pound.TaskFailed, match="CancelledError"):
                await request

    run(main())


def test_a_deadline_cancels_the_handler(run, make, ask):
    async def main():
        cancelled = asyncio.Event()

        async def handler(body: bytes) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with make({"s": handler}), ask() as client:
            with pytest.raises(pound.DeadlineExceeded):
                await client.request("s", b"", timeout=0.1)
            await cancelled.wait()

    run(main())


def test_a_handler_may_go_on_after_its_cancellation(run, make, ask):
    async def main():
        began, ended = asyncio.Event(), asyncio.Event()

        async def handler(task: pound.aio.Task) -> bytes:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                with suppress(pound.Cancelled):
                    await task.partial(b"nobody hears this")
            ended.set()
            return b"nor this"

        async with make({"s": handler, "echo": echo}), ask() as client:
            request = client.request("s", b"")
            await began.wait()
            request.cancel()
            await ended.wait()
            assert await client.request("echo", b"on", timeout=WAIT_S) == b"on"

    run(main())


def test_a_plain_handler_runs_to_its_end_and_holds_its_place(run, make, ask, broker):
    async def main():
        began, let_go = threading.Event(), threading.Event()
        order: list[str] = []

        def first(task: pound.Task) -> bytes:
            began.set()
            wait_until(lambda: task.cancelled)
            let_go.wait(WAIT_S)
            order.append("first ends")
            return b""

        def second(body: bytes) -> bytes:
            order.append("second begins")
            return b"second"

        async with make({"first": first, "second": second}), ask() as client:
            request = client.request("first", b"")
            await until(began.is_set)
            request.cancel()
            request = client.request("second", b"")
            await until(lambda: broker.stats()["waiting"] == 1)
            let_go.set()
            assert await request == b"second"
        assert order == ["first ends", "second begins"]

    run(main())


def test_coroutine_functions_are_known_in_every_form():
    assert all(map(is_async, (echo, Callee(), Callee().method, functools.partial(two, b""))))
    assert not any(map(is_async, (len, bytes.upper, Callee, lambda body: echo(body))))


# -- the life of the worker -----------------------------------------------------------------


def test_signs_of_life_need_no_loop(run, start_broker):
    """A handler that holds loop and GIL for many heartbeats keeps its task."""
    holding = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL
    broker = start_broker(heartbeat=0.05, liveness=3)

    async def blocking(body: bytes) -> bytes:
        holding.usleep(700_000)
        return body

    async def main():
        worker = pound.aio.Worker(broker.backend_endpoints, {"s": blocking}, heartbeat=0.05)
        async with worker, pound.aio.Client(broker.frontend_endpoints, liveness=1000) as client:
            assert await client.request("s", b"1") == b"1"

    run(main())
    assert broker.stats()["losses"] == 0


def test_draining_finishes_what_is_held(run, make, ask):
    async def main():
        began, let_go = asyncio.Event(), asyncio.Event()

        async def handler(body: bytes) -> bytes:
            began.set()
            await let_go.wait()
            return body

        worker = make({"s": handler})
        await worker.start()
        assert await worker.wait_connected(WAIT_S)
        async with ask() as client:
            request = client.request("s", b"held")
            await began.wait()
            draining = asyncio.create_task(worker.drain())
            await asyncio.sleep(0)
            let_go.set()
            assert await draining
            assert await request == b"held"
        assert await worker.drain()

    run(main())


def test_what_takes_longer_than_the_drain_goes_to_another_worker(run, make, ask, broker):
    async def main():
        began, cancelled = asyncio.Event(), asyncio.Event()

        async def hold(body: bytes) -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        worker = make({"s": hold})
        await worker.start()
        async with ask() as client:
            request = client.request("s", b"")
            await began.wait()
            async with make({"s": echo}) as other:
                assert await other.wait_connected(WAIT_S)
                assert not await worker.drain(0.05)
                assert await request == b""
                await cancelled.wait()

    run(main())
    assert broker.stats()["released"] == 1


def test_a_handler_may_ask_its_worker_to_go(run, make, ask):
    async def main():
        async def last(body: bytes) -> bytes:
            assert not await worker.drain()
            return b"last"

        worker = make({"s": last})
        async with ask() as client:
            running = asyncio.create_task(worker.run())
            assert await client.request("s", b"", timeout=WAIT_S) == b"last"
            await running

    run(main())


def test_signals_drain_and_what_stood_before_is_put_back(run, make, ask):
    signals = (signal.SIGTERM, signal.SIGINT)
    own = [signal.signal(number, lambda *_: None) for number in signals]
    before = [signal.getsignal(number) for number in signals]

    async def main():
        began = asyncio.Event()

        async def handler(body: bytes) -> bytes:
            began.set()
            await asyncio.sleep(0.05)
            return b"done"

        worker = make({"s": handler})
        async with ask() as client:
            running = asyncio.create_task(worker.run())
            request = client.request("s", b"")
            await began.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await running
            assert await request == b"done"

    try:
        run(main())
        assert [signal.getsignal(number) for number in signals] == before
    finally:
        for number, handler in zip(signals, own, strict=True):
            signal.signal(number, handler)


def test_a_second_signal_gives_back(run, make, ask, broker):
    async def main():
        began = asyncio.Event()

        async def handler(body: bytes) -> None:
            began.set()
            await asyncio.Event().wait()

        worker = make({"s": handler})
        async with ask() as client:
            running = asyncio.create_task(worker.run())
            request = client.request("s", b"")
            await began.wait()
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            await running
            await until(lambda: broker.stats()["released"] == 1)
            request.cancel()

    run(main())


def test_cancelling_run_gives_back(run, make, ask, broker):
    async def main():
        began = asyncio.Event()

        async def handler(body: bytes) -> None:
            began.set()
            await asyncio.Event().wait()

        worker = make({"s": handler})
        async with ask() as client:
            running = asyncio.create_task(worker.run())
            request = client.request("s", b"")
            await began.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await until(lambda: broker.stats()["released"] == 1)
            request.cancel()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task can't tell who cancelled it")
def test_a_loop_that_ends_loses_nothing(run, make, broker):
    """A worker that nobody closed: its tasks go to another as soon as its loop is closed."""
    with pound.Client(broker.frontend_endpoints) as client:
        future = client.submit("s", b"kept")

        async def main():
            began = asyncio.Event()

            async def handler(body: bytes) -> None:
                began.set()
                await asyncio.Event().wait()

            await make({"s": handler}).start()
            await began.wait()

        run(main())
        gc.collect()
        with pound.Worker(broker.backend_endpoints, {"s": lambda body: body}):
            assert future.result(WAIT_S) == b"kept"


def test_a_worker_serves_once_and_says_when_it_does_not(run, make):
    async def main():
        worker = make({"s": echo})
        with pytest.raises(RuntimeError, match="this worker was not started; call start"):
            await worker.wait_connected()
        assert await worker.drain()  # nothing to finish
        async with worker:
            with pytest.raises(RuntimeError, match="this worker was started before; make a new"):
                await worker.start()
        with pytest.raises(RuntimeError, match="started before"):
            await worker.run()

    run(main())


def test_a_worker_belongs_to_the_loop_it_was_started_on(run, make):
    worker = make({"s": echo})

    async def first():
        await worker.start()

    async def second():
        with pytest.raises(RuntimeError, match="another event loop"):
            await worker.wait_connected()

    run(first())
    run(second())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"services": {}}, "services"),
        ({"services": {"pound.x": echo}}, "reserved"),
        ({"services": {"s": 5}}, "not callable"),
        ({"services": {"s": lambda: b""}}, "one argument"),
        ({"services": {"s": lambda body, other: b""}}, "one argument"),
        ({"services": {"s": echo}, "capacity": 0}, "capacity"),
        ({"services": {"s": echo}, "endpoints": "nonsense"}, "nonsense"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        pound.aio.Worker(**arguments)


# -- pound worker ---------------------------------------------------------------------------

HERE = "tests.integration.async_handlers"
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from pound.cli import main; main()"


def test_pound_worker_runs_coroutines_on_uvloop_if_it_is_there(serve, spawn):
    need("module:uvloop")
    served = serve()
    spawn(pound_command("worker", f"{HERE}:loop", "--connect", served.backend))
    with pound.Client(served.frontend) as client:
        assert client.request("", b"", timeout=WAIT_S) == b"uvloop"


def test_pound_worker_runs_coroutines_without_uvloop_too(serve, spawn):
    served = serve()
    command = [sys.executable, "-c", WITHOUT_UVLOOP, "worker", f"{HERE}:loop"]
    spawn([*command, "--connect", served.backend])
    with pound.Client(served.frontend) as client:
        assert client.request("", b"", timeout=WAIT_S) == b"asyncio"


def test_pound_worker_drains_its_coroutines_on_sigterm(serve, spawn, tmp_path):
    served = serve()
    worker = spawn(
        pound_command("worker", f"{HERE}:hold", "--capacity", "2", "--connect", served.backend)
    )
    gates = [tmp_path / "one", tmp_path / "two"]
    with pound.Client(served.frontend) as client:
        futures = [client.submit("", str(gate).encode()) for gate in gates]
        wait_until(lambda: all(gate.with_suffix(".held").exists() for gate in gates))
        worker.signal(signal.SIGTERM)
        for gate in gates:
            gate.touch()
        assert [future.result(WAIT_S) for future in futures] == [b"released"] * 2
    assert worker.wait() == 0
