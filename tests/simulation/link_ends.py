"""The shell of a link, for the simulation (links.py): what socket.pyx and engine.pyx do.

Beside it, what the rules should do is computed once more, for the invariants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .books import must
from .link_broker import NEVER, Broker
from .network import MS, SECOND, Link, Record

if TYPE_CHECKING:
    from .links import World

PAUSE_NS = 250 * MS  # that an endpoint is given at least (K2)
REFUSED_NS = SECOND  # that one may refuse after a connection to it was lost (K10)
RETRY_NS = 100 * MS  # libzmq's first try again; it doubles up to a second
GREETING_NS, GREETING_MAX_NS = 750 * MS, 1250 * MS  # between two greetings
SPIN = 50  # turns without time between them
RESOLVED_NS = 300 * MS  # until addresses of a name are known
FAILURES_MAX = 3  # handshakes in a row without a reason, that are a denial
FAILURES_KNOWN_MAX = 100  # the same, once a broker has let us in
ROOMY_MIN = 2  # looks that found room meanwhile
DENIED_REST_MAX_NS = 30 * SECOND
HOME_LOOKS = 2  # in a row that find the preferred broker serving, before an end goes there
HOME_PAUSE_NS = 2 * SECOND  # until the first look at it
HOME_PAUSE_MAX_NS = 10 * SECOND  # between two looks
HOME_WAIT_MAX_NS = 60 * SECOND  # until the first look, after it was in vain
HOME_LASTS_NS = 30 * SECOND  # that the preferred broker has to keep an end, or it was in vain
DENIED_LASTS_NS = 10 * SECOND  # of a WELCOME before a denial, which is the first of a row then

Make = Callable[..., Any]


@dataclass
class Socket:
    """What libzmq does for one socket: connects, tries again, tells by the monitor."""

    target: tuple[str, bool]
    next_try: int
    first: bool = True  # it has had no connection yet
    interval: int = RETRY_NS
    link: Link | None = None
    old: deque[Link] = field(default_factory=deque)  # broken, perhaps not read to the end
    events: deque[str] = field(default_factory=deque)
    refused: deque[tuple[Record, ...]] = field(default_factory=deque)

    def due(self, now: int) -> int:
        heads = [
            link.down.under_way[0][0]
            for link in (*self.old, self.link)
            if link is not None and link.down.under_way
        ]
        if self.link is not None and self.link.broken:
            heads.append(self.link.peer_knows_at)
        return now if self.events else min([self.next_try, *heads])

    def advance(self, end: End) -> None:
        """Notice a broken connection, or try to connect."""
        now, rng = end.world.now, end.world.rng
        link = self.link
        if link is not None and link.broken and now >= link.peer_knows_at:
            self.old.append(link)
            self.link = None
            self.events.extend(("disconnected", "refused"))
            self.next_try, self.interval = now + RETRY_NS, RETRY_NS
        if self.link is None and now >= self.next_try:
            broker = end.world.reach(self.target)
            if broker == "nobody" or (isinstance(broker, Broker) and not broker.alive):
                self.events.append("refused")
                self.interval = min(2 * self.interval, SECOND)
                self.next_try = now + self.interval
            elif not isinstance(broker, Broker) or now < broker.stopped_until:
                self.next_try = now + SECOND // 2  # pending, as the handshake is
            elif (denial := end.world.denials.get((broker, end))) not in (None, "record"):
                self._deny(denial, now)
            else:
                self.link = end.world.network.connect(end)
                self.link.broker = broker  # type: ignore[attr-defined]
                self.events.append("connected")
                self.next_try, self.first = NEVER, False
                if rng.random() < end.world.lossy:
                    self.link.breaks_at = now + rng.randrange(50 * MS)

    def _deny(self, denial: str, now: int) -> None:
        """The handshake ends: for good, unless nobody says why."""
        self.next_try, self.interval = NEVER, RETRY_NS
        if denial in ("handshake", "full", "foreign"):
            self.events.extend(("failed", "disconnected", "refused"))
            self.next_try = now + RETRY_NS
        else:
            self.events.extend((f"denied {denial}", "disconnected"))

    def receive(self, now: int) -> tuple[Record, ...] | None:
        while self.old:
            message = self.old[0].down.take(now)
            if message is not None:
                return message
            self.old.popleft()  # what it had not brought by then is lost
        return None if self.link is None else self.link.down.take(now)

    def push(self, end: End) -> bool:
        """Offer the refused messages again; whether another one is taken."""
        if self.link is None:
            return False
        while self.refused:
            if not self._send(end, self.refused[0]):
                return False
            self.refused.popleft()
        return True

    def send(self, end: End, message: tuple[Record, ...]) -> None:
        if self.refused or not self._send(end, message):
            self.refused.append(message)

    def _send(self, end: End, message: tuple[Record, ...]) -> bool:
        world = end.world
        if self.link is None:
            return False
        if len(self.link.up) >= world.mark:
            return False
        if world.rng.random() < world.eagain:
            if world.rng.random() < 0.1:
                world.network.break_link(self.link)
            return False
        world.network.send_up(self.link, message)
        return True


class End:
    """A client or a worker: the turns of the engine, as in ``_engine/engine.pyx``."""

    def __init__(self, world: World, name: str, follows: bool, make: Make) -> None:
        rng = world.rng
        self.world, self.name, self.follows = world, name, follows
        self.heartbeat = world.heartbeat
        self.liveness = rng.choice((3, 5))
        self.brokers = rng.sample(world.brokers, rng.randint(1, len(world.brokers)))
        self.endpoints = [world.endpoint(broker, rng) for broker in self.brokers]
        self.rules = make(
            self.endpoints, self.heartbeat, self.liveness, follows, rng.getrandbits(64)
        )
        self.socket: Socket | None = None
        self.stalled_until = 0
        self.planned, self.woke_at, self.wakes_at = 0, 0, world.now
        self.spins, self.turned_at = 0, -1
        self.commands = 0
        self.asks_at = NEVER  # the program, whatever the link waits for
        self.open: dict[int, list[Any]] = {}  # number: bytes, whether it is to be sent
        self.epoch = b""
        # what the invariants compare with
        self.opened_at = self.heard_at = self.broken_at = -NEVER
        self.rates = (self.heartbeat, self.heartbeat * self.liveness)  # heartbeat, silence
        self.said_at = self.beaten_at = self.blocked_at = self.welcomed_at = -NEVER
        self.greeted_at: int | None = None
        self.beats_by = NEVER
        self.least = GREETING_NS  # until the next greeting
        self.denials = self.verdicts = 0
        self.failures = [0] * len(self.endpoints)  # handshakes in a row without a reason
        self.roomy = [0] * len(self.endpoints)  # looks in a row that found room
        self.let_in_at = self.denied_at = self.away_until = -NEVER
        self.at = 0  # the endpoint in use
        self.looks: deque[tuple[int, int]] = deque()  # when one ends, at which endpoint
        self.foreign: set[int] = set()  # endpoints that want the other mechanism
        self.barred_at = -NEVER  # when it was last
        self.parted = self.agreed = False  # it has said that it goes home; the broker agrees
        self.home_looks = False  # one was begun and has not ended
        self.went = False  # home, and was welcomed nowhere else since
        self.came_at = self.away_at = self.gone_at = -NEVER  # welcomed there, elsewhere; on its way
        self.home_wait, self.home_rooms = HOME_PAUSE_NS, 0  # before the looks; that found room
        self.welcomed = False  # before the last record
        self.found = False
        self.limits = (67108864, 1048576, 1024, 65536)
        self.changed_at = world.now

    def __repr__(self) -> str:
        return self.name

    @property
    def bound(self) -> int:
        """Within which a broker that serves is reached, whatever was before (K1)."""
        world = self.world
        slowest = max(broker.heartbeat * broker.liveness for broker in world.brokers)
        silence = max(self.heartbeat * self.liveness, slowest)
        targets = sum(world.targets_of(endpoint) for endpoint in self.endpoints)
        denied = 2 * DENIED_REST_MAX_NS if world.denies else 0
        return 2 * targets * (silence + 2 * SECOND) + world.retry_ms * 2 * MS + 3 * SECOND + denied

    @property
    def home_bound(self) -> int:
        """Within which it is at its preferred broker, if that one serves (K11)."""
        looks = HOME_WAIT_MAX_NS + HOME_PAUSE_MAX_NS + HOME_PAUSE_NS
        return self.bound + 5 * looks // 4 + 10 * SECOND

    def start(self) -> None:
        self.rules.open(self.world.now)
        self.act()
        self._sleep()

    # -- the shell

    def due(self) -> int:
        at = min(self.wakes_at, self.asks_at, *(at for at, _ in self.looks))
        if self.socket is not None:
            at = min(at, self.socket.due(self.world.now))
        return max(at, self.stalled_until)

    def turn(self) -> None:
        now = self.world.now
        self.spins = self.spins + 1 if now == self.turned_at else 0
        self.turned_at = now
        must(self.spins < SPIN, "K2", f"{self} turns without time")
        stalled = now > self.wakes_at + MS
        must(stalled or now <= self.beats_by + MS, "K3", f"{self} sleeps past its heartbeat")
        self._note_pause(now)
        self.rules.wake(self.planned, now)
        self._program()
        self._watch(now)
        self._look(now)
        self._read(now)
        before, reopens = self.rules.lives, self.rules.reopens
        self.rules.tick(now)
        if self.rules.lives != before and not reopens:
            silent = now - self.heard_at
            must(silent >= self.rates[1], "K6", f"{self} leaves though silent for {silent} ns only")
        self.act()
        self._look_home(now)
        self._part(now)
        self._flush(now)
        self._resolve(now)
        self._compare(now)
        self._sleep()

    def _note_pause(self, now: int) -> None:
        pause = now - self.woke_at - self.planned - self.rates[0]
        if self.woke_at and pause > 0:
            self.heard_at += pause
        self.woke_at = now

    def _sleep(self) -> None:
        now = self.world.now
        due = self.rules.next_due()
        if not self.rules.wants_out:
            due = min(due, self.rules.next_beat())
        elif self.socket is not None and self.socket.link is not None:
            due = min(due, now + 5 * MS)  # until the pipe has room again
        if self.parted and not self.follows:
            due = now
        self.planned = min(max(due - now, 0), 3600 * SECOND)
        self.wakes_at = now + self.planned + self.world.rng.choice((0, 0, MS))
        if self.world.rng.random() < 0.01:
            self.wakes_at = now + self.world.rng.randrange(self.planned + 1)  # for nothing
        if self.asks_at == NEVER and self.world.rng.random() < self.world.busy:
            self.asks_at = now + self.world.rng.randrange(self.planned + 1)

    def _watch(self, now: int) -> None:
        while self.socket is not None:
            self.socket.advance(self)
            if not self.socket.events:
                return
            socket, event = self.socket, self.socket.events.popleft()
            resting = self.rules.reopens
            if event != "refused":
                self.greeted_at = None
            if event == "disconnected" and self.rules.up:
                self.broken_at = now
            event, _, denial = event.partition(" ")
            self.failures[self.at] += event == "failed"
            if denial:
                self._denied(denial, now)
            elif event == "failed":
                self._failed(now)
            else:
                if event == "connected":
                    self.foreign.discard(self.at)
                    self.failures[self.at] = self.roomy[self.at] = 0
                getattr(self.rules, event)(now)
            self.act()
            if event == "refused" and not resting:
                self._check_refused(socket, now)

    def _check_refused(self, socket: Socket, now: int) -> None:
        refused = now - self.broken_at
        leaves = self.world.others(self.endpoints) and (socket.first or refused >= REFUSED_NS)
        left = self.socket is not socket
        must(left == leaves, "K10", f"{self} leaves: {left}; refused for {refused} ns")

    def _read(self, now: int) -> None:
        while self.socket is not None:
            message = self.socket.receive(now)
            if message is None:
                return
            (_, epoch), *records = message
            if self.rules.welcomed:
                self.heard_at = now
            life = self.rules.lives
            self.welcomed = self.rules.welcomed
            changed = self.rules.packet(epoch, now)
            must(changed == (self.epoch not in (b"", epoch)), "K1", f"{self} knows its epoch")
            self.epoch = epoch
            if changed:
                self._forgotten()
                self.act()
            for record in records:
                self._take(record, now, self.rules.lives == life)
            self.act()

    def _take(self, record: Record, now: int, current: bool) -> None:
        kind, *values = record
        if kind == "welcome" and current:
            self._welcome(now, *values)
        elif kind == "bye":
            if current:
                self.welcomed = self.rules.welcomed
                self.rules.bye(*values, now)
                self._forgotten()
        elif kind == "error" and current:
            self._denied("record", now)
        elif kind == "agreed" and self.parted:
            self.agreed = True
        elif kind == "agreed" and self.follows:
            self.welcomed = self.rules.welcomed
            self.rules.forgotten(now)
            self._forgotten()
        elif kind == "done":
            self.open.pop(values[0], None)

    def _look(self, now: int) -> None:
        """The looks that end now tell what an endpoint wants."""
        while self.looks and self.looks[0][0] <= now:
            _, at = self.looks.popleft()
            found = self._find(self.brokers[at])
            if found == "room" and not self.world.long and self.world.rng.random() < 0.2:
                found = "nothing"  # a look may take too long
            foreign = found == "foreign"
            homes = at == 0 and self.is_away and self.home_looks
            (self.foreign.add if foreign else self.foreign.discard)(at)
            if homes:
                self.home_looks = False
                self.home_rooms = self.home_rooms + 1 if found == "room" else 0
                self._found_addresses(at)
            else:
                self.roomy[at] += found == "room"
            if found == "full":
                self.failures[at] = self.roomy[at] = 0
            if foreign and at == self.at and self.socket is not None and not self.rules.up:
                self._denied("looked", now)
            else:
                self.rules.looked(at, found, now)
            self.act()

    def _find(self, broker: Broker) -> str:
        denial = self.world.denials.get((broker, self))
        stopped = self.world.now < broker.stopped_until
        if not broker.alive or stopped or broker in self.world.dark:
            return "nothing"
        return denial if denial in ("foreign", "full") else "room"

    @property
    def is_away(self) -> bool:
        """Whether it is welcomed elsewhere than at its preferred broker."""
        return bool(self.rules.welcomed) and self.at != 0

    def _look_home(self, now: int) -> None:
        if self.rules.looks_home(now):
            must(self.is_away, "K11", f"{self} looks where it is")
            away = now - self.away_at
            must(away >= 3 * self.home_wait // 4, "K12", f"{self} looks home after {away} ns")
            self.home_looks = True
            if not self.looks:
                self.looks.append((now + self.world.rng.choice((MS, 300 * MS, 2 * SECOND)), 0))

    def _part(self, now: int) -> None:
        """Go home when nothing is owed here, or serve here again if home is not there any more."""
        wants = self.rules.wants_home
        found = self.is_away and self.home_rooms >= HOME_LOOKS
        must(wants == found, "K11", f"{self} wants home: {wants}; found it serving: {found}")
        if self.parted and not wants:
            self.parted = self.agreed = False
            if self.follows and self.rules.welcomed:
                self.rules.greet_again(now)
                self.least = 0
        elif self.parted and (not self.follows or (self.agreed and not self.open)):
            away = now - self.away_at
            must(away >= 3 * self.home_wait // 4, "K12", f"{self} goes home after {away} ns")
            self.parted = self.agreed = False
            self.went, self.came_at, self.gone_at = True, NEVER, now
            self.rules.go_home(now)
            self.act()

    def _note_welcome(self, now: int) -> None:
        if self.at == 0:
            self.came_at = min(self.came_at, now)
            return
        vain = self.went and now - self.came_at < HOME_LASTS_NS
        self.home_wait = min(2 * self.home_wait, HOME_WAIT_MAX_NS) if vain else HOME_PAUSE_NS
        self.went, self.home_looks, self.home_rooms, self.away_at = False, False, 0, now

    def _failed(self, now: int) -> None:
        if not self.looks:
            self.looks.append((now + self.world.rng.choice((MS, 300 * MS, 2 * SECOND)), self.at))
        if self.at in self.foreign:
            self._denied("foreign", now)
        elif (
            self.failures[self.at] >= (FAILURES_KNOWN_MAX if self.epoch else FAILURES_MAX)
            and self.roomy[self.at] >= ROOMY_MIN
        ):
            self._denied("handshake", now)
        else:
            lives = self.rules.lives
            self.rules.failed(True, now)
            must(
                self.rules.lives == lives, "K9", f"{self} is denied by what failed without a reason"
            )

    def _denied(self, denial: str, now: int) -> None:
        if self.let_in_at > self.denied_at and now - self.let_in_at >= DENIED_LASTS_NS:
            self.denials = self.verdicts = 0
        self.denied_at = now
        self.denials += 1
        self.verdicts = 0 if denial == "now" else self.verdicts + 1
        if denial in ("handshake", "foreign"):
            self.rules.failed(True, now)
        elif denial == "looked":
            self.rules.looked(self.at, "foreign", now)
        else:
            self.rules.denied(denial, now)
        rounds, rest = divmod(self.denials, len(self.endpoints))
        rest = 0 if rest else min(SECOND << min(rounds - 1, 6), DENIED_REST_MAX_NS)
        least = max(now + 3 * rest // 4, self.opened_at + PAUSE_NS)
        most = max(now + 5 * rest // 4, self.opened_at + PAUSE_NS)
        due = self.rules.next_due()
        must(self.rules.reopens, "K9", f"{self} was denied ({denial}) and stays")
        must(least <= due <= most, "K9", f"{self} was denied and rests for {due - now} ns")
        following = self.endpoints[(self.at + 1) % len(self.endpoints)]
        must(
            len(self.endpoints) == 1 or self.rules.target()[0] == following,
            "K9", f"{self} was denied and does not try the next endpoint",
        )  # fmt: skip
        self.away_until = least

    def _forgotten(self) -> None:
        """The next greeting may come at once, if this was no answer to one."""
        self.least = min(self.least, 0 if self.welcomed else PAUSE_NS)

    def _welcome(self, now: int, heartbeat_ms: int, liveness: int, limits: Any) -> None:
        anew = not self.rules.welcomed
        if not self.rules.welcome(heartbeat_ms, liveness, limits, now):
            return
        self.welcomed_at = now
        if anew:
            self.let_in_at = now
            self._note_welcome(now)
        told = heartbeat_ms * MS or self.heartbeat
        heartbeat = min(self.heartbeat, told)
        self.rates = (heartbeat, told * liveness if self.follows else heartbeat * self.liveness)
        self.heard_at = now
        self.limits = limits
        must(self.rules.limits() == limits, "K8", f"{self} knows the limits of its broker")
        for command in self.open.values():
            command[1] = True

    def _flush(self, now: int) -> None:
        beats = now >= self.rules.next_beat()
        if beats:
            self.rules.beat(now)
        ready = self.socket is not None and self.rules.up and self.socket.push(self)
        self.rules.wants_out = not ready
        if not ready or self.socket is None:
            self.blocked_at = now
            return
        packets: list[list[Record]] = [[]]
        if self.rules.greets(now):
            since = NEVER if self.greeted_at is None else now - self.greeted_at
            must(since >= self.least, "K5", f"{self} greets again after {since} ns")
            self.greeted_at, self.least = now, GREETING_NS
            packets[0].append(("greeting", 0, 0))
        if self.rules.wants_home and not self.parted and (self.follows or not self.open):
            packets[0].append(("leave", 0, 0))
            self.parted = True
        if self.rules.welcomed and not self.rules.resting(now):
            self._collect(packets)
        if beats and self.rules.welcomed:
            packets[-1].append(("heartbeat", 0, 0))
            self.beaten_at = now
        for packet in packets:
            if packet:
                self.said_at = now
                self.rules.said(now)
                self.socket.send(self, tuple(packet))
        self.rules.wants_out = bool(self.socket.refused)

    def _collect(self, packets: list[list[Record]]) -> None:
        for number, command in self.open.items():
            size, wanted = command
            if not wanted:
                continue
            command[1] = False
            packet = packets[-1]
            if packet and not self.rules.allows(sum(r[2] for r in packet), 0, size, 0):
                packets.append([])
            packets[-1].append(("command", number, size))

    def _program(self) -> None:
        if self.world.now >= self.asks_at:
            self.asks_at = NEVER
            if self.world.busy and len(self.open) < 8:
                self.commands += 1
                self.open[self.commands] = [self.world.rng.choice((40, 100, 200)), True]
        if self.follows and self.world.fault_at == NEVER and self.world.rng.random() < 0.05:
            self.rules.greet_again(self.world.now)
            self.least = 0

    def _resolve(self, now: int) -> None:
        if not self.rules.welcomed and now - self.changed_at > RESOLVED_NS:
            for i in range(len(self.endpoints)):
                self._found_addresses(i)

    def _found_addresses(self, i: int) -> None:
        found = self.world.addresses.get(self.endpoints[i])
        if found:
            self.rules.found(i, found)

    def act(self) -> None:
        now = self.world.now
        for kind, endpoint, reason, brief in self.rules.actions():
            if kind == "open":
                self.at = self.endpoints.index(endpoint)
                self._open(now)
            elif kind in ("close", "part"):
                self._close()
            elif kind == "drop" and self.socket is not None:
                self.socket.refused.clear()
            elif kind == "found":
                must(not self.found, "K7", f"{self} found a broker twice")
                self.found = True
            elif kind == "lost":
                must(self.found or brief, "K7", f"{self} lost ({reason}) what it had not found")
                self.found = False
        if not self.rules.welcomed:
            self.found = False

    def _open(self, now: int) -> None:
        since = now - self.opened_at
        must(since >= PAUSE_NS, "K2", f"{self} opens again after {since} ns")
        must(now >= self.away_until, "K9", f"{self} opens again before its rest is over")
        self.opened_at = self.heard_at = now
        self.greeted_at = None
        if self.world.rng.random() < self.world.unopened:
            self.socket = None
            self.rules.open_failed(now)
            return
        self.socket = Socket(self.rules.target(), now + self.world.rng.randrange(2 * MS))

    def _close(self) -> None:
        if self.socket is not None and self.socket.link is not None:
            self.world.network.break_link(self.socket.link)
        self.socket = None

    # -- what must hold

    def _compare(self, now: int) -> None:
        if self.socket is not None and not self.rules.reopens:
            silent = now - self.heard_at
            must(silent < self.rates[1], "K6", f"{self} stays though silent for {silent} ns")
        must(self.rules.up or not self.rules.welcomed, "K1", f"{self} is welcomed by nobody")
        if self.rules.barred:
            self.barred_at = now
            must(not self.rules.welcomed, "K9", f"{self} is barred and welcomed")
            must(self.verdicts >= len(self.endpoints), "K9", f"{self} is barred by a part of them")
        waits = self.rules.up and not self.rules.welcomed and not self.rules.wants_out
        if waits and not self.rules.reopens:
            since = NEVER if self.greeted_at is None else now - self.greeted_at
            must(since < GREETING_MAX_NS, "K5", f"{self} has not greeted for {since} ns")
        self.beats_by = NEVER
        if self.rules.welcomed and not self.rules.wants_out:
            since = self.said_at if self.follows else self.heard_at
            since = max(since, self.beaten_at, self.blocked_at, self.welcomed_at)
            self.beats_by = since + self.rates[0]
            must(now < self.beats_by, "K3", f"{self} has sent no heartbeat")

    def check(self) -> None:
        """After a quiet time: it is where it should be."""
        serving = [broker for broker in self.brokers if self.world.serves(self, broker)]
        if not serving:
            self._check_barred()
            return
        if (
            self.went
            and self.brokers[0] not in serving
            and self.world.now < self.gone_at + self.bound
        ):
            return  # its look could not see that home serves nobody: it is on its way back
        link = self.socket.link if self.socket is not None else None
        there = link is not None and not link.broken and self.rules.welcomed and self.rules.up
        must(there, "K1", f"{self} has reached nobody; there are", [b.index for b in serving])
        assert link is not None
        broker: Broker = link.broker  # type: ignore[attr-defined]
        # One that turns others away by now has kept it.
        kept = broker.turns_away and broker.alive and broker not in self.world.dark
        kept |= (broker, self) in self.world.denials
        must(broker in serving or kept, "K1", f"{self} stays with broker {broker.index}")
        away = self.brokers[0] in serving and broker is not self.brokers[0]
        must(not (away and self.world.long), "K11", f"{self} stays with broker {broker.index}")
        must(broker.sessions.get(self) is link, "K1", f"broker {broker.index} knows {self}")
        must(self.found, "K7", f"{self} has found a broker and does not say so")
        must(not self.open, "K4", f"{self} has open commands", [*self.open])

    def _check_barred(self) -> None:
        """Who is denied by all knows; one that is welcomed still was let in before.

        Brokers that are full deny nobody. Whom one let in before takes many failed handshakes for
        a denial, and they are slow to come where a name has an address that is dead.
        """
        world = self.world
        told = [world.denials.get((broker, self)) for broker in self.brokers]
        answer = all(broker.serves and broker not in world.dark for broker in self.brokers)
        if set(told) == {"full"}:
            must(not self.rules.barred, "K9", f"{self} is barred by brokers that are full")
        counts = [
            denial == "handshake" and self.epoch and failures < FAILURES_KNOWN_MAX
            for denial, failures in zip(told, self.failures, strict=True)
        ]
        sure = not {"now", "full"} & {*told} and not any(counts)
        if answer and all(told) and sure and not self.rules.welcomed:
            ago = world.now - self.barred_at
            must(ago < 2 * DENIED_REST_MAX_NS, "K9", f"{self} was barred {ago} ns ago")
