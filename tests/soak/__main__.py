"""``python -m tests.soak``: many requests through one broker; afterwards nothing may be left.

The broker and the Python ends run in this process, so its resident memory is theirs; foreign
clients and workers are the bench's load generator. Each part is run once to warm up, then again
and again until its share of the requests was answered. Memory is looked at after each run: its
median in the second half must not exceed its median in the first, since a leak never ends, while
allocators go up and down by megabytes without end; glibc's first gives back the pages that it
keeps free. What is allocated is judged too, where the C library tells it. In the end every peer
has gone, and every counter of what lives must be 0, in the broker and in the Python ends.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import resource
import sys
import time
from pathlib import Path
from statistics import median

from bench.runner.measure import build
from tests.soak.left import left
from tests.soak.parts import Part, aio_ends, broker, ends, foreign

RESIDENT_MIB, ALLOCATED_MIB = 3.0, 2.0  # growth that is allowed
RUNS_MIN = 12  # of a part, or its halves tell nothing
PAGE_MIB = resource.getpagesize() / (1 << 20)


def resident() -> float:
    """Return this process's resident memory in MiB, without the allocator's free pages."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MIB


class Malloc(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "mapped", "usmblks", "fsmblks", "used", "free",
            "keepcost",
        )
    )  # fmt: skip


def allocated() -> float:
    """Return what malloc has given out in MiB, over all arenas; 0 where the C library can't say."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return 0.0
    mallinfo.restype = Malloc
    now = mallinfo()
    return float((now.used + now.mapped) / (1 << 20))


def drive(name: str, part: Part, requests: int) -> bool:
    """Run a part for `requests`; print how memory went; return whether it stayed."""
    part()
    begun, done = time.monotonic(), 0
    residents, allocations = list[float](), list[float]()
    while done < requests or len(residents) < RUNS_MIN:
        done += part()
        residents.append(resident())
        allocations.append(allocated())
    good = growth(residents) <= RESIDENT_MIB and growth(allocations) <= ALLOCATED_MIB
    print(
        f"{name:21s} {done:>10,d} requests in {time.monotonic() - begun:6.1f} s"
        f"  resident {max(residents):6.1f} MiB {growth(residents):+6.2f}"
        f"  allocated {max(allocations):6.1f} MiB {growth(allocations):+6.2f}"
        f"  {'flat' if good else 'GROWS'}",
        flush=True,
    )
    return good


def growth(samples: list[float]) -> float:
    """Return by how much the median of the second half exceeds the median of the first."""
    half = len(samples) // 2
    return median(samples[half:]) - median(samples[:half])


def main() -> None:
    """Run all parts; exit code 1 when memory grew or something is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000, help="default: %(default)s")
    requests = parser.parse_args().requests
    logging.getLogger("pound").setLevel(logging.ERROR)  # the load's workers come and go
    build()
    with broker() as served:
        parts = {
            "pnd, 64 bytes": (foreign(served, "pnd", 64, 64), requests * 6 // 10),
            "pnd, 16 KiB": (foreign(served, "pnd", 8, 16384), requests // 20),
            "plain and PPP": (foreign(served, "plain", 1, 64), requests // 20),
            "MDP 0.1": (foreign(served, "mdp1", 1, 64), requests // 20),
            "Client and Worker": (ends(served, 64), requests // 10),
            "the same, 16 KiB": (ends(served, 16384), requests // 20),
            "aio Client and Worker": (aio_ends(served, 64), requests // 10),
        }
        flat = [drive(name, part, count) for name, (part, count) in parts.items()]
        living = left(served)
    print(f"left alive: {living or 'nothing'}")
    sys.exit(0 if all(flat) and not living else 1)


if __name__ == "__main__":
    main()
