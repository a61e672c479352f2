"""The broker tests itself before it serves: no stranger may be let in.

At each listener that encrypts, a peer with a key that nobody has and one without any key must be
refused. A libzmq that lets one in, whatever the reason, is not served with.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import zmq
from zmq.utils.monitor import parse_monitor_message

from pound.errors import BindError

LIMIT_S = 5.0  # of one listener; it takes some milliseconds
CLOSED_S = 1.0  # until the last connection is seen to be gone
POLL_MS = 1
LET_IN = zmq.EVENT_HANDSHAKE_SUCCEEDED
REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Core(Protocol):
    """What is used of the broker's core."""

    def test_door(self, wait_ms: int) -> int:
        """Answer libzmq for a moment; return how many connections have ended."""

    def end_test(self) -> None:
        """Forget what was counted meanwhile."""


def self_test(core: Core, endpoints: Sequence[str], broker_key: str) -> None:
    """Test each endpoint, on the thread that made the broker's sockets and before its loop runs.

    Parameters
    ----------
    core : Core
    endpoints : sequence of str
        Those that encrypt, as they are bound.
    broker_key : str
        The broker's public key.

    Raises
    ------
    BindError
        One let a stranger in, or none can tell.
    """
    closed = 0
    context: zmq.Context[Any] = zmq.Context()
    try:
        for endpoint in endpoints:
            for keyed in (True, False):
                with _stranger(context, endpoint, broker_key if keyed else "") as monitor:
                    _expect_refusal(core, monitor, endpoint, keyed)
                closed += 1
    finally:
        context.destroy(0)
    end = time.monotonic() + CLOSED_S
    while core.test_door(POLL_MS) < closed and time.monotonic() < end:
        pass
    core.end_test()


@contextlib.contextmanager
def _stranger(
    context: zmq.Context[Any], endpoint: str, broker_key: str
) -> Iterator[zmq.Socket[Any]]:
    """Connect a peer, with a new key if `broker_key` is given; yield its monitor."""
    socket: zmq.Socket[Any] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    socket.setsockopt(zmq.IPV6, "[" in endpoint)
    if broker_key:
        public, secret = zmq.curve_keypair()
        socket.setsockopt(zmq.CURVE_SERVERKEY, broker_key.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
    monitor = socket.get_monitor_socket(LET_IN | REFUSED)
    try:
        socket.connect(endpoint)
        yield monitor
    finally:
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)


def _expect_refusal(core: Core, monitor: zmq.Socket[Any], endpoint: str, keyed: bool) -> None:
    who = "with an unknown key" if keyed else "without a key"
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        core.test_door(POLL_MS)
        if not monitor.poll(0):
            continue
        event = parse_monitor_message(monitor.recv_multipart())["event"]
        if event & LET_IN:
            raise BindError(
                f"{endpoint} let in a peer {who}, so this broker does not serve: something in "
                f"this process, or this libzmq ({zmq.zmq_version()}), does not keep to its security"
            )
        return
    raise BindError(
        f"{endpoint} gave a peer {who} no answer within {LIMIT_S:g} s, so this broker does not "
        "serve: the machine may be overloaded; start it again"
    )
