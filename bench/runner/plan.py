"""What a whole run measures and wants to see, as targets.toml tells it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.runner.contestants import CONTESTANTS
from bench.runner.subjects import BENCH, Shape
from bench.runner.targets import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = BENCH / "targets.toml"
ALL = "*"


@dataclass(frozen=True)
class Budget:
    """How long a run looks at each pair of shape and contestant."""

    rounds: int
    seconds: float
    warm_up: float
    windows: int  # the requests that are open at once, so many times over: less means nothing


def every() -> list[str]:
    """Return what ALL stands for: the contestants that are as fast as they can be."""
    return [name for name, one in CONTESTANTS.items() if not one.load]


@dataclass(frozen=True)
class Group:
    """Shapes and contestants that are measured together, in the same rounds."""

    shapes: tuple[Shape, ...]
    contestants: tuple[str, ...]
    copies: bool = False  # the copies of bodies are counted too

    def here(self) -> Group:
        """Return it with the contestants that this machine has."""
        names: Iterable[str] = every() if ALL in self.contestants else self.contestants
        return dataclasses.replace(
            self, contestants=tuple(name for name in names if CONTESTANTS[name].here())
        )

    def sees(self, shape: str, contestant: str, figure: str) -> bool:
        """Return whether it measures a figure of a contestant on a shape."""
        here = shape in map(str, self.shapes) and contestant in self.contestants
        return here and (self.copies or figure != "copies")


@dataclass(frozen=True)
class Plan:
    """The whole file."""

    run: Budget
    quick: Budget
    groups: tuple[Group, ...]
    targets: tuple[Target, ...]


def read(path: Path = FILE) -> Plan:
    """Return the plan in a file; a name in it that does not exist raises KeyError."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return Plan(
        Budget(**found["run"]),
        Budget(**found["quick"]),
        tuple(map(_group, found["group"])),
        tuple(map(_target, found["target"])),
    )


def _group(table: dict[str, Any]) -> Group:
    shapes = tuple(map(Shape.parse, table["shapes"]))
    return Group(shapes, tuple(map(_known, table["contestants"])), table.get("copies", False))


def _target(table: dict[str, Any]) -> Target:
    for key in ("contestant", "base"):
        if key in table:
            _known(table[key])
    return Target(**table)


def _known(name: str) -> str:
    if name != ALL:
        CONTESTANTS[name]
    return name
