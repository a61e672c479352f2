"""Copies of the compiled rules with planted bugs in them, which the simulations must catch.

A plant is found by its function and its pattern, so that code may move and be renamed around it;
where it is not found exactly once, ``mutate`` fails and names it. All plants of a copy go into one
text, each behind ``planted() == its number``, a C function that reads ``POUND_PLANTED`` once; so
one compilation serves all, and number 0 is the rules as they are.

``python -m tests.simulation.planted COPY`` compiles one and prints a JSON object: ``verdicts``, how
each plant was caught, by number, and ``copy``, what failed without any plant at those seeds.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import link_plants, plants
from .plants import Plant

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 200
"""the bound within which each plant is to be caught"""
AT_ONCE = os.cpu_count() or 1


@dataclass(frozen=True)
class Copy:
    """Rules with plants in them, and the simulation that must catch each."""

    plants: tuple[Plant, ...]
    rooms: tuple[str, ...]  # whose declarations are copied
    files: tuple[str, ...]  # of other rooms, and modules
    probe: str  # of tests/probe, compiled as ``planted_`` and its name
    simulation: tuple[str, ...]  # the words after ``python -m``
    patience_s: int  # of the processor for a seed: a multiple of what the rules as they are take


DISPATCHER = tuple(f"_dispatch/{file.name}" for file in (ROOT / "pound/_dispatch").glob("*.pyx"))
COPIES = {
    "dispatcher": Copy(
        plants.PLANTS,
        rooms=("_base", "_dispatch"),
        files=(*DISPATCHER, "_wire/codes.pxd"),
        probe="dispatcher",
        simulation=(
            "tests.simulation", "--no-audit", "--steps", "500",
            "--dispatcher", "planted_dispatcher",
        ),
        patience_s=12,
    ),
    "link": Copy(
        link_plants.PLANTS,
        rooms=("_base", "_wire"),
        files=("_engine/link.pxd", "_engine/endpoints.pxd"),
        probe="links",
        simulation=("tests.simulation.links", "--rounds", "4", "--probe", "planted_links"),
        patience_s=20,
    ),
}  # fmt: skip

FUNCTION = r"^cdef (?!struct|enum|extern)[^\n(]*?\b{}\([^:]*\) noexcept nogil:\n(?:(?: [^\n]*)?\n)*"
PATH = r"(?<![\w.\]])(?P<{}>[\w.\[\]]+)"


def function_of(name: str, text: str) -> re.Match[str] | None:
    """The definition of a function."""
    return re.search(FUNCTION.format(name), text, re.MULTILINE)


def expression(pattern: str) -> str:
    """The regular expression of a plant's pattern."""
    found = ""
    for part in re.split(r"(\$\w+|\.\.\.|\s+)", pattern):
        if not part.startswith("$"):
            found += {"...": r"[^\n]*", " ": r"\s+"}.get(part, re.escape(part))
        elif f"(?P<{part[1:]}>" in found:
            found += f"(?P={part[1:]})"
        else:
            found += PATH.format(part[1:])
    return found


def applied(plant: Plant, text: str, number: int) -> str:
    """The text of a source with a plant of it behind its number."""
    function = function_of(plant.function, text)
    body = function[0] if function else ""
    old = expression(plant.old)
    found = list(re.finditer(rf"^ *{old}$" if plant.statement else old, body, re.MULTILINE))
    if len(found) != 1:
        raise ValueError(f"plant {plant.name!r}: found {len(found)} times in {plant.function}")
    new = re.sub(r"\$(\w+)", lambda name: found[0][name[1]], plant.new)
    if plant.statement:
        statement = found[0][0].lstrip()
        line = " " * (len(found[0][0]) - len(statement))
        guarded = f"{line}if planted() == {number}:\n{line}    {new}\n"
        guarded += f"{line}else:\n{line}    {statement}"
    else:
        wrong, right = (f"<{plant.type}> ({part})" for part in (new, found[0][0]))
        guarded = f"({wrong} if planted() == {number} else {right})"
    body = body[: found[0].start()] + guarded + body[found[0].end() :]
    return text.replace(function[0], body) if function else text


