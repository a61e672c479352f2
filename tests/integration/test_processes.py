"""Clients and workers among processes and threads: fork, spawn, forkserver; many threads.

After a fork the child has neither the threads nor the sockets of its parent's ends: using one must
fail clearly, dropping it must do nothing, and neither side may hang. Whatever a child does here is
done within a bound, or it is killed and the test fails.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import random
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pound
import pound.aio
from tests.support import ROOT, WAIT_S, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

ROUNDS = 20


@pytest.fixture
def worker(broker: Any) -> Iterator[pound.Worker]:
    """A worker of the services echo and held (until the client cancels)."""

    def held(task: pound.Task) -> bytes:
        wait_until(lambda: task.cancelled)
        return b""

    services = {"echo": lambda body: body, "held": held}
    worker = pound.Worker(broker.backend_endpoints, services, capacity=64)
    worker.start()
    assert worker.wait_connected(WAIT_S)
    yield worker
    worker.stop()


@pytest.fixture
def client(broker: Any, worker: pound.Worker) -> Iterator[pound.Client]:
    client = pound.Client(broker.frontend_endpoints)
    yield client
    client.close()


def in_child(act: Callable[[], object]) -> str:
    """Fork, and return what `act` returned or raised in the child, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            said = repr(act())
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if not isinstance(error, pound.PoundError):
                said += traceback.format_exc()
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    try:
        if not select.select([reading], [], [], WAIT_S)[0]:
            os.kill(child, signal.SIGKILL)
            pytest.fail("the child hangs")
        return os.read(reading, 65536).decode()
    finally:
        os.close(reading)
        os.waitpid(child, 0)


# -- fork -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.request("echo", b""),
        lambda client: client.request_full("echo", b""),
        lambda client: client.submit("echo", b""),
        lambda client: list(client.map("echo", [b"1"])),
        lambda client: next(client.stream("echo", b"")),
        lambda client: client.wait_connected(1.0),
        lambda client: client._engine.leave(),
    ],
    ids=["request", "request_full", "submit", "map", "stream", "wait_connected", "leave"],
)
def test_a_client_is_refused_in_a_forked_child(client, use):
    assert client.request("echo", b"1") == b"1"
    assert in_child(lambda: use(client)).startswith("ForkError: made before a fork")
    assert client.request("echo", b"2") == b"2"


def test_a_forked_child_may_close_and_drop_its_parents_client(broker, worker):
    clients = [pound.Client(broker.frontend_endpoints)]
    assert clients[0].request("echo", b"1") == b"1"
    open_one = clients[0].submit("held", b"")

    def drop() -> str:
        clients[0].close()
        with clients[0]:
            pass
        open_one.cancel()
        clients.clear()
        gc.collect()
        return "dropped"

    assert in_child(drop) == "'dropped'"
    assert not open_one.done()
    assert clients[0].request("echo", b"2") == b"2"
    clients[0].close()
    with pytest.raises(pound.ClosedError):
        open_one.result(WAIT_S)


def test_a_forked_child_may_fork_with_everything_busy(broker, client):
    """Locks that other threads held at the moment of the fork hold up nobody in the child."""
    over = threading.Event()

    def hammer() -> None:
        while not over.is_set():
            list(client.map("echo", [b"x"] * 50))

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()

    def use() -> str:
        with pytest.raises(pound.ForkError):
            client.submit("echo", b"")
        client.close()
        with pound.Client(broker.frontend_endpoints) as own:
            return str(own.request("echo", b"own", timeout=WAIT_S))

    try:
        for _ in range(ROUNDS):
            assert in_child(use) == repr(str(b"own"))
    finally:
        over.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    "use",
    [
        lambda worker: worker.start(),
        lambda worker: worker.drain(0.1),
        lambda worker: worker.stop(),
        lambda worker: worker.run(),
        lambda worker: worker.wait_connected(1.0),
        lambda worker: worker._engine.leave(0.1),
    ],
    ids=["start", "drain", "stop", "run", "wait_connected", "leave"],
)
def test_a_worker_is_refused_in_a_forked_child(client, worker, use):
    said = in_child(lambda: use(worker))
    assert said.startswith("ForkError: made before a fork"), said
    assert client.request("echo", b"1") == b"1"


