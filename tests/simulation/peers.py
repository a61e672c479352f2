"""Clients and workers of every dialect, and their faults, drawn from the rates of a seed.

A peer owns its side of a link and what it remembers across links: a client its open requests, a
worker the tasks that it works on. ``step`` is one turn of the peer: it reads what has arrived,
works, and perhaps fails. With ``calm`` set on the world no fault is drawn any more, and every peer
does what its dialect promises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from random import Random
from typing import Protocol

from .network import MS, SECOND, Link, Message, Network, Record

PRIORITIES = 10
MALFORMED: Message = (("malformed",),)


@dataclass
class Rates:
    """How often, per step and peer, each fault is drawn; a seed leaves many of them at 0."""

    crash: float = 0.004  # the process is gone, its link with it
    stall: float = 0.01  # it does nothing for a while, heartbeats included
    disconnect: float = 0.03  # the link breaks
    half_open: float = 0.002  # the link swallows both ways, and breaks seconds later
    wrong_token: float = 0.02  # an answer or a partial one for another's task
    repeated_token: float = 0.05  # an answer once more
    release: float = 0.1  # a task is given back
    failure: float = 0.1  # an error is the answer
    partial: float = 0.1  # a partial answer comes first
    slow: float = 0.05  # a task takes up to 20 times as long
    lie: float = 0.2  # a READY lists too few tokens, or too many
    falter: float = 0.05  # the link breaks, the worker leaves, or offers something else
    malformed: float = 0.02  # a message that is refused as a whole
    retry: float = 0.1  # a request is sent again, open or not
    cancel: float = 0.05  # a request is cancelled
    abandon: float = 0.02  # a Guide client closes and asks anew; a PND one says BYE
    forget_done: float = 0.2  # a packet says nothing about what is done
    spurious_eagain: float = 0.05  # a send is refused though the pipe has room
    aimed: float = 0.1  # a worker falters just when it is reserved
    pause: float = 0.01  # of the broker: seconds pass between two turns
    restart: float = 0.001  # of the broker

    @classmethod
    def drawn(cls, rng: Random) -> Rates:
        """Half of the seeds know a little of every fault, the others few faults, but often."""
        names = [rate.name for rate in fields(cls)]
        often = rng.sample(names, rng.randint(1, 5)) if rng.random() < 0.5 else None
        rates = cls()
        for name in names:
            factor = rng.choice((0.0, 0.0, 1.0, 4.0 * rng.random()))
            if often is not None:
                factor = 12.0 * rng.random() if name in often else 0.0
            setattr(rates, name, factor * getattr(rates, name))
        return rates


class World(Protocol):
    """What a peer sees of the simulation."""

    rng: Random
    rates: Rates
    network: Network
    calm: bool
    now: int
    pace_ns: int  # about a turn of the broker
    memory_max: int  # bytes that the broker may hold
    work_paces: tuple[int, ...]  # how long a task takes, in paces
    service_names: list[str]
    owners_rng: Random  # what concerns owners is drawn apart
    identities: tuple[int | None, ...]  # that clients may have; None: it has none
    adoption_rng: Random  # likewise what concerns tasks of other epochs
    adopts: bool  # whether workers keep tasks beyond an epoch, and requests take them up
    epoch: int

    def token_of_another(self, worker: Worker) -> int: ...


@dataclass(frozen=True)
class Dialect:
    """What differs between worker dialects, as far as a dispatcher can see it."""

    name: str
    capacity_max: int
    liveness_ns: int  # 0: never expires
    only_idle: bool  # expires only while it holds nothing
    notified: bool  # of cancelled tasks
    heartbeat_ns: int  # 0: sends none
    lists_tokens: bool
    many_services: bool


PLAIN = Dialect("plain", 1, 0, False, False, 0, False, False)
PPP = Dialect("ppp", 1, 3 * SECOND, True, False, SECOND, False, False)
MDP = Dialect("mdp", 1, 7500 * MS, True, False, 2500 * MS, False, False)
PND = Dialect("pnd", 8, 5 * SECOND, False, True, SECOND, True, True)
WORKER_DIALECTS = ((PLAIN, PPP, MDP, PND, PND, PND), (PND,), (PLAIN, PPP, MDP))


class Peer:
    """A program with one socket; it reconnects by itself until it has crashed."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.link: Link | None = None
        self.reconnects_at = world.now
        self.stalled_until = 0
        self.dead = False

    def chance(self, rate: float) -> bool:
        return not self.world.calm and self.world.rng.random() < rate

    def send(self, *records: Record) -> None:
        if self.link is not None:
            self.world.network.send_up(self.link, records)

    def step(self) -> None:
        if self.dead:
            return
        self._fail()
        if self.dead or (self.stalled_until > self.world.now and not self.world.calm):
            return
        self._connection()
        if self.link is None:
            return
        while self.link is not None and not self.dead:
            message = self.world.network.receive_down(self.link)
            if message is None:
                break
            self.read(message)
        if self.link is not None and not self.dead:
            self.act()

    def _fail(self) -> None:
        rates, rng = self.world.rates, self.world.rng
        if self.chance(rates.crash):
            self.crash()
        if self.chance(rates.stall):
            self.stalled_until = self.world.now + rng.choice((50 * MS, SECOND, 9 * SECOND))
        if self.link is not None and self.chance(rates.half_open):
            self.world.network.half_open(self.link, rng.choice((SECOND, 4700 * MS)))
        if self.link is not None and self.chance(rates.disconnect):
            self.world.network.break_link(self.link, peer_knows=rng.random() < 0.8)
        if self.link is not None and self.chance(rates.malformed):
            self.send(*MALFORMED)

    def crash(self) -> None:
        self.dead = True
        if self.link is not None:
            self.world.network.break_link(self.link)

    def _connection(self) -> None:
        world = self.world
        if self.link is not None and self.link.broken and world.now >= self.link.peer_knows_at:
            self.link = None
            self.reconnects_at = world.now + world.rng.choice((0, 0, 1, 10)) * world.pace_ns
        if self.link is None and world.now >= self.reconnects_at:
            self.link = world.network.connect(self)
            self.connected()

    def connected(self) -> None: ...

    def read(self, message: Message) -> None: ...

    def act(self) -> None: ...


