"""The workflows of the forge: each step is a make target or a script that can be run anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, need

FORGE = ROOT / ".github"
FLOWS = sorted((FORGE / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.14t"]


def parsed(path: Path) -> Any:
    need("module:yaml")
    import yaml

    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", sorted(FORGE.rglob("*.yml")), ids=lambda path: path.name)
def test_it_is_yaml(path: Path) -> None:
    assert isinstance(parsed(path), dict)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda path: path.name)
def test_each_command_is_a_make_target_or_a_script(flow: Path) -> None:
    for job in parsed(flow)["jobs"].values():
        targets = job.get("strategy", {}).get("matrix", {}).get("target", [])
        commands = [step["run"].split() for step in job["steps"] if "run" in step]
        for command, *words in commands:
            assert command in ("make", ".ci/run")
            for word in targets if words == ["${{", "matrix.target", "}}"] else words:
                assert word in TARGETS, word
        assert commands or any("publish" in step.get("uses", "") for step in job["steps"])


def test_the_tests_run_on_every_platform_and_python() -> None:
    matrix = parsed(FORGE / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "ubuntu", "macos"]
    assert any(name.endswith("-arm") for name in matrix["os"])


def test_wheels_are_built_for_the_pythons_that_are_tested() -> None:
    """The classifiers, the tests and the wheels name the same versions."""
    text = (ROOT / "pyproject.toml").read_text()
    (build,) = re.findall(r'^build = "(.*)"$', text, re.MULTILINE)
    assert build.split() == [f"cp{version.replace('.', '')}-*" for version in PYTHONS]
    classified = re.findall(r'^ *"Programming Language :: Python :: (3\.\d+)"', text, re.M)
    assert classified == [version for version in PYTHONS if not version.endswith("t")]
