"""Key pairs that are the same in each run: they are in the names of tests."""

from __future__ import annotations

import zmq
from zmq.utils import z85

from pound.security.curve import Pair


def pair_of(number: int) -> Pair:
    """Return the pair whose secret is 32 bytes of `number`."""
    secret = z85.encode(bytes([number]) * 32)
    return Pair(zmq.curve_public(secret).decode(), secret.decode())
