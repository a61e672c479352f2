"""ipyparallel: a controller, one engine, a load-balanced view."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ipyparallel

from bench.python.ends import Measures
from bench.python.timing import BODIES, WINDOW, rate_of_batches, round_trips
from bench.runner.subjects import ROOT


def echo(body: bytes) -> bytes:
    """Return the body."""
    return body


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    with tempfile.TemporaryDirectory(prefix="bench-ipyparallel-") as folder:
        os.environ["IPYTHONDIR"] = folder
        os.environ["PYTHONPATH"] = str(ROOT)
        cluster = ipyparallel.Cluster(n=1, controller_ip="127.0.0.1", log_level=40)
        with cluster as client:
            view = client.load_balanced_view()

            def answers(batch: Sequence[bytes]) -> list[bytes]:
                return list(view.map_sync(echo, batch, chunksize=1))

            yield {
                "map": functools.partial(rate_of_batches, answers, BODIES[:WINDOW]),
                "request": functools.partial(
                    round_trips, functools.partial(view.apply_sync, echo), BODIES[0]
                ),
            }
