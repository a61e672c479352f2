"""A copy of the dispatcher with the bugs of plants.py in it, which the simulation must catch.

A plant is found by its function and its pattern, so that code may move and be renamed around it;
where it is not found exactly once, ``mutate`` fails and names it. All plants go into one copy of
the sources, each behind ``planted() == its number``, a C function that reads ``POUND_PLANTED``
once; so one compilation serves all, and number 0 is the dispatcher as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .plants import PLANTS, Plant

ROOMS = ("_base", "_dispatch")
MAIN = "_dispatch/dispatcher.pyx"
CODES = "_wire/codes.pxd"
API = "planted_dispatcher"
"""the module that Python calls the copy through: tests/probe/dispatcher.pyx under another name"""
SEEDS, STEPS = 60, 500
"""the bound within which each plant is to be caught"""
PATIENCE_S = 4.0
"""of the processor for a seed, where the unplanted copy takes a tenth of it"""

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
sources = [Path("pound", "_dispatch", "dispatcher.pyx"), Path("planted_dispatcher.pyx")]
setup(name="planted", packages=[], script_args=["-q", "build_ext", "--inplace"],
      ext_modules=cythonize([extension(source, ["-O0"]) for source in sources],
                            compiler_directives=DIRECTIVES))
"""


def mutate(sources: Path, target: Path) -> None:
    """Copy the dispatcher's sources below ``target``, with every plant in its place."""
    package = target / "pound"
    for room in ROOMS:
        (package / room).mkdir(parents=True)
        for source in [*(sources / room).glob("*.pxd"), *(sources / room).glob("*.h")]:
            shutil.copy(source, package / room)
        (package / room / "__init__.py").touch()
    (package / CODES).parent.mkdir()
    shutil.copy(sources / CODES, package / CODES)
    shutil.copy(sources / MAIN, package / MAIN)
    shutil.copy(sources.parent / "cython_options.py", target)
    (package / "__init__.py").touch()
    (package / "planted.h").write_text(HEADER)
    (package / "planted.pxd").write_text(DECLARATION)
    shutil.copy(sources.parent / "tests" / "probe" / "dispatcher.pyx", target / f"{API}.pyx")
    for number, plant in enumerate(PLANTS, 1):
        file = file_of(plant, package)
        text = applied(plant, file.read_text(), number)
        if CIMPORT not in text:
            text = text.replace("\nfrom libc", f"\n{CIMPORT}\nfrom libc", 1)
        file.write_text(text)


def file_of(plant: Plant, package: Path) -> Path:
    """The file that defines the function of a plant."""
    files = [file for room in ROOMS for file in sorted((package / room).glob("*.p[yx][xd]"))]
    found = [file for file in files if function_of(plant.function, file.read_text())]
    if len(found) != 1:
        raise ValueError(f"plant {plant.name!r}: {plant.function} is defined in {found}")
    return found[0]


def build(sources: Path, target: Path) -> None:
    """Mutate and compile; raises CalledProcessError with the compiler's words in ``output``."""
    mutate(sources, target)
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
    """How the simulation caught a plant: at which seed, and in which words."""

    seed: int
    words: str


def caught(number: int, built: Path, root: Path, seeds: range = range(SEEDS)) -> Verdict | None:
    """Simulate with a plant until a seed fails; None when none does.

    The plant runs in a process of its own: it may crash it, or loop until its patience ends.
    """
    command = [sys.executable, "-m", "tests.simulation", "--first", "--no-audit"]
    command += ["--seed", str(seeds.start), "--seeds", str(len(seeds)), "--steps", str(STEPS)]
    command += ["--patience", str(PATIENCE_S), "--dispatcher", API]
    paths = os.pathsep.join((str(built), str(root)))
    environment = os.environ | {"PYTHONPATH": paths, "POUND_PLANTED": str(number)}
    ran = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True)
    begun = [line for line in ran.stderr.splitlines() if line.startswith("seed ")]
    if ran.returncode == 0:
        return None
    if ran.returncode < 0 and begun:
        return Verdict(int(begun[-1].split()[1]), f"ended by signal {-ran.returncode}")
    verdicts = [line for line in ran.stdout.splitlines() if line.startswith("seed ")]
    if not verdicts:
        raise RuntimeError(f"plant {number} did not run: {ran.stderr}")
    return Verdict(int(begun[-1].split()[1]), verdicts[-1])
