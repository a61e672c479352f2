"""What tests share: bounded waiting, optional components, and the processes they start."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
WAIT_S = 30.0  # generous: a loaded machine is slow, and nothing waits this long unless it fails


def wait_until(predicate: Callable[[], T], timeout: float = WAIT_S, interval: float = 0.005) -> T:
    """Return the first true value of `predicate`; fail when none came within `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            pytest.fail(f"not within {timeout} s: {getattr(predicate, '__name__', predicate)}")
        time.sleep(interval)


def need(component: str) -> str:
    """Return where an optional component is; without it skip, or fail if all are demanded.

    Parameters
    ----------
    component : str
        A program (``g++``), a C header (``zmq.h``), a Python module (``module:uvloop``)
        or ``root``.
    """
    found = _find(component)
    if found:
        return found
    if os.environ.get("POUND_TEST_ALL", "0") not in ("", "0"):
        pytest.fail(f"{component} is missing, and POUND_TEST_ALL demands every component")
    pytest.skip(f"{component} is not on this machine", allow_module_level=True)


def _find(component: str) -> str | None:
    if component == "root":
        return "root" if os.geteuid() == 0 else None
    if component.startswith("module:"):
        spec = importlib.util.find_spec(component.removeprefix("module:"))
        return spec.origin if spec else None
    if component.endswith((".h", ".hpp")):
        return _find_header(component)
    return shutil.which(component)


def _find_header(header: str) -> str | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    command = [compiler, "-E", "-x", "c", "-"]
    source = f"#include <{header}>\n"
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return header if done.returncode == 0 else None


class Process:
    """A program under test: its output in files, its lines waited for, its end certain.

    Parameters
    ----------
    command : list of str
    folder : Path
        Where its output goes: ``stdout`` and ``stderr`` with the number of the process.
    environ : dict of str to str, optional
        In place of this process's environment, from which POUND_* is removed otherwise.
    """

    def __init__(
        self, command: list[str], folder: Path, environ: dict[str, str] | None = None
    ) -> None:
        number = len(list(folder.glob("stdout*")))
        self._stdout = folder / f"stdout{number}"
        self._stderr = folder / f"stderr{number}"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environ or clean_environ(),
            )
        self.pid = self.popen.pid

    @property
    def stdout(self) -> str:
        """What it wrote so far."""
        return self._stdout.read_text(errors="backslashreplace")

    @property
    def stderr(self) -> str:
        """What it logged so far."""
        return self._stderr.read_text(errors="backslashreplace")

    def wait_line(self, pattern: str, timeout: float = WAIT_S) -> re.Match[str]:
        """Return the match of the first line of its stdout that `pattern` is found in."""
        end = time.monotonic() + timeout
        while True:
            ended = self.popen.poll() is not None
            match = re.search(pattern, self.stdout, re.MULTILINE)
            if match:
                return match
            if ended or time.monotonic() >= end:
                why = f"ended with {self.popen.returncode}" if ended else f"{timeout} s passed"
                pytest.fail(f"no line {pattern!r}: {why}\n{self.stdout}\n{self.stderr}")
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def wait(self, timeout: float = WAIT_S) -> int:
        """Return its exit code; fail if it has not ended within `timeout` seconds."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {timeout} s\n{self.stdout}\n{self.stderr}")

    def close(self) -> None:
        """Kill it if it still runs (it may be stopped), and reap it."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


class Served:
    """A ``pound serve`` process, from the moment that it says it is ready.

    Attributes
    ----------
    process : Process
    pid : int
    frontends, backends : list of str
        Its endpoints, with the real ports.
    frontend, backend : str
        The first of each.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.pid = process.pid
        ready = process.wait_line(r"^pound: ready frontend=(\S+) backend=(\S+)$")
        self.frontends, self.backends = (group.split(",") for group in ready.groups())
        self.frontend, self.backend = self.frontends[0], self.backends[0]


def pound_command(*arguments: str) -> list[str]:
    """Return the command line of ``pound`` in this interpreter."""
    return [sys.executable, "-m", "pound", *arguments]


def clean_environ(**extra: str) -> dict[str, str]:
    """Return this process's environment without POUND_*, plus `extra`; for programs under test.

    They import the Pound of this tree, installed or not.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POUND_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **extra}


def run_pound(
    *arguments: str, stdin: bytes = b"", timeout: float = 30.0, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``pound`` to its end; past `timeout` kill it with all that it started."""
    command = pound_command(*arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=clean_environ(**environ),
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def is_stopped(pid: int) -> bool:
    """Return whether a process is in the stopped state (Linux)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stop_process(pid: int) -> None:
    """SIGSTOP a process and return when it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid))


def readable(fd: int, timeout: float = WAIT_S) -> bool:
    """Return whether a descriptor becomes readable within `timeout` seconds."""
    return bool(select.select([fd], [], [], timeout)[0])
