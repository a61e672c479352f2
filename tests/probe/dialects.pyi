import enum
from collections.abc import Sequence
from typing import final

class Side(enum.IntEnum):
    FRONTEND = 0
    BACKEND = 1

class Dialect(enum.IntEnum):
    NONE = 0
    PND = 1
    PLAIN = 2
    BARE = 3
    PPP = 4
    MDP1 = 5
    MDP2 = 6

class Said(enum.IntEnum):
    BAD = 0
    PACKET = 1
    REQUEST = 2
    READY = 3
    ANSWER = 4
    PARTIAL = 5
    HEARTBEAT = 6
    DISCONNECT = 7

class Bad(enum.IntEnum):
    NONE = 0
    FRAMES = 1
    EMPTY = 2
    COMMAND = 3
    ADDRESS = 4
    SERVICE = 5
    ROLE = 6
    VERSION = 7

class Head(enum.IntEnum):
    TASK = 0
    ANSWER = 1
    PARTIAL = 2
    HEARTBEAT = 3
    DISCONNECT = 4

@final
class Message:
    @property
    def said(self) -> Said: ...
    @property
    def dialect(self) -> Dialect: ...
    @property
    def error(self) -> Bad: ...
    @property
    def token(self) -> int | None: ...
    @property
    def delimited(self) -> bool: ...
    @property
    def text(self) -> bool: ...
    @property
    def worker(self) -> bool: ...
    @property
    def worker_numbers(self) -> bool: ...
    @property
    def service(self) -> bytes: ...
    @property
    def envelope(self) -> int: ...
    @property
    def body(self) -> int: ...
    @property
    def parts(self) -> int: ...

def read(frames: Sequence[bytes | bytearray | memoryview], side: int) -> Message: ...
def head(
    dialect: int,
    what: int,
    *,
    delimited: bool = False,
    text: bool = False,
    worker_numbers: bool = False,
    token: int = 0,
    service: bytes = b"",
) -> list[bytes]: ...
