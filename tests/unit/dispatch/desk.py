"""A desk at which tests drive the dispatcher: it keeps the clock and reads the actions as words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.probe import dispatcher
from tests.probe.dispatcher import (
    LIVENESS_NEVER,
    OPENED_PINNED,
    READY_NEW_LIFE,
    REQ_ACCEPTED,
    Dispatcher,
)

FIRST_TOKEN = 100  # tokens count up from here
LEASE = 100
CANCELLED, DEADLINE, NO_SERVICE, ABORTED, RELEASE = 1, 4, 5, 10, 14  # PND's error codes
WORDS = {
    dispatcher.ACT_TASK: "task",
    dispatcher.ACT_CANCEL: "cancel",
    dispatcher.ACT_FAIL: "fail",
    dispatcher.ACT_FREE: "free",
    dispatcher.ACT_WORKER_GONE: "worker gone",
    dispatcher.ACT_WORKER_FREE: "worker free",
    dispatcher.ACT_CLIENT_FREE: "client free",
    dispatcher.ACT_SERVICE_FREE: "service free",
}


@dataclass(frozen=True)
class Task:
    """A task as its worker is to get it."""

    slot: int
    worker: int
    token: int
    attempt: int


@dataclass
class Desk:
    """A dispatcher whose every call is followed by a recount and by reading its actions.

    `tasks` and `others` hold what the last call asked for: tasks, and other actions as tuples of
    a word and what it is about.
    """

    limits: dict[str, int] = field(default_factory=dict)
    now: int = 1000
    paused: int = 0
    tasks: list[Task] = field(default_factory=list)
    others: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.d = Dispatcher(token_seed=FIRST_TOKEN, **self.limits)

    @property
    def live(self) -> int:
        return self.now - self.paused

    def __getattr__(self, name: str) -> Any:
        """Give a call of the dispatcher, followed by what follows every call."""
        method = getattr(self.d, name)

        def call(*args: Any, **named: Any) -> Any:
            result = method(*args, **named)
            self.d.check()
            self.tasks, self.others = [], []
            for kind, code, slot, peer, token in self.d.actions():
                if WORDS[kind] == "task":
                    self.tasks.append(Task(slot, peer, token, code))
                elif WORDS[kind] == "cancel":
                    self.others.append(("cancel", peer, token))
                elif WORDS[kind] == "fail":
                    self.others.append(("fail", slot, code))
                else:
                    self.others.append((WORDS[kind], slot if peer is None else peer))
            return result

        return call

    # --- shorter words for what most tests do ---

    def worker(
        self,
        *services: int,
        capacity: int = 1,
        mode: int = LIVENESS_NEVER,
        liveness_ns: int = 0,
        notified: bool = True,
    ) -> int:
        """Open a worker that is ready for `services`."""
        w: int = self.worker_open(mode, liveness_ns, notified, self.live)
        self.ready(w, *services, capacity=capacity)
        return w

    def ready(
        self,
        w: int,
        *services: int,
        capacity: int = 1,
        how: int = READY_NEW_LIFE,
        tokens: tuple[int, ...] = (),
    ) -> None:
        self.worker_ready(w, capacity, services, tokens, how, self.now, self.live)

    def ask(self, c: int, id: int, s: int, **options: Any) -> int:
        """Make a request that must be accepted; its slot."""
        result, slot = self.request(c, id, s, now=self.now, **options)
        assert result == REQ_ACCEPTED
        return slot  # type: ignore[no-any-return]

    def refuse(self, c: int, id: int, s: int, **options: Any) -> int:
        """Make a request that must not be accepted; the result."""
        result, _ = self.request(c, id, s, now=self.now, **options)
        assert result != REQ_ACCEPTED
        return result  # type: ignore[no-any-return]

    def give(self, task: Task) -> Task:
        """Report a task as sent."""
        assert self.sent(task.slot, task.token, self.now)
        return task

    def send_all(self) -> list[Task]:
        """Report all tasks of the last call as sent."""
        tasks = self.tasks
        return [self.give(task) for task in tasks]

    def reply(self, task: Task, code: int = 0, size: int = 10) -> int:
        """Let the worker of a task answer it; the result."""
        result, _ = self.answer(task.worker, task.token, code, size, self.now, self.live)
        return result  # type: ignore[no-any-return]

    def pass_time(self, ns: int, pause: bool = False) -> int | None:
        """Let time pass, then tick; a pause is the broker's own and does not count for liveness."""
        self.now += ns
        self.paused += ns if pause else 0
        return self.tick(self.now, self.live)  # type: ignore[no-any-return]

    def lose(self, task: Task) -> None:
        """Send a task and lose its worker's life, so that its request returns, counted."""
        self.give(task)
        services = self.d.worker(task.worker)["services"]
        self.ready(task.worker, *services, capacity=self.d.worker(task.worker)["capacity"])

    def count(self, name: str) -> int:
        return self.d.counters()[name]


def open_desk(lease_ns: int = 0, **limits: int) -> Desk:
    """Return a desk with client 0 and service 0, which waits for workers for ever."""
    desk = Desk({"service_wait_ns": 0, **limits})
    desk.client_open()
    desk.service_open(lease_ns, how=OPENED_PINNED, now=desk.now)
    return desk


def slots(desk: Desk) -> list[int]:
    """Return the slots of the tasks of the last call."""
    return [task.slot for task in desk.tasks]


def state(desk: Desk, slot: int) -> int:
    """Return the state of a request."""
    return desk.d.request_of(slot)["state"]  # type: ignore[no-any-return]


def lost_twice(desk: Desk, id: int = 1) -> Task:
    """Make a request that its first two workers lose, and give its third task."""
    desk.ask(0, id, 0)
    for _ in range(2):
        [task] = desk.tasks
        desk.lose(task)
    [task] = desk.tasks
    assert task.attempt == 3
    return task