class Client(Peer):
    """Asks; keeps what is open until its answer; ``pnd`` resends, others give up and come back."""

    def __init__(self, world: World, name: str, dialect: str) -> None:
        super().__init__(world, name)
        self.dialect = dialect
        rng = world.rng
        self.pnd = dialect == "pnd"
        self.identity: int | None = None  # the number of its key
        self.window = 1 if dialect == "plain" else rng.choice((2, 8, 30))
        self.next_id = rng.choice((0, 1, 1 << 40))
        self.open: dict[int, Record] = {}
        self.ended: dict[int, int] = {}
        self.again: list[int] = []  # refused ones that are to be sent again
        self.last_heard = world.now
        self.pace = rng.choice((0.05, 0.3, 0.8, 0.95))

    def connected(self) -> None:
        if self.pnd:
            self.send(("hello",))
        else:
            self.open.clear()

    def read(self, message: Message) -> None:
        for kind, *values in message:
            self.last_heard = self.world.now
            if kind == "welcome":
                for request in self.open.values():
                    self.send(self._done(), request)
            elif kind == "ended":
                id, final = values
                if final:
                    assert id not in self.ended or self.pnd, "a Guide client was answered twice"
                    self.ended[id] = self.ended.get(id, 0) + 1
                self.open.pop(id, None)
            elif kind == "busy":
                self._refused(values[0])

    def _refused(self, id: int) -> None:
        """Over a limit: gives up, or asks again later, as the library does."""
        if self.pnd and id in self.open and self.world.rng.random() < 0.5:
            self.again.append(id)
        else:
            self.open.pop(id, None)

    def _done(self) -> Record:
        below = min(self.open, default=self.next_id)
        return ("done", 0 if self.chance(self.world.rates.forget_done) else below)

    def _new_request(self) -> Record:
        rng, world = self.world.rng, self.world
        id, self.next_id = self.next_id, self.next_id + rng.choice((1, 1, 1, 3))
        service = rng.choice(world.service_names)
        priority = rng.choice((0, 0, 0, rng.randrange(PRIORITIES))) if self.pnd else 0
        timeout = rng.choice((0, 0, 3, 50, 500)) * self.world.pace_ns if self.pnd else 0
        internal = self.pnd and rng.random() < 0.03
        size = rng.choice((0, 64, 64, 1000))
        return ("request", id, service, priority, timeout, size, internal)

    def act(self) -> None:
        world, rng, rates = self.world, self.world.rng, self.world.rates
        while not world.calm and len(self.open) < self.window and rng.random() < self.pace:
            request = self._new_request()
            self.open[request[1]] = request
            self.send(self._done(), request)
        if self.pnd:
            self._act_as_pnd()
        elif self.open and self.chance(rates.abandon) and self.link is not None:
            world.network.break_link(self.link)  # a Lazy Pirate: closes and asks anew

    def _act_as_pnd(self) -> None:
        rng, rates = self.world.rng, self.world.rates
        if self.next_id and self.chance(rates.retry):
            again = rng.choice([*self.open.values()] or [None])
            if again is not None:
                self.send(self._done(), again)
            else:
                id = rng.randrange(max(0, self.next_id - 8), self.next_id)
                self.send(("request", id, rng.choice(self.world.service_names), 0, 0, 64, False))
        if self.chance(rates.cancel):
            open_ids = [*self.open] or [self.next_id]
            self.send(("cancel", rng.choice(open_ids)))
        if self.again and rng.random() < 0.3:
            refused = self.open.get(self.again.pop(0))
            if refused is not None:
                self.send(self._done(), refused)
        if self.world.now - self.last_heard > 3 * SECOND + 30 * self.world.pace_ns:
            self.last_heard = self.world.now
            self.send(("hello",))
        if self.chance(rates.abandon / 4):
            self.send(("bye",))
            self.dead = True
            if self.link is not None and rng.random() < 0.5:
                self.world.network.break_link(self.link)


