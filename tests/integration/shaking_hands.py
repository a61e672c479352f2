"""Shakes hands with a broker, again and again, and prints when each began and ended.

    python -m tests.integration.shaking_hands ENDPOINT BROKER PUBLIC SECRET

The first line is printed after a first handshake. It ends with its standard input. Times are those
of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import sys
import threading
import time

import zmq

from pound.security.curve import Pair
from tests.keys import outcome


def main() -> None:
    endpoint, broker, public, secret = sys.argv[1:]
    pair = Pair(public, secret)
    ended = threading.Event()

    def read() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    with zmq.Context() as context:
        while not ended.is_set():
            begun = time.monotonic()
            became = outcome(context, endpoint, pair, broker)
            print(begun, time.monotonic(), became, flush=True)


if __name__ == "__main__":
    main()
