"""One round trip of an installed Pound: what `make dist-check` runs in an empty environment."""

from __future__ import annotations

import zmq

import pound

WILDCARD = ("tcp://127.0.0.1:*",)


def main() -> None:
    with pound.Broker(frontend=WILDCARD, backend=WILDCARD) as broker:
        services = {"reverse": lambda body: body[::-1]}
        with (
            pound.Worker(broker.backend_endpoints[0], services),
            pound.Client(broker.frontend_endpoints[0]) as client,
        ):
            body = bytes(range(256)) * 1024
            for size in (0, 1, len(body)):
                answer = client.request("reverse", body[:size], timeout=30)
                if answer != body[:size][::-1]:
                    raise SystemExit(f"wrong answer to {size} bytes")
    versions = f"pyzmq {zmq.pyzmq_version()}, libzmq {zmq.zmq_version()}"
    print(f"pound {pound.__version__}: one round trip with {versions}, from {pound.__file__}")


if __name__ == "__main__":
    main()
