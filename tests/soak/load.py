"""One run of the bench's load generator against a broker that stands."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

SHAPE = ("--clients", "8", "--outstanding", "64", "--workers", "16")
RUN_MS = 2000


def load(program: Path, dialect: str, capacity: int, size: int, frontend: str, backend: str) -> int:
    """Return how many requests were answered; RuntimeError if one was lost or answered wrongly."""
    command = [
        *(str(program), dialect, "--frontend", frontend, "--backend", backend),
        *("--pid", str(os.getpid()), *SHAPE, "--capacity", str(capacity), "--bytes", str(size)),
        *("--warm-up-ms", "0", "--duration-ms", str(RUN_MS)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    if figures["errors"] or figures["lost"]:
        raise RuntimeError(f"{dialect}: {figures['first_error'] or 'requests were lost'}")
    return int(figures["requests"])