def test_a_forked_child_may_drop_its_parents_worker(broker, client):
    workers = [pound.Worker(broker.backend_endpoints, {"other": lambda body: body})]
    workers[0].start()
    assert client.request("other", b"1") == b"1"

    def drop() -> str:
        workers.clear()
        gc.collect()
        return "dropped"

    assert in_child(drop) == "'dropped'"
    assert client.request("other", b"2") == b"2"
    workers[0].stop()


def test_a_handler_may_fork(broker, client):
    """A child that a handler makes is a child like others; its parent's task is not its own."""

    def fork(task: pound.Task) -> bytes:
        return in_child(lambda: client.request("echo", b"")).encode()

    with pound.Worker(broker.backend_endpoints, {"fork": fork}):
        assert bytes(client.request("fork", b"")).startswith(b"ForkError")


def test_a_task_is_refused_in_a_forked_child(broker, client):
    def handler(task: pound.Task) -> bytes:
        told = [in_child(lambda: task.partial(b"child")), in_child(lambda: task.progress(1, 2))]
        task.partial(b"parent")
        return b"".join(b"F" for said in told if said.startswith("ForkError"))

    with pound.Worker(broker.backend_endpoints, {"fork": handler}):
        assert [part.body for part in client.stream("fork", b"")] == [b"parent", b"FF"]


EXITING = """
import os, sys
import pound

worker = pound.Worker(sys.argv[1], {"echo": lambda body: body})
worker.start()
assert worker.wait_connected(15)
with pound.Client(sys.argv[2]) as client:
    child = os.fork()
    if child == 0:
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert client.request("echo", b"the parent's", timeout=15) == b"the parent's"
"""


def test_a_forked_child_exits_without_a_word_and_its_parent_goes_on(broker):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXITING,
         broker.backend_endpoints[0], broker.frontend_endpoints[0]],
        capture_output=True, cwd=ROOT, timeout=2 * WAIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_child_in_which_a_handler_returns_too_ends(broker, client):
    with pound.Worker(broker.backend_endpoints, {"fork": lambda body: b"%d" % os.fork()}):
        child = int(bytes(client.request("fork", b"")))
        try:
            wait_until(lambda: os.waitpid(child, os.WNOHANG)[0])
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise


def test_ends_for_asyncio_in_a_forked_child(broker, worker):
    async def main() -> None:
        async with pound.aio.Client(broker.frontend_endpoints) as client:
            services = {"own": lambda body: body}
            async with pound.aio.Worker(broker.backend_endpoints, services) as own:
                assert await client.request("own", b"1") == b"1"
                open_one = client.request("held", b"")

                async def use() -> list[str]:
                    told = []
                    for attempt in (
                        lambda: client.request("echo", b""),
                        lambda: client.stream("echo", b""),
                        lambda: asyncio.ensure_future(client.wait_connected()),
                        lambda: asyncio.ensure_future(own.drain()),
                        lambda: asyncio.ensure_future(own.wait_connected()),
                    ):
                        try:
                            await attempt()
                        except pound.ForkError:
                            told.append("refused")
                    await client.close()
                    async with pound.aio.Client(broker.frontend_endpoints) as another:
                        told.append(str(await another.request("echo", b"own", timeout=WAIT_S)))
                    return told

                def act() -> list[str]:
                    asyncio.set_event_loop(None)
                    return asyncio.new_event_loop().run_until_complete(use())

                assert in_child(act) == repr(["refused"] * 5 + [str(b"own")])
                assert not open_one.done()
                assert await client.request("own", b"2") == b"2"  # the loop hears as before

    asyncio.run(main())


def test_a_client_for_asyncio_that_was_not_used_may_be_used_in_the_child(broker, worker):
    client = pound.aio.Client(broker.frontend_endpoints)

    async def use() -> bytes:
        async with client:
            return await client.request("echo", b"1", timeout=WAIT_S)

    assert in_child(lambda: asyncio.run(use())) == repr(b"1")


# -- spawn and forkserver -------------------------------------------------------------------


def ask_from(endpoints: tuple[str, ...], numbers: list[int]) -> list[bytes]:
    """Be a process of a pool: ask with a client of one's own."""
    with pound.Client(endpoints) as client:
        return list(client.map("echo", [b"%d" % n for n in numbers]))


