import enum
from collections.abc import Sequence
from typing import TypeAlias, final

import zmq

_Buffer: TypeAlias = bytes | bytearray | memoryview | zmq.Frame

class PacketError(ValueError):
    reason: str
    def __init__(self, message: str, reason: str) -> None: ...

class Kind(enum.IntEnum):
    REQUEST = 1
    CANCEL = 2
    REPLY = 3
    PARTIAL = 4
    ERROR = 5
    ACCEPTED = 6
    READY = 7
    TASK = 8
    HEARTBEAT = 9
    BYE = 10
    HELLO = 11
    WELCOME = 12
    HOLDS = 13
    CREDIT = 14

class Code(enum.IntEnum):
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

ATTACHED: int
DURABLE: int
RETRY: int
META: int
MOVED: int
ATTACH_FROM: int
ADOPTION: int
STORE: int
RUNNING: int
ANSWERED: int

@final
class Record:
    kind: int
    id: int
    flags: int
    parts: list[_Buffer]
    service: bytes
    timeout_ms: int
    priority: int
    attempt: int
    sequence: int
    code: int
    retry_after_ms: int
    capacity: int
    tokens: list[int]
    holds: list[tuple[int, bytes, int, int]]
    key: bytes
    epoch: bytes
    features: int
    delay_ms: int
    heartbeat_ms: int
    liveness: int
    body_bytes_max: int
    packet_bytes_max: int
    frames_max: int
    requests_max: int
    credit: int
    run: int
    def __init__(
        self,
        kind: int,
        *,
        id: int = 0,
        flags: int = 0,
        parts: Sequence[_Buffer] | None = None,
        service: bytes = b"",
        timeout_ms: int = 0,
        priority: int = 0,
        attempt: int = 0,
        sequence: int = 0,
        code: int = 0,
        retry_after_ms: int = 0,
        capacity: int = 0,
        tokens: Sequence[int] | None = None,
        holds: list[tuple[int, bytes, int, int]] | None = None,
        key: bytes = ...,
        epoch: bytes = ...,
        features: int = 0,
        delay_ms: int = 0,
        heartbeat_ms: int = 0,
        liveness: int = 0,
        body_bytes_max: int = 0,
        packet_bytes_max: int = 0,
        frames_max: int = 0,
        requests_max: int = 0,
        credit: int = 0,
        run: int = 0,
    ) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Packet:
    @property
    def session(self) -> bytes: ...
    @property
    def done(self) -> int: ...
    @property
    def records(self) -> list[Record]: ...

def decode(frames: Sequence[_Buffer]) -> Packet: ...
def encode(session: bytes, done: int, records: Sequence[Record]) -> list[_Buffer]: ...
def encode_many(
    session: bytes,
    done: int,
    records: Sequence[Record],
    packet_bytes_max: int,
    frames_max: int,
) -> list[list[_Buffer]]: ...
def as_task(record: bytes, token: int, remaining_ms: int, attempt: int) -> bytes: ...
def as_reply(record: bytes, id: int) -> bytes: ...
