"""A client without Pound: any REQ socket will do. Usage: plain_client.py [FRONTEND].

It speaks to the default service, which ``pound serve --default-service count`` makes worker.py's.
"""

import sys

import zmq


def main(endpoint: str) -> None:
    """Ask once, for ten seconds at most."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.rcvtimeo = 10_000
        socket.connect(endpoint)
        socket.send(b"plain words")
        print("count:", socket.recv())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555")
