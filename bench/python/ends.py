"""What the module of a contestant has, and the processes that it is made of.

``running()`` is a context manager that starts all that is needed, one worker process among it,
and gives for each task the function that measures it for so many seconds. ``work(url)`` is that
worker process: it calls `ready` once it serves, and is killed in the end. (The libraries with
workers of their own have no `work`.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from bench.python.contestants import CONTESTANTS
from bench.python.timing import Figures
from bench.runner.measure import Effort, Subject, running
from bench.runner.subjects import ROOT, SubjectError

Measures = Mapping[str, Callable[[float], Figures]]  # by the task

READY = "ready\n"


def ready() -> None:
    """Say that the worker serves."""
    print(READY, end="", flush=True)


@contextmanager
def child(command: list[str], awaits: bool = True, **environ: str) -> Iterator[None]:
    """Run a process, from when it said `ready` on unless nobody awaits that."""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    ) as process:
        try:
            assert process.stdout is not None
            if awaits and process.stdout.readline() != READY:
                raise SubjectError(f"{' '.join(command)}: did not become ready")
            yield
        finally:
            process.kill()


@contextmanager
def broker_and_worker(name: str) -> Iterator[Subject]:
    """Start the broker of a contestant and its one worker process; give the broker."""
    broker = CONTESTANTS[name].broker
    assert broker is not None
    with running(broker, Effort()) as subject:
        work = [sys.executable, "-m", "bench.python.one", name, "--work", subject.backend]
        with child(work):
            yield subject
