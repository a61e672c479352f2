import logging
import threading
from collections.abc import Sequence
from typing import Any

import zmq
from typing_extensions import disjoint_base

LOGS: dict[int, tuple[int, str, tuple[tuple[str, float], ...], tuple[str, ...]]]
HEARTBEAT_MAX: float
LIVENESS_MAX: int

@disjoint_base
class Engine:
    @property
    def connected(self) -> threading.Event: ...
    @property
    def ended(self) -> bool: ...
    def __init__(
        self,
        endpoints: Sequence[str],
        context: zmq.Context[Any] | None,
        heartbeat: float,
        liveness: int,
        follows: bool,
        logger: logging.Logger,
        news_fd: int = -1,
    ) -> None: ...
    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> bool: ...
    def alive(self) -> bool: ...
    def inside_news(self) -> bool: ...
    def forked(self) -> bool: ...
    def check_fork(self) -> None: ...
    def news(self) -> Any: ...
