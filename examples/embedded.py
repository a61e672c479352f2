"""A broker, a worker and a client inside one program, over inproc: no port, no other process."""

import zmq

import pound


def main() -> None:
    """Ask for ten squares."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    square = {"square": lambda body: str(int(body) ** 2).encode()}
    with (
        pound.Broker(context=context, frontend="inproc://clients", backend="inproc://workers"),
        pound.Worker("inproc://workers", square, capacity=4, context=context),
        pound.Client("inproc://clients", context=context) as client,
    ):
        print(*client.map("square", [b"%d" % n for n in range(10)]))


if __name__ == "__main__":
    main()