HEADER = """\
#include <stdlib.h>
static inline int planted(void) {
    static int number = -1;
    if (number < 0) {
        const char *text = getenv("POUND_PLANTED");
        number = text ? atoi(text) : 0;
    }
    return number;
}
"""
CIMPORT = "from pound.planted cimport planted"
DECLARATION = 'cdef extern from "pound/planted.h" nogil:\n    int planted() noexcept\n'
SETUP = """\
from pathlib import Path
from Cython.Build import cythonize
from setuptools import setup
from cython_options import DIRECTIVES, extension
sources = sorted(Path().rglob("*.pyx"))
setup(name="planted", packages=[], script_args=["-q", "build_ext", "--inplace"],
      ext_modules=cythonize([extension(source, ["-O0"]) for source in sources],
                            compiler_directives=DIRECTIVES))
"""


def mutate(copy: Copy, target: Path) -> None:
    """Copy the sources below ``target``, with every plant in its place."""
    sources, package = ROOT / "pound", target / "pound"
    for name in (*copy.files, *declarations(copy, sources)):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).parent.joinpath("__init__.py").touch()
        shutil.copy(sources / name, package / name)
    shutil.copy(ROOT / "cython_options.py", target)
    shutil.copy(ROOT / "tests/probe" / f"{copy.probe}.pyx", target / f"planted_{copy.probe}.pyx")
    (package / "__init__.py").touch()
    for number, plant in enumerate(copy.plants, 1):
        file = file_of(plant, package)
        text = applied(plant, file.read_text(), number)
        if CIMPORT not in text:
            text = text.replace("\nfrom libc", f"\n{CIMPORT}\nfrom libc", 1)
        file.write_text(text)
    (package / "planted.h").write_text(HEADER)
    (package / "planted.pxd").write_text(DECLARATION)


def declarations(copy: Copy, sources: Path) -> list[str]:
    """The names of the files that a copy's rooms declare things in."""
    found = [*sources.glob("*/*.pxd"), *sources.glob("*/*.h")]
    names = [str(file.relative_to(sources)) for file in found if file.parent.name in copy.rooms]
    return sorted(names)


def file_of(plant: Plant, package: Path) -> Path:
    """The file that defines the function of a plant."""
    files = sorted(package.glob("*/*.p[yx][xd]"))
    found = [file for file in files if function_of(plant.function, file.read_text())]
    if len(found) != 1:
        raise ValueError(f"plant {plant.name!r}: {plant.function} is defined in {found}")
    return found[0]


def build(copy: Copy, target: Path) -> None:
    """Mutate and compile; raises CalledProcessError with the compiler's words in ``output``."""
    mutate(copy, target)
    subprocess.run(
        [sys.executable, "-c", SETUP],
        cwd=target,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@dataclass(frozen=True)
class Verdict:
    """How a simulation caught a plant: at which seed, and in which words."""

    seed: int
    words: str


def caught(copy: Copy, number: int, built: Path, seeds: range = range(SEEDS)) -> Verdict | None:
    """Simulate with a plant until a seed fails; None when none does.

    The plant runs in a process of its own: it may crash it, or loop until its patience ends.
    """
    command = [sys.executable, "-m", *copy.simulation, "--first", "--seed", str(seeds.start)]
    command += ["--seeds", str(len(seeds)), "--patience", str(copy.patience_s)]
    paths = os.pathsep.join((str(built), str(ROOT)))
    environment = os.environ | {"PYTHONPATH": paths, "POUND_PLANTED": str(number)}
    ran = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True)
    if ran.returncode == 0:
        return None
    begun = [line for line in ran.stderr.splitlines() if line.startswith("seed ")]
    verdicts = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
    if ran.returncode < 0:
        verdicts = [f"ended by signal {-ran.returncode}"]
    if not begun or not verdicts:
        raise RuntimeError(f"plant {number} did not run: {ran.stderr}")
    return Verdict(int(begun[-1].split()[1]), verdicts[-1])


def judged(copy: Copy, folder: Path) -> dict[str, object]:
    """How the plants were caught in a copy that has all of them."""
    build(copy, folder)
    numbers = range(1, len(copy.plants) + 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(lambda number: caught(copy, number, folder), numbers))
        seeds = sorted({verdict.seed for verdict in verdicts if verdict})
        clean = pool.map(lambda seed: caught(copy, 0, folder, range(seed, seed + 1)), seeds)
        found = {number: v.words for number, v in zip(numbers, verdicts, strict=True) if v}
        return {"verdicts": found, "copy": [v.words for v in clean if v]}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(json.dumps(judged(COPIES[sys.argv[1]], Path(folder))))
        except subprocess.CalledProcessError as error:
            print(f"the planted copy does not compile:\n{error.output}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
