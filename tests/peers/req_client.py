"""Plain clients with a REQ socket: the simple one, and the Lazy Pirate of chapter 4 of the Guide.

On the wire: ``[empty, body...]`` both ways; the REQ socket adds and removes the empty frame.
"""

from __future__ import annotations

import zmq

from tests.peers.base import BOUND, Body, Peer, SilenceError
from tests.peers.program import client_main


class ReqClient(Peer):
    kind = zmq.REQ

    def ask(self, body: Body) -> None:
        self.send(body)

    def take(self, timeout: float = BOUND) -> Body:
        return self.recv(timeout)

    def request(self, body: Body, timeout: float = BOUND) -> Body:
        self.ask(body)
        return self.take(timeout)


class LazyPirate(ReqClient):
    """Waits `patience` seconds, then closes the socket, opens a new one and asks again."""

    patience = 2.5
    retries = 5
    attempts = 0  # of all requests so far

    def request(self, body: Body, timeout: float = BOUND) -> Body:
        for _ in range(self.retries):
            self.attempts += 1
            self.send(body)
            answer = self.poll(min(self.patience, timeout))
            if answer is not None:
                return answer
            self.reopen()
        raise SilenceError(f"abandoned after {self.retries} tries")


if __name__ == "__main__":
    client_main(LazyPirate)
