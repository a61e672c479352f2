"""A worker's end: the tasks it holds, from TASK to the answer.

Invariants: `_running` holds the tasks of this epoch whose handler has not returned; a task whose
epoch is over is *stale*: it only keeps a thread busy, which READY's capacity tells, and its answer
is dropped. Answers and partials leave in the order in which the handlers gave them.
A leaving worker closes after a BYE 2 that answers the BYE behind its last answer: a socket closed
with unread input resets its connection, and a reset may overtake what was sent.
Before WELCOME a route carries READY only: answers wait for it, because a token means nothing in
another epoch. What was sent and not followed by a sign of life is sent again after a reconnect to
the same epoch: until the broker has given the task to another worker, its token still counts.
Cost: O(1) a task; READY costs O(tasks held).
Owner of memory: `_unsent` and `_sent` own the answers; both are bounded (partials make their
handler wait, final answers are at most one a thread).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pound._body import excess, from_parts, split_meta, to_parts
from pound._engine import AGREED, GOING_AWAY, End, Engine
from pound._link import GREETING_EVERY, Limits, Link, jitter
from pound._logging import log_event
from pound._wire import Code, Kind, Record
from pound.errors import ClosedError, PoundError, ProtocolError

if TYPE_CHECKING:
    from pound._body import Body

LOGGER = logging.getLogger("pound.worker")
UNSENT_BYTES_MAX = 16 << 20  # of partials not yet taken by libzmq, before a handler has to wait
SENT_BYTES_MAX = 16 << 20  # of answers kept until a sign of life follows them
SENT_MAX = 4096
TURN_BYTES = 4 << 20  # packed in one turn at most, so that tasks are read in between
RECORD_BYTES = 64  # what a record costs beside its body, roughly
AGREE_WITHIN = 1.0  # seconds for the broker's BYE 2 when nothing else is left to wait for
LAST_WORDS = 0.5  # seconds after the drain's end for the last packet
WORDS_BYTES_MAX = 4096  # of an error's sentence
LEAVES = "the worker goes away"


class Task:
    """One delivery of a request to this worker; what a handler is called with.

    Attributes
    ----------
    parts : list of bytes
        The body.
    service : str
        The name under which it was asked for.
    attempt : int
        1 for the first delivery; higher when earlier workers were lost.
    deadline : float or None
        When the client stops waiting, on `time.monotonic()`; None if it never does.
    meta : dict of str to str
        What the client sent along; empty if nothing.
    cancelled : bool
        True once nobody waits for the answer any more: the client cancelled or is gone, the
        deadline passed, or the broker was restarted. A handler that runs long should look.
    """

    __slots__ = (
        "_sequence", "_tasks", "attempt", "cancelled", "deadline", "meta", "parts", "service",
        "token",
    )  # fmt: skip

    def __init__(self, record: Record, tasks: Tasks) -> None:
        self.parts, self.meta = split_meta(record)
        self.service = bytes(record.service).decode(errors="surrogateescape")
        self.attempt = record.attempt
        self.deadline: float | None = None
        if record.timeout_ms:
            self.deadline = time.monotonic() + record.timeout_ms / 1000
        self.cancelled = False
        self.token = record.id
        self._sequence = 0
        self._tasks = tasks

    @property
    def body(self) -> bytes | list[bytes]:
        """The body: `bytes`, or a list when it has other than one part."""
        return from_parts(self.parts)

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, not below 0; None if there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def partial(self, body: Body, meta: Mapping[str, str] | None = None) -> None:
        """Send a partial of the answer ahead of the final one.

        Waits while the broker does not take what was sent before. Does nothing once the task is
        cancelled.

        Raises
        ------
        TypeError
            `body` is not bytes-like or a sequence of those.
        ValueError
            The partial exceeds a limit of the broker.
        """
        parts, flags = to_parts(body, meta)
        self._tasks.partial(self, parts, flags)

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell how far the work is: an empty partial with META ``progress``: ``done/total``."""
        told = f"{done:g}" if total is None else f"{done:g}/{total:g}"
        self.partial(b"", {"progress": told})

    def number_partial(self) -> int:
        """Return the sequence of the next partial; the caller holds the lock of the partials."""
        self._sequence += 1
        return self._sequence - 1


def error_record(token: int, code: int, words: str) -> Record:
    """Return the ERROR that answers a task; its sentence is cut to a few KiB."""
    sentence = words.encode(errors="backslashreplace")[:WORDS_BYTES_MAX]
    whole = sentence.decode(errors="ignore").encode()  # not cut inside a character
    return Record(kind=Kind.ERROR, id=token, code=code, parts=[whole])


