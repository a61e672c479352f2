"""Commands that run ahead of the tests that judge them, in what the tests before them leave idle.

A simulation or a linter needs the processor and no clock; most other tests wait for clocks and
peers. So a test names such a command by ``@pytest.mark.ahead(*words)``, the words after ``python
-m``, and takes the fixture ``ahead``: how the command has ended. Commands begin once the tests are
collected, at the lowest priority, each one once however many tests judge it, and end with the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

ROOT = Path(__file__).parents[1]
LOWEST = 19
Words = tuple[str, ...]


class Command:
    """A running command."""

    def __init__(self, words: Words) -> None:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        self._output = TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, "PATH": path},  # cython-lint starts pycodestyle by name
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # Of its own, so that it can be ended with all that it started; a session of its own
            # would have a share of the processor of its own too, whatever its priority.
            preexec_fn=os.setpgrp,
        )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, LOWEST)

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end, which the test's timeout bounds; its code and all that it printed."""
        code = self._process.wait()
        self._output.seek(0)
        output = self._output.read().decode(errors="backslashreplace")
        return subprocess.CompletedProcess(self._process.args, code, output)

    def close(self) -> None:
        if self._process.poll() is None:  # else its number may be another's by now
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


_COMMANDS = pytest.StashKey[dict[Words, Command]]()


def _words(item: pytest.Item) -> Words | None:
    marker = item.get_closest_marker("ahead")
    return marker.args if marker else None


def pytest_collection_finish(session: pytest.Session) -> None:
    commands = session.config.stash.setdefault(_COMMANDS, {})
    if session.config.option.collectonly:
        return
    for words in filter(None, map(_words, session.items)):
        if words not in commands:
            commands[words] = Command(words)


def pytest_sessionfinish(session: pytest.Session) -> None:
    for command in session.config.stash.get(_COMMANDS, {}).values():
        command.close()


@pytest.fixture
def ahead(request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    """How the command of the test's mark has ended: ``returncode``, and ``stdout`` with stderr."""
    words = _words(request.node)
    assert words, "the test has no mark of the name ahead"
    return request.config.stash[_COMMANDS][words].ended()
