"""Handlers that start child processes and end them by a signal, as a program of its own would.

Each answers with how the child ended: ``-15`` is by SIGTERM. A child that lives on is killed, and
the answer says so.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

ENDS_WITHIN = 5.0  # seconds


def sleep(begun: multiprocessing.synchronize.Event | None = None) -> None:
    if begun is not None:
        begun.set()
    time.sleep(60)


def how(process: multiprocessing.process.BaseProcess) -> str:
    process.join(ENDS_WITHIN)
    code = process.exitcode
    process.kill()
    process.join()
    return "lives on" if code is None else str(code)


def terminate(method: str, number: int = signal.SIGTERM, at_once: bool = False) -> str:
    context = multiprocessing.get_context(method)
    begun = None if at_once else context.Event()
    child = context.Process(target=sleep, args=(begun,))
    child.start()
    assert child.pid is not None
    if begun is not None:
        begun.wait(ENDS_WITHIN * 4)
    os.kill(child.pid, number)
    return how(child)


def fork() -> str:
    """Terminate a child that was forked beneath every library."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, b"\0")
        time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return str(os.waitstatus_to_exitcode(status))
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "lives on"


def program(**options: object) -> str:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], **options)  # type: ignore[call-overload]
    child.terminate()
    try:
        return str(child.wait(ENDS_WITHIN))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return "lives on"


def pool() -> str:
    with multiprocessing.get_context("fork").Pool(2) as processes:
        workers = list(processes._pool)  # type: ignore[attr-defined]
        processes.terminate()
        processes.join()
    codes = {worker.exitcode for worker in workers}  # 0, 1: its queue was closed before that
    return "-15" if codes <= {0, 1, -15} else str(codes)


def executor() -> str:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as processes:
        future = processes.submit(sleep)
        while not processes._processes:
            time.sleep(0.01)
        (child,) = processes._processes.values()
        child.terminate()
        failed = future.exception(ENDS_WITHIN)
    return "-15" if failed is not None and child.exitcode == -15 else repr(failed)


def from_another_thread() -> str:
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(terminate("fork")))
    thread.start()
    thread.join()
    return answers[0]


WAYS: dict[str, Callable[[], str]] = {
    "fork": lambda: terminate("fork"),
    "fork, at once": lambda: terminate("fork", at_once=True),
    "fork, SIGINT": lambda: terminate("fork", signal.SIGINT),
    "spawn": lambda: terminate("spawn"),
    "forkserver": lambda: terminate("forkserver"),
    "os.fork": fork,
    "subprocess": program,
    "subprocess, preexec_fn": lambda: program(preexec_fn=lambda: None),
    "pool": pool,
    "executor": executor,
    "thread": from_another_thread,
}


def plain(body: bytes) -> bytes:
    return WAYS[body.decode()]().encode() if body in map(str.encode, WAYS) else body


def streamed(body: bytes):  # type: ignore[no-untyped-def]
    yield plain(body)
    return plain(body)


async def coroutine(body: bytes) -> bytes:
    """On the loop's own thread, where a fork copies the running loop."""
    return plain(body)


async def beside(body: bytes) -> bytes:
    return await asyncio.to_thread(plain, body)
