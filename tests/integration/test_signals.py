"""A signal acts in the process that it is for: no child of a worker drains its parent, or lives on.

What is started in a handler, in whatever way, ends by SIGTERM as it would without Pound, and the
worker that started it answers on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pound
from pound._base import signals as _signals
from tests.integration.child_handlers import WAYS
from tests.support import (
    ROOT,
    WAIT_S,
    Process,
    Served,
    clean_environ,
    pound_command,
    wait_until,
)

Spawn = Callable[..., Process]
KINDS = ("plain", "streamed", "coroutine", "beside")


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


@pytest.mark.parametrize("kind", KINDS)
def test_children_of_handlers_end_by_their_signal(served: Served, spawn: Spawn, kind: str) -> None:
    worker = spawn(pound_command(
        "worker", f"tests.integration.child_handlers:{kind}", "--service", "s",
        "--connect", served.backend))  # fmt: skip
    with pound.Client(served.frontend) as client:
        for way in WAYS:
            expected = b"1" if "SIGINT" in way else b"-15"  # KeyboardInterrupt, as ever
            parts = [part.body for part in client.stream("s", way.encode(), timeout=60)]
            assert set(parts) == {expected}, way
            assert worker.popen.poll() is None, (way, worker.stderr)
    assert "drain" not in worker.stderr
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


PROGRAM = """
    import asyncio, multiprocessing, signal, sys, time
    import pound, pound.aio

    def child(ready):
        ready.set()
        time.sleep(60)

    def start():
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        process = context.Process(target=child, args=(ready,))
        process.start()
        ready.wait(10)
        return process

    def ended(process):
        process.join(5)
        code = process.exitcode
        process.kill()
        return b"%d" % code if code is not None else b"lives on"

    def handler(body):
        process = start()
        process.terminate()
        return ended(process)

    async def coroutine(body):
        return handler(body)
    """
OWN = {
    # The program's own handlers: they are the child's, as if Pound were not there.
    "a handler of the program's": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "pound.Worker(sys.argv[1], {'s': handler}).run()", b"7"),
    "a loop's handler": (
        "async def main():\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)\n"
        "    await pound.aio.Worker(sys.argv[1], {'s': coroutine}).run()\n"
        "asyncio.run(main())", b"-15"),
    "ignored": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pound.Worker(sys.argv[1], {'s': handler}).run()", b"lives on"),
    "on a thread": (
        "import threading\n"
        "thread = threading.Thread(target=pound.Worker(sys.argv[1], {'s': handler}).run)\n"
        "thread.start(); thread.join()", b"-15"),
    "two on one loop": (
        "async def main():\n"
        "    workers = [pound.aio.Worker(sys.argv[1], {'s': coroutine}) for _ in '12']\n"
        "    await asyncio.gather(*(worker.run() for worker in workers))\n"
        "asyncio.run(main())", b"-15"),
}  # fmt: skip


@pytest.mark.parametrize("program", OWN)
def test_children_of_programs_that_embed_a_worker(
    served: Served, spawn: Spawn, program: str
) -> None:
    code, expected = OWN[program]
    worker = spawn([sys.executable, "-c", textwrap.dedent(PROGRAM) + code, served.backend])
    with pound.Client(served.frontend) as client:
        assert client.request("s", b"", timeout=60) == expected
        assert client.request("s", b"", timeout=60) == expected
    assert worker.popen.poll() is None
    if program == "two on one loop":
        worker.signal(signal.SIGTERM)  # which is for both
        assert worker.wait() == 0


def test_a_signal_that_comes_while_the_child_begins_is_the_childs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the fork and the moment that the child has its own handlers back."""
    asked: list[int] = []
    with _signals.handled(lambda: asked.append(os.getpid())):
        reader, writer = os.pipe()
        own, restored = os.getpid(), _signals._forget

        def slow() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            os.write(writer, b"\0")
            restored()

        monkeypatch.setattr(_signals, "_forget", slow)
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        _, status = os.waitpid(pid, 0)
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert asked == []
    assert os.getpid() == own


def test_handlers_and_masks_are_as_before() -> None:
    before = _signals.installed()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with _signals.handled(lambda: None):
        subprocess.run([sys.executable, "-c", ""], check=True, preexec_fn=lambda: None)
        if (pid := os.fork()) == 0:
            same = _signals.installed() == before
            os._exit(0 if same and signal.set_wakeup_fd(-1) == -1 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert _signals.installed() == before
    assert _signals._found == []


def test_a_child_that_a_log_handler_of_a_broker_starts_ends_by_its_signal(
    start_broker: Callable[..., Any],
) -> None:
    """The loop's thread keeps signals away from itself, and from nobody else."""
    import logging

    codes: list[int] = []

    class Starter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not codes:
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
                child.terminate()
                try:
                    codes.append(child.wait(WAIT_S / 2))
                except subprocess.TimeoutExpired:
                    codes.append(0)
                    child.kill()
                    child.wait()

    logger, starter = logging.getLogger("pound"), Starter()
    before = logger.level
    logger.addHandler(starter)
    logger.setLevel(logging.INFO)
    try:
        broker = start_broker()
        with pound.Worker(broker.backend_endpoints, {"s": bytes}) as worker:
            assert worker.wait_connected(WAIT_S)
            wait_until(lambda: codes)
    finally:
        logger.removeHandler(starter)
        logger.setLevel(before)
    assert codes == [-signal.SIGTERM]


NAMES = ("SIGHUP", "SIGUSR1", "SIGUSR2")
HANDLERS_OF_ITS_OWN = """
    import faulthandler, signal, sys

    def tell(number, frame):
        print("told", signal.Signals(number).name, file=sys.stderr, flush=True)

    signal.signal(signal.SIGHUP, tell)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1)

    def echo(body):
        return body
    """


@pytest.mark.parametrize("handler", ["handlers:echo", "async_handlers:loop"])
def test_signals_that_mean_nothing_end_no_worker(
    served: Served, spawn: Spawn, handler: str
) -> None:
    worker = spawn(
        pound_command(
            "worker", f"tests.integration.{handler}", "--service", "s", "--connect", served.backend
        )
    )
    with pound.Client(served.frontend) as client:
        assert client.request("s", b"x", timeout=WAIT_S)
        for name in NAMES:
            worker.signal(signal.Signals[name])
            wait_until(lambda: f"INFO signal ignored signal={name}\n" in worker.stderr)  # noqa: B023
        assert client.request("s", b"x", timeout=WAIT_S)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_worker_leaves_the_signals_of_its_program_alone(
    served: Served, spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(HANDLERS_OF_ITS_OWN))
    environ = clean_environ(PYTHONPATH=f"{ROOT}:{tmp_path}")
    worker = spawn(
        pound_command("worker", "program:echo", "--service", "s", "--connect", served.backend),
        environ,
    )
    with pound.Client(served.frontend) as client:
        assert client.request("s", b"x", timeout=WAIT_S) == b"x"
        for name, line in (("SIGHUP", "told SIGHUP"), ("SIGUSR1", "Current thread")):
            worker.signal(signal.Signals[name])
            wait_until(lambda: line in worker.stderr)  # noqa: B023
        worker.signal(signal.SIGUSR2)
        assert client.request("s", b"x", timeout=WAIT_S) == b"x"
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "signal ignored" not in worker.stderr
