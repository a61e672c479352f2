"""The programs in examples/ run and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support import Process, Served, clean_environ

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=clean_environ(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_embedded() -> None:
    assert run("embedded.py") == [" ".join(f"b'{n * n}'" for n in range(10))]


def test_worker_and_clients(serve: Callable[..., Served], spawn: Callable[..., Process]) -> None:
    served = serve("--default-service", "count")
    spawn([sys.executable, str(EXAMPLES / "worker.py"), served.backend])
    assert run("client.py", served.frontend) == [
        "count: b'5'",
        "map: b'1' b'2' b'3'",
        "submit: b'1' b'2' b'3'",
        *(f"piece: b'{letter}'" for letter in "pound"),
        "final: b'POUND'",
        "failed: ValueError: 3 bytes are too many",
    ]
    assert run("plain_client.py", served.frontend) == ["count: b'2'"]


def test_aio(serve: Callable[..., Served]) -> None:
    served = serve()
    assert run("aio.py", served.frontend, served.backend) == [
        "gather: b'ONE' b'TWO' b'THREE'",
        *(f"map: {word!r}" for word in (b"ONE", b"TWO", b"THREE")),
        *(f"stream: {word!r}" for word in (b"3", b"2", b"1", b"lift-off")),
        "given up: the request is cancelled at the broker, and its handler",
    ]


def test_every_example_is_run() -> None:
    tested = Path(__file__).read_text()
    for program in EXAMPLES.glob("*.py"):
        assert f'"{program.name}"' in tested
