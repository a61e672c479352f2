import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

import zmq
from typing_extensions import Self, disjoint_base

from pound._engine.handle import Engine
from pound._engine.values import Answer, Body, Part, Partial
from pound.security.credential import Credential

# (tag, ok, value): ok is True with the answer, False with the exception that ends the request, None
# with a Partial, or with the reason why a partial can't be read (the request goes on: cancel it).
Event: TypeAlias = tuple[Any, bool | None, Part | Answer[Any] | Partial[Any] | BaseException]

LOGGER: logging.Logger
EAGER_BYTES: int
LOG_AFTER: float
LEAVE_WITHIN: float
STREAM_BYTES_MAX: int

def live() -> int: ...

# The tag of a request whose partials are wanted, too. Call `read` for each Partial that the caller
# got, in order. When it returns True call `ClientEngine.grant`: the worker goes as far as was read.
@final
class StreamState:
    owner: Any
    def __new__(cls, owner: object = None) -> Self: ...
    def read(self) -> bool: ...

@final
class ReplyQueue:
    def __new__(cls, share: bool = False, fd: int = -1) -> Self: ...
    def take(self, timeout: float | None = 0.0) -> list[Event]: ...
    def drain(self) -> None: ...

@disjoint_base
class ClientEngine(Engine):
    def __new__(
        cls,
        endpoints: tuple[str, ...],
        context: zmq.Context[Any] | None,
        heartbeat: float,
        liveness: int,
        label: bytes,
        waits: bool,
        share: bool = False,
        events_fd: int = -1,
        key: Credential | None = None,
    ) -> Self: ...
    @property
    def share(self) -> bool: ...
    def submit(
        self,
        queue: ReplyQueue | None,
        tag: object,
        service: str,
        body: Body,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
        full: bool = False,
    ) -> int: ...
    @property
    def refusal(self) -> str: ...
    def submit_many(
        self,
        queue: ReplyQueue,
        first_tag: int,
        service: str,
        bodies: Sequence[Body],
        timeout: float | None,
        priority: int,
    ) -> range: ...
    def ask(
        self,
        service: str,
        body: Body,
        timeout: float | None,
        priority: int,
        meta: Mapping[str, str] | None,
        full: bool,
    ) -> Any: ...
    def cancel(self, number: int) -> None: ...
    def grant(self, number: int) -> None: ...
    def leave(self) -> None: ...
