"""The handler of the Python worker that is profiled: the least that a task can be."""

from __future__ import annotations


def echo(body: bytes) -> bytes:
    """Return the body."""
    return body
