"""All contestants by name: Pound, the baselines, and the brokers that are its peers."""

from __future__ import annotations

import sys

from bench.peers import PEERS
from bench.subjects import BENCH, OUT, Contestant

WILDCARD = "tcp://127.0.0.1:*"
SERVE = ("-m", "pound", "serve", "--log-level", "error")
SERVE_ENDS = ("--frontend", WILDCARD, "--backend", WILDCARD)


def _pound(name: str, dialect: str, capacity: int = 1) -> Contestant:
    command = (sys.executable, *SERVE, *SERVE_ENDS)
    return Contestant(name, command, dialect, capacity, f"floor-{capacity}")


def _floor(capacity: int) -> Contestant:
    return Contestant(f"floor-{capacity}", (str(OUT / "floor"),), "floor", capacity)


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        _floor(64),
        _pound("pnd-64", "pnd", 64),
        _floor(8),
        _pound("pnd-8", "pnd", 8),
        _floor(1),
        _pound("pnd-1", "pnd", 1),
        _pound("ppp", "plain"),
        _pound("mdp1", "mdp1"),
        Contestant("zmq_proxy", (sys.executable, str(BENCH / "proxy.py")), "proxy"),
        Contestant(
            "guide_queue", (str(OUT / "guide_queue"),), "plain", needs=(OUT / "guide_queue",)
        ),
        *PEERS,
    )
}
