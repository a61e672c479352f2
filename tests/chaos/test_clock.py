"""The wall clock of a broker's machine is set: keys end by it, as often as it passes their end."""

from __future__ import annotations

import datetime
import mmap
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.keyed import Keys
from tests.peers import pnd_wire as wire
from tests.peers.pnd_client import PndClient
from tests.support import Served, clean_environ, need, wait_until

SOURCE = Path(__file__).with_name("clock.c")
HOUR = 3600


class Clock:
    """The wall clock of a broker: seconds by which it is off."""

    def __init__(self, folder: Path) -> None:
        compiler = need("cc")
        library, file = folder / "clock.so", folder / "clock"
        flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared", "-fPIC"]
        command = [compiler, *flags, "-o", str(library), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        file.write_bytes(bytes(8))
        self.environ = {"LD_PRELOAD": str(library), "CLOCK": str(file)}
        with file.open("r+b") as opened:
            self._off = mmap.mmap(opened.fileno(), 0)

    def set(self, off: int) -> None:
        struct.pack_into("=q", self._off, 0, off)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if not Path("/proc/self/maps").exists():
        pytest.skip("clock.c stands in front of Linux's clock_gettime")
    return Clock(tmp_path)


def test_a_key_expires_again_after_the_clock_was_set_back(
    serve: Callable[..., Served], own: Callable[..., Any], clock: Clock, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    keys.add("alice", "client")
    now = datetime.datetime.now(datetime.timezone.utc)
    keys.edit("alice", expires=now + datetime.timedelta(seconds=HOUR))
    served = serve(f"--keys={keys.path}", environ=clean_environ(**clock.environ))

    for _ in range(2):
        client = own(keys.form(PndClient, "alice")(served.frontend))
        client.welcome()
        clock.set(2 * HOUR)
        wait_until(lambda client=client: said_bye(client))
        clock.set(0)


def said_bye(client: PndClient) -> bool:
    """Tell whether the broker says BYE."""
    frames = client.poll(0.05)
    return frames is not None and any(record.kind == wire.BYE for record in wire.unpack(frames)[1])