def serve_from(endpoints: tuple[str, ...], ready: Any, over: Any) -> None:
    """Be a process that works."""
    with pound.Worker(endpoints, {"pid": lambda body: b"%d" % os.getpid()}) as worker:
        assert worker.wait_connected(WAIT_S)
        ready.set()
        over.wait(WAIT_S)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_have_ends_of_their_own(broker, client, method):
    context = multiprocessing.get_context(method)
    ready, over = context.Event(), context.Event()
    serving = context.Process(target=serve_from, args=(broker.backend_endpoints, ready, over))
    serving.start()
    try:
        with context.Pool(1) as pool:
            asked = (broker.frontend_endpoints, list(range(100)))
            answers = pool.apply_async(ask_from, asked).get(2 * WAIT_S)
        assert answers == [b"%d" % n for n in range(100)]
        assert ready.wait(WAIT_S)
        assert client.request("pid", b"") == b"%d" % serving.pid
    finally:
        over.set()
        serving.join(WAIT_S)
        serving.kill()
    assert serving.exitcode == 0


@pytest.mark.parametrize("kind", ["Client", "Worker", "aio.Client", "aio.Worker"])
def test_ends_are_not_pickled(broker, kind):
    end: Any
    if kind.endswith("Client"):
        end = (pound.aio if "aio" in kind else pound).Client(broker.frontend_endpoints)
    else:
        services = {"echo": bytes}
        end = (pound.aio if "aio" in kind else pound).Worker(broker.backend_endpoints, services)
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=f"a pound.{kind} can't be .* pass the endpoints"):
            copied(end)
    if kind == "Client":
        end.close()


# -- threads --------------------------------------------------------------------------------


def test_threads_share_a_client_and_some_change_their_minds(broker, client):
    """Requests of every kind from many threads, some cancelled: each answer goes to its thread."""
    wrong: list[object] = []

    def act(seed: int) -> None:
        dice = random.Random(seed)
        try:
            for round in range(ROUNDS):
                body = b"%d.%d" % (seed, round)
                assert client.request("echo", body) == body
                futures = [client.submit("held", b"") for _ in range(dice.randrange(3))]
                assert next(client.stream("echo", body)).body == body
                bodies = [b"%d" % dice.randrange(1000) for _ in range(dice.randrange(40))]
                assert list(client.map("echo", bodies, window=7)) == bodies
                for answer in client.map("echo", bodies):
                    assert answer == bodies[0]
                    break  # the others are cancelled
                assert all(future.cancel() for future in futures)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=act, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * WAIT_S)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    wait_until(lambda: broker.stats()["running"] == broker.stats()["waiting"] == 0)


def test_a_client_that_is_closed_while_others_wait(broker, client):
    """Whoever waits, in whatever way, hears of it; whoever comes later is told at once."""
    told: list[str] = []

    def wait(act: Callable[[], object]) -> None:
        try:
            act()
        except pound.ClosedError:
            told.append("closed")

    acts: list[Callable[[], object]] = [
        lambda: client.request("held", b""),
        lambda: client.request_full("held", b""),
        lambda: client.submit("held", b"").result(WAIT_S),
        lambda: list(client.map("held", [b""] * 3)),
        lambda: next(client.stream("held", b"")),
    ]
    threads = [threading.Thread(target=wait, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    wait_until(lambda: broker.stats()["running"] == 7)
    closers = [threading.Thread(target=client.close) for _ in range(3)]
    for thread in closers:
        thread.start()
    for thread in [*threads, *closers]:
        thread.join(WAIT_S)
    assert told == ["closed"] * len(acts)
    for act in acts:
        with pytest.raises(pound.ClosedError):
            act()


def test_threads_that_ask_while_the_client_is_closed_get_an_answer_or_an_error(broker, worker):
    for _ in range(ROUNDS):
        client = pound.Client(broker.frontend_endpoints)
        ended = threading.Semaphore(0)

        def act(client: pound.Client = client, ended: threading.Semaphore = ended) -> None:
            try:
                while True:
                    assert client.request("echo", b"x") == b"x"
            except pound.ClosedError:
                ended.release()

        threads = [threading.Thread(target=act) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert client.wait_connected(WAIT_S)
        client.close()
        for thread in threads:
            thread.join(WAIT_S)
            assert ended.acquire(timeout=WAIT_S)
