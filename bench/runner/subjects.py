"""What is measured: shapes of load, and contestants, each a process of its own.

`CONTESTANTS` in contestants.py lists them. The `command` of a contestant prints one line with
``ready frontend=URL backend=URL`` on stdout once it serves, and is killed in the end; its process
is the one whose CPU time counts. The load generator loads it in its `dialect`.
"""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).parents[1]
ROOT = BENCH.parent
OUT = ROOT / "build" / "bench"

FILL_MIN = 100_000  # so many open requests are handed in before the first worker comes


class SubjectError(RuntimeError):
    """A subject or the load generator did not do what it is for."""


@dataclass(frozen=True)
class Shape:
    """Clients x outstanding x workers x bytes; none outstanding: clients connect and go."""

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

    @property
    def requests(self) -> int:
        """Requests that are open at once."""
        return self.clients * self.outstanding

    @property
    def connects(self) -> bool:
        """Whether this is about connections, which are counted in place of requests."""
        return self.outstanding == 0

    @property
    def waits(self) -> bool:
        """Whether this is about requests that wait."""
        return self.requests >= FILL_MIN


def read_shape(text: str) -> Shape:
    """Read a shape from the command line: argparse repeats no other error than its own."""
    try:
        return Shape.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@dataclass(frozen=True)
class Contestant:
    """A subject, driven in one dialect with one capacity of the workers."""

    name: str
    command: tuple[str, ...]
    dialect: str
    capacity: int = 1
    floor: str = ""  # the contestant that this one is compared with
    needs: tuple[Path | str, ...] = ()  # programs; without one of them it does not run
    curve: bool = False  # its connections are encrypted, with the keys of keys.py
    load: tuple[str, ...] = ()  # more options of the load generator

    def here(self) -> bool:
        """Return whether all that it needs is on this machine."""
        return all(shutil.which(program) for program in self.needs)
