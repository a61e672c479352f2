"""README, "A second machine": exactly its commands, on two machines of one kernel.

Two network namespaces with a cable between them; each has a folder of its own. Needs root, `ip` and
`unshare`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_doc_blocks import blocks
from tests.support import ROOT, WAIT_S, Process, clean_environ, need

BROKER, WORKER = "10.213.7.1", "10.213.7.2"


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=WAIT_S)


class Machine:
    """A network namespace and a folder."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name, self.address, self.folder = name, address, folder
        folder.mkdir()
        bin_of_ours = folder / "bin"
        bin_of_ours.mkdir()
        program = bin_of_ours / "pound"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pound "$@"\n')
        program.chmod(0o755)
        self.environ = {
            **clean_environ(),
            "PATH": f"{bin_of_ours}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def words(self, command: str) -> list[str]:
        inside = ("ip", "netns", "exec", self.name, "env", "-C", str(self.folder))
        return [*inside, *shlex.split(command)]

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(command),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run(self, command: str) -> str:
        done = self.ask(command)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """The broker's and the worker's, with a cable between them."""
    for component in ("root", "ip", "unshare"):
        need(component)
    try:
        run("unshare", "-n", "true")
    except subprocess.CalledProcessError:
        pytest.skip("no network namespaces are permitted here")
    names = [f"pound-{os.getpid()}-{end}" for end in ("a", "b")]
    made = [
        Machine(name, address, tmp_path / name)
        for name, address in zip(names, (BROKER, WORKER), strict=True)
    ]
    try:
        for name in names:
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "cable", "netns", names[0], "type", "veth",
            "peer", "name", "cable", "netns", names[1])  # fmt: skip
        for machine in made:
            inside = ("ip", "-n", machine.name)
            run(*inside, "address", "add", f"{machine.address}/24", "dev", "cable")
            run(*inside, "link", "set", "cable", "up")
            run(*inside, "link", "set", "lo", "up")
        yield made[0], made[1]
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "delete", name), check=False, capture_output=True)


@pytest.fixture
def start() -> Iterator[Callable[[Machine, str], Process]]:
    started: list[Process] = []

    def start(machine: Machine, command: str) -> Process:
        process = Process(machine.words(command), machine.folder, machine.environ)
        started.append(process)
        return process

    yield start
    for process in started:
        process.close()


def block(beginning: str) -> str:
    (found,) = [
        one.text for one in blocks() if one.page == "README.md" and one.text.startswith(beginning)
    ]
    return found


def test_a_worker_on_a_second_machine(
    machines: tuple[Machine, Machine], start: Callable[[Machine, str], Any]
) -> None:
    first, second = machines
    *making, serve = block("pound keys init").splitlines()
    for command in making:
        first.run(command.replace("broker.example", BROKER))
    broker = start(first, serve)
    broker.wait_line("^pound: ready")
    shutil.move(first.folder / "render-1.key", second.folder)  # as scp -p would
    work = block("import os\nimport time").replace("time.sleep(5)", "time.sleep(0)")
    (second.folder / "work.py").write_text(work)
    start(second, block("pound worker work:slow --service slow --key").strip())
    call, status = block("pound call slow hello --key").splitlines()
    assert re.fullmatch(r"HELLO by \d+\n?", first.run(call))
    assert re.search(r"^workers +1$", first.run(status), re.MULTILINE)
    refused = second.ask(f"pound call slow hello --connect tcp://{BROKER}:5555")
    assert refused.returncode == 5
    assert "lets nobody in without a key" in refused.stderr
    assert refused.stdout == ""
