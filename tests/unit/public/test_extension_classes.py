"""No compiled class can be made half, past its constructor, and then be used: that would crash."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

import pound
from tests.support import clean_environ


def classes() -> list[str]:
    """Return the compiled classes of the package, as module:name."""
    found = []
    for info in pkgutil.walk_packages(pound.__path__, "pound."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        if str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES)):
            found += [
                f"{info.name}:{name}"
                for name, kind in vars(module).items()
                if inspect.isclass(kind) and kind.__module__ == info.name
            ]
    return found


# Uses what was made in every way that needs no argument; a TypeError is as good as an answer.
USE = """
import importlib, sys

module, _, name = sys.argv[1].partition(":")
kind = getattr(importlib.import_module(module), name)

def use(make):
    try:
        made = make()
    except TypeError as error:
        print("refused:", error)
        return
    print("made")
    for name in dir(made):
        try:
            value = getattr(made, name)
            if callable(value) and name not in ("__class__", "__init_subclass__"):
                value()
        except Exception:
            pass

use(lambda: kind.__new__(kind))
try:
    inherited = type(name, (kind,), {"__init__": lambda self, *args: None})
except TypeError as error:
    print("final:", error)
else:
    use(inherited)
    use(lambda: inherited.__new__(inherited))
print("alive")
"""


def used(kind: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", USE, kind],
        capture_output=True, text=True, timeout=50, check=False, env=clean_environ(),
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
    assert done.stdout.endswith("alive\n")
    return done.stdout


def test_the_compiled_classes_are_found() -> None:
    names = {name.partition(":")[2] for name in classes()}
    assert {"Core", "Engine", "ClientEngine", "WorkerEngine", "Map", "Part", "Task"} <= names


@pytest.mark.parametrize("kind", classes())
def test_a_class_is_made_whole_or_not_at_all(kind: str) -> None:
    used(kind)


def test_a_task_says_where_it_comes_from() -> None:
    for make in (pound.Task, lambda: pound.Task.__new__(pound.Task), lambda: pound.Task(object())):
        with pytest.raises(TypeError, match="a Task comes from its worker"):
            make()


def test_a_core_that_cannot_be_made_closes_no_descriptor_of_the_program() -> None:
    code = """
import os
from pound._core import Core
try:
    Core(object(), "")
except AttributeError:
    print(os.fstat(0).st_mode > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=50, check=False, env=clean_environ(),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
