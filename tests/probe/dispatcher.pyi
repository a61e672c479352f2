from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from typing_extensions import Self, disjoint_base

_Action: TypeAlias = tuple[int, int, int | None, int | None, int]  # kind, code, slot, peer, token

NONE: int
ACT_TASK: int
ACT_CANCEL: int
ACT_FAIL: int
ACT_FREE: int
ACT_WORKER_GONE: int
ACT_WORKER_FREE: int
ACT_CLIENT_FREE: int
ACT_SERVICE_FREE: int
REQ_ACCEPTED: int
REQ_HELD: int
REQ_ANSWERED: int
REQ_KEPT: int
REQ_STALE: int
REQ_BUSY: int
REQ_BUSY_SERVICE: int
REQ_BUSY_SESSION: int
REQ_NO_SERVICE: int
REQ_NO_MEMORY: int
REQ_BUSY_BYTES: int
REQ_BUSY_MEMORY: int
ANS_COUNTED: int
ANS_DROPPED: int
ANS_DEAD: int
ANS_RELEASED: int
READY_SAME_ROUTE: int
READY_NEW_ROUTE: int
READY_NEW_LIFE: int
LIVENESS_NEVER: int
LIVENESS_IDLE: int
LIVENESS_ALWAYS: int
REQUEST_WAITING: int
REQUEST_RUNNING: int
REQUEST_ANSWERED: int
REQUEST_KEPT: int
REQ_BUSY_SHARE: int
REQ_BUSY_WORKERLESS: int
REQ_BUSY_WINDOW: int
REQ_BUSY_CLIENTS: int
REQ_MANY_SERVICES: int
REQ_MANY_NAMES: int
REQ_MANY_OWN_NAMES: int
REQ_QUOTA_OPEN: int
REQ_QUOTA_BYTES: int
REQ_QUOTA_RATE: int
REQ_SERVICE_QUOTA_OPEN: int
REQ_SERVICE_QUOTA_BYTES: int
REQ_SERVICE_QUOTA_RATE: int
OPENED_NAMED: int
OPENED_PINNED: int
OPENED_OFFERED: int
OPENED_INTERNAL: int
QUEUED_NOWHERE: int
QUEUED_FRESH: int
QUEUED_RETURNED: int
QUEUED_ISOLATED: int
QUEUED_DELAYED: int
QUEUED_HELD: int
CLAIM_NONE: int
CLAIM_OPEN: int
CLAIM_ADOPTED: int
CLAIM_OTHER: int

@disjoint_base
class Dispatcher:
    def __new__(cls, *, token_seed: int = 0, **limits: int) -> Self: ...
    def service_open(
        self, lease_ns: int = 0, how: int = ..., now: int = 0, c: int | None = None
    ) -> int | None: ...
    def service_refusal(self, how: int, c: int | None = None) -> int: ...
    def service_drop(self, s: int) -> None: ...
    def offerable(self, services: Sequence[int]) -> bool: ...
    def client_room(self, now: int) -> None: ...
    def client_open(self, is_guide: bool = False, reserve: bool = False) -> int | None: ...
    def client_owner(self, c: int, owner: int) -> None: ...
    def owner_set(
        self,
        owner: int,
        weight: int = 1,
        open_max: int = 0,
        bytes_max: int = 0,
        interval_ns: int = 0,
        burst_ns: int = 0,
        now: int = 0,
    ) -> None: ...
    def service_quota(
        self,
        s: int,
        open_max: int = 0,
        bytes_max: int = 0,
        interval_ns: int = 0,
        burst_ns: int = 0,
    ) -> None: ...
    def quota_wait(self, c: int, s: int | None, now: int) -> int: ...
    def client_done(self, c: int, done: int) -> None: ...
    def client_lost(self, c: int, grace_ns: int, now: int) -> None: ...
    def client_back(self, c: int) -> None: ...
    def client_close(self, c: int, now: int) -> None: ...
    def request(
        self,
        c: int,
        id: int,
        s: int,
        priority: int = 0,
        timeout_ns: int = 0,
        size: int = 64,
        internal: bool = False,
        now: int = 0,
        hold_ns: int = 0,
    ) -> tuple[int, int | None]: ...
    def cancel(self, c: int, id: int, now: int) -> bool: ...
    def delivered(self, slot: int) -> None: ...
    def evict(self, size: int) -> None: ...
    def full(self, full: bool) -> None: ...
    def undeliverable(self, slot: int) -> None: ...
    def answer_bytes(self, slot: int, size: int) -> None: ...
    def worker_open(self, mode: int, liveness_ns: int, notified: bool, live: int) -> int | None: ...
    def worker_ready(
        self,
        w: int,
        capacity: int,
        services: Iterable[int],
        tokens: Iterable[int],
        how: int,
        now: int,
        live: int,
    ) -> None: ...
    def worker_leave(self, w: int, now: int) -> None: ...
    def worker_gone(self, w: int, now: int) -> None: ...
    def worker_void(self, w: int, now: int) -> None: ...
    def heard(self, w: int, now: int, live: int) -> None: ...
    def blocked(self, w: int, now: int) -> None: ...
    def answer(
        self,
        w: int,
        token: int,
        code: int,
        size: int,
        now: int,
        live: int,
        delay_ns: int = 0,
        elsewhere: bool = False,
    ) -> tuple[int, int | None]: ...
    def partial(self, w: int, token: int) -> int | None: ...
    def claim_state(self, w: int, token: int) -> int: ...
    def claims(self, w: int, claims: Sequence[tuple[int, bool]], now: int) -> int: ...
    def adopt(self, w: int, token: int, slot: int, now: int) -> bool: ...
    def claim_drop(self, w: int, token: int, now: int) -> None: ...
    def unsent(self, slot: int, token: int) -> bool: ...
    def sent(self, slot: int, token: int, now: int) -> bool: ...
    def tick(self, now: int, live: int) -> int | None: ...
    def actions(self) -> list[_Action]: ...
    def counters(self) -> dict[str, int]: ...
    def check(self) -> None: ...
    def request_of(self, slot: int) -> dict[str, Any]: ...
    def worker(self, w: int) -> dict[str, Any]: ...
    def service(self, s: int) -> dict[str, Any]: ...
