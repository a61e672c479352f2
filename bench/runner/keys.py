"""The keys of a bench: a broker's, and those of its peers, which all are one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import zmq  # noqa: F401 - has the process load libsodium
from zmq.utils import z85

from bench.runner.subjects import OUT
from pound.security import files
from pound.security.curve import new_pair
from pound.security.keyring import KeyDirectory
from pound.security.peer import Peer

DIRECTORY = OUT / "keys"  # what a broker is given
LOAD_FILE = "load.keys"  # in it: what the load generator is given


def make_keys(path: Path = DIRECTORY) -> None:
    """Make all keys anew, in a directory of their own."""
    shutil.rmtree(path, ignore_errors=True)
    directory, own = KeyDirectory(path), new_pair()
    broker = directory.init()
    directory.add(Peer(name="load", key=own.public, roles=("client", "worker")))
    text = "".join(f"{z85.decode(key).hex()}\n" for key in (broker.public, own.secret))
    files.create(path / LOAD_FILE, text, 0o600)


def sodium() -> str:
    """Return the file of the libsodium that pyzmq's libzmq is on; "" if it has none."""
    maps = Path("/proc/self/maps")
    found = (
        re.search(r"/\S*/libsodium(?:-\w+)?\.so\S*", maps.read_text()) if maps.exists() else None
    )
    return found[0] if found else ""
