"""What a type checker is told of answers: views only if the client was made with ``copy=False``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, need

TYPED = """
from concurrent.futures import Future
from typing import Union

from typing_extensions import assert_type

import pound
import pound.aio

Copied = Union[bytes, list[bytes]]
Shared = Union[bytes, memoryview, list[Union[bytes, memoryview]]]

def named(client: pound.Client) -> None:
    assert_type(client.request("echo", b""), Copied)

def made(copy: bool) -> None:
    assert_type(pound.Client().request("echo", b""), Copied)
    assert_type(pound.Client(copy=True).submit("echo", b""), Future[Copied])
    assert_type(pound.Client(copy=copy).submit("echo", b""), Future[Shared])
    with pound.Client(copy=False) as client:
        assert_type(client.request("echo", b""), Shared)
        assert_type(next(client.map("echo", [b""])), Shared)
        assert_type(next(client.stream("echo", b"")).body, Shared)

async def awaited() -> None:
    async with pound.aio.Client() as client:
        assert_type(await client.request("echo", b""), Copied)
    async with pound.aio.Client(copy=False) as sharing:
        assert_type(await sharing.request("echo", b""), Shared)
        async for answer in sharing.map("echo", [b""]):
            assert_type(answer, Shared)
        async for partial in sharing.stream("echo", b""):
            assert_type(partial.body, Shared)
"""


@pytest.mark.timeout(240)
def test_the_types_of_answers_say_whether_they_may_be_views(tmp_path: Path) -> None:
    need("module:mypy")
    program = tmp_path / "typed.py"
    program.write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(program)],
        cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
