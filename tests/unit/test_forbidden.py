"""Nothing here runs or unpacks what a peer, a file or a message says: no `pickle`, no `eval`.

All of the repository is read: sources, benchmarks, examples, deployment, and the code in the docs.
Tests may import two of the modules, to show what the files in `EXCEPTIONS` are about.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"build", "dist", "node_modules"}
EXCEPTIONS = {  # what can't be pickled, and says so; what can, such as errors
    "tests/integration/test_processes.py": {"pickle"},
    "tests/unit/public/test_client.py": {"pickle"},
    "tests/unit/public/test_config.py": {"pickle"},
    "tests/unit/public/test_errors.py": {"pickle"},
    "tests/unit/public/test_listeners.py": {"pickle"},
    "tests/unit/public/test_public_names.py": {"pickle"},
    "tests/unit/test_deploy.py": {"yaml"},  # files of this repository, by safe_load
    "tests/unit/test_workflows.py": {"yaml"},
}
LOADS = re.compile(r"\byaml\s*\.\s*(?:unsafe_|full_)?load(?:_all)?\s*\(")
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


def sources(*endings: str) -> list[Path]:
    """Return the files with these endings that are ours."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in LEFT_OUT]
        found += [Path(folder, name) for name in names if name.endswith(endings)]
    return sorted(found)


def refused_in(path: Path) -> set[str]:
    """Return what a file has that may not be."""
    name = str(path.relative_to(ROOT))
    text = path.read_text()
    if name == "tests/unit/test_forbidden.py":
        return set()
    find = forbidden if path.suffix == ".py" else WORDS.findall
    return {*find(text), *LOADS.findall(text)} - EXCEPTIONS.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endings", "least"),
    [
        ((".py",), 200),
        ((".pyx", ".pxd"), 100),
        ((".md", ".rst"), 15),
        (("Makefile", "Dockerfile", ".yaml"), 4),
    ],
    ids=["python", "cython", "docs", "deploy"],
)
def test_nothing_is_unpacked_or_run(endings: tuple[str, ...], least: int) -> None:
    files = sources(*endings)
    assert len(files) >= least
    found = {str(path.relative_to(ROOT)): refused_in(path) for path in files}
    assert {name: what for name, what in found.items() if what} == {}


def test_the_exceptions_are_needed() -> None:
    for name, modules in EXCEPTIONS.items():
        assert modules <= set(forbidden((ROOT / name).read_text())), name


def test_the_docs_code_is_read() -> None:
    assert WORDS.findall("text\n\n    import pickle\n")
    assert LOADS.findall("```python\nyaml.load(text)\n```")
    assert not LOADS.findall("yaml.safe_load(text)")


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "import yaml.loader", "eval(text)", "exec (x)"],
)
def test_they_would_be_found(source: str) -> None:
    assert forbidden(source)
    assert WORDS.findall(source)
