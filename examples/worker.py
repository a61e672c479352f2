"""A worker with three services. Usage: worker.py [BACKEND]; stop it with SIGTERM or Ctrl-C.

Its client is client.py; both need a broker: ``pound serve``.
"""

import logging
import sys

import pound


def count(body: bytes) -> bytes:
    """Count the words of a text: the plainest kind of handler, bytes to bytes."""
    return str(len(body.split())).encode()


def spell(task: pound.Task) -> bytes:
    """Send a word letter by letter: a handler that takes the task can answer in pieces."""
    word = bytes(task.parts[0]).decode()
    for letter in word:
        if task.cancelled:
            break
        task.partial(letter.encode())
    return word.upper().encode()


def refuse(body: bytes) -> bytes:
    """Fail: the client gets type and message, the traceback stays in this log."""
    raise ValueError(f"{len(body)} bytes are too many")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"
    pound.Worker(endpoint, {"count": count, "spell": spell, "refuse": refuse}, capacity=4).run()
