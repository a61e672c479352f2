"""A client's end: its open requests, from submission to the one answer.

A request is in exactly one place: `_unsent` (waits for the window, for WELCOME or for its turn
again after the broker was busy), `_busy` (the broker refused it; its timer brings it back),
`_open` (sent, has an id), or nowhere (ended). Ids are given at sending, so they increase in the
order of sending and `done`, the lowest open id, never waits for a request that was not sent.
A request that the broker refused as busy ended for the broker: it comes back under a new id.
Cost: O(log n) a request (its one timer); a WELCOME costs O(open requests), all are sent again.
Owner of memory: a request holds its body until it has ended; streams hold what was not read yet.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections import OrderedDict, deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol

from pound._body import Answer, Partial, excess, from_parts, split_meta, words
from pound._engine import GOING_AWAY, End
from pound._link import Limits, Link, jitter
from pound._logging import log_event
from pound._timers import Timers
from pound._wire import RETRY, Code, Kind, Record
from pound.errors import PoundError, ProtocolError, RequestError, error_for

LOGGER = logging.getLogger("pound.client")
GRACE = 0.1  # seconds past the deadline in which the broker's own ERROR 4 may still arrive
LOG_AFTER = 30.0  # seconds of waiting without a timeout until one line says for what
EAGER_BYTES = 65536  # sent before WELCOME: enough for a call, little to send twice
TURN_BYTES = 4 << 20  # packed in one turn at most, so that answers are read in between
BUSY_FIRST, BUSY_MAX = 0.05, 2.0  # seconds until a refused request is sent again
STREAM_BYTES_MAX = 64 << 20  # of one stream, not yet read by the caller
TIMEOUT_MS_MAX = 2**32 - 1
RECORD_BYTES = 64  # what a record costs beside its body, roughly
CANCELLED_MAX = 4096  # CANCELs remembered, to be told again after a reconnect
LEAVE_WITHIN = 0.5  # seconds for BYE and its answer


class Sink(Protocol):
    """Where the answer of a request goes."""

    started: bool  # a partial of the answer was passed on: the request can't silently run again

    def partial(self, record: Record) -> RequestError | None:
        """Take a PARTIAL; an error ends the request with it."""

    def restart(self) -> None:
        """Expect a new run from another broker: its attempts and sequences begin anew."""

    def final(self, record: Record) -> None:
        """Take the REPLY."""

    def fail(self, error: PoundError) -> None:
        """Take the reason why there is none."""


class FutureSink:
    """Resolves a Future with the body, or with body and META."""

    started = False

    def __init__(self, future: Future[Any], full: bool) -> None:
        self._future = future
        self._full = full

    def partial(self, record: Record) -> None:
        """Pass over partials; this caller wants the final answer only."""

    def restart(self) -> None:
        """Need nothing: no partial was passed on."""

    def final(self, record: Record) -> None:
        """Set the result."""
        try:
            parts, meta = split_meta(record)
        except ProtocolError as error:
            self.fail(error_for(Code.INTERNAL, str(error)))
            return
        body = from_parts(parts)
        if self._future.set_running_or_notify_cancel():
            self._future.set_result(Answer(body, meta) if self._full else body)

    def fail(self, error: PoundError) -> None:
        """Set the exception."""
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(error)


class StreamSink:
    """Queues the partials of a stream for the thread that iterates over it."""

    def __init__(self) -> None:
        self.started = False
        self._queue: SimpleQueue[Partial | PoundError] = SimpleQueue()
        self._read_bytes = 0  # written by the reading thread only
        self._put_bytes = 0  # written by the engine only
        self._attempt = 0  # as on the wire
        self._earlier = 0  # attempts made by earlier brokers
        self._expected = 0  # the next sequence of the attempt

    def partial(self, record: Record) -> RequestError | None:
        """Queue a partial, in order; a gap or a reader too slow ends the stream."""
        if record.attempt < self._attempt:
            return None
        if record.attempt > self._attempt:
            self._attempt, self._expected = record.attempt, 0
        if record.sequence < self._expected:
            return None
        if record.sequence > self._expected:
            missing = f"partials {self._expected} to {record.sequence - 1} of the stream were lost"
            return error_for(Code.DATA_LOSS, missing)
        self._expected += 1
        return self._put(record, final=False)

    def restart(self) -> None:
        """Count on from the attempts seen so far, so that the new run is a higher one."""
        self._earlier += self._attempt
        self._attempt = self._expected = 0

    def final(self, record: Record) -> None:
        """Queue the last partial."""
        error = self._put(record, final=True)
        if error is not None:
            self.fail(error)

    def fail(self, error: PoundError) -> None:
        """Queue the error that ends the stream."""
        self._queue.put(error)

    def read(self) -> Partial:
        """Wait for the next partial; called by the reading thread.

        Raises
        ------
        PoundError
            The stream ended with it.
        """
        partial = self._queue.get()
        if isinstance(partial, PoundError):
            raise partial
        self._read_bytes += _size(partial)
        return partial

    def _put(self, record: Record, final: bool) -> RequestError | None:
        try:
            parts, meta = split_meta(record)
        except ProtocolError as error:
            return error_for(Code.INTERNAL, str(error))
        self.started = True
        sequence = self._expected if final else self._expected - 1
        partial = Partial(from_parts(parts), self._earlier + self._attempt, sequence, final, meta)
        self._put_bytes += _size(partial)
        if not final and self._put_bytes - self._read_bytes > STREAM_BYTES_MAX:
            unread = f"more than {STREAM_BYTES_MAX} bytes of the stream were not read"
            return error_for(Code.RESOURCE_EXHAUSTED, unread)
        self._queue.put(partial)
        return None


def _size(partial: Partial) -> int:
    body = partial.body
    return RECORD_BYTES + (len(body) if isinstance(body, bytes) else sum(map(len, body)))


@dataclasses.dataclass(eq=False)
class Request:
    """What the caller asked, and how far it is."""

    parts: list[bytes]
    flags: int  # META or 0
    service: bytes
    priority: int
    timeout: float  # seconds; infinity: none
    since: float  # monotonic
    sink: Sink
    size: int = 0  # bytes of the body
    id: int = 0  # 0: not sent, or not since the broker was busy
    accepted: bool = False  # the broker said that it holds it
    busy: int = 0  # how often the broker refused it
    busy_until: float = math.inf
    logged: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        self.size = sum(map(len, self.parts))

    @property
    def deadline(self) -> float:
        """The time after which nobody waits any more."""
        return self.since + self.timeout


class Requests(End):
    """The open requests of one client.

    Parameters
    ----------
    label : bytes
        Shown to people by the broker.
    waits : bool
        True: a request that the broker is too busy for is sent again later; False: it fails.
    """

    logger = LOGGER
    follows = False

    def __init__(self, label: bytes, waits: bool) -> None:
        self._label = label
        self._waits = waits
        self._unsent: OrderedDict[Request, None] = OrderedDict()
        self._busy: set[Request] = set()
        self._open: OrderedDict[int, Request] = OrderedDict()
        self._again: deque[int] = deque()  # ids to be sent again with RETRY
        self._cancels: deque[int] = deque()  # to be told
        self._cancelled: OrderedDict[int, None] = OrderedDict()  # told, the answer not heard yet
        self._timers: Timers[Request] = Timers()
        self._next_id = 1
        self._eager_bytes = EAGER_BYTES  # left of what may be sent before WELCOME
        self._more = False  # the last turn was full
        self._leave_by = math.inf  # say BYE and finish, at the latest then
        self._said_bye = self._heard_bye = False

    # -- commands, posted by the client -----------------------------------------------------

    def add(self, request: Request) -> None:
        """Open a request."""
        self._unsent[request] = None
        self._arm(request)

    def cancel(self, request: Request) -> None:
        """End a request that nobody waits for any more."""
        if not request.ended:
            self._fail(request, error_for(Code.CANCELLED, "cancelled by its caller"))

    def leave(self) -> None:
        """Say BYE and finish."""
        self._leave_by = time.monotonic() + LEAVE_WITHIN

    # -- the engine's calls: out ------------------------------------------------------------

    def collect(self, link: Link, now: float) -> list[Record]:
        """Return HELLO, CANCELs, requests again, new requests: what this turn sends."""
        self._more = False
        if self._leave_by < math.inf:
            return self._bye(link)
        records = []
        if link.greets(now):
            self._eager_bytes = EAGER_BYTES
            records.append(Record(kind=Kind.HELLO, parts=[self._label]))
        records += [Record(kind=Kind.CANCEL, id=number) for number in self._cancels]
        self._cancels.clear()
        if not link.resting(now):
            self._collect_requests(records, link, now)
        return records

    def _bye(self, link: Link) -> list[Record]:
        """Return BYE, once, and a HEARTBEAT, which is answered (by BYE 0: the session has ended).

        A socket closed with unread input resets its connection, and a reset may overtake what was
        sent: so the answer is waited for.
        """
        if self._said_bye:
            return []
        self._said_bye = link.leaving = True
        return [Record(kind=Kind.BYE, code=GOING_AWAY), Record(kind=Kind.HEARTBEAT)]

    def _collect_requests(self, records: list[Record], link: Link, now: float) -> None:
        budget = TURN_BYTES
        while budget > 0 and link.welcomed and self._again:
            request = self._open.get(self._again.popleft())
            if request is not None and self._fits(request, link.limits):
                records.append(self._record(request, now, RETRY))
                budget -= request.size + RECORD_BYTES
        while budget > 0 and self._unsent and len(self._open) < link.limits.requests_max:
            request = next(iter(self._unsent))
            if not link.welcomed and not self._is_eager(request):
                return
            if self._fits(request, link.limits):
                self._send(request)
                records.append(self._record(request, now, 0))
                budget -= request.size + RECORD_BYTES
        self._more = budget <= 0

    def _is_eager(self, request: Request) -> bool:
        self._eager_bytes -= request.size + RECORD_BYTES
        return self._eager_bytes >= 0

    def _fits(self, request: Request, limits: Limits) -> bool:
        error = excess(request.parts, limits.body_bytes_max, limits.frames_max)
        if error is not None:
            self._fail(request, error_for(Code.INVALID_ARGUMENT, error))
        return error is None

    def _send(self, request: Request) -> None:
        del self._unsent[request]
        request.id = self._next_id
        self._next_id += 1
        self._open[request.id] = request

    def _record(self, request: Request, now: float, flags: int) -> Record:
        timeout_ms = 0
        if request.timeout < math.inf:
            timeout_ms = max(1, math.ceil((request.deadline - now) * 1000))
        return Record(
            kind=Kind.REQUEST,
            id=request.id,
            flags=request.flags | flags,
            parts=request.parts,
            service=request.service,
            timeout_ms=min(timeout_ms, TIMEOUT_MS_MAX),
            priority=request.priority,
        )

    def pending(self) -> bool:
        """Tell whether the last turn left requests that may be sent now."""
        return self._more or bool(self._cancels)

    def done(self) -> int:
        """Return the lowest id that is still open; every one below it is finished."""
        return next(iter(self._open), self._next_id)

    # -- the engine's calls: in -------------------------------------------------------------

    def take(self, link: Link, record: Record, now: float) -> None:
        """Act on what the broker says about one request."""
        if record.kind == Kind.BYE:
            self._heard_bye = self._said_bye
            return
        request = self._open.get(record.id)
        if request is None:
            if record.kind in (Kind.REPLY, Kind.ERROR):
                self._cancelled.pop(record.id, None)
        elif record.kind == Kind.REPLY:
            self._end(request).final(record)
        elif record.kind == Kind.ERROR:
            self._take_error(request, record, now)
        elif record.kind == Kind.PARTIAL:
            error = request.sink.partial(record)
            if error is not None:
                self._fail(request, error)
        elif record.kind == Kind.ACCEPTED:
            request.accepted = True

    def _take_error(self, request: Request, record: Record, now: float) -> None:
        busy = record.code == Code.RESOURCE_EXHAUSTED and self._waits
        # A worker's 14 gives its task back and never comes here: the broker itself is draining.
        draining = record.code == Code.UNAVAILABLE
        if (busy or draining) and not request.sink.started:
            self._put_off(request, record.retry_after_ms / 1000, now)
            return
        error = error_for(record.code, words(record), record.retry_after_ms / 1000)
        self._end(request).fail(error)

    def _put_off(self, request: Request, retry_after: float, now: float) -> None:
        """Ask again later, each time a little later: the broker does not take this request now."""
        backoff = min(BUSY_FIRST * 2**request.busy, BUSY_MAX)
        del self._open[request.id]
        request.id = 0
        request.accepted = False
        request.busy += 1
        request.busy_until = now + jitter(max(retry_after, backoff))
        self._busy.add(request)
        self._arm(request)

    def heard(self) -> None:
        """Need nothing: open requests are kept until they are answered."""

    def welcomed(self, link: Link, now: float) -> None:
        """Send every open request again: the broker may not have them, or not this route."""
        self._again = deque(self._open)
        self._cancels.extend(self._cancelled)
        self._cancelled.clear()
        for request in self._open.values():
            request.accepted = False

    def epoch_changed(self, link: Link, now: float) -> None:
        """Prepare open streams for a new run, with attempts counted anew."""
        for request in self._open.values():
            request.sink.restart()

    # -- the engine's calls: time -----------------------------------------------------------

    def tick(self, link: Link, now: float) -> None:
        """End what is past its deadline; bring refused requests back; log long waits."""
        long: list[Request] = []
        for request in self._timers.pop_due(now):
            if now >= self._expires_at(request):
                why = f"no answer within {request.timeout:g} s: {self._waits_for(request, link)}"
                self._fail(request, error_for(Code.DEADLINE_EXCEEDED, why))
                continue
            if request in self._busy and now >= request.busy_until:
                self._busy.discard(request)
                self._unsent[request] = None
                self._unsent.move_to_end(request, last=False)
            if now >= self._log_at(request):
                request.logged = True
                long.append(request)
            self._arm(request)
        if long:
            self._log_long(long, link, now)

    def next_due(self) -> float:
        """Return the time of the next deadline, return of a refused request or log line."""
        return min(self._timers.next_due(), self._leave_by)

    def next_beat(self, link: Link, beat_at: float) -> float:
        """Ask for a sign of life when the broker has been quiet for a heartbeat."""
        return max(link.heard_at, beat_at) + link.heartbeat

    def finished(self, link: Link, now: float) -> bool:
        """Tell whether BYE has arrived, or has nowhere to go."""
        if self._leave_by == math.inf:
            return False
        return self._heard_bye or not link.up or now >= self._leave_by

    def closed(self, error: PoundError) -> None:
        """Fail whatever is open."""
        for request in [*self._open.values(), *self._busy, *self._unsent]:
            self._end(request).fail(error)

    def _arm(self, request: Request) -> None:
        due = self._expires_at(request)
        if request in self._busy:
            due = min(due, request.busy_until)
        self._timers.arm(request, min(due, self._log_at(request)))

    def _log_at(self, request: Request) -> float:
        told = request.logged or request.timeout < math.inf
        return math.inf if told else request.since + LOG_AFTER

    def _expires_at(self, request: Request) -> float:
        return request.deadline + (GRACE if request.id else 0.0)

    def _log_long(self, long: list[Request], link: Link, now: float) -> None:
        first = long[0]
        log_event(
            LOGGER,
            logging.WARNING,
            "request waiting",
            service=first.service,
            waited=round(now - first.since, 1),
            waits_for=self._waits_for(first, link),
            requests=len(long),
        )

    def _waits_for(self, request: Request, link: Link) -> str:
        """Return what the request waits for, as a sentence for a person."""
        if request in self._busy:
            times = f"it was asked {request.busy} times"
            return f"the broker at {link.endpoint} is busy or draining, {times}"
        if not link.welcomed:
            return f"no broker answers at {link.endpoint}"
        if not request.id:
            return f"the window of {link.limits.requests_max} open requests is full"
        if request.accepted:
            return f"the broker at {link.endpoint} holds the request, no worker has answered it"
        return f"the request was sent to {link.endpoint}, no answer has come"

    # -- ends -------------------------------------------------------------------------------

    def _end(self, request: Request) -> Sink:
        """Take the request out of its place; what is left to do is to tell its sink."""
        request.ended = True
        self._timers.disarm(request)
        self._unsent.pop(request, None)
        self._busy.discard(request)
        self._open.pop(request.id, None)
        return request.sink

    def _fail(self, request: Request, error: RequestError) -> None:
        """End the request on our side and tell the broker so."""
        if request.id:
            self._cancels.append(request.id)
            self._cancelled[request.id] = None
            if len(self._cancelled) > CANCELLED_MAX:
                self._cancelled.popitem(last=False)
        self._end(request).fail(error)
