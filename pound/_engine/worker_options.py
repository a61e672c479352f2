"""The options of a worker: their names, types, defaults and checks, each written once.

`WorkerBase` is the constructor of `pound.Worker` and of `pound.aio.Worker`. It checks what it is
given, and makes what makes the engine; the two classes start it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import zmq

from pound._base.threads import check_threads
from pound._base.unpicklable import Unpicklable
from pound._engine.checks import (
    BACKEND_PORT,
    Default,
    Key,
    check_context,
    check_endpoints,
    check_key,
    check_rates,
    check_seconds,
    given_endpoints,
    label_bytes,
)
from pound._engine.handlers import AsyncHandler, Call, check_capacity, check_services
from pound._engine.worker import WorkerEngine

DEFAULT_BACKEND = Default(f"tcp://127.0.0.1:{BACKEND_PORT}")

H = TypeVar("H", bound=AsyncHandler)  # what its handlers are


class WorkerBase(Unpicklable, Generic[H]):
    """The constructor of `pound.Worker` and `pound.aio.Worker`; `H` is what handlers it takes."""

    _coroutines: ClassVar[bool]  # whether handlers may be coroutine functions
    # Of the descriptor that it is to ring, or -1. It holds the key: to be dropped once it is made.
    _make: Callable[[int], WorkerEngine]

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_BACKEND,
        services: Mapping[str, H] | None = None,
        *,
        capacity: int = 1,
        context: zmq.Context[Any] | None = None,
        label: str | None = None,
        heartbeat: float = 1.0,
        liveness: int = 5,
        drain_timeout: float = 25.0,
        copy: bool = True,
        key: Key | None = None,
    ) -> None:
        check_threads("worker")
        self._drain_timeout = check_seconds("drain_timeout", drain_timeout, zero=True)
        self._signals = 0
        credential = check_key(key)
        endpoints = given_endpoints(endpoints, credential, "backend")
        where, within = check_endpoints(endpoints, BACKEND_PORT), check_context(context)
        rates = check_rates(heartbeat, liveness)
        label_bytes(label)
        calls = check_services(services or {}, self._coroutines)
        most = check_capacity(capacity)
        self._make = lambda fd: WorkerEngine(
            where, within, *rates, label_bytes(label), calls, most, not copy, fd, credential
        )
        self._made(dict(zip(services or {}, calls.values(), strict=True)))

    __init__.__qualname__ = "Worker.__init__"

    def _made(self, calls: Mapping[str, Call]) -> None:
        """Prepare to start; `calls` are the handlers by service."""
        raise NotImplementedError
