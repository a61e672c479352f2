"""Bare pyzmq: a DEALER, libzmq's zmq_proxy, and a DEALER that echoes. No library, no choice."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from bench.python.ends import Measures, broker_and_worker, ready
from bench.python.timing import BODIES, round_trips


def work(url: str) -> None:
    """Echo until killed."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(url)
        ready()
        while True:
            socket.send_multipart(socket.recv_multipart())


@contextmanager
def running() -> Iterator[Measures]:
    """Start all; give what is measured."""
    with (
        broker_and_worker("pyzmq") as broker,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as socket,
    ):
        socket.connect(broker.frontend)

        def request(body: bytes) -> bytes:
            socket.send(body)
            return socket.recv()

        yield {"request": functools.partial(round_trips, request, BODIES[0])}
        socket.linger = 0
