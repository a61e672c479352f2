"""The dispatcher's rules once more, as plainly as they can be said.

Holds the same services, workers, clients, requests and tasks as ``pound._dispatch.dispatcher``, as
Python objects in lists and dicts. Whatever can be computed is computed when it is asked for (how
much a worker holds, who is eligible, who is next), so that there is no second copy of a fact to go
wrong. Every call scans; none is quick. It was written from the rules, not from the dispatcher's
code: an equal trace of the two is evidence only as long as that stays so.

The calls and their results are those of ``tests.probe.dispatcher.Dispatcher``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .claims import Claims
from .entities import Client, Request, Service, Task, Worker
from .rules import ISOLATED_FROM
from .words import Act, Action, Ans, Code, Mode, Opened, Queue, Ready, Req, State

Due = tuple[int, int]
"""when, and the number it is of"""

PRIORITIES = 10
CLIENTS_RESERVE = 16


class Model(Claims):
    """A plain dispatcher; see ``tests.probe.dispatcher.Dispatcher`` for the calls."""

    # -- what is asked -------------------------------------------------------------------------

    def actions(self) -> list[Action]:
        queued, self.queued = self.queued, []
        return queued

    def counters(self) -> dict[str, int]:
        waiting = [r.bytes for s in self.services.values() for r in s.waiting]
        running = State.RUNNING
        return self.sums | {
            "waiting": len(waiting),
            "running": len([r for r in self.slots.values() if r.state is running]),
            "waiting_bytes": sum(waiting),
            "running_bytes": sum([r.bytes for r in self.slots.values() if r.state is running]),
            "kept": len(self.kept),
            "kept_bytes": sum([r.bytes for r in self.kept]),
            "clients": len(self.clients),
            "workers": len([w for w in self.workers.values() if not w.gone]),
            "services": len(self.services),
            "delayed": len([r for r in self.slots.values() if r.delayed_until is not None]),
        }

    def unsent(self, slot: int, token: int) -> bool:
        task = self.tasks.get(token)
        if task is None or task.sent or task.request is None:
            return False
        return task.request.slot == slot

    # -- services and clients ------------------------------------------------------------------

    def service_open(
        self, lease_ns: int = 0, how: int = Opened.NAMED, now: int = 0, c: int | None = None
    ) -> int | None:
        if self.service_refusal(how, c) != Req.ACCEPTED:
            self.sums["refused"] += how == Opened.NAMED
            return None
        number = self.service_numbers.take()
        assert number is not None
        service = Service(number, lease_ns, how == Opened.PINNED, how == Opened.INTERNAL, now)
        if how == Opened.NAMED and c is not None:
            service.namer = self.clients[c]
        self.services[number] = service
        return number

    def service_refusal(self, how: int, c: int | None = None) -> int:
        most = self.limits.services_max
        known = self.services.values()
        offered = [s for s in known if s.pinned or s.offers]
        if how == Opened.INTERNAL:
            return Req.ACCEPTED
        if how != Opened.NAMED:
            return Req.ACCEPTED if len(offered) < most else Req.MANY_SERVICES
        if len([s for s in known if s not in offered and not s.internal]) >= most:
            return Req.MANY_NAMES
        named = [s for s in known if c is not None and s.namer is self.clients[c]]
        return Req.MANY_OWN_NAMES if len(named) >= max(most // 8, 16) else Req.ACCEPTED

    def service_drop(self, s: int) -> None:
        self._free_service_if_unused(self.services[s])

    def offerable(self, services: Iterable[int]) -> bool:
        offered = {s.number for s in self.services.values() if s.pinned or s.offers}
        more = set(services) - offered
        return not more or len(offered) + len(more) <= self.limits.services_max

    def client_room(self, now: int) -> None:
        self.now = now
        if self._clients_full() and self._graces():
            self.client_close(min(self._graces())[1], now)

    def client_open(self, is_guide: bool = False, reserve: bool = False) -> int | None:
        full = self._clients_full()
        if full and not (reserve and self._reserved() < CLIENTS_RESERVE):
            return None
        number = self.client_numbers.take()
        assert number is not None
        self.clients[number] = Client(number, is_guide, reserve=full)
        return number

    def client_owner(self, c: int, owner: int) -> None:
        self.clients[c].owner = self.owners[owner]

    def _reserved(self) -> int:
        return len([c for c in self.clients.values() if c.reserve])

    def _clients_full(self) -> bool:
        return len(self.clients) - self._reserved() >= self.limits.clients_max

    def client_done(self, c: int, done: int) -> None:
        client = self.clients[c]
        if done <= client.done:
            return
        before, client.done = client.done, done
        covered = [r for r in client.requests if before <= r.id < done]
        if done - before <= len(client.requests):
            covered.sort(key=lambda r: r.id)
        for request in covered:
            if not request.open:
                self._forget(request)

    def client_lost(self, c: int, grace_ns: int, now: int) -> None:
        self.clients[c].grace_due = now + grace_ns

    def client_back(self, c: int) -> None:
        self.clients[c].grace_due = None

    def client_close(self, c: int, now: int) -> None:
        self.now = now
        client = self.clients[c]
        for request in list(client.requests):
            if request.open:
                self.sums["cancelled"] += 1
                self._part(request)
                self._leave_queue(request)
                request.state = State.KEPT  # nobody is to get an answer
            self._forget(request)
        del self.clients[c]
        self.client_numbers.back.append(c)
        self._act(Act.CLIENT_FREE, peer=c)
        self._settle()

    # -- requests ------------------------------------------------------------------------------

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
    ) -> tuple[int, int | None]:
        self.now = now
        client, service = self.clients[c], self.services[s]
        result, known = self._known(client, id)
        if result is None and not internal:
            result = self._refusal(client, service, size, hold_ns > 0)
            self.sums["refused"] += result is not None
        if result is not None:
            self._free_service_if_unused(service)
            return result, known
        slot = self.slot_numbers.take()
        assert slot is not None
        deadline = now + timeout_ns if timeout_ns else None
        request = Request(slot, client, id, service, priority, self.seq, size, deadline)
        request.rank = self.seq
        self.seq += 1
        self.slots[slot] = request
        client.highest = max(client.highest, id)
        client.requests.append(request)
        service.requests += 1
        self.sums["accepted"] += 1
        if internal:
            self._answered(request, "answered")
        else:
            for quota, bucket in self._buckets(client.owner, service):
                bucket.leak(now)
                bucket.level += quota.interval_ns
            self._wait(request, Queue.DELAYED if hold_ns else Queue.FRESH)
            if hold_ns:
                self.held_until = max(self.held_until + 1, now + hold_ns)
                request.delayed_until, request.held_back = self.held_until, True
            self.to_match.add(service)
            self._settle()
        return Req.ACCEPTED, slot

    def _known(self, client: Client, id: int) -> tuple[Req | None, int | None]:
        if client.is_guide or id > client.highest:
            return None, None
        for request in client.requests:
            if request.id == id:
                if request.open:
                    return Req.HELD, request.slot
                if request.state is State.ANSWERED:
                    return Req.ANSWERED, request.slot
                self.kept.remove(request)
                request.state = State.ANSWERED
                return Req.KEPT, request.slot
        return (Req.STALE, None) if id < client.done else (None, None)

    def _refusal(self, client: Client, service: Service, size: int, held: bool) -> Req | None:
        limits = self.limits
        refused = self._own_refusal(client, service, size)
        if refused is not None:
            return refused
        if service.offers == 0:
            refused = self._workerless_refusal(client, size, held)
            if refused is not None:
                return refused
        refused = self._bytes_refusal(client, size)
        if refused is not None or (self._eligible(service) and not held):
            return refused
        window = limits.foreign_window if client.is_guide else limits.requests_max
        if len(service.waiting) >= window // 4 and self._window_full(client):
            return Req.BUSY_WINDOW
        waits = sum(len(s.waiting) for s in self.services.values())
        if waits >= limits.waiting_max:
            return Req.BUSY
        if limits.waiting_max >= limits.shares_from and client.open >= 7 * (
            limits.waiting_max - waits
        ):
            return Req.BUSY_SHARE
        waiting = [r.bytes for r in service.waiting]
        if len(waiting) >= limits.service_waiting_max:
            return Req.BUSY_SERVICE
        if sum(waiting) + size > limits.service_waiting_bytes_max:
            return Req.BUSY_SERVICE
        return None

    def _own_refusal(self, client: Client, service: Service, size: int) -> Req | None:
        """What a client is refused for, whatever others do."""
        limits = self.limits
        if client.reserve and not self._clients_full():
            client.reserve = False
        if client.reserve:
            return Req.BUSY_CLIENTS
        if client.open >= (limits.foreign_window if client.is_guide else limits.requests_max):
            return Req.BUSY_SESSION
        refused = self._quota_refusal(client.owner, service, size)
        self.sums["refused_quota"] += refused is not None
        return refused

    def _window_full(self, client: Client) -> bool:
        """The last quarter of a client's window is begun: it is for services with little to do."""
        window = self.limits.requests_max
        shared = window >= self.limits.shares_from and not client.is_guide
        return shared and client.open >= window - window // 4

    def _workerless_refusal(self, client: Client, size: int, held: bool) -> Req | None:
        """A request for a service without workers, which must leave room for those with some."""
        limits = self.limits
        if limits.unknown_reject and not held:
            return Req.NO_SERVICE
        if self._window_full(client):
            return Req.BUSY_WINDOW
        waits = [r.bytes for s in self.services.values() if not s.offers for r in s.waiting]
        most, most_bytes = limits.waiting_max, limits.waiting_bytes_max
        if most >= limits.shares_from and len(waits) >= most // 2:
            return Req.BUSY_WORKERLESS
        shared = most_bytes >> 14 >= limits.shares_from
        if shared and waits and sum(waits) + size > most_bytes // 2:
            return Req.BUSY_WORKERLESS
        return None

    def _bytes_refusal(self, client: Client, size: int) -> Req | None:
        if self.memory_full:
            return Req.BUSY_MEMORY
        most = self.limits.waiting_bytes_max
        opened = [r for r in self.slots.values() if r.open]
        total = sum([r.bytes for r in opened]) + size
        if opened and total > most:
            return Req.BUSY_BYTES
        mine = [r.bytes for r in opened if r.client is client]
        shared = most >> 14 >= self.limits.shares_from
        if shared and mine and sum(mine) + size > 7 * (most - total):
            return Req.BUSY_SHARE
        return None

    def cancel(self, c: int, id: int, now: int) -> bool:
        self.now = now
        client = self.clients[c]
        for request in client.requests:
            if request.id == id and request.open and not client.is_guide:
                self._end(request, "cancelled", Code.CANCELLED)
                self._settle()
                return True
        return False

    def delivered(self, slot: int) -> None:
        request = self.slots[slot]
        request.state = State.KEPT
        self.kept.append(request)
        if request.client.is_guide or request.id < request.client.done:
            self._forget(request)
        self.evict(self.limits.answers_bytes_max)

    def evict(self, size: int) -> None:
        while sum(r.bytes for r in self.kept) > size:
            self.sums["answers_evicted"] += 1
            self._forget(self.kept[0])

    def full(self, full: bool) -> None:
        self.memory_full = full

    def undeliverable(self, slot: int) -> None:
        self._forget(self.slots[slot])

    def answer_bytes(self, slot: int, size: int) -> None:
        self.slots[slot].bytes = size

    # -- workers -------------------------------------------------------------------------------

    def worker_open(self, mode: int, liveness_ns: int, notified: bool, live: int) -> int | None:
        if len([w for w in self.workers.values() if not w.gone]) >= self.limits.workers_max:
            return None
        number = self.worker_numbers.take()
        assert number is not None
        self.sent_seq += 1
        self.workers[number] = Worker(number, mode, liveness_ns, notified, live, self.sent_seq)
        return number

    def worker_ready(
        self,
        w: int,
        capacity: int,
        services: Iterable[int],
        tokens: Iterable[int],
        how: int,
        now: int,
        live: int,
    ) -> None:
        self.now = now
        worker = self.workers[w]
        worker.gone = worker.leaving = False
        tokens = list(tokens)
        if how == Ready.SAME_ROUTE:
            for token in tokens:
                listed = self.tasks.get(token)
                if not self._goes_on(listed, worker):
                    self._act(Act.CANCEL, peer=w, token=token)
            for task in list(worker.tasks):
                task.holds = not task.answered
                if task.claimed and task.token not in tokens:
                    self._kill(task)
        elif how == Ready.NEW_ROUTE:
            self._new_route(worker, tokens)
        else:
            self._new_life(worker)
        self._offer(worker, [self.services[s] for s in dict.fromkeys(services)])
        self._unblock(worker)
        worker.capacity, worker.next_offer, worker.heard = capacity, 0, live
        if worker.mode != Mode.NEVER:
            worker.liveness_due = now + worker.liveness_ns
        self.to_serve.add(worker)
        self._settle()

    @staticmethod
    def _goes_on(task: Task | None, worker: Worker) -> bool:
        """Whether somebody may still want what a worker says it works on."""
        if task is None or task.worker is not worker or not task.sent:
            return False
        return task.claimed or task.request is not None

    def _new_route(self, worker: Worker, tokens: list[int]) -> None:
        for token in tokens:
            task = self.tasks.get(token)
            if task is None or not self._goes_on(task, worker):
                self._act(Act.CANCEL, peer=worker.number, token=token)
            elif task.request is not None and task.request.state is State.WAITING:
                self._readopt(task, task.request)
        for task in list(worker.tasks):
            if not task.sent:
                self._undo(task)
            elif task.token not in tokens:
                self._take_back(task)

    def _readopt(self, task: Task, request: Request) -> None:
        self._leave_queue(request)
        request.state = State.RUNNING
        task.holds = not task.answered
        self._start_lease(task)

    def _new_life(self, worker: Worker) -> None:
        for task in list(worker.tasks):
            request = task.request
            if not task.sent:
                self._undo(task)
                continue
            self._kill(task)
            if request is not None:
                request.task = None
                if request.state is State.RUNNING:
                    self._lost(request)

    def _offer(self, worker: Worker, offers: list[Service]) -> None:
        before, worker.offers = worker.offers, offers
        for service in offers:
            service.namer = None
            service.offers += 1
            service.wait_due = None
        if worker.reserved_for is not None and worker.reserved_for not in offers:
            self._unreserve(worker.reserved_for)
        for service in before:
            self._withdraw(service)

    def _withdraw(self, service: Service) -> None:
        service.offers -= 1
        if service.offers == 0:
            service.workerless_since = self.now
            self._watch(service)
        self._free_service_if_unused(service)

    def heard(self, w: int, now: int, live: int) -> None:
        self.now = now
        self._hear(self.workers[w], live)
        self._settle()

    def _hear(self, worker: Worker, live: int) -> None:
        worker.heard = live
        self._unblock(worker)

    def _unblock(self, worker: Worker) -> None:
        if worker.blocked:
            worker.blocked, worker.blocked_until = False, None
            self.to_serve.add(worker)

    def blocked(self, w: int, now: int) -> None:
        self.now = now
        worker = self.workers[w]
        if worker.gone:
            return
        self._undo_unsent(worker)
        worker.blocked, worker.blocked_until = True, now + self.limits.block_ns
        self._settle()

    def worker_leave(self, w: int, now: int) -> None:
        self.now = now
        worker = self.workers[w]
        if worker.gone:
            return
        worker.leaving = True
        self._undo_unsent(worker)
        if worker.reserved_for is not None:
            self._unreserve(worker.reserved_for)
        self._settle()

    def worker_gone(self, w: int, now: int) -> None:
        self.now = now
        if not self.workers[w].gone:
            self._gone(self.workers[w])
            self._settle()

    def worker_void(self, w: int, now: int) -> None:
        self.now = now
        worker = self.workers[w]
        if not worker.gone:
            self._gone(worker)
        for task in list(worker.tasks):
            assert task.request is not None
            task.request.task = None
            self._kill(task)
        self._settle()

    def _gone(self, worker: Worker) -> None:
        for task in list(worker.tasks):
            request = task.request
            if not task.sent:
                self._undo(task)
            elif request is None:
                self._kill(task)
            elif request.state is State.RUNNING and request.attempts >= self.attempts_max:
                self._kill(task)
                request.task = None
                self._lost(request)
            else:
                task.holds, task.lease_due = False, None
                if request.state is State.RUNNING:
                    self._lost(request)
        worker.gone, worker.blocked = True, False
        worker.blocked_until = worker.liveness_due = None
        if worker.reserved_for is not None:
            self._unreserve(worker.reserved_for)
        before, worker.offers = worker.offers, []
        for service in before:
            self._withdraw(service)
        self._free_worker_if_over(worker)

    # -- tasks ---------------------------------------------------------------------------------

    def sent(self, slot: int, token: int, now: int) -> bool:
        task = self.tasks.get(token)
        if task is None or task.sent or task.request is None or task.request.slot != slot:
            return False
        self.now = now
        task.sent = True
        task.request.attempts += 1
        self._start_lease(task)
        return True

    def partial(self, w: int, token: int) -> int | None:
        task = self.tasks.get(token)
        mine = task is not None and task.worker is self.workers[w] and task.sent
        if task is None or not mine or task.request is None:
            self.sums["partials_late"] += 1
            return None
        return task.request.slot

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
    ) -> tuple[int, int | None]:
        self.now = now
        worker = self.workers[w]
        self._hear(worker, live)
        task = self.tasks.get(token)
        able = self._able(task.request) if elsewhere and task and task.request else []
        others = [other for other in able if other is not worker]
        result = self._judge(worker, task, code, size)
        slot = result[1]
        if result[0] == Ans.RELEASED and slot is not None:
            request = self.slots[slot]
            if others:
                self._dispatch(request, others[0])
            elif delay_ns > 0:
                self._delay(request, now + delay_ns)
        self._settle()
        return result

    def _judge(
        self, worker: Worker, task: Task | None, code: int, size: int
    ) -> tuple[int, int | None]:
        if task is None or task.worker is not worker or not task.sent or task.claimed:
            self.sums["answers_late"] += 1
            return Ans.DEAD, None
        request = task.request
        if request is None:
            self._kill(task)
            self.sums["answers_dropped"] += 1
            return Ans.DROPPED, None
        if code == Code.UNAVAILABLE:
            self.sums["released"] += 1
            self._take_back(task)
            return Ans.RELEASED, request.slot
        self._kill(task)
        request.task = None
        self._leave_queue(request)
        self._answered(request, "answered")
        request.bytes = size
        return Ans.COUNTED, request.slot

    def _able(self, request: Request) -> list[Worker]:
        """Who can take a request that is about to be given back: idle ones first, or they alone."""
        idle = self._eligible(request.service, idle=True)
        if request.attempts - 1 >= ISOLATED_FROM:
            return idle
        return idle + self._eligible(request.service, idle=False)

    def _delay_over(self, slot: int) -> None:
        request = self.slots[slot]
        request.delayed_until = None
        if request.held_back:
            request.held_back = False
            request.rank = self.seq
            self.seq += 1
            request.service.waiting.remove(request)
            self._wait(request, Queue.FRESH)
        else:
            isolated = request.attempts >= ISOLATED_FROM
            request.queue = Queue.ISOLATED if isolated else Queue.RETURNED
            request.since = self.now
        self._watch(request.service)
        self.to_match.add(request.service)

    # -- time ----------------------------------------------------------------------------------

    def tick(self, now: int, live: int) -> int | None:
        self.now = now
        self._fire(self._deadlines, self._expire)
        self._fire(self._leases, self._lease_over)
        self._fire(self._delays, self._delay_over)
        self._fire(self._blocks, lambda w: self._unblock(self.workers[w]))
        self._fire(self._graces, lambda c: self.client_close(c, now))
        self._fire(self._waits, self._wait_over)
        self._fire(self._liveness, lambda w: self._look(self.workers[w], live))
        dues = self._deadlines() + self._leases() + self._delays() + self._blocks()
        dues += self._graces() + self._waits() + self._liveness()
        return min((due for due, _ in dues), default=None)

    def _fire(self, armed: Callable[[], list[Due]], event: Callable[[int], None]) -> None:
        while True:
            due = [timer for timer in armed() if timer[0] <= self.now]
            if not due:
                return
            event(min(due)[1])
            self._settle()

    def _deadlines(self) -> list[Due]:
        return [(r.deadline, r.slot) for r in self.slots.values() if r.deadline is not None]

    def _leases(self) -> list[Due]:
        return [
            (t.lease_due, t.request.slot)
            for t in self.tasks.values()
            if t.lease_due is not None and t.request is not None
        ]

    def _delays(self) -> list[Due]:
        slots = self.slots.values()
        return [(r.delayed_until, r.slot) for r in slots if r.delayed_until is not None]

    def _blocks(self) -> list[Due]:
        workers = self.workers.values()
        return [(w.blocked_until, w.number) for w in workers if w.blocked_until is not None]

    def _graces(self) -> list[Due]:
        return [(c.grace_due, c.number) for c in self.clients.values() if c.grace_due is not None]

    def _waits(self) -> list[Due]:
        return [(s.wait_due, s.number) for s in self.services.values() if s.wait_due is not None]

    def _liveness(self) -> list[Due]:
        workers = self.workers.values()
        return [(w.liveness_due, w.number) for w in workers if w.liveness_due is not None]

    def _expire(self, slot: int) -> None:
        request = self.slots[slot]
        held = request.task if request.state is State.RUNNING else None
        holder = None if held is None else held.worker.number
        self._end(request, "expired", Code.DEADLINE_EXCEEDED, holder)

    def _lease_over(self, slot: int) -> None:
        request = self.slots[slot]
        assert request.task is not None
        request.task.lease_due = None
        self._lost(request)

    def _wait_over(self, number: int) -> None:
        service = self.services[number]
        service.wait_due = None
        line: list[Request] = []
        for priority in reversed(range(PRIORITIES)):
            line += service.queue(Queue.RETURNED, priority)
            for owner in service.turns[priority].line:
                line += service.fresh_of(owner, priority)
        for request in line + service.queue(Queue.ISOLATED):
            if self._waits_until(request) <= self.now:
                self._end(request, "failed", Code.NOT_FOUND)
        if service.ready:
            service.wait_due = min(self._waits_until(r) for r in service.ready)

    def _waits_until(self, request: Request) -> int:
        since = max(request.since, request.service.workerless_since)
        return since + self.limits.service_wait_ns

    def _look(self, worker: Worker, live: int) -> None:
        worker.liveness_due = None
        if worker.mode == Mode.IDLE and worker.held:
            return
        if worker.heard + worker.liveness_ns > live:
            worker.liveness_due = self.now + worker.heard + worker.liveness_ns - live
            return
        self.sums["expired_workers"] += 1
        self._act(Act.WORKER_GONE, peer=worker.number)
        self._gone(worker)
