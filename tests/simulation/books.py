"""What the ledger of invariants.py writes down: requests, tasks and workers as calls imply them."""

from __future__ import annotations

from dataclasses import dataclass, field


class BrokenError(AssertionError):
    """An invariant does not hold."""


def must(holds: object, rule: str, *what: object) -> None:
    if not holds:
        raise BrokenError(f"{rule}: " + " ".join(str(part) for part in what))


@dataclass(eq=False)
class Asked:
    """A request, from its acceptance until its slot is freed."""

    slot: int
    client: int
    id: int
    service: int
    priority: int
    size: int
    order: int
    deadline: int | None
    phase: str = "waiting"  # running, ended, kept
    token: int | None = None
    attempts: int = 0
    dispatched: bool = False
    delayed_until: int | None = None
    held_back: bool = False  # from its acceptance on
    rank: int = 0  # among the fresh ones: by acceptance, or when it was not held back any more

    @property
    def open(self) -> bool:
        return self.phase in ("waiting", "running")

    @property
    def lined(self) -> bool:
        """Whether a worker could get it now."""
        return self.phase == "waiting" and self.delayed_until is None

    @property
    def returned(self) -> bool:
        """Whether it comes before those that wait for the first time."""
        return self.dispatched

    @property
    def isolated(self) -> bool:
        return self.attempts >= 2


@dataclass(eq=False)
class Given:
    """A task, from its making until its token is dead."""

    token: int
    worker: int
    asked: Asked | None
    isolates: bool
    sent: bool = False
    holds: bool = True
    lease_due: int | None = None
    claimed: bool = False  # of another epoch, and no request has adopted it
    answered: bool = False  # such a one, whose worker keeps the answer


@dataclass(eq=False)
class Hand:
    """A worker."""

    mode: int
    liveness_ns: int
    notified: bool
    heard: int
    last_sent: int
    capacity: int = 0
    services: tuple[int, ...] = ()
    gone: bool = False
    leaving: bool = False
    blocked_until: int | None = None
    tasks: dict[int, Given] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return len([task for task in self.tasks.values() if task.holds])

    @property
    def able(self) -> bool:
        """Eligible, unless it is reserved."""
        if self.gone or self.leaving or self.blocked_until is not None:
            return False
        holds = [task.isolates for task in self.tasks.values() if task.holds]
        return True not in holds and len(holds) < self.capacity
