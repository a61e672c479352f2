"""The numbers that cross the dispatcher's interface, by name, for everybody in the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

Action = tuple[int, int, int | None, int | None, int]
"""kind, code, slot, peer, token"""


class Act(IntEnum):
    TASK = 1
    CANCEL = 2
    FAIL = 3
    FREE = 4
    WORKER_GONE = 5
    WORKER_FREE = 6
    CLIENT_FREE = 7
    SERVICE_FREE = 8


class Req(IntEnum):
    ACCEPTED = 0
    HELD = 1
    ANSWERED = 2
    KEPT = 3
    STALE = 4
    BUSY = 5
    BUSY_SERVICE = 6
    BUSY_SESSION = 7
    NO_SERVICE = 8
    NO_MEMORY = 9
    BUSY_BYTES = 10
    BUSY_MEMORY = 11
    BUSY_UNREAD = 12
    BUSY_SHARE = 13
    BUSY_WORKERLESS = 14
    BUSY_WINDOW = 15
    BUSY_CLIENTS = 16
    MANY_SERVICES = 17
    MANY_NAMES = 18
    MANY_OWN_NAMES = 19
    QUOTA_OPEN = 20
    QUOTA_BYTES = 21
    QUOTA_RATE = 22
    SERVICE_QUOTA_OPEN = 23
    SERVICE_QUOTA_BYTES = 24
    SERVICE_QUOTA_RATE = 25


class Opened(IntEnum):
    NAMED = 0
    PINNED = 1
    OFFERED = 2
    INTERNAL = 3


class Ans(IntEnum):
    COUNTED = 0
    DROPPED = 1
    DEAD = 2
    RELEASED = 3


class Claim(IntEnum):
    NONE = 0
    OPEN = 1
    ADOPTED = 2
    OTHER = 3


class Ready(IntEnum):
    SAME_ROUTE = 0
    NEW_ROUTE = 1
    NEW_LIFE = 2


class Mode(IntEnum):
    NEVER = 0
    IDLE = 1
    ALWAYS = 2


class Code(IntEnum):
    CANCELLED = 1
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ABORTED = 10
    UNAVAILABLE = 14


class State(IntEnum):
    WAITING = 0
    RUNNING = 1
    ANSWERED = 2
    KEPT = 3


class Queue(IntEnum):
    FRESH = 0
    RETURNED = 1
    ISOLATED = 2
    DELAYED = 3


@dataclass(frozen=True)
class Quota:
    """What an owner may have open and ask; 0: no limit."""

    open_max: int = 0
    bytes_max: int = 0
    interval_ns: int = 0
    burst_ns: int = 0


@dataclass
class Limits:
    """The limits that a dispatcher is made with; the defaults are generous."""

    attempts_max: int = 5
    clients_max: int = 1 << 20
    workers_max: int = 1 << 20
    services_max: int = 1 << 20
    waiting_max: int = 1 << 40
    waiting_bytes_max: int = 1 << 40
    service_waiting_max: int = 1 << 40
    service_waiting_bytes_max: int = 1 << 40
    requests_max: int = 1 << 20
    foreign_window: int = 1 << 20
    answers_bytes_max: int = 1 << 40
    service_wait_ns: int = 0
    block_ns: int = 5_000_000
    shares_from: int = 64
    unknown_reject: int = 0
