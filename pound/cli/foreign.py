"""Two peers of the ZeroMQ Guide for the demonstration, written with bare pyzmq.

Neither uses Pound: they are what its first users already run. ``python -m pound.cli.foreign URL``
is the Paranoid Pirate worker (Guide, chapter 4); `req_client` is the plain REQ client (chapter 3).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import zmq

PPP_READY = b"\x01"
PPP_HEARTBEAT = b"\x02"
HEARTBEAT_S = 1.0
LIVENESS = 3  # heartbeats of silence after which the broker counts as gone


def ppp_worker(endpoint: str, handler: Callable[[bytes], bytes]) -> None:
    """Answer requests as a Paranoid Pirate worker until killed.

    A message is ``[address, "", body...]`` or one frame, the broker's heartbeat. After three
    silent heartbeats a new socket is opened and READY said again.
    """
    context: zmq.Context[Any] = zmq.Context()
    while True:
        with context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.connect(endpoint)
            socket.send(PPP_READY)
            _ppp_session(socket, handler)


def _ppp_session(socket: zmq.Socket[Any], handler: Callable[[bytes], bytes]) -> None:
    """Serve on one socket; return when the broker has been silent too long."""
    heard = said = time.monotonic()
    while time.monotonic() - heard < HEARTBEAT_S * LIVENESS:
        if socket.poll(int(HEARTBEAT_S * 1000)):
            frames = socket.recv_multipart()
            heard = time.monotonic()
            if len(frames) >= 3:
                socket.send_multipart([*frames[:2], handler(frames[2])])
        if time.monotonic() - said >= HEARTBEAT_S:
            socket.send(PPP_HEARTBEAT)
            said = time.monotonic()


def req_client(endpoint: str, bodies: Iterable[bytes], timeout: float) -> Iterator[bytes]:
    """Yield the answer to each body in turn; end early if one does not come in time."""
    context: zmq.Context[Any] = zmq.Context()
    try:
        with context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(endpoint)
            for body in bodies:
                socket.send(body)
                if not socket.poll(int(timeout * 1000)):
                    return
                yield socket.recv()
    finally:
        context.term()


if __name__ == "__main__":
    from pound.cli.demo import describe_body

    NAME = f"PPP worker, pid {os.getpid()}"
    ppp_worker(sys.argv[1], lambda body: json.dumps({**describe_body(body), "by": NAME}).encode())
