"""How Cython and the compiler are called: the same for the package and for what tests build.

`setup.py` uses it, and so do the probes, the micro-benchmarks and the planted bugs of the tests.
"""

import os
import re
from pathlib import Path

from setuptools import Extension

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    # No module needs the GIL: what threads share has a lock, an atomic or a critical section.
    "freethreading_compatible": True,
}
JOBS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Entities of one array are seen as structs and as bytes.
ALWAYS = ["-fno-strict-aliasing", "-Wno-unused-function", "-Wno-sign-compare"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]

CIMPORT = re.compile(r"^from (\.\w+|pound(?:\.\w+)+) cimport", re.MULTILINE)
HEADER = re.compile(r'(?:cdef extern from|#include) "(pound/[^"]+\.h)"')


def switch(name: str) -> bool:
    """Return whether a switch of the environment is on."""
    return os.environ.get(name, "0") not in ("", "0")


def headers_of(source: Path) -> list[str]:
    """Return the headers of this project that the C of a module includes, through what it cimports.

    Cython compares a .pyx with its .pxd files, but nobody compares the object with these.
    """
    seen: set[Path] = set()
    ahead = [source, source.with_suffix(".pxd")]
    while ahead:
        path = ahead.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        text = path.read_text()
        ahead += [Path(header) for header in HEADER.findall(text)]
        for module in CIMPORT.findall(text):
            parts = module.split(".")
            below = path.parent / parts[1] if module.startswith(".") else Path(*parts)
            ahead.append(below.with_suffix(".pxd"))
    return sorted(str(path) for path in seen if path.suffix == ".h")


def sanitizers() -> list[str]:
    """Return the flags of compiler and linker that POUND_SANITIZE asks for."""
    return SANITIZERS if switch("POUND_SANITIZE") else []


def extension(source: Path, arguments: list[str], **more: object) -> Extension:
    """Return the extension of a source, named by its path."""
    return Extension(
        ".".join(source.with_suffix("").parts),
        [str(source)],
        depends=headers_of(source),
        include_dirs=["."],
        extra_compile_args=[*arguments, *ALWAYS],
        **more,
    )
