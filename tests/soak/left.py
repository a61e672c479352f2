"""What still lives once everybody should have gone: in the broker, and in the Python ends."""

from __future__ import annotations

import gc
import time

import pound
from pound._engine import client as client_engine
from pound._engine import worker as worker_engine

GONE_S = 30.0
LIVE = (
    "waiting",
    "running",
    "kept",
    "clients",
    "workers",
    "peers",
    "routes",
    "queued",
    "stored_records",
)


def left(served: pound.Broker, seconds: float = GONE_S) -> dict[str, int]:
    """Wait until nothing lives, at most so long; return what still does."""
    end = time.monotonic() + seconds
    while (living := _living(served)) and time.monotonic() < end:
        time.sleep(0.1)
    return living


def _living(served: pound.Broker) -> dict[str, int]:
    gc.collect()
    stats = served.stats()
    counts = {name: stats[name] for name in LIVE}
    counts["held by clients"] = client_engine.live()
    counts["held by workers"] = worker_engine.live()
    return {name: count for name, count in counts.items() if count}
