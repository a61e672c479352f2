"""Ctrl-C in the middle of Pound's own Python code leaves nothing broken behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import WAIT_S, clean_environ

MAKES = {
    "client": "pound.aio.Client('tcp://127.0.0.1:1')._make",
    "worker": "pound.aio.Worker('tcp://127.0.0.1:1', {'echo': print})._make",
}


@pytest.mark.parametrize("end", MAKES)
def test_an_engine_that_is_interrupted_while_it_is_made_is_given_back(end: str) -> None:
    """In a process of its own: one that frees what it never had crashes."""
    code = (
        "import pound.aio; from tests.interrupts import interrupted_everywhere;"
        f" make = {MAKES[end]};"
        " print(len(list(interrupted_everywhere(lambda: make(-1)))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WAIT_S,
                          env=clean_environ(), check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 50
