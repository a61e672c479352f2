"""Plain clients with a DEALER socket: with the delimiter, without it, and behind other hops.

On the wire: ``[address..., empty, body...]``, where the addresses are those that ROUTER sockets on
the way have put before it; a client without a delimiter sends and gets the body alone.
"""

from __future__ import annotations

import threading
from typing import Any

import zmq

from tests.peers.base import BOUND, Body, Peer, demand
from tests.peers.program import client_main


class DealerClient(Peer):
    """Sends its `stack` of made-up addresses and the empty frame before each body."""

    def __init__(self, url: str, *, stack: tuple[bytes, ...] = (), identity: bytes = b"") -> None:
        super().__init__(url, identity=identity)
        self.envelope = [*stack, b""]

    def ask(self, body: Body) -> None:
        self.send([*self.envelope, *body])

    def take(self, timeout: float = BOUND) -> Body:
        frames = self.recv(timeout)
        depth = len(self.envelope)
        demand(frames[:depth] == self.envelope, "not the envelope that was sent", frames)
        return frames[depth:]

    def request(self, body: Body, timeout: float = BOUND) -> Body:
        self.ask(body)
        return self.take(timeout)


class BareClient(DealerClient):
    """Sends no delimiter: all frames are body (none of them may be empty)."""

    def __init__(self, url: str, *, identity: bytes = b"") -> None:
        super().__init__(url, identity=identity)
        self.envelope = []


class Hop:
    """A ROUTER/DEALER queue between clients and the broker: the Guide's shared queue.

    It adds one address to the envelope of whatever crosses it. Its loop runs in a thread.
    """

    def __init__(self, url: str) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._front = context.socket(zmq.ROUTER)
        self._back = context.socket(zmq.DEALER)
        for socket in (self._front, self._back):
            socket.linger = 0
        port = self._front.bind_to_random_port("tcp://127.0.0.1")
        self.url = f"tcp://127.0.0.1:{port}"
        self._back.connect(url)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hop", daemon=True)

    def _run(self) -> None:
        ways: dict[Any, zmq.Socket[bytes]] = {self._front: self._back, self._back: self._front}
        poller = zmq.Poller()
        for socket in ways:
            poller.register(socket, zmq.POLLIN)
        while not self._stop.is_set():
            for socket, _ in poller.poll(20):
                ways[socket].send_multipart(socket.recv_multipart())
        for socket in ways:
            socket.close()

    def __enter__(self) -> Hop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(BOUND)


if __name__ == "__main__":
    client_main(DealerClient)