Key = tuple[str, int]
"""what a request is known by at every broker"""


@dataclass
class Kept:
    """A task of another epoch, which no request of this one has taken up yet."""

    key: Key
    due: int  # when it is finished
    answered: bool = False


class Worker(Peer):
    """Works on tasks for a while each and answers; remembers its tasks across links.

    One that adopts goes on with the tasks of an epoch that has ended, and says so in HOLDS.
    """

    def __init__(
        self, world: World, name: str, dialect: Dialect, services: list[str], capacity: int
    ) -> None:
        super().__init__(world, name)
        self.dialect = dialect
        self.services = services
        self.capacity = capacity
        self.tasks: dict[int, int] = {}  # token: when it is finished
        self.answered: list[int] = []
        self.work_ns = world.rng.choice(world.work_paces) * world.pace_ns
        self.beat_at = 0
        self.leaving = False
        self.adopts = world.adopts and dialect is PND and world.adoption_rng.random() < 0.9
        self.epoch = world.epoch
        self.keys: dict[int, Key | None] = {}  # of tasks, and of the last answered ones
        self.kept: dict[int, Kept] = {}  # by token
        self.unsaid = False  # HOLDS is still to be said

    def connected(self) -> None:
        if self.adopts and self.epoch != self.world.epoch:
            self._keep()
        self.epoch = self.world.epoch
        if self.dialect.lists_tokens:
            self._say_ready()
        elif self.dialect is PLAIN and self.tasks:
            pass  # an old REQ socket: it can only answer
        else:
            self.tasks.clear()
            self._say_ready()

    def _say_ready(self) -> None:
        tokens = list(self.tasks) if self.dialect.lists_tokens else []
        if tokens and self.chance(self.world.rates.lie):
            tokens.pop(self.world.rng.randrange(len(tokens)))
        if self.dialect.lists_tokens and self.chance(self.world.rates.lie):
            tokens.append(self.world.token_of_another(self))
        if self.kept and self.chance_of_adoption(0.3):
            tokens.append(self.world.adoption_rng.choice([*self.kept]))
        records: list[Record] = [("ready", self.capacity, tuple(self.services), tuple(tokens))]
        self.unsaid = bool(self.kept)
        if self.unsaid and not self.chance_of_adoption(0.2):
            records.append(self._holds(self.kept))
        self.send(*records)

    def chance_of_adoption(self, rate: float) -> bool:
        return not self.world.calm and self.world.adoption_rng.random() < rate

    def _keep(self) -> None:
        """The epoch has ended: what it runs goes on, and answers that may be lost are kept."""
        now = self.world.now
        for token in self.answered if self.world.adoption_rng.random() < 0.5 else ():
            key = self.keys.get(token)
            if key is not None and token not in self.tasks:
                self.kept[token] = Kept(key, now, answered=True)
        for token, due in self.tasks.items():
            key = self.keys.get(token)
            if key is not None:
                self.kept[token] = Kept(key, due)
        self.tasks.clear()
        self.answered.clear()
        self.keys.clear()

    def _holds(self, tokens: Iterable[int]) -> Record:
        self.unsaid = False
        entries = [(t, self.kept[t].key, not self.kept[t].answered) for t in tokens]
        return ("holds", tuple(entries))

    def _hold_on(self) -> None:
        """Work on what is kept; say what is answered, and what was not said yet."""
        rng = self.world.adoption_rng
        quick = self.world.calm and rng.random() < 0.5
        running = {t: kept.due for t, kept in self.kept.items() if not kept.answered}
        done = [token for token, due in running.items() if due <= self.world.now or quick]
        for token in done:
            self.kept[token].answered = True
        if self.chance_of_adoption(0.05):  # out of turn
            self.send(("answer", rng.choice([*self.kept]), 0, 64))
        if (self.unsaid and rng.random() < 0.2) or self.chance_of_adoption(0.02):
            self.send(self._holds(self.kept))
        elif done and not self.unsaid:
            self.send(self._holds(done))

    def _accepted(self, token: int) -> None:
        """A request has taken it up: it is a task of this epoch, whose answer may be sent."""
        kept = self.kept.pop(token, None)
        if kept is not None:
            self.keys[token] = kept.key
            slowly = self.world.adoption_rng.choice((0, 0, 50)) * self.world.pace_ns
            self.tasks[token] = self.world.now + slowly if kept.answered else kept.due

    def read(self, message: Message) -> None:
        rng = self.world.rng
        for kind, *values in message:
            if kind == "task":
                slow = 20 if self.chance(self.world.rates.slow) else 1
                self.tasks[values[0]] = self.world.now + rng.randint(0, slow * self.work_ns)
                self.kept.pop(values[0], None)
                self.keys[values[0]] = values[2]
            elif kind == "accepted":
                self._accepted(values[0])
            elif kind == "cancel" and values[0] in self.kept:
                del self.kept[values[0]]
            elif kind == "cancel" and rng.random() < 0.5:
                self._finish(values[0])
            elif kind == "unknown" and not self.leaving:
                self._say_ready()
            elif kind == "bye":
                self.leaving = True

    def _finish(self, token: int) -> None:
        if self.tasks.pop(token, None) is None:
            return
        rng, rates = self.world.rng, self.world.rates
        if self.dialect.lists_tokens and self.chance(rates.partial):
            self.send(("partial", token))
        code = 14 if self.dialect.lists_tokens and self.chance(rates.release) else 0
        code = 2 if self.chance(rates.failure) else code
        self.send(("answer", token, code, rng.choice((0, 64, 500))))
        self.answered = [*self.answered[-3:], token]
        self.keys = {t: k for t, k in self.keys.items() if t in self.tasks or t in self.answered}

    def act(self) -> None:
        world, rates = self.world, self.world.rates
        quick = world.calm and world.rng.random() < 0.5
        for token in [t for t, due in self.tasks.items() if due <= world.now or quick]:
            self._finish(token)
        if self.answered and self.chance(rates.repeated_token):
            self.send(("answer", world.rng.choice(self.answered), 0, 64))
        if self.chance(rates.wrong_token):
            kind = world.rng.choice(("answer", "partial"))
            self.send((kind, world.token_of_another(self), 0, 64))
        if self.chance(rates.falter):
            self.falter()
        if self.kept:
            self._hold_on()
        self._beat()
        if self.leaving and not self.tasks and not self.kept:
            self.crash()

    def falter(self) -> None:
        """Lose the link, leave, or offer something else."""
        rng = self.world.rng
        if self.link is None or self.dead or self.leaving:
            return
        fault = rng.randrange(3)
        if fault == 0:
            self.world.network.break_link(self.link)
        elif fault == 1 and self.dialect in (PND, MDP):
            self.leaving = True
            self.send(("bye",))
        else:
            self._change()
            self._say_ready()

    def _change(self) -> None:
        rng = self.world.rng
        if self.dialect.many_services:
            count = rng.randint(1, len(self.world.service_names))
            self.services = rng.sample(self.world.service_names, count)
            self.capacity = rng.randint(1, self.dialect.capacity_max)
        else:
            self.tasks.clear()  # what a second READY of a Guide worker means

    def _beat(self) -> None:
        idle_or_threaded = not self.tasks or self.dialect is PND
        if self.dialect.heartbeat_ns and idle_or_threaded and self.world.now >= self.beat_at:
            self.beat_at = self.world.now + self.dialect.heartbeat_ns
            self.send(("heartbeat",))
