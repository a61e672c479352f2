"""All contestants by name: Pound, the baselines, and the brokers that are its peers."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import zmq  # noqa: F401 - has the process load libzmq

from bench.peers import PEERS
from bench.runner.keys import DIRECTORY, sodium
from bench.runner.subjects import BENCH, OUT, Contestant

WILDCARD = "tcp://127.0.0.1:*"
SERVE = ("-m", "pound", "serve", "--log-level", "error")
# A million requests wait for one service without workers: no share of a limit is in the way.
ROOM = (
    "--waiting-max",
    "4000000",
    "--service-waiting-max",
    "4000000",
    "--requests-max",
    "262144",
)
SERVE_ENDS = ("--frontend", WILDCARD, "--backend", WILDCARD)


def _pound(name: str, dialect: str, capacity: int = 1) -> Contestant:
    command = (sys.executable, *SERVE, *ROOM, *SERVE_ENDS)
    return Contestant(name, command, dialect, capacity, f"floor-{capacity}")


def _encrypted(contestant: Contestant, *arguments: str) -> Contestant:
    """Return a contestant whose connections are encrypted by what these arguments say."""
    return dataclasses.replace(
        contestant,
        name=f"{contestant.name}-curve",
        command=(*contestant.command, *arguments),
        floor="",
        needs=(sodium() or "libsodium",),
        curve=True,
    )


def _worked(name: str, *load: str) -> Contestant:
    """Return Pound under workers that take 4 ms for a task, 64 of them at once."""
    command = (sys.executable, *SERVE, *ROOM, *SERVE_ENDS)
    return Contestant(name, command, "pnd", 4, load=("--work-us", "4000", *load))


def _floor(capacity: int) -> Contestant:
    return Contestant(f"floor-{capacity}", (str(OUT / "floor"),), "floor", capacity)


def _libzmq() -> str:
    """Return the file of the libzmq that pyzmq, and so the broker, is on; "" if it has none."""
    maps = Path("/proc/self/maps")
    found = re.search(r"/\S*/libzmq(?:-\w+)?\.so\S*", maps.read_text()) if maps.exists() else None
    return found[0] if found else ""


def _zmq_floor(capacity: int) -> Contestant:
    program = OUT / "zmq_floor"
    command = ("env", f"LD_PRELOAD={_libzmq()}", str(program))
    floor = f"floor-{capacity}"
    return Contestant(f"zmq_floor-{capacity}", command, "pnd", capacity, floor, (program,))


PROXY = Contestant("zmq_proxy", (sys.executable, str(BENCH / "baselines" / "proxy.py")), "proxy")

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _floor(64),
        _zmq_floor(64),
        _pound("pnd-64", "pnd", 64),
        _floor(8),
        _zmq_floor(8),
        _pound("pnd-8", "pnd", 8),
        _floor(1),
        _zmq_floor(1),
        _pound("pnd-1", "pnd", 1),
        _pound("ppp", "plain"),
        _pound("mdp1", "mdp1"),
        _worked("worked"),
        _worked("worked-light", "--light", "1"),
        PROXY,
        _encrypted(_pound("pnd-64", "pnd", 64), "--keys", str(DIRECTORY)),
        _encrypted(_pound("pnd-1", "pnd"), "--keys", str(DIRECTORY)),
        _encrypted(PROXY, str(DIRECTORY)),
        Contestant(
            "guide_queue", (str(OUT / "guide_queue"),), "plain", needs=(OUT / "guide_queue",)
        ),
        *PEERS,
    )
}
