"""The walls of the house, read from the sources (HACKING.md tells why they stand).

1. A room sees only the rooms below it: ``MAY_IMPORT``.
2. The heart (the dispatcher and what it cimports) sees no socket, message, clock or Python object,
   nor do the rules of a link (``LINK_RULES``) and those of keys (``KEY_RULES``).
3. Whatever the loop touches is `noexcept nogil`.
And in all compiled code: no textual include, no DEF or IF, no Python assert.

A .pyx may end in a part that holds the GIL. It begins at the comment `# --- with the GIL`, at the
latest at the first `def`, `class` or `cdef class`; neither of the last two walls concerns what
follows, nor the Python imports that serve it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
POUND = Path(__file__).parents[2] / "pound"
COMPILED = sorted([*POUND.rglob("*.pyx"), *POUND.rglob("*.pxd")])
SOURCES = sorted([*COMPILED, *POUND.rglob("*.py"), *POUND.rglob("*.pyi"), *POUND.rglob("*.h")])

# What each room may import beside itself: rooms, or single modules. The modules directly below
# pound/ have a row each where they are imported by rooms; the others are the room "public".
MAY_IMPORT = {
    "errors": set(),
    "_version": set(),
    "_logging": set(),
    "_base": {"errors"},
    "_wire": {"_base", "errors"},
    "_zmq": {"_base"},
    "_dispatch": {"_base", "_wire/codes"},
    "_broker": {"_base", "_wire", "_zmq", "_dispatch", "_logging", "errors", "security"},
    "_engine": {"_base", "_wire", "_zmq", "_logging", "errors", "security/credential"},
    "security": {"_base", "_config_keys", "_logging", "errors"},
    "_settings": {"config", "security/listener"},
    "_config_keys": {"_wire", "errors"},
    "config": {
        "_base",
        "_config_keys",
        "_settings",
        "errors",
        "security/listener",
        "security/names",
    },
    "_core": {"_base", "_wire", "_zmq", "_dispatch", "_broker", "config", "security"},
    "__init__": {"_version", "aio", "config", "errors", "public", "security"},
    "__main__": {"cli"},
    "public": {
        "_base",
        "_engine",
        "_broker",
        "_core",
        "_logging",
        "_settings",
        "_version",
        "config",
        "errors",
        "security",
    },
    "aio": {"_base", "_engine", "errors", "public"},
    "cli": {
        "_base",
        "_config_keys",
        "_engine",
        "_logging",
        "_version",
        "aio",
        "config",
        "errors",
        "public",
        "security",
    },
}

IMPORT = re.compile(
    r"^ *(?:from (?P<module>\.\w*|pound(?:\.\w+)*) c?import (?P<names>\([^)]*\)|[^\n]*)"
    r"|import (?P<whole>pound[.\w]*))"
    r'|^(?:cdef extern from|#include) "(?P<header>pound/[^"]*)"',
    re.MULTILINE,
)
WITH_GIL = re.compile(r"^(?:# --+ with the GIL\b|@|def |class |cpdef |cdef class )", re.MULTILINE)
LITERALS = re.compile(
    r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*'
)
FUNCTION = re.compile(
    r"^(?P<indent> *)cdef (?P<head>(?!extern|class)[^=(\n]*?\b\w+)\((?!\*)(?P<rest>[^:]*?\)[^:\n]*)"
    r"(?::|$)",
    re.MULTILINE,
)
# The way into Python: filling the table of libzmq's functions, at import.
RAISING = {"_zmq/libzmq.pyx"}
# What decides which broker a client or worker talks to: simulated, as the heart is.
LINK_RULES = {POUND / "_engine" / "link.pxd", POUND / "_engine" / "endpoints.pxd"}
# Who is let in: tested without a handshake.
KEY_RULES = {
    POUND / "security" / f"{name}.{end}" for name in ("table", "zap") for end in ("pxd", "pyx")
}
# What the heart must not know of: words of C, Cython and Python.
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
    """Return the code of `source` before the part that holds the GIL."""
    rest = WITH_GIL.search(source.read_text())
    return code_of(source)[: rest.start()] if rest else code_of(source)


def found(source: Path, code: str, pattern: str) -> list[str]:
    """Return ``file:line: text`` of each match."""
    return [
        f"{source.name}:{code.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
        for match in re.finditer(pattern, code, re.MULTILINE)
    ]


def room_of(parts: tuple[str, ...]) -> str:
    """Return the room, the row of ``MAY_IMPORT``, of a module's or file's path below pound/."""
    first = parts[0].partition(".")[0] if parts else "public"
    return first if first in MAY_IMPORT else "public"


def imports(source: Path, text: str) -> set[str]:
    """Return what a source imports, cimports and includes: paths below pound/, as a/b."""
    found = set()
    here = source.relative_to(POUND).parent
    for match in IMPORT.finditer(text):
        if match["header"]:
            found.add(match["header"].removeprefix("pound/"))
            continue
        module = match["module"] or match["whole"]
        names = re.findall(r"(\w+)(?: as \w+)?", match["names"] or "")
        if module.startswith("."):
            parts = [*here.parts, *module.strip(".").split(".")]
        else:
            parts = module.split(".")[1:]
        path = "/".join(part for part in parts if part)
        below = [name for name in names if path in ("", *PACKAGES) and _exists(path, name)]
        found |= {f"{path}/{name}".strip("/") for name in below} or {path}
    return found


PACKAGES = {path.parent.relative_to(POUND).as_posix() for path in POUND.rglob("__init__.py")}


def _exists(package: str, name: str) -> bool:
    at = POUND / package / name
    return at.is_dir() or any(at.with_suffix(end).exists() for end in (".py", ".pyx", ".pxd"))


def crossings(source: Path, text: str) -> set[str]:
    """Return the rooms that a source of this text reaches and may not."""
    here = room_of(source.relative_to(POUND).parts)
    paths = imports(source, text) - MAY_IMPORT[here]
    reached = {room_of(tuple(path.split("/")) if path else ()) for path in paths}
    return reached - MAY_IMPORT[here] - {here}


def cimports() -> dict[str, set[str]]:
    """Return what each compiled module cimports, its .pyx and its .pxd together."""
    found: dict[str, set[str]] = {}
    for source in COMPILED:
        module = source.relative_to(POUND).with_suffix("").as_posix()
        cimported = re.sub(r"^ *(?:from [.\w]+ )?import .*", "", source.read_text(), flags=re.M)
        reached = {path for path in imports(source, cimported) if not path.endswith(".h")}
        found.setdefault(module, set()).update(reached - {module})
    return found


def cycles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the sets of nodes that reach one another."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        ahead = [start]
        while ahead:
            nodes = graph.get(ahead.pop(), set()) - found
            found |= nodes
            ahead += nodes
        return found

    below = {node: reached(node) for node in graph}
    return {
        frozenset({other for other in below[node] if node in below.get(other, set())})
        for node in graph
        if node in below[node]
    }


@cache
def heart() -> frozenset[Path]:
    """Return the sources of the dispatcher and of every module that it reaches by cimports."""
    reached: set[Path] = set()
    ahead = sources_of("_dispatch/dispatcher")
    while ahead:
        source = ahead.pop()
        if source not in reached:
            reached.add(source)
            for module in imports(source, source.read_text()):
                ahead += sources_of(module)
    return frozenset(reached)


def sources_of(module: str) -> list[Path]:
    paths = (POUND / f"{module}.pxd", POUND / f"{module}.pyx")
    return [path for path in paths if path.exists()]


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
    names = {source.stem for source in heart()}
    assert {"dispatcher", "limits", "table", "matching", "heap", "lru"} <= names
    assert {room_of(source.relative_to(POUND).parts) for source in heart()} == {
        "_base",
        "_dispatch",
        "_wire",
    }
    assert [path_id(source) for source in heart() if "_wire" in source.parts] == ["_wire/codes.pxd"]
    assert len(COMPILED) > 20


def path_id(source: Path) -> str:
    return source.relative_to(POUND).as_posix()


@pytest.mark.parametrize("source", SOURCES, ids=path_id)
def test_a_room_sees_only_rooms_below_it(source: Path) -> None:
    assert crossings(source, source.read_text()) == set()


@pytest.mark.parametrize("source", COMPILED, ids=path_id)
def test_inside_a_room_cimports_are_relative(source: Path) -> None:
    here = room_of(source.relative_to(POUND).parts)
    assert not found(source, code_of(source), rf"^from pound\.{here}\b.*")


@pytest.mark.parametrize(
    ("room", "line", "reached"),
    [
        ("_base", "from pound._zmq.libzmq cimport zmq", "_zmq"),
        ("_base", '#include "pound/_zmq/libzmq.h"', "_zmq"),
        ("_dispatch", "from pound._broker import state", "_broker"),
        ("_dispatch", "from pound import _broker", "_broker"),
        ("_dispatch", "from pound._wire.packets cimport put_error", "_wire"),
        ("_wire", "    from pound.client import Client", "public"),
        ("_engine", "import pound._core", "_core"),
        ("_broker", "from pound._engine.link cimport (\n    link_state_t)", "_engine"),
    ],
)
def test_a_line_that_crosses_a_wall_would_be_noticed(room, line, reached) -> None:
    text = f"from libc.stdint cimport uint8_t\n{line}\n"
    assert crossings(POUND / room / "x.pyx", text) == {reached}


def test_each_struct_and_enum_has_a_name_of_its_own() -> None:
    declared: dict[str, list[str]] = {}
    for source in COMPILED:
        for name in re.findall(r"^cdef (?:struct|enum) (\w+):", code_of(source), re.M):
            declared.setdefault(name, []).append(path_id(source))
    assert "request_t" in declared
    assert {name: paths for name, paths in declared.items() if len(paths) > 1} == {}


def test_modules_do_not_cimport_one_another_in_a_circle() -> None:
    graph = cimports()
    assert "_dispatch/model" in graph["_dispatch/changes"]
    assert cycles(graph) == set()


def test_a_circle_of_cimports_would_be_noticed() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert cycles(graph) == {frozenset("bc"), frozenset("f")}


@pytest.mark.parametrize("source", sorted(heart() | LINK_RULES | KEY_RULES), ids=path_id)
def test_the_heart_knows_no_socket_no_clock_no_python(source: Path) -> None:
    code = c_part(source)
    assert not found(source, code, CLOCKS)
    assert not found(source, code, SOCKETS)
    assert not found(source, code, PYTHON)
    assert source.suffix == ".pyx" or not found(source, code, r"^import .*")


@pytest.mark.parametrize("source", COMPILED, ids=path_id)
def test_c_functions_neither_raise_nor_take_the_gil(source: Path) -> None:
    if path_id(source) not in RAISING:
        assert unguarded(c_part(source)) == []


@pytest.mark.parametrize("source", COMPILED, ids=path_id)
def test_no_include_no_conditional_compilation_no_python_assert(source: Path) -> None:
    assert not found(source, code_of(source), r"^\s*include\b.*")
    assert not found(source, code_of(source), r"^\s*(?:DEF|IF|ELIF|ELSE)\b.*")
    assert not found(source, code_of(source), r"^\s*assert\b.*")


@pytest.mark.parametrize("room", ["pound", "tests", "bench"])
def test_sources_are_read_in_one_sitting(room: str) -> None:
    kinds = {".py", ".pyx", ".pxd", ".pyi", ".h"}
    sources = [path for path in (POUND.parent / room).rglob("*") if path.suffix in kinds]
    assert sources
    assert [str(p) for p in sources if len(p.read_text().splitlines()) > 700] == []


STRUCT = re.compile(r"^cdef struct (\w+): *\n((?:    [^\n]*\n| *\n)+)", re.MULTILINE)
# libzmq's functions are a table, and have one owner; a record_t has the heads of all kinds of PND,
# of which a record has one.
TABLES = {"zmq_t", "record_t"}


def fields_of(code: str) -> dict[str, int]:
    """Return how many fields each struct of a source has; an array is one."""
    return {
        name: sum(len(line.split(",")) for line in body.splitlines() if line.strip())
        for name, body in STRUCT.findall(code)
    }


def test_no_struct_has_more_fields_than_one_can_keep_in_mind() -> None:
    counts: dict[str, int] = {}
    for source in COMPILED:
        counts |= fields_of(code_of(source))
    assert {"broker_t", "peer_t", "request_t"} <= set(counts)
    assert {name for name, count in counts.items() if count > 30} <= TABLES


def test_fields_are_counted() -> None:
    code = "cdef struct s:\n    int a, b\n\n    uint8_t c[4]\ncdef struct t:\n    s one\n"
    assert fields_of(code) == {"s": 3, "t": 1}


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


def test_each_room_has_a_folder_of_unit_tests() -> None:
    for room in sorted((PACKAGES & set(MAY_IMPORT)) - {"aio", "cli"}):
        assert list((UNIT / room.strip("_")).glob("test_*.py")), room


def test_literals_and_comments_are_no_code(tmp_path: Path) -> None:
    source = tmp_path / "x.pyx"
    source.write_text('"""assert\n"""\n# include\nx = b"socket"\nassert x\n')
    assert found(source, code_of(source), r"^\s*(?:assert|include)\b.*") == ["x.pyx:5: assert x"]
    assert not found(source, code_of(source), SOCKETS)
