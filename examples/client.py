"""Ask the services of worker.py. Usage: client.py [FRONTEND]."""

import sys
from concurrent.futures import as_completed

import pound


def main(endpoint: str) -> None:
    """Show one request, many, a stream, and what a failure looks like."""
    with pound.Client(endpoint) as client:
        print("count:", client.request("count", b"as many words as these", timeout=10))

        texts = [b"one", b"one two", b"one two three"]
        print("map:", *client.map("count", texts, window=2, timeout=10))

        futures = [client.submit("count", text, timeout=10) for text in texts]
        print("submit:", *sorted(future.result() for future in as_completed(futures)))

        for piece in client.stream("spell", b"pound", timeout=10):
            print("final:" if piece.final else "piece:", piece.body)

        try:
            client.request("refuse", b"...", timeout=10)
        except pound.TaskFailed as error:
            print("failed:", error)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555")
