import zmq
from typing_extensions import Self, disjoint_base

from pound.config import Config

LOG_KINDS: tuple[str, ...]
DIALECTS: tuple[str, ...]
WHY_REFUSED: tuple[str, ...]
LOOP_COUNTERS: tuple[str, ...]
DISPATCHER_COUNTERS: tuple[str, ...]

@disjoint_base
class Core:
    def __new__(cls, config: Config, version: str, wake_fd: int) -> Self: ...
    def attach(
        self,
        frontend: zmq.Socket[bytes],
        frontend_monitor: zmq.Socket[bytes],
        backend: zmq.Socket[bytes],
        backend_monitor: zmq.Socket[bytes],
        endpoints: str,
    ) -> None: ...
    def run(self) -> bool: ...
    def farewell(self) -> None: ...
    @property
    def draining(self) -> bool: ...
    def drain(self, timeout: float) -> None: ...
    def stop(self) -> None: ...
    def events(self) -> list[tuple[str, bytes, bytes, int, int]]: ...
    def stats(self) -> dict[str, int]: ...
