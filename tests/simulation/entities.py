"""What the model keeps: services, workers, clients, requests and tasks, and their numbers.

A fact stands in one place; ``held``, ``eligible`` and ``open`` are computed when asked for.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .words import Queue, Quota, State


@dataclass(eq=False)
class Owner:
    """In whose name a client asks: an identity, or the client itself."""

    weight: int = 1
    quota: Quota = field(default_factory=Quota)
    bucket: Bucket = field(default_factory=lambda: Bucket())
    buckets: dict[Service, Bucket] = field(default_factory=dict)  # in services with a quota


@dataclass(eq=False)
class Bucket:
    """A bucket of time that leaks: each request pours in the interval of the rate."""

    level: int = 0
    looked_at: int = 0

    def leak(self, now: int) -> None:
        self.level = max(0, self.level - (now - self.looked_at))
        self.looked_at = now


@dataclass(eq=False)
class Turns:
    """Who takes turns for the fresh requests of one priority: the first is served next."""

    line: list[Owner] = field(default_factory=list)
    served: int = 0  # tasks that the first has been given in its turn


@dataclass(eq=False)
class Service:
    number: int
    lease_ns: int
    pinned: bool
    internal: bool
    workerless_since: int
    quota: Quota = field(default_factory=Quota)  # of each owner
    namer: Client | None = None  # who asked for it first, until a worker offers it
    waiting: list[Request] = field(default_factory=list)
    turns: dict[int, Turns] = field(default_factory=lambda: defaultdict(Turns))
    requests: int = 0  # in any state, until freed
    offers: int = 0  # of workers that are not gone
    dispatches: int = 0  # of requests that are not isolated
    turn: int = 9  # the lower priority that was served last out of its turn
    reserved: Worker | None = None
    wait_due: int | None = None

    @property
    def ready(self) -> list[Request]:
        """The waiting requests whose delay, if any, is over."""
        return [r for r in self.waiting if r.queue is not Queue.DELAYED]

    def queue(self, queue: Queue, priority: int | None = None) -> list[Request]:
        """The waiting requests of one queue, the next first."""
        found = [r for r in self.waiting if r.queue is queue and priority in (None, r.priority)]
        return sorted(found, key=lambda r: (-r.priority, r.seq))

    def fresh_of(self, owner: Owner, priority: int) -> list[Request]:
        """The fresh requests of an owner, the next first."""
        fresh = [r for r in self.queue(Queue.FRESH, priority) if r.client.owner is owner]
        return sorted(fresh, key=lambda r: r.rank)


@dataclass(eq=False)
class Worker:
    number: int
    mode: int
    liveness_ns: int
    notified: bool
    heard: int
    sent_seq: int
    capacity: int = 0
    offers: list[Service] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)  # oldest made first
    gone: bool = False
    leaving: bool = False
    blocked: bool = False
    reserved_for: Service | None = None
    next_offer: int = 0
    blocked_until: int | None = None
    liveness_due: int | None = None

    @property
    def held(self) -> int:
        return len([task for task in self.tasks if task.holds])

    @property
    def eligible(self) -> bool:
        if self.gone or self.leaving or self.blocked or self.reserved_for is not None:
            return False
        holds = [task.isolated for task in self.tasks if task.holds]
        return True not in holds and len(holds) < self.capacity


@dataclass(eq=False)
class Client:
    number: int
    is_guide: bool
    owner: Owner = field(default_factory=Owner)
    highest: int = 0
    done: int = 0
    requests: list[Request] = field(default_factory=list)  # by seq
    grace_due: int | None = None
    reserve: bool = False  # for the broker's own services only

    @property
    def open(self) -> int:
        return sum(r.state in (State.WAITING, State.RUNNING) for r in self.requests)


@dataclass(eq=False)
class Request:
    slot: int
    client: Client
    id: int
    service: Service
    priority: int
    seq: int
    bytes: int
    deadline: int | None
    state: State = State.ANSWERED
    queue: Queue = Queue.FRESH
    attempts: int = 0
    since: int = 0  # accepted, last returned, or the delay over, at
    delayed_until: int | None = None
    held_back: bool = False
    rank: int = 0  # among the fresh ones: its seq, or when it was not held back any more
    task: Task | None = None

    @property
    def open(self) -> bool:
        return self.state in (State.WAITING, State.RUNNING)


@dataclass(eq=False)
class Task:
    token: int
    worker: Worker
    request: Request | None
    isolated: bool
    sent: bool = False
    holds: bool = True
    lease_due: int | None = None
    charged: tuple[Owner, Service] | None = None  # an orphan, for whose request it was sent
    claimed: bool = False  # of another epoch, and no request has adopted it
    answered: bool = False  # such a one, whose worker keeps the answer: it holds no credit


class Numbers:
    """Hands out numbers: the one given back last first, otherwise the next fresh one."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.fresh = 0
        self.back: list[int] = []

    def take(self) -> int | None:
        if self.back:
            return self.back.pop()
        if self.fresh == self.most:
            return None
        self.fresh += 1
        return self.fresh - 1
