"""Ctrl-C in the middle of Pound's own Python code leaves nothing broken, and nothing running."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import pound.aio
from tests.interrupts import pound_threads
from tests.support import WAIT_S, clean_environ, wait_until

# What is interrupted in a destructor is passed over; so is a context that was not even begun with.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

NOBODY = "tcp://127.0.0.1:1"
MAKES = {
    "client": "pound.aio.Client('tcp://127.0.0.1:1')._make",
    "worker": "pound.aio.Worker('tcp://127.0.0.1:1', {'echo': print})._make",
}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have such destructors run here."""
    yield
    gc.collect()


def client() -> None:
    pound.Client(NOBODY)


def worker() -> None:
    pound.Worker(NOBODY, {"echo": bytes}).start()


def aio_client() -> None:
    async def use() -> None:
        await pound.aio.Client(NOBODY).wait_connected()

    asyncio.run(use())


def no_threads() -> bool:
    """Return whether none is left, once the frames that were interrupted are gone."""
    left = [name for name in pound_threads() if name != "pound-log"]
    if left:
        gc.collect()
    return not left


@pytest.mark.parametrize("end", MAKES)
def test_an_engine_that_is_interrupted_while_it_is_made_is_given_back(end: str) -> None:
    """In a process of its own: one that frees what it never had crashes."""
    code = (
        "import pound.aio; from tests.interrupts import interrupted_everywhere;"
        f" make = {MAKES[end]};"
        " print(len(list(interrupted_everywhere(lambda: make(-1)))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WAIT_S,
                          env=clean_environ(), check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 10


STARTS = {
    "client": ("pound.Client('tcp://127.0.0.1:1')", "close"),
    "worker": ("pound.Worker('tcp://127.0.0.1:1', {'echo': bytes})", "stop"),
}
START = """
import pound
from tests.interrupts import interrupted_everywhere, pound_threads
from tests.support import wait_until
from tests.unit.engine.test_interrupts import no_threads

made = []

def start():
    made.append({make})
    if hasattr(made[-1], "start"):
        made[-1].start()

def end():
    while made:  # the interrupt may have come in a callback, and been passed over
        made.pop().{end}()
    wait_until(no_threads)

print(len([end() for _ in interrupted_everywhere(start)]))
end()
"""


@pytest.mark.parametrize("kind", STARTS)
def test_a_start_that_is_interrupted_leaves_no_thread(kind: str) -> None:
    """In a process of its own: a mail of an interrupted engine may never be freed."""
    make, end = STARTS[kind]
    code = START.format(make=make, end=end)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WAIT_S,
                          env=clean_environ(), check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("begin", "name"),
    [(client, "pound-client"), (client, "pound-client-events"), (aio_client, "pound-client"),
     (worker, "pound-worker"), (worker, "pound-worker-events"), (worker, "pound-handler-0")],
)  # fmt: skip
def test_threads_of_a_start_that_failed_end_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[], None],
    name: str,
    error: type[BaseException],
) -> None:
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name != name:
            return start(thread)
        if error is KeyboardInterrupt:  # it comes while the new thread is waited for
            start(thread)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(error):
            begin()
        wait_until(no_threads)
