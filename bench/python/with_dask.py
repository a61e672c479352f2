"""dask.distributed: a scheduler and one worker of one thread, each a process of its own."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from bench.python.ends import Measures, child
from bench.python.timing import BODIES, WINDOW, rate_of_batches, round_trips

PATIENCE_S = 60
QUIET = {"DASK_LOGGING__DISTRIBUTED": "error"}


def echo(body: bytes) -> bytes:
    """Return the body."""
    return body


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    python = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory(prefix="bench-dask-") as folder:
        file = str(Path(folder) / "scheduler.json")
        scheduler = [
            *python,
            "distributed.cli.dask_scheduler",
            "--scheduler-file",
            file,
            "--host",
            "tcp://127.0.0.1:0",
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        worker = [
            *python,
            "distributed.cli.dask_worker",
            "--scheduler-file",
            file,
            "--nworkers",
            "1",
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            folder,
        ]
        with (
            child(scheduler, awaits=False, **QUIET),
            child(worker, awaits=False, **QUIET),
            Client(scheduler_file=file) as client,
        ):
            client.wait_for_workers(1, timeout=PATIENCE_S)

            def answers(batch: Sequence[bytes]) -> list[bytes]:
                return list(client.gather(client.map(echo, batch, pure=False)))

            def request(body: bytes) -> bytes:
                result: bytes = client.submit(echo, body, pure=False).result()
                return result

            yield {
                "map": functools.partial(rate_of_batches, answers, BODIES[:WINDOW]),
                "request": functools.partial(round_trips, request, BODIES[0]),
            }
