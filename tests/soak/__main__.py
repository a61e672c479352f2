"""``python -m tests.soak``: many requests through one broker; afterwards nothing may be left.

The broker and the Python ends run in this process, so its resident memory is theirs; foreign
clients and workers are the bench's load generator. Each part is run once to warm up, then again
and again until its share of the requests was answered: memory must not have grown since the
warm-up. In the end every peer has gone, and every counter of what lives must be 0.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pound
from bench.measure import build
from bench.subjects import OUT
from tests.soak.load import load

GROWTH_MIB = 4.0  # allowed; arenas and free lists settle for a while after the warm-up
GONE_S = 30.0
PAGE_MIB = resource.getpagesize() / (1 << 20)
LIVE = ("waiting", "running", "kept", "clients", "workers", "peers", "routes", "queued", "images")


def resident() -> float:
    """Return this process's resident memory in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MIB


@contextmanager
def broker() -> Iterator[pound.Broker]:
    config = pound.Config(
        frontend=("tcp://127.0.0.1:*",), backend=("tcp://127.0.0.1:*",), client_grace=1.0
    )
    with pound.Broker(config) as served:
        yield served


def foreign(served: pound.Broker, dialect: str, capacity: int, size: int) -> Callable[[], int]:
    """Return a part that is driven by the load generator."""
    frontend, backend = served.frontend_endpoints[0], served.backend_endpoints[0]
    return lambda: load(OUT / "load", dialect, capacity, size, frontend, backend)


def ends(served: pound.Broker, size: int) -> Callable[[], int]:
    """Return a part that is driven by a client and a worker of Pound's own, made anew each time."""

    def run() -> int:
        bodies = [bytes(size)] * 100_000
        with (
            pound.Worker(served.backend_endpoints[0], {"echo": lambda body: body}, capacity=64),
            pound.Client(served.frontend_endpoints[0]) as client,
        ):
            return sum(len(reply) == size for reply in client.map("echo", bodies, window=512))

    return run


def drive(name: str, part: Callable[[], int], requests: int) -> bool:
    """Run a part for `requests`; print how memory went; return whether it stayed."""
    part()
    begun, before, done = time.monotonic(), resident(), 0
    while done < requests:
        done += part()
    grown = resident() - before
    good = grown <= GROWTH_MIB
    print(
        f"{name:24s} {done:>12,d} requests in {time.monotonic() - begun:6.1f} s"
        f"  {before:7.1f} MiB {grown:+6.2f} MiB  {'flat' if good else 'GROWS'}",
        flush=True,
    )
    return good


def left(served: pound.Broker) -> dict[str, int]:
    """Wait until everybody has gone; return what still lives."""
    end = time.monotonic() + GONE_S
    while True:
        stats = served.stats()
        living = {name: stats[name] for name in LIVE if stats[name]}
        if not living or time.monotonic() > end:
            return living
        time.sleep(0.1)


def main() -> None:
    """Run all parts; exit code 1 when memory grew or something is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000, help="default: %(default)s")
    requests = parser.parse_args().requests
    build()
    with broker() as served:
        parts = {
            "pnd, 64 bytes": (foreign(served, "pnd", 64, 64), requests * 7 // 10),
            "pnd, 16 KiB": (foreign(served, "pnd", 8, 16384), requests // 20),
            "plain and PPP": (foreign(served, "plain", 1, 64), requests // 20),
            "MDP 0.1": (foreign(served, "mdp1", 1, 64), requests // 20),
            "Client and Worker": (ends(served, 64), requests // 10),
            "the same, 16 KiB": (ends(served, 16384), requests // 20),
        }
        flat = [drive(name, part, count) for name, (part, count) in parts.items()]
        living = left(served)
    print(f"left alive: {living or 'nothing'}")
    sys.exit(0 if all(flat) and not living else 1)


main()
