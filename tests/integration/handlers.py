"""Handlers for ``pound worker`` in the tests of the command line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pound


def echo(body: bytes) -> bytes:
    return body


def double(body: bytes) -> list[bytes]:
    return [body, body]


def fail(body: bytes) -> bytes:
    raise ValueError("\x1b[31mred")


def hold(task: pound.Task) -> bytes:
    """Make the file that the body names with .held, and wait for the file itself."""
    path = Path(bytes(task.parts[0]).decode())
    path.with_suffix(".held").touch()
    while not path.exists() and not task.cancelled:
        time.sleep(0.005)
    return b"released"


def stages(task: pound.Task) -> bytes:
    """Say how far it is, and give two partials and an answer."""
    task.progress(1, 2)
    task.partial([b"a", b"b"])
    task.partial(b"\x1b[31m")
    return b"end"


def again(task: pound.Task) -> bytes:
    """Give a partial, and lose the worker in the first attempt."""
    task.partial(b"attempt %d" % task.attempt)
    if task.attempt == 1:
        Path(task.body.decode()).touch()
        threading.Event().wait()
    return b""


def count(body: bytes) -> Iterator[bytes]:
    """Yield as many numbers as the body says."""
    for number in range(int(body)):
        yield b"%d" % number
