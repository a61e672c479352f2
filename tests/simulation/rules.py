"""What the calls of the model have in common: tasks, queues, matching.

Everything that a rule of the dispatcher needs is computed when it is asked for; see model.py.
"""

from __future__ import annotations

from collections import defaultdict

from .entities import Client, Numbers, Owner, Request, Service, Task, Worker
from .words import Act, Action, Code, Limits, Mode, Queue, State

TOKENS = 1 << 64
LOWER_FIRST_EVERY = 16
ISOLATED_FROM = 2

SUMS = (
    "accepted", "answered", "failed", "cancelled", "expired", "refused", "refused_quota", "losses",
    "released",
    "redelivered", "answers_late", "answers_dropped", "answers_evicted", "partials_late",
    "expired_workers", "adopted",
)  # fmt: skip


class Rules:
    """The state of a plain dispatcher, and the steps of which its calls are made."""

    def __init__(self, limits: Limits, token_seed: int = 0) -> None:
        self.limits = limits
        self.attempts_max = min(max(limits.attempts_max, 1), 255)
        self.token = token_seed
        self.now = 0
        self.memory_full = False
        self.seq = 0
        self.held_until = 0
        self.sent_seq = 0
        self.services: dict[int, Service] = {}
        self.workers: dict[int, Worker] = {}
        self.clients: dict[int, Client] = {}
        self.owners: dict[int, Owner] = defaultdict(Owner)  # identities
        self.slots: dict[int, Request] = {}
        self.tasks: dict[int, Task] = {}
        self.kept: list[Request] = []  # oldest first
        self.service_numbers = Numbers()
        self.worker_numbers = Numbers()
        self.client_numbers = Numbers()
        self.slot_numbers = Numbers()
        self.sums = dict.fromkeys(SUMS, 0)
        self.queued: list[Action] = []
        self.to_match: set[Service] = set()
        self.to_serve: set[Worker] = set()

    def _act(
        self,
        kind: Act,
        code: int = 0,
        slot: int | None = None,
        peer: int | None = None,
        token: int = 0,
    ) -> None:
        self.queued.append((int(kind), int(code), slot, peer, token))

    # -- tasks -----------------------------------------------------------------------------------

    def _delay(self, request: Request, until: int) -> None:
        """A request that was given back waits beside the queues for a while."""
        request.queue, request.delayed_until = Queue.DELAYED, until
        self._ready_left(request.service)

    def _start_lease(self, task: Task) -> None:
        assert task.request is not None
        lease_ns = task.request.service.lease_ns
        task.lease_due = self.now + lease_ns if lease_ns else None

    def _kill(self, task: Task) -> None:
        """The token is dead and the credit back; the request, if any, is the caller's."""
        del self.tasks[task.token]
        worker = task.worker
        worker.tasks.remove(task)
        if worker.gone:
            self._free_worker_if_over(worker)
            return
        self._held_less(worker)

    def _held_less(self, worker: Worker) -> None:
        """It may hold less than before, and can take more; once idle, it can expire."""
        self.to_serve.add(worker)
        if worker.held == 0 and worker.mode == Mode.IDLE and worker.liveness_due is None:
            worker.liveness_due = self.now

    def _undo(self, task: Task) -> None:
        """A task that never reached the socket: as if it had not been made."""
        request = task.request
        assert request is not None
        self._kill(task)
        request.task = None
        self._return(request)

    def _undo_unsent(self, worker: Worker) -> None:
        for task in list(worker.tasks):
            if not task.sent:
                self._undo(task)

    def _take_back(self, task: Task) -> None:
        """A sent task that its worker does not work on: the attempt is not counted."""
        request = task.request
        self._kill(task)
        if request is None:
            return
        request.task = None
        request.attempts -= 1
        if request.state is State.RUNNING:
            self._return(request)
        elif request.queue is Queue.ISOLATED and request.attempts < ISOLATED_FROM:
            request.queue = Queue.RETURNED
            self._isolated_left(request.service)
            self.to_match.add(request.service)

    def _part(self, request: Request) -> None:
        """A request ends: what it has running counts for who asked until it ends, too."""
        task = request.task
        self._leave_task(request, notify=True)
        if task is not None and task.token in self.tasks:
            task.charged = request.client.owner, request.service

    def _leave_task(self, request: Request, notify: bool) -> None:
        """What becomes of a task whose request ended, or is sent to another worker."""
        task, request.task = request.task, None
        if task is None:
            return
        if not task.sent or task.worker.gone:
            self._kill(task)
            return
        task.request, task.lease_due = None, None
        if notify and task.worker.notified:
            self._act(Act.CANCEL, peer=task.worker.number, token=task.token)

    def _lost(self, request: Request) -> None:
        self.sums["losses"] += 1
        if request.attempts >= self.attempts_max:
            self._end(request, "failed", Code.ABORTED)
        else:
            self._return(request)

    # -- what becomes of a request ---------------------------------------------------------------

    def _wait(self, request: Request, queue: Queue) -> None:
        request.state, request.queue, request.since = State.WAITING, queue, self.now
        request.service.waiting.append(request)
        if queue is Queue.FRESH:
            line = request.service.turns[request.priority].line
            if request.client.owner not in line:
                line.append(request.client.owner)
        self._watch(request.service)

    def _return(self, request: Request) -> None:
        isolated = request.attempts >= ISOLATED_FROM
        self._wait(request, Queue.ISOLATED if isolated else Queue.RETURNED)
        self.to_match.add(request.service)

    def _leave_queue(self, request: Request) -> None:
        service = request.service
        if request.state is State.WAITING:
            service.waiting.remove(request)
            if request.queue is Queue.FRESH:
                self._fresh_left(service, request)
            request.delayed_until, request.held_back = None, False
            self._ready_left(service)

    def _fresh_left(self, service: Service, request: Request) -> None:
        """An owner with nothing fresh leaves the line, and the rest of its turn is forfeited."""
        owner, turns = request.client.owner, service.turns[request.priority]
        if service.fresh_of(owner, request.priority):
            return
        if owner is turns.line[0]:
            turns.served = 0
        turns.line.remove(owner)

    def _ready_left(self, service: Service) -> None:
        if not service.ready:
            service.wait_due = None
        self._isolated_left(service)

    def _end(self, request: Request, counter: str, code: Code, holder: int | None = None) -> None:
        self._part(request)
        self._leave_queue(request)
        self._answered(request, counter)
        self._act(Act.FAIL, code, slot=request.slot, peer=holder)

    def _answered(self, request: Request, counter: str) -> None:
        self.sums[counter] += 1
        request.state, request.deadline, request.bytes = State.ANSWERED, None, 0

    def _forget(self, request: Request) -> None:
        """An ended request is freed: its answer was dropped if nobody has seen it."""
        if request.state is State.ANSWERED:
            self.sums["answers_dropped"] += 1
        if request in self.kept:
            self.kept.remove(request)
        request.client.requests.remove(request)
        request.service.requests -= 1
        del self.slots[request.slot]
        self.slot_numbers.back.append(request.slot)
        self._act(Act.FREE, slot=request.slot)
        self._free_service_if_unused(request.service)

    def _free_service_if_unused(self, service: Service) -> None:
        if service.pinned or service.requests or service.offers:
            return
        del self.services[service.number]
        self.service_numbers.back.append(service.number)
        self._act(Act.SERVICE_FREE, peer=service.number)

    def _free_worker_if_over(self, worker: Worker) -> None:
        if worker.gone and not worker.tasks:
            del self.workers[worker.number]
            self.worker_numbers.back.append(worker.number)
            self._act(Act.WORKER_FREE, peer=worker.number)

    # -- dispatch ------------------------------------------------------------------------------

    def _eligible(self, service: Service, idle: bool | None = None) -> list[Worker]:
        """Who may be sent a task of this service; of some, who was sent one longest ago first."""
        found = [
            w
            for w in self.workers.values()
            if service in w.offers and w.eligible and idle in (None, w.held == 0)
        ]
        return sorted(found, key=lambda w: w.sent_seq)

    def _chosen(self, service: Service) -> Worker | None:
        """An idle worker if there is one; else, of the first two busy ones, who holds less."""
        idle = self._eligible(service, idle=True)
        if idle:
            return idle[0]
        return min(self._eligible(service)[:2], key=lambda w: w.held, default=None)

    def _next(self, service: Service) -> Request:
        """The next of those that wait and are not isolated; there is one."""
        line = [r for r in service.ready if r.queue is not Queue.ISOLATED]
        *lower, priority = sorted({r.priority for r in line})
        if lower and service.dispatches % LOWER_FIRST_EVERY == LOWER_FIRST_EVERY - 1:
            priority = next((p for p in lower if p > service.turn), lower[0])
            service.turn = priority
        returned = service.queue(Queue.RETURNED, priority)
        return returned[0] if returned else self._next_fresh(service, priority)

    def _next_fresh(self, service: Service, priority: int) -> Request:
        """The next of the owner whose turn it is; after the last of its turn it goes to the end."""
        turns = service.turns[priority]
        owner = turns.line[0]
        turns.served += 1
        if turns.served >= owner.weight:
            turns.line.append(turns.line.pop(0))
            turns.served = 0
        return service.fresh_of(owner, priority)[0]

    def _match(self, service: Service) -> None:
        while True:
            isolated = service.queue(Queue.ISOLATED)
            if isolated:
                idle = self._eligible(service, idle=True)
                if idle:
                    self._dispatch(isolated[0], idle[0])
                    continue
                busy = self._eligible(service, idle=False)
                if busy and service.reserved is None:
                    service.reserved, busy[0].reserved_for = busy[0], service
            worker = self._chosen(service)
            if worker is None or len(service.ready) == len(isolated):
                return
            self._dispatch(self._next(service), worker)

    def _dispatch(self, request: Request, worker: Worker) -> None:
        service = request.service
        self._leave_task(request, notify=True)
        self._leave_queue(request)
        request.state = State.RUNNING
        task = Task(self.token, worker, request, isolated=request.attempts >= ISOLATED_FROM)
        self.token = (self.token + 1) % TOKENS
        self.tasks[task.token] = request.task = task
        worker.tasks.append(task)
        self.sent_seq += 1
        worker.sent_seq = self.sent_seq
        worker.next_offer = worker.offers.index(service) + 1
        service.dispatches += not task.isolated
        self.sums["redelivered"] += request.attempts >= 1
        self._act(Act.TASK, request.attempts + 1, request.slot, worker.number, task.token)

    def _serve(self, worker: Worker) -> None:
        if worker.reserved_for is not None and worker.held == 0:
            service, worker.reserved_for = worker.reserved_for, None
            service.reserved = None
            self._match(service)
        while worker.eligible:
            service_or_none = self._first_offer_with_work(worker)
            if service_or_none is None:
                return
            self._match(service_or_none)

    def _first_offer_with_work(self, worker: Worker) -> Service | None:
        count = len(worker.offers)
        for turn in range(count):
            service = worker.offers[(worker.next_offer + turn) % count]
            isolated = len(service.queue(Queue.ISOLATED))
            takes_isolated = worker.held == 0 or service.reserved is None
            if len(service.ready) > isolated or (isolated and takes_isolated):
                return service
        return None

    def _unreserve(self, service: Service) -> None:
        worker, service.reserved = service.reserved, None
        if worker is not None:
            worker.reserved_for = None
            self.to_serve.add(worker)
            if service.queue(Queue.ISOLATED):
                self.to_match.add(service)

    def _isolated_left(self, service: Service) -> None:
        if service.reserved is not None and not service.queue(Queue.ISOLATED):
            self._unreserve(service)

    def _settle(self) -> None:
        """Match whatever the call made matchable: services first, by number, then workers."""
        while self.to_match or self.to_serve:
            if self.to_match:
                service = min(self.to_match, key=lambda s: s.number)
                self.to_match.remove(service)
                if self.services.get(service.number) is service:
                    self._match(service)
            else:
                worker = min(self.to_serve, key=lambda w: w.number)
                self.to_serve.remove(worker)
                if not worker.gone:
                    self._serve(worker)

    def _watch(self, service: Service) -> None:
        """Start a service's wait if it has work, no worker, and is not yet watched."""
        wanted = self.limits.service_wait_ns and service.ready and not service.offers
        if wanted and service.wait_due is None:
            service.wait_due = self.now + self.limits.service_wait_ns
