"""libc's random numbers: libzmq draws the first routing id of a ROUTER from them.

Unseeded, they are the same after each start: a client that comes back would meet the routing id of
another, and a peer that claims the id that comes next ends the process (libzmq checks no more).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

STATE_BYTES = 256  # of random(3): the more, the better the numbers


@contextlib.contextmanager
def unpredictable() -> Iterator[None]:
    """Have `rand` draw from random state of our own meanwhile; the host's goes on as it was.

    Only glibc draws `rand` and `random` from one state that can be exchanged. Elsewhere nothing
    happens.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        yield
        return
    libc.initstate.restype = libc.setstate.restype = ctypes.c_void_p
    libc.initstate.argtypes = [ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t]
    libc.setstate.argtypes = [ctypes.c_void_p]
    state = ctypes.create_string_buffer(STATE_BYTES)
    seed = int.from_bytes(os.urandom(4), "little")
    before = libc.initstate(seed, state, STATE_BYTES)
    try:
        yield
    finally:
        libc.setstate(before)
