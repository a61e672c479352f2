"""No part of Pound runs or unpacks what a peer, a file or a message says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

POUND = Path(__file__).parents[2] / "pound"
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
# In compiled sources, which `ast` does not read.
WORDS = re.compile(
    rf"^\s*(?:c?import|from)\s+(?:{'|'.join(MODULES)})\b|(?<![\w.])(?:{'|'.join(CALLS)})\s*\(",
    re.MULTILINE,
)


def forbidden(source: str) -> list[str]:
    """Return the modules that a Python source imports, and the calls in it, that may not be."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
        found += [name for name in names if name in MODULES]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node.func.id] if node.func.id in CALLS else []
    return found


@pytest.mark.parametrize("ending", ["py", "pyx", "pxd"])
def test_nothing_is_unpacked_or_run(ending: str) -> None:
    sources = sorted(POUND.rglob(f"*.{ending}"))
    assert len(sources) > 20
    find = forbidden if ending == "py" else WORDS.findall
    found = {str(path.relative_to(POUND)): find(path.read_text()) for path in sources}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "import yaml.loader", "eval(text)", "exec (x)"],
)
def test_they_would_be_found(source: str) -> None:
    assert forbidden(source)
    assert WORDS.findall(source)
