"""libzmq's own zmq_proxy between a ROUTER and a DEALER, as a process of its own.

It runs in C, on the libzmq that the broker uses too. Prints
"proxy: ready frontend=URL backend=URL". With the directory of a broker's keys as its argument both
sides are encrypted (CURVE), for everybody who knows its public key.
"""

from __future__ import annotations

import sys

import zmq


def main() -> None:
    """Relay until killed."""
    with zmq.Context() as context:
        context.max_sockets = 16384
        ends = [context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER)]
        for socket in ends:
            socket.set_hwm(0)
            if len(sys.argv) > 1:
                encrypt(socket, sys.argv[1])
            socket.bind("tcp://127.0.0.1:*")
        frontend, backend = (end.getsockopt_string(zmq.LAST_ENDPOINT) for end in ends)
        print(f"proxy: ready frontend={frontend} backend={backend}", flush=True)
        zmq.proxy(*ends)


def encrypt(socket: zmq.Socket[bytes], directory: str) -> None:
    """Have a socket accept encrypted connections only."""
    from pound.security.keyring import KeyDirectory

    socket.curve_server = True
    socket.curve_secretkey = KeyDirectory(directory).pair().secret.encode()


if __name__ == "__main__":
    main()