class Tasks(End):
    """The tasks of one worker.

    Parameters
    ----------
    services : sequence of bytes
        The names that it offers.
    capacity : int
        Tasks that it holds at once.
    label : bytes
        Shown to people by the broker.
    begin : callable
        Called with each new task; has it run on another thread and `answer` posted after that.
    """

    logger = LOGGER
    follows = True

    def __init__(
        self, services: Sequence[bytes], capacity: int, label: bytes, begin: Callable[[Task], None]
    ) -> None:
        self.limits = Limits()
        self._services = services
        self._capacity = capacity
        self._label = label
        self._begin = begin
        self._running: dict[int, Task] = {}
        self._stale: set[Task] = set()
        self._unsent: deque[Record] = deque()
        self._sent: deque[Record] = deque()  # no sign of life since
        self._sent_bytes = 0
        self._room = threading.Condition()  # guards the two below and the order of partials
        self._partials_bytes = 0  # of partials posted and not yet packed
        self._over = False  # written once, by the engine
        self._welcomed = False  # as of this turn
        self._ready_again = False  # READY has other values than it told
        self._drain_by = math.inf  # finite: the worker leaves
        self.given_back = 0  # tasks, at the end of the drain
        self._given_back = False
        self._bye_at = math.inf  # when to say BYE (again)
        self._bye_due = False
        self._idle_since = math.inf  # while leaving: since when nothing is left to answer
        self._agreed = False  # the broker said BYE 2

    # -- from handlers' threads -------------------------------------------------------------

    def bind(self, engine: Engine) -> None:
        """Name the engine that partials are posted to."""
        self._engine = engine

    def partial(self, task: Task, parts: list[bytes], flags: int) -> None:
        """Queue a partial of `task`; waits for room."""
        error = excess(parts, self.limits.body_bytes_max, self.limits.frames_max)
        if error is not None:
            raise ValueError(error)
        size = sum(map(len, parts)) + RECORD_BYTES
        with self._room:
            self._room.wait_for(lambda: self._partials_bytes < UNSENT_BYTES_MAX or self._dead(task))
            if self._dead(task):
                return
            self._partials_bytes += size
            record = Record(
                kind=Kind.PARTIAL,
                id=task.token,
                flags=flags,
                parts=parts,
                sequence=task.number_partial(),
                attempt=task.attempt,
            )
            with suppress(ClosedError):
                self._engine.post(self.queue_partial, task, record)

    def _dead(self, task: Task) -> bool:
        return task.cancelled or self._over

    # -- commands, posted by the worker -----------------------------------------------------

    def queue_partial(self, task: Task, record: Record) -> None:
        """Queue a partial that its handler gave."""
        if self._running.get(task.token) is task:
            self._unsent.append(record)
        else:
            self._count_partial(record, -1)

    def answer(self, task: Task, record: Record) -> None:
        """Queue the answer of a task whose handler has returned."""
        if self._running.get(task.token) is task:
            del self._running[task.token]
            self._unsent.append(record)
        else:
            self._stale.discard(task)
            self._ready_again = True

    def leave(self, drain_by: float) -> None:
        """Take no more tasks, finish the held ones until `drain_by`, then finish."""
        if self._drain_by == math.inf:
            self._bye_at = -math.inf
        self._drain_by = min(self._drain_by, drain_by)

    # -- the engine's calls: out ------------------------------------------------------------

    def collect(self, link: Link, now: float) -> list[Record]:
        """Return answers, then READY, then BYE: what this turn sends."""
        records = self._collect_answers() if link.welcomed else []
        last = self._leaving and bool(records) and not self._running and not self._unsent
        if last:
            self._agreed = False  # asked again behind the last answer, so that it has arrived
        greets = link.greets(now)
        if greets:
            records.append(self._ready(link.welcomed))
        self._bye_due |= last or (greets and self._leaving)
        if self._bye_due:
            self._bye_due = False
            link.leaving = True
            records.append(Record(kind=Kind.BYE, code=GOING_AWAY))
        return records

    def _collect_answers(self) -> list[Record]:
        records: list[Record] = []
        budget = TURN_BYTES
        while self._unsent and budget > 0:
            record = self._unsent.popleft()
            size = _size(record)
            budget -= size
            records.append(record)
            self._sent.append(record)
            self._sent_bytes += size
            self._count_partial(record, -1)
        while self._sent_bytes > SENT_BYTES_MAX or len(self._sent) > SENT_MAX:
            self._sent_bytes -= _size(self._sent.popleft())
        return records

    def _count_partial(self, record: Record, sign: int) -> None:
        if record.kind == Kind.PARTIAL:
            with self._room:
                self._partials_bytes += sign * _size(record)
                self._room.notify_all()

    def _ready(self, welcomed: bool) -> Record:
        """Return READY; its tokens are the tasks that run or whose answer may not have arrived."""
        tokens = dict.fromkeys(self._running)
        tokens.update((record.id, None) for record in self._unsent)
        if not welcomed:
            tokens.update((record.id, None) for record in self._sent)
        return Record(
            kind=Kind.READY,
            capacity=max(1, self._capacity - len(self._stale)),
            tokens=list(tokens),
            parts=[self._label, *self._services],
        )

    def pending(self) -> bool:
        """Tell whether the last turn left answers; before WELCOME they have to wait."""
        return self._welcomed and bool(self._unsent)

    def done(self) -> int:
        """Return 0: the field belongs to clients."""
        return 0

    # -- the engine's calls: in -------------------------------------------------------------

    def take(self, link: Link, record: Record, now: float) -> None:
        """Act on TASK, CANCEL and the broker's consent to our BYE."""
        if record.kind == Kind.TASK:
            self._take_task(record)
        elif record.kind == Kind.CANCEL:
            task = self._running.get(record.id)
            if task is not None:
                self._abandon(task)
        elif record.kind == Kind.BYE and record.code == AGREED:
            if self._leaving:
                self._agreed = True
            else:
                link.forgotten(now, "bye")

    def _take_task(self, record: Record) -> None:
        if record.id in self._running:
            return
        if self._given_back:
            self._unsent.append(error_record(record.id, Code.UNAVAILABLE, LEAVES))
            return
        try:
            task = Task(record, self)
        except ProtocolError as error:
            self._unsent.append(error_record(record.id, Code.INVALID_ARGUMENT, str(error)))
            return
        self._running[record.id] = task
        self._begin(task)

    def heard(self) -> None:
        """Let go of the answers sent: the connection stood after them."""
        self._sent.clear()
        self._sent_bytes = 0

    def welcomed(self, link: Link, now: float) -> None:
        """Send the answers again that may not have arrived, then READY."""
        self.limits = link.limits
        for record in self._sent:
            self._count_partial(record, +1)
        self._unsent.extendleft(reversed(self._sent))
        self.heard()
        link.greet_again(now)

    def epoch_changed(self, link: Link, now: float) -> None:
        """Drop what belongs to the epoch that is over; its running tasks become stale."""
        for record in self._unsent:
            self._count_partial(record, -1)
        self._unsent.clear()
        self.heard()
        if self._running:
            log_event(LOGGER, logging.WARNING, "epoch changed", stale=len(self._running))
        for task in self._running.values():
            self._abandon(task)
        self._stale.update(self._running.values())
        self._running.clear()

    def _abandon(self, task: Task) -> None:
        task.cancelled = True
        with self._room:
            self._room.notify_all()

    # -- the engine's calls: time -----------------------------------------------------------

    @property
    def _leaving(self) -> bool:
        return self._drain_by < math.inf

    def tick(self, link: Link, now: float) -> None:
        """Tell READY's new values; while leaving say BYE, and give back what is late."""
        self._welcomed = link.welcomed
        if self._ready_again and link.welcomed and not self._leaving:
            link.greet_again(now)
        self._ready_again = False
        if now >= self._bye_at:
            self._bye_due = True
            self._bye_at = now + jitter(GREETING_EVERY)
        if now >= self._drain_by and not self._given_back:
            self._give_back()
        empty = not self._running and not self._unsent
        if self._leaving and empty:
            self._idle_since = min(self._idle_since, now)
        else:
            self._idle_since = math.inf

    def _give_back(self) -> None:
        self._given_back = True
        for task in self._running.values():
            self._unsent.append(error_record(task.token, Code.UNAVAILABLE, LEAVES))
            self._abandon(task)
        self.given_back = len(self._running)
        if self._running:
            log_event(LOGGER, logging.WARNING, "tasks given back", tasks=self.given_back)
        self._stale.update(self._running.values())
        self._running.clear()

    def next_due(self) -> float:
        """Return the time of the next step of leaving; infinity while serving."""
        if not self._leaving:
            return math.inf
        last = self._drain_by + LAST_WORDS if self._given_back else self._drain_by
        return min(last, self._bye_at, self._idle_since + AGREE_WITHIN)

    def next_beat(self, link: Link, beat_at: float) -> float:
        """Give a sign of life when nothing was said for a heartbeat."""
        return max(link.said_at, beat_at) + link.heartbeat

    def finished(self, link: Link, now: float) -> bool:
        """Tell whether the worker may close: all answered and BYE agreed, or no time left."""
        if not self._leaving:
            return False
        if self._running or self._unsent or not link.flushed:
            return now >= self._drain_by + LAST_WORDS
        if self._agreed or not link.welcomed:
            return True
        limit = self._idle_since + AGREE_WITHIN
        return now >= (min(limit, self._drain_by + LAST_WORDS) if self._given_back else limit)

    def closed(self, error: PoundError) -> None:
        """Wake the handlers that wait for room; nobody hears them any more."""
        self._over = True
        for task in [*self._running.values(), *self._stale]:
            self._abandon(task)


def _size(record: Record) -> int:
    return sum(map(len, record.parts)) + RECORD_BYTES
