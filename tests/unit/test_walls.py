"""The walls of the house, read from the sources (HACKING.md tells why they stand).

1. The heart (the dispatcher and what it cimports) sees no socket, message, clock or Python object.
2. Whatever the loop touches is `noexcept nogil`.
And in all compiled code: no textual include, no DEF or IF, no Python assert.

A .pyx may end in a Python face. It begins at the comment `# --- the Python face` or `# --- the
handle`, at the latest at the first `def`, `class` or `cdef class`; neither wall concerns what
follows, nor the Python imports that serve it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

POUND = Path(__file__).parents[2] / "pound"
COMPILED = sorted([*POUND.glob("*.pyx"), *POUND.glob("*.pxd")])

CIMPORT = re.compile(r"^(?:from pound\.(\w+) cimport|from pound cimport (\w+))", re.MULTILINE)
FACE = re.compile(
    r"^(?:# --+ the (?:Python face|handle)\b|@|def |class |cpdef |cdef class )", re.MULTILINE
)
LITERALS = re.compile(
    r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*'
)
FUNCTION = re.compile(
    r"^(?P<indent> *)cdef (?P<head>(?!extern|class)[^=(\n]*?\b\w+)\((?!\*)(?P<rest>[^:]*?\)[^:\n]*)"
    r"(?::|$)",
    re.MULTILINE,
)
# The way into Python: filling the table of libzmq's functions, at import.
RAISING = {"_libzmq.pyx"}
# What the heart must not know of: modules of this project, and words of C, Cython and Python.
OUTSIDE = {"_libzmq", "_state", "_core", "_peers", "_wire", "_dialects"}
CLOCKS = r"\b(?:clock_gettime|gettimeofday|time_t|timespec|clock_t|monotonic|libc\.time)\b"
SOCKETS = r"\b(?:zmq\w*|socket\w*|recv\w*|sendto|poll|eventfd|unistd)\b"
PYTHON = (
    r"\b(?:object|PyObject\w*|cpython|with gil|raise|try|print|None)\b"
    r"|\bcdef (?:list|dict|tuple|set|bytes|str)\b"
)


@cache
def code_of(source: Path) -> str:
    """Return a source without comments and text literals; every line keeps its number."""
    return LITERALS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source.read_text())


def c_part(source: Path) -> str:
    """Return the code of `source` before its Python face."""
    face = FACE.search(source.read_text())
    return code_of(source)[: face.start()] if face else code_of(source)


def found(source: Path, code: str, pattern: str) -> list[str]:
    """Return ``file:line: text`` of each match."""
    return [
        f"{source.name}:{code.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
        for match in re.finditer(pattern, code, re.MULTILINE)
    ]


def sources_of(module: str) -> list[Path]:
    return [path for path in (POUND / f"{module}.pxd", POUND / f"{module}.pyx") if path.exists()]


@cache
def heart() -> frozenset[str]:
    """Return the names of the dispatcher and of every module that it reaches by cimports."""
    reached: set[str] = set()
    ahead = ["_dispatcher"]
    while ahead:
        module = ahead.pop()
        reached.add(module)
        for source in sources_of(module):
            names = {first or second for first, second in CIMPORT.findall(code_of(source))}
            ahead += names - reached
    return frozenset(reached)


def heart_sources() -> list[Path]:
    return [source for module in sorted(heart()) for source in sources_of(module)]


def unguarded(code: str) -> list[tuple[int, str]]:
    """Return (line, name) of each C function that may raise or need the GIL."""
    bad = []
    for match in FUNCTION.finditer(code):
        block = _enclosing(code, match.start(), len(match["indent"]))
        if "extern" in block:
            continue
        tail = match["rest"].rpartition(")")[2] + " " + block
        if "noexcept" not in tail or "nogil" not in tail:
            bad.append((code.count("\n", 0, match.start()) + 1, match["head"].split()[-1]))
    return bad


def _enclosing(code: str, at: int, indent: int) -> str:
    """Return the header of the block that the line at `at` is in, empty at the top level."""
    for line in reversed(code[:at].splitlines()) if indent else ():
        if line.strip() and not line.startswith(" "):
            return line
    return ""


def test_the_heart_is_found() -> None:
    """Keep the other tests from passing over nothing."""
    assert {"_dispatcher", "_limits", "_table", "_lru", "_heap"} <= heart()
    assert len(COMPILED) > 20


def test_the_heart_reaches_no_module_outside() -> None:
    assert heart().isdisjoint(OUTSIDE)


@pytest.mark.parametrize("source", heart_sources(), ids=lambda source: source.name)
def test_the_heart_knows_no_socket_no_clock_no_python(source: Path) -> None:
    code = c_part(source)
    assert not found(source, code, CLOCKS)
    assert not found(source, code, SOCKETS)
    assert not found(source, code, PYTHON)
    assert source.suffix == ".pyx" or not found(source, code, r"^import .*")


@pytest.mark.parametrize("source", COMPILED, ids=lambda source: source.name)
def test_c_functions_neither_raise_nor_take_the_gil(source: Path) -> None:
    if source.name not in RAISING:
        assert unguarded(c_part(source)) == []


@pytest.mark.parametrize("source", COMPILED, ids=lambda source: source.name)
def test_no_include_no_conditional_compilation_no_python_assert(source: Path) -> None:
    assert not found(source, code_of(source), r"^\s*include\b.*")
    assert not found(source, code_of(source), r"^\s*(?:DEF|IF|ELIF|ELSE)\b.*")
    assert not found(source, code_of(source), r"^\s*assert\b.*")


@pytest.mark.parametrize("source", COMPILED, ids=lambda source: source.name)
def test_compiled_sources_are_read_in_one_sitting(source: Path) -> None:
    assert len(source.read_text().splitlines()) <= 800


def test_the_wall_of_nogil_would_be_noticed_if_broken() -> None:
    code = """
cdef int good(int a) noexcept nogil:
    cdef int x = other(a)
cdef inline void wide(
        int a,
        int b) noexcept nogil:
    pass
cdef extern from "x.h" nogil:
    cdef int foreign(int a)
cdef void *raises(int a) except NULL:
cdef int takes_the_gil(int a) noexcept
cdef struct s:
    int (*pointer)(int)
cdef int may_raise(
        int a) nogil:
"""
    assert [name for _, name in unguarded(code)] == ["*raises", "takes_the_gil", "may_raise"]


def test_literals_and_comments_are_no_code(tmp_path: Path) -> None:
    source = tmp_path / "x.pyx"
    source.write_text('"""assert\n"""\n# include\nx = b"socket"\nassert x\n')
    assert found(source, code_of(source), r"^\s*(?:assert|include)\b.*") == ["x.pyx:5: assert x"]
    assert not found(source, code_of(source), SOCKETS)
