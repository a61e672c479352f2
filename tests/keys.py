"""Keys for tests: a broker's directory, peers in it, and what becomes of a connection."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from pound.security.curve import Pair, new_pair
from pound.security.keyring import KeyDirectory
from pound.security.peer import Peer

LET_IN = "let in"
REFUSED = "refused"  # by the broker, which said so
MISMATCH = "mismatch"  # of the mechanisms
NO_ANSWER = "no answer"
EVENTS = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: LET_IN,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: REFUSED,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: MISMATCH,
}
LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
WAIT_S = 15.0


class Keys:
    """The keys of a broker, in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys"
        self.directory = KeyDirectory(self.path)
        self.broker = self.directory.init()

    @property
    def peers(self) -> Path:
        """The file of the peers."""
        return self.path / "peers.toml"

    def enrol(self, name: str, *roles: str, **more: Any) -> Pair:
        """Make a pair, and enrol its public key; a client's by default."""
        pair = new_pair()
        self.directory.add(Peer(name=name, key=pair.public, roles=roles or ("client",), **more))
        return pair


def use(socket: zmq.Socket[Any], pair: Pair | None, broker: str) -> None:
    """Give a socket a key."""
    if pair is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, broker.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())


@contextlib.contextmanager
def watched(context: zmq.Context[Any], kind: int = zmq.DEALER) -> Iterator[tuple[Any, Any]]:
    """Yield a socket, not connected yet, and its monitor."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.rcvtimeo = int(WAIT_S * 1000)
    monitor = socket.get_monitor_socket()
    try:
        yield socket, monitor
    finally:
        socket.disable_monitor()
        monitor.close(0)
        socket.close()


def outcome_of(monitor: zmq.Socket[Any], wait_s: float = WAIT_S) -> str:
    """Return what became of the first handshake that came to an end."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        if monitor.poll(100):
            event = parse_monitor_message(monitor.recv_multipart())["event"]
            if event in EVENTS:
                return EVENTS[event]
            if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                return NO_ANSWER
    return NO_ANSWER


def outcome(
    context: zmq.Context[Any],
    endpoint: str,
    pair: Pair | None = None,
    broker: str = "",
    wait_s: float = WAIT_S,
) -> str:
    """Connect once, with a key or without, and return what became of it."""
    with watched(context) as (socket, monitor):
        use(socket, pair, broker)
        socket.connect(endpoint)
        return outcome_of(monitor, wait_s)
