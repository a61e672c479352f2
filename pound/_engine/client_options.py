"""The options of a client: their names, types, defaults and checks, each written once.

`ClientBase` is the constructor of `pound.Client` and of `pound.aio.Client`. It checks what it is
given, and makes what makes the engine; the two classes start it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypedDict

import zmq

from pound._base.threads import check_threads
from pound._base.unpicklable import Unpicklable
from pound._engine.checks import (
    FRONTEND_PORT,
    Default,
    Key,
    check_context,
    check_endpoints,
    check_key,
    check_rates,
    given_endpoints,
    label_bytes,
)
from pound._engine.client import ClientEngine
from pound._engine.values import P

DEFAULT_FRONTEND = Default(f"tcp://127.0.0.1:{FRONTEND_PORT}")


class ClientOptions(TypedDict, total=False):
    """What a client may be given by name, for type checkers; `copy` decides what type it is of."""

    context: zmq.Context[Any] | None
    overflow: Literal["wait", "raise"]
    heartbeat: float
    liveness: int
    label: str | None
    key: Key | None


class ClientBase(Unpicklable, Generic[P]):
    """The constructor of `pound.Client` and `pound.aio.Client`."""

    # Of the descriptor that it is to ring, or -1. It holds the key: to be dropped once it is made.
    _make: Callable[[int], ClientEngine]

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_FRONTEND,
        *,
        context: zmq.Context[Any] | None = None,
        overflow: Literal["wait", "raise"] = "wait",
        heartbeat: float = 1.0,
        liveness: int = 5,
        label: str | None = None,
        copy: bool = True,
        key: Key | None = None,
    ) -> None:
        check_threads("client")
        if overflow not in ("wait", "raise"):
            raise ValueError(f'overflow is "wait" or "raise", not {overflow!r}')
        credential = check_key(key)
        endpoints = given_endpoints(endpoints, credential, "frontend")
        where, within = check_endpoints(endpoints), check_context(context)
        rates = check_rates(heartbeat, liveness)
        label_bytes(label)
        waits = overflow == "wait"
        self._make = lambda fd: ClientEngine(
            where, within, *rates, label_bytes(label), waits, not copy, fd, credential
        )
        self._made()

    __init__.__qualname__ = "Client.__init__"  # as errors about its arguments are to name it

    def _made(self) -> None:
        """Begin, as far as that is possible now."""
        raise NotImplementedError
