"""Checks of the arguments that all ends have: endpoints, rates, label."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence

from pound.errors import ConfigError

LABEL_BYTES_MAX = 64
ENDPOINT = re.compile(r"(tcp://.+:\d+|ipc://.+|inproc://.+)")


def check_endpoints(endpoints: str | Sequence[str]) -> tuple[str, ...]:
    """Return the endpoints as a tuple.

    Raises
    ------
    ConfigError
        There is none, or one is not of the forms tcp://HOST:PORT, ipc://PATH, inproc://NAME.
    """
    given = (endpoints,) if isinstance(endpoints, str) else tuple(endpoints)
    if not given:
        raise ConfigError("no endpoint given")
    for endpoint in given:
        if not isinstance(endpoint, str) or not ENDPOINT.fullmatch(endpoint) or "\0" in endpoint:
            raise ConfigError(
                f"endpoint {endpoint!r} is not tcp://HOST:PORT, ipc://PATH or inproc://NAME"
            )
    return given


def check_rates(heartbeat: float, liveness: int) -> None:
    """Raise ValueError unless both are positive."""
    if not heartbeat > 0:
        raise ValueError(f"heartbeat is a positive number of seconds, not {heartbeat!r}")
    if liveness < 1:
        raise ValueError(f"liveness is 1 or more, not {liveness!r}")


def label_bytes(label: str | None) -> bytes:
    """Return the label as it travels; ``host:pid`` when none is given.

    Raises
    ------
    ValueError
        It is longer than 64 bytes.
    """
    if label is None:
        pid = f":{os.getpid()}"
        return socket.gethostname().encode()[: LABEL_BYTES_MAX - len(pid)] + pid.encode()
    encoded = label.encode()
    if len(encoded) > LABEL_BYTES_MAX:
        raise ValueError(f"a label of {len(encoded)} bytes; at most {LABEL_BYTES_MAX} are allowed")
    return encoded
