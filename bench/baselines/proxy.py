"""libzmq's own zmq_proxy between a ROUTER and a DEALER, as a process of its own.

It runs in C, on the libzmq that the broker uses too. Prints
"proxy: ready frontend=URL backend=URL".
"""

from __future__ import annotations

import zmq


def main() -> None:
    """Relay until killed."""
    with zmq.Context() as context:
        context.max_sockets = 16384
        ends = [context.socket(kind) for kind in (zmq.ROUTER, zmq.DEALER)]
        for socket in ends:
            socket.set_hwm(0)
            socket.bind("tcp://127.0.0.1:*")
        frontend, backend = (end.getsockopt_string(zmq.LAST_ENDPOINT) for end in ends)
        print(f"proxy: ready frontend={frontend} backend={backend}", flush=True)
        zmq.proxy(*ends)


if __name__ == "__main__":
    main()
