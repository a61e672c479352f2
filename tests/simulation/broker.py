"""One life of the broker: a thin stand-in for the core around a ``Pair``, without bytes.

A *seat* is what the core keeps of a session: the dispatcher's number for it, its routes in the
order in which they were first seen, and what is to be sent to it. A turn: the monitor's news, what
the links bring, the tick, the flush. Only what the dispatcher can see is played as by the core.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

from .adoption import Adoption
from .books import must
from .network import MS, SECOND, Link, Network, Record, Sent
from .pair import Pair
from .peers import MALFORMED, MDP, PND, Client, Rates, Worker, World
from .words import Act, Action, Ans, Code, Limits, Mode, Opened, Ready, Req

HEARTBEAT_NS = SECOND
RETRY_NS = 5 * MS


class Seat:
    """A session of a client or a worker."""

    def __init__(self, number: int, link: Link) -> None:
        self.number = number
        self.routes = [link]  # living ones, first seen first
        self.lost = False


class ClientSeat(Seat):
    def __init__(
        self, number: int, link: Link, is_guide: bool, grace_ns: int, opened_at: int
    ) -> None:
        super().__init__(number, link)
        self.is_guide = is_guide
        self.grace_ns = grace_ns
        self.opened_at = opened_at
        self.next_id = 0
        self.answers: deque[int] = deque()  # slots that are to be delivered
        self.retry_at = 0


class WorkerSeat(Seat):
    def __init__(self, number: int, link: Link, worker: Worker) -> None:
        super().__init__(number, link)
        self.worker = worker
        self.ready_on: Link | None = None  # the route that tasks go to
        self.out: deque[Record] = deque()


class Broker(Adoption):
    """See the module; ``turn`` is all that the simulation calls."""

    def __init__(self, world: World, pair: Pair, limits: Limits, leases: dict[str, int]) -> None:
        self.world = world
        self.rng = world.rng
        self.rates: Rates = world.rates
        self.network: Network = world.network
        self.pair = pair
        self.limits = limits
        self.leases = leases
        self.grace_ns = self.rng.choice((0, 500 * MS, 3 * SECOND))
        self.undelivered_max = self.rng.choice((3, 200))
        self.live = self.last_turn = world.now
        self.services: dict[str, int] = {}
        self.seats: dict[Any, Seat] = {}  # by session: a PND peer, or a Guide peer's route
        self.clients: dict[int, ClientSeat] = {}
        self.workers: dict[int, WorkerSeat] = {}
        self.slots: dict[int, tuple[ClientSeat, int]] = {}  # whose, and its id for that client
        self.tokens: deque[tuple[int, int, Worker]] = deque(maxlen=50)
        self.to_flush: dict[int, WorkerSeat] = {}
        self.pinned = 0
        self.owners_rng: Random = world.owners_rng
        self.begin_adoption()
        self._set_owners(0.7)
        for name in [n for n in leases if self.rng.random() < 0.3]:
            number = self._open_service(name, Opened.PINNED)
            self.pinned += number is not None
            if number is not None and self.owners_rng.random() < 0.5:
                self.call("service_quota", number, *self._drawn_quota())

    def call(self, name: str, *values: Any) -> Any:
        result, actions = self.pair(name, *values)
        self._act_on(actions)
        return result

    # -- a turn ----------------------------------------------------------------------------------

    def turn(self) -> int | None:
        gap, self.last_turn = self.now - self.last_turn, self.now
        self.live += min(gap, HEARTBEAT_NS)
        for link in self.network.closed_links():
            self._drain(link)
            self._closed(link)
        few = self.rng.choice((1, 4, 1000)) if gap <= HEARTBEAT_NS else 1 << 30
        self._read_some(few)
        self._budget()
        due: int | None = self.call("tick", self.now, self.live)
        self.claim_unasked()
        self._flush()
        self._speak_late()
        self._set_owners(0.01)
        self._void_some()
        self.adopt_late()
        return due

    def _set_owners(self, chance: float) -> None:
        """The file of keys was read: some identities have other limits."""
        for owner in self.world.identities:
            if owner is not None and self.owners_rng.random() < chance:
                weight = self.owners_rng.choice((0, 1, 1, 2, 3, 7))
                self.call("owner_set", owner, weight, *self._drawn_quota(), self.now)

    def _void_some(self) -> None:
        """The file of keys was read: some workers have no right to be one, for now."""
        for seat in list(self.workers.values()):
            if self.owners_rng.random() < (0.05 if seat.lost else 0.002):
                seat.lost = True
                seat.out.clear()
                self.call("worker_void", seat.number, self.now)

    def _drawn_quota(self) -> tuple[int, int, int, int]:
        """What an owner may have open, and ask; 0: no limit."""
        rng, pace = self.owners_rng, self.world.pace_ns
        open_max = rng.choice((0, 0, 0, 3, 10))
        bytes_max = rng.choice((0, 0, 0, 500, 3000))
        interval = rng.choice((0, 0, 0, 1, 5 * pace, 20 * pace, 300 * pace))
        return open_max, bytes_max, interval, interval * rng.choice((0, 1, 5))

    def _budget(self) -> None:
        """As _broker/budget.pyx, once a turn; of what is held it knows only the requests' part."""
        most = self.world.memory_max - self.world.memory_max // 4
        held, kept = self._held()
        if held > most and kept:
            self.call("evict", kept - min(kept, held - most))
            held, _ = self._held()
        self.call("full", held > most)

    def _held(self) -> tuple[int, int]:
        counters = self.pair.real.counters()
        kept = counters["kept_bytes"]
        undelivered = sum([self.pair.ledger.asked[slot].size for slot in self._undelivered()])
        return counters["waiting_bytes"] + counters["running_bytes"] + kept + undelivered, kept

    def _undelivered(self) -> list[int]:
        return [slot for seat in self.clients.values() for slot in seat.answers]

    def _speak_late(self) -> None:
        """News of a worker that the dispatcher knows to be gone, and of a task that is over."""
        if self.rng.random() < 0.05:
            for seat in [seat for seat in self.workers.values() if seat.lost]:
                name = self.rng.choice(("blocked", "worker_leave", "worker_gone"))
                self.call(name, seat.number, self.now)
            if self.tokens:
                slot, token, _ = self.rng.choice(self.tokens)
                self.call("sent", slot, token, self.now)

    def _read_some(self, most: int) -> None:
        links = self.network.readable()
        while links and most > 0:
            for link in links:
                self._read_one(link)
                most -= 1
            links = self.network.readable()

    def _read_one(self, link: Link) -> bool:
        """Take the next well-formed message of a link; malformed ones are dropped on the way."""
        message = self.network.receive_up(link)
        while message == MALFORMED:
            message = self.network.receive_up(link)
        for kind, *values in message or ():
            getattr(self, f"_on_{kind}")(link, *values)
        return message is not None

    def _drain(self, link: Link) -> None:
        while self._read_one(link):
            pass

    def _closed(self, link: Link) -> None:
        """A route has died: the newest living one takes over, or the session is lost."""
        for session, seat in list(self.seats.items()):
            if link not in seat.routes:
                continue
            seat.routes.remove(link)
            if isinstance(seat, WorkerSeat):
                if seat.ready_on is link:
                    seat.ready_on = None
                if not seat.routes:
                    self._worker_lost(seat)
            elif isinstance(seat, ClientSeat) and not seat.routes:
                if seat.is_guide:
                    self._close_client(session, seat)
                else:
                    seat.lost = True
                    self.call("client_lost", seat.number, self.grace_ns, self.now)

    # -- sessions --------------------------------------------------------------------------------

    def _seat(self, link: Link) -> Seat | None:
        seat = self.seats.get(self._session(link))
        if seat is not None and link not in seat.routes:
            seat.routes.append(link)
            seat.routes.sort(key=lambda k: k.route)
        return seat

    @staticmethod
    def _session(link: Link) -> Any:
        peer = link.peer
        native = peer.pnd if isinstance(peer, Client) else peer.dialect is PND
        return peer if native else link

    def _client(self, link: Link, reserve: bool = False) -> ClientSeat | None:
        seat = self._seat(link)
        if isinstance(seat, ClientSeat):
            if seat.lost:
                seat.lost = False
                self.call("client_back", seat.number)
            return seat
        is_guide = not link.peer.pnd
        self.call("client_room", self.now)
        number = self.call("client_open", is_guide, reserve)
        if number is None:
            return None
        seat = ClientSeat(number, link, is_guide, self.grace_ns, self.now)
        self.seats[self._session(link)] = self.clients[number] = seat
        if link.peer.identity is not None:
            self.call("client_owner", number, link.peer.identity)
        return seat

    def _close_client(self, session: Any, seat: ClientSeat) -> None:
        self.seats.pop(session, None)
        self.call("client_close", seat.number, self.now)

    def _forget_seat(self, seat: Seat) -> None:
        for session, other in list(self.seats.items()):
            if other is seat:
                del self.seats[session]

    def _open_service(
        self, name: str, how: Opened = Opened.OFFERED, c: int | None = None
    ) -> int | None:
        if name not in self.services:
            lease_ns = self.leases.get(name, 0)
            number = self.call("service_open", lease_ns, int(how), self.now, c)
            if number is None:
                return None
            self.services[name] = number
        return self.services[name]

    # -- clients ---------------------------------------------------------------------------------

    def _on_hello(self, link: Link) -> None:
        fresh = self._seat(link) is None
        if self._client(link) is not None and (fresh or self.rng.random() < 0.9):
            self.network.send_down(link, (("welcome",),))

    def _on_done(self, link: Link, done: int) -> None:
        seat = self._client(link)
        if seat is not None and done and not seat.is_guide:
            self.call("client_done", seat.number, done)

    def _on_request(
        self,
        link: Link,
        id: int,
        name: str,
        priority: int,
        timeout: int,
        size: int,
        internal: bool,
    ) -> None:
        seat = self._client(link, reserve=internal)
        s = None
        if seat is not None and internal:
            s = self._open_service("pound.status", Opened.INTERNAL)
        elif seat is not None:
            s = self._open_service(name, Opened.NAMED, seat.number)
        if seat is None or s is None:
            self.network.send_down(link, (("busy", id),))
            return
        number = seat.next_id if seat.is_guide else id
        seat.next_id += 1
        key = (link.peer.name, id)
        hold_ns = 0 if internal else self.hold_ns(seat, key)
        values = (seat.number, number, s, priority, timeout, size, internal, self.now, hold_ns)
        (code, slot), actions = self.pair("request", *values)
        if code == Req.ACCEPTED:
            self.slots[slot] = (seat, id)
            if not internal and not seat.is_guide:
                self.keys[slot], self.wanted[key] = key, slot
        self._act_on(actions)
        if code == Req.ACCEPTED and key in self.claimed and self.wanted.get(key) == slot:
            self.adopt(key, slot)
        if code == Req.KEPT or (code == Req.ACCEPTED and internal):
            if internal and code == Req.ACCEPTED:
                self.call("answer_bytes", slot, self.rng.choice((0, 300)))
            self._to_deliver(slot)
        elif code not in (Req.ACCEPTED, Req.HELD, Req.ANSWERED, Req.STALE):
            if code in (Req.QUOTA_RATE, Req.SERVICE_QUOTA_RATE):
                known = s if s in self.services.values() else None
                wait = self.call("quota_wait", seat.number, known, self.now)
                must(wait > 0, "I22", "refused for its rate, and may come at once:", link.peer)
            self.network.send_down(link, (("busy", id),))

    def _on_cancel(self, link: Link, id: int) -> None:
        seat = self._client(link)
        if seat is not None:
            self.call("cancel", seat.number, id, self.now)

    def _to_deliver(self, slot: int) -> None:
        seat, _ = self.slots[slot]
        assert slot not in seat.answers
        seat.answers.append(slot)

    # -- workers ---------------------------------------------------------------------------------

    def _worker(self, link: Link) -> WorkerSeat | None:
        """The seat of a worker that is not gone; anything it says shows that it lives."""
        seat = self._seat(link)
        return seat if isinstance(seat, WorkerSeat) and not seat.lost else None

    def _on_ready(
        self, link: Link, capacity: int, names: tuple[str, ...], tokens: tuple[int, ...]
    ) -> None:
        worker = link.peer
        seat = self._seat(link)
        how = Ready.NEW_LIFE
        if not isinstance(seat, WorkerSeat):
            seat = self._open_worker(link, worker)
            how = Ready.NEW_ROUTE
        elif worker.dialect is PND:
            if link is not seat.routes[-1]:
                self._heard(seat)
                return
            again = seat.ready_on is link and (not seat.lost or self.rng.random() < 0.5)
            how = Ready.SAME_ROUTE if again else Ready.NEW_ROUTE
        if seat is None:
            return
        services = [s for s in map(self._open_service, names) if s is not None]
        while services and not self.call("offerable", services):
            self.call("service_drop", services.pop())
        if not services:
            self._worker_lost(seat)
            return
        if worker.dialect is PND and self.rng.random() < 0.1:
            services += services[:1]
        seat.lost, seat.ready_on = False, link
        self.call("worker_ready", seat.number, capacity, services, tokens, how, self.now, self.live)

    def _open_worker(self, link: Link, worker: Worker) -> WorkerSeat | None:
        dialect = worker.dialect
        mode = Mode.IDLE if dialect.only_idle else Mode.ALWAYS
        mode = mode if dialect.liveness_ns else Mode.NEVER
        values = (int(mode), dialect.liveness_ns, dialect.notified, self.live)
        number = self.call("worker_open", *values)
        if number is None:
            return None
        seat = WorkerSeat(number, link, worker)
        self.seats[self._session(link)] = self.workers[number] = seat
        return seat

    def _on_heartbeat(self, link: Link) -> None:
        self._speaks(link)

    def _speaks(self, link: Link) -> WorkerSeat | None:
        seat = self._worker(link)
        if seat is None:
            if link.peer.dialect in (MDP, PND):
                self.network.send_down(link, (("unknown",),))
            elif link.peer.dialect.heartbeat_ns:
                self._on_ready(link, 1, tuple(link.peer.services), ())
            return None
        self._heard(seat)
        return seat

    def _heard(self, seat: WorkerSeat) -> None:
        self.call("heard", seat.number, self.now, self.live)

    def _on_answer(self, link: Link, token: int, code: int, size: int) -> None:
        seat = self._seat(link)
        if not isinstance(seat, WorkerSeat):
            if not link.peer.dialect.lists_tokens:  # it has no other way to say so
                self._on_ready(link, 1, tuple(link.peer.services), ())
            return
        delay, elsewhere = 0, False
        if code == Code.UNAVAILABLE:
            elsewhere = self.rng.random() < 0.5
            delay = self.rng.choice((0, 0, 3, 50)) * self.world.pace_ns
        values = (seat.number, token, code, size, self.now, self.live, delay, elsewhere)
        (result, slot), actions = self.pair("answer", *values)
        self._act_on(actions)
        if result == Ans.COUNTED:
            self.ended(slot)
            self._to_deliver(slot)
        elif result == Ans.DEAD and not link.peer.dialect.lists_tokens:
            self._on_ready(link, 1, tuple(link.peer.services), ())

    def _on_partial(self, link: Link, token: int, *_: int) -> None:
        seat = self._worker(link)
        if seat is not None:
            self._heard(seat)  # any record is a sign of life, and `partial` does not say so
            self.call("partial", seat.number, token)

    def _on_bye(self, link: Link) -> None:
        seat = self._seat(link)
        if isinstance(seat, ClientSeat):
            self._close_client(self._session(link), seat)
        elif isinstance(seat, WorkerSeat) and link.peer.dialect is PND:
            self.call("worker_leave", seat.number, self.now)
            self.network.send_down(link, (("bye",),))
        elif isinstance(seat, WorkerSeat):
            self._worker_lost(seat)

    def _worker_lost(self, seat: WorkerSeat) -> None:
        seat.lost = True
        seat.out.clear()
        self.call("worker_gone", seat.number, self.now)

    # -- what the dispatcher decided ---------------------------------------------------------------

    def _act_on(self, actions: list[Action]) -> None:
        """All actions of a call come before the next call, which `answer_bytes` is."""
        for action in actions:
            self._act(action)
        failed = [slot for kind, _, slot, _, _ in actions if kind == Act.FAIL]
        for slot in failed:
            if slot in self.slots:  # not freed by the same call
                assert slot is not None
                self.ended(slot)
                self.pair("answer_bytes", slot, self.rng.choice((30, 60)))
                self._to_deliver(slot)

    def _act(self, action: Action) -> None:
        kind, _, slot, peer, token = action
        if kind == Act.TASK:
            assert peer is not None
            assert slot is not None
            self.tokens.append((slot, token, self.workers[peer].worker))
            self.runs(slot)
            self._to_worker(peer, ("task", token, slot, self.keys.get(slot)))
        elif kind == Act.CANCEL:
            assert peer is not None
            self._to_worker(peer, ("cancel", token))
        elif kind == Act.FREE:
            assert slot is not None
            seat, _ = self.slots.pop(slot)
            if slot in seat.answers:
                seat.answers.remove(slot)
            self.freed(slot)
        elif kind != Act.FAIL:
            self._forget(Act(kind), peer)

    def _forget(self, kind: Act, peer: int | None) -> None:
        assert peer is not None
        if kind == Act.WORKER_GONE:
            seat = self.workers[peer]
            must(not any(map(self.network.unread, seat.routes)), "I15", "unread input of", peer)
            seat.lost = True
            seat.out.clear()
        elif kind == Act.WORKER_FREE:
            self._forget_seat(self.workers.pop(peer))
            self.to_flush.pop(peer, None)
        elif kind == Act.CLIENT_FREE:
            self._forget_seat(self.clients.pop(peer))
        else:
            name = next(n for n, s in self.services.items() if s == peer)
            del self.services[name]

    def _to_worker(self, w: int, record: Record) -> None:
        self.workers[w].out.append(record)
        self.to_flush[w] = self.workers[w]

    # -- flush -----------------------------------------------------------------------------------

    def _flush(self) -> None:
        while self.to_flush:
            w = next(iter(self.to_flush))
            self._flush_worker(self.to_flush.pop(w))
        for seat in list(self.clients.values()):
            if seat.answers and self.now >= seat.retry_at:
                self._flush_client(seat)

    def _flush_worker(self, seat: WorkerSeat) -> None:
        records = [r for r in seat.out if r[0] != "task" or self._is_unsent(r)]
        seat.out.clear()
        if not records or seat.lost:
            return
        sent = Sent.BLOCKED
        if seat.ready_on is not None:
            sent = self.network.send_down(seat.ready_on, tuple(records))
        if sent is Sent.SENT:
            for record in records:
                if record[0] == "task":
                    self.call("sent", record[2], record[1], self.now)
        elif sent is Sent.BLOCKED:
            self.call("blocked", seat.number, self.now)
        else:
            assert seat.ready_on is not None
            link = seat.ready_on
            self._drain(link)
            self._closed(link)
            if not seat.lost:
                self.call("blocked", seat.number, self.now)

    def _is_unsent(self, record: Record) -> bool:
        return bool(self.call("unsent", record[2], record[1]))

    def _flush_client(self, seat: ClientSeat) -> None:
        while seat.answers:
            slot = seat.answers[0]
            if len(seat.answers) > self.undelivered_max:
                self.call("undeliverable", slot)
                continue
            if not seat.routes:
                return
            _, id = self.slots[slot]
            sent = self.network.send_down(seat.routes[-1], (("ended", id, True),))
            if sent is not Sent.SENT:
                seat.retry_at = self.now + RETRY_NS
                return
            seat.answers.popleft()
            self.call("delivered", slot)
