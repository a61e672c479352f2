"""A broker, a worker and a client inside one program, over inproc: no port, no other process."""

import zmq

import pound


def main() -> None:
    """Ask for ten squares."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    ends = {"frontend": ("inproc://clients",), "backend": ("inproc://workers",)}
    square = {"square": lambda body: str(int(body) ** 2).encode()}
    with (
        pound.Broker(context=context, **ends),
        pound.Worker("inproc://workers", square, capacity=4, context=context),
        pound.Client("inproc://clients", context=context) as client,
    ):
        numbers = (str(n).encode() for n in range(10))
        print(*(int(answer) for answer in client.map("square", numbers)))


if __name__ == "__main__":
    main()
