"""How often a broker copies the bodies that pass through it, counted in the broker itself.

The broker runs with copies.so (copies.c) before libc: every copy of 1 KiB or more, in Pound, in
libzmq, anywhere in the process, is counted. Divided by the bytes of all bodies that came in this
is the number of copies that a byte of a body meets inside the broker: 1 for a broker that copies
each body once, 0 for one that only hands on what it received.
"""

from __future__ import annotations

import dataclasses
import struct
import tempfile
from pathlib import Path

from bench.runner.measure import Effort, measure
from bench.runner.subjects import OUT, Contestant, Shape

LIBRARY = OUT / "copies.so"
COUNTERS = struct.Struct("=QQ")  # calls, bytes
WAYS = 2  # a body comes in with the request, and again with the answer


def count(contestant: Contestant, shape: Shape, effort: Effort) -> float:
    """Return the copies of each body byte in the contestant, from a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "copies")
        file.write_bytes(bytes(COUNTERS.size))
        environ = {"LD_PRELOAD": str(LIBRARY), "BENCH_COPIES": str(file)}
        figures = measure(contestant, shape, dataclasses.replace(effort, environ=environ))
        _, copied = COUNTERS.unpack(file.read_bytes())
    return copied / (figures["answers"] * shape.size * WAYS)
