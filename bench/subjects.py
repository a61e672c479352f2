"""What is measured, as processes of their own, and one measurement of one of them.

A subject prints one line with ``ready frontend=URL backend=URL`` and is killed in the end. Each
measurement starts it anew, so that no round inherits what another left behind.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent
ROOT = BENCH.parent
OUT = ROOT / "build" / "bench"
READY = re.compile(rb"ready frontend=(\S+) backend=(\S+)")
READY_S = 20.0
SLACK_S = 60.0  # a measurement may take so much longer than it should

WILDCARD = "tcp://127.0.0.1:*"
SERVE = ["-m", "pound", "serve", "--log-level", "error"]
SERVE_ENDS = ["--frontend", WILDCARD, "--backend", WILDCARD]


class SubjectError(RuntimeError):
    """A subject or the load generator did not do what it is for."""


@dataclass(frozen=True)
class Shape:
    """Clients x outstanding x workers x bytes."""

    clients: int
    outstanding: int
    workers: int
    size: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read "8x64x16x64"; the bytes may end in KiB or MiB."""
        match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)(KiB|MiB)?", text)
        if not match:
            raise ValueError(f"a shape is CLIENTSxOUTSTANDINGxWORKERSxBYTES, not {text!r}")
        clients, outstanding, workers, size = map(int, match.groups()[:4])
        unit = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20}[match[5]]
        return cls(clients, outstanding, workers, size * unit)

    def __str__(self) -> str:
        """Return what `parse` reads."""
        mebibytes, rest = divmod(self.size, 1 << 20)
        size = f"{mebibytes}MiB" if mebibytes and not rest else str(self.size)
        return f"{self.clients}x{self.outstanding}x{self.workers}x{size}"


@dataclass(frozen=True)
class Contestant:
    """A subject, driven in one dialect with one capacity of the workers."""

    name: str
    command: tuple[str, ...]
    dialect: str
    capacity: int = 1
    floor: str = ""  # the contestant that this one is compared with
    needs: Path | None = None  # an optional program; without it the contestant does not run


def _pound(name: str, dialect: str, capacity: int = 1) -> Contestant:
    command = (sys.executable, *SERVE, *SERVE_ENDS)
    return Contestant(name, command, dialect, capacity, f"floor-{capacity}")


def _floor(capacity: int) -> Contestant:
    return Contestant(f"floor-{capacity}", (str(OUT / "floor"),), "floor", capacity)


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _floor(64),
        _pound("pnd-64", "pnd", 64),
        _floor(8),
        _pound("pnd-8", "pnd", 8),
        _floor(1),
        _pound("pnd-1", "pnd", 1),
        _pound("ppp", "plain"),
        _pound("mdp1", "mdp1"),
        Contestant("zmq_proxy", (sys.executable, str(BENCH / "proxy.py")), "proxy"),
        Contestant("guide_queue", (str(OUT / "guide_queue"),), "plain", needs=OUT / "guide_queue"),
    )
}


@dataclass(frozen=True)
class Effort:
    """How long to look, and with what standing among the machine's other programs."""

    seconds: float = 2.0
    warm_up: float = 0.5
    nice: int = 0  # below 0: before the others (needs the right to)


def build() -> None:
    """Build the compiled programs, if they are not up to date."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(BENCH), f"OUT={OUT}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SubjectError(f"the load generator does not build:\n{done.stdout}{done.stderr}")


def measure(contestant: Contestant, shape: Shape, effort: Effort) -> dict[str, Any]:
    """Return what the load generator saw; `SubjectError` if it could not look."""
    with _running(contestant, effort) as (process, frontend, backend):
        command = [
            *(str(OUT / "load"), contestant.dialect),
            *("--frontend", frontend, "--backend", backend, "--pid", str(process.pid)),
            *("--clients", str(shape.clients), "--outstanding", str(shape.outstanding)),
            *("--workers", str(shape.workers), "--bytes", str(shape.size)),
            *("--capacity", str(contestant.capacity)),
            *("--warm-up-ms", str(int(effort.warm_up * 1000))),
            *("--duration-ms", str(int(effort.seconds * 1000))),
        ]
        done = subprocess.run(
            _nice(command, effort),
            capture_output=True,
            text=True,
            check=False,
            timeout=effort.seconds + effort.warm_up + SLACK_S,
        )
        if not done.stdout:
            raise SubjectError(f"{contestant.name}: {done.stderr.strip()}")
        if process.poll() is not None:
            raise SubjectError(f"{contestant.name} ended by itself, code {process.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@contextmanager
def favoured(nice: int) -> Iterator[None]:
    """Give this session a niceness among the others, where the kernel groups by session.

    There (autogroup) the niceness of a process only counts among those of its own session.
    """
    group = Path("/proc/self/autogroup")
    if not nice or not group.exists():
        yield
        return
    group.write_text(str(nice))
    try:
        yield
    finally:
        group.write_text("0")


def _nice(command: list[str], effort: Effort) -> list[str]:
    return ["nice", "-n", str(effort.nice), *command] if effort.nice else command


@contextmanager
def _running(
    contestant: Contestant, effort: Effort
) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """Start a subject, give it with its endpoints once it is ready, kill it in the end."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("POUND_")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _nice(list(contestant.command), effort),
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            line = _first_line(process)
            match = READY.search(line)
            if not match:
                log.seek(0)
                complaint = log.read().decode(errors="replace")
                raise SubjectError(f"{contestant.name} is not ready: {line!r}\n{complaint}")
            yield process, match[1].decode(), match[2].decode()
        finally:
            process.kill()
            process.communicate()


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the first line of its output, or what came of it within READY_S."""
    assert process.stdout is not None
    end = time.monotonic() + READY_S
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, end - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                break
            line += chunk
    return line
