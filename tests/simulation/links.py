"""Links of clients and workers against brokers that die, stop, drain and lose them: one seed.

The rules of a link (``_engine/link.pxd``) run compiled, behind ``tests/probe/links.pyx``. All
around them is a model: the network of ``network.py``; what libzmq does between a link and a broker,
and clients and workers that send numbered commands, and send them again after each WELCOME
(``link_ends.py``); brokers (``link_broker.py``).

A seed is a number of rounds: a burst of faults, then quiet for as long as the stated bound. What
must hold, always or at the end of each quiet time:

K1  a link whose list has a broker that serves is welcomed by such a one, within ``End.bound``
K2  an endpoint is given a quarter of a second at least, and no turn leads to the next without time
K3  a HEARTBEAT is sent whenever nothing was said (worker) or heard (client) for a heartbeat; no
    broker misses a worker that nothing happened to
K4  every command is executed and acknowledged in the end
K5  the first record of a route is a greeting, and greetings are a second apart
K6  an endpoint is left for silence when it was silent for that long, a pause of our own not
    counted, and no later
K7  what is logged is true: lost follows found
K8  the broker's limits hold from its WELCOME on
K9  a link that is denied tries the next endpoint; when all deny it, it is barred, and rests for a
    second, then twice as long each time, up to 30 s; a barred link is not welcomed
K10 an endpoint that refuses is left for what else there is to try: at once if it has let nobody in,
    after a second if it had, and no sooner
K11 an end whose first endpoint is one of a broker that serves is there within ``End.home_bound``;
    there it has nothing looked at
K12 an end goes there after two looks in a row that found it serving; after it went in vain, it
    stays elsewhere twice as long as the time before, up to a minute, before it goes again (K1 holds
    ``End.bound`` after it went)
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable
from importlib import import_module
from random import Random

from tests.probe import load

from .link_broker import NEVER, Broker
from .link_ends import End, Make
from .network import MS, SECOND, Link, Network
from .seeds import SHOWN, parser_of, run_seeds


class World:
    """All of one seed; ``run`` raises an AssertionError when anything is wrong."""

    def __init__(self, make: Make, seed: int, show: Callable[[str], None] | None = None) -> None:
        self.seed, self.show = seed, show
        rng = self.rng = Random(f"links {seed}")
        self.now = rng.choice((1, 1000)) * SECOND
        self.heartbeat = rng.choice((100 * MS, 500 * MS, SECOND))
        pace = rng.choice((MS, 10 * MS))
        self.network = Network(rng, pace, 1000, 0.0)
        self.mark = rng.choice((1, 3, 1000))
        self.eagain_rate = rng.choice((0.0, 0.1, 0.4))
        self.lossy_rate = rng.choice((0.0, 0.0, 0.3))
        self.unopened_rate = rng.choice((0.0, 0.0, 0.3))
        self.deaf_rate = rng.choice((0.0, 0.3))
        self.retry_ms = rng.choice((0, 1, 300, 3000))
        self.busy = rng.choice((0.02, 0.3))
        self.denies = rng.random() < 0.5
        self.eagain = self.lossy = self.unopened = self.deaf = 0.0
        self.begun: set[Link] = set()
        self.places: dict[tuple[str, bool], Broker | str] = {}
        self.addresses: dict[str, list[str]] = {}
        self.dark: set[Broker] = set()  # neither reachable nor refused
        self.denials: dict[tuple[Broker, End], str] = {}  # who does not let whom in, and how
        self.fault_at = self.now
        self.long = False  # the quiet time
        self.brokers = [Broker(self, i) for i in range(rng.randint(1, 3))]
        kinds = rng.choice(((False, True), (False,), (True,), (False, True, True)))
        self.ends = [
            End(self, f"{'worker' if follows else 'client'}-{i}", follows, make)
            for i, follows in enumerate(kinds)
        ]
        if self.denies and rng.random() < 0.3:  # none has ever let them in
            denial = rng.choice(("handshake", "full", "foreign"))
            self.denials = {(broker, end): denial for broker in self.brokers for end in self.ends}
        self.turns = 0

    # -- places

    def endpoint(self, broker: Broker, rng: Random) -> str:
        """An endpoint that leads to the broker: an address, or a name in one way or another."""
        kind = rng.choice(("address", "name", "name6", "names"))
        nobody = rng.choice(("nobody", "nobody", "dark"))
        host = f"10.0.0.{broker.index}" if kind == "address" else f"{kind}-{broker.index}"
        endpoint = f"tcp://{host}:5555"
        four, six = (endpoint, False), (endpoint, True)
        if four in self.places or six in self.places:
            return endpoint
        self.places[four] = broker if kind in ("address", "name") else nobody
        self.places[six] = broker if kind == "name6" else nobody
        if kind == "names":
            found = [f"tcp://10.1.{broker.index}.{n}:5555" for n in (1, 2)]
            self.addresses[endpoint] = found
            self.places[found[0], False] = nobody
            self.places[found[1], False] = broker
        return endpoint

    def targets_of(self, endpoint: str) -> int:
        return 1 if endpoint.startswith("tcp://10.") else 2 + len(self.addresses.get(endpoint, ()))

    def others(self, endpoints: list[str]) -> bool:
        """Whether there is more than one thing to try."""
        return len(endpoints) > 1 or self.targets_of(endpoints[0]) > 1

    def reach(self, target: tuple[str, bool]) -> Broker | str:
        place = self.places[target]
        return "dark" if place in self.dark else place

    def serves(self, end: End, broker: Broker) -> bool:
        denied = (broker, end) in self.denials
        return broker.serves and broker not in self.dark and not denied

    # -- time

    def run(self, rounds: int) -> None:
        for end in self.ends:
            end.start()
        for self.rounds in range(1, rounds + 1):
            self._burst()
            self._quiet(long=self.rng.random() < 0.3)
        self._heal()
        self._quiet(long=True)

    def _burst(self) -> None:
        self.eagain, self.lossy = self.eagain_rate, self.lossy_rate
        self.unopened, self.deaf = self.unopened_rate, self.deaf_rate
        for _ in range(self.rng.randint(1, 6)):
            self._fault()
            self.advance(self.now + self.rng.choice((MS, 300 * MS, 2 * SECOND, 5 * SECOND)))
        if self.rng.random() < 0.5:
            self.denials.clear()  # and the quiet time is one of a link that was let in again
        self.eagain = self.lossy = self.unopened = self.deaf = 0.0

    def _quiet(self, long: bool) -> None:
        """Long: until everybody is back at the preferred broker."""
        self.fault_at, self.long = self.now, long
        for link in self.network.links:
            if link.swallows:
                link.breaks_at = min(link.breaks_at or NEVER, self.now + SECOND)
        for broker in self.brokers:
            if broker.stopped_until < 1 << 60:
                broker.stopped_until = 0
        for end in self.ends:
            end.stalled_until = min(end.stalled_until, self.now)
        bounds = [end.home_bound if long else end.bound for end in self.ends]
        self.advance(self.now + max(bounds))
        busy, self.busy = self.busy, 0.0
        self.advance(self.now + 3 * SECOND)
        self.busy = busy
        for end in self.ends:
            end.check()

    def _heal(self) -> None:
        self.dark.clear()
        self.denials.clear()
        for broker in self.brokers:
            broker.stopped_until = 0
            broker.start()
            broker.drains, broker.turns_away = None, False

    def _fault(self) -> None:
        rng = self.rng
        broker, end = rng.choice(self.brokers), rng.choice(self.ends)
        fault = rng.choice(
            ("kill", "restart", "start", "stop", "stop", "drain", *["away"] * 3, "cut", "cut",
             "half", "stall", "stall", "dark", "light", "heal", "forget", "forget",
             *((*["deny"] * 3, *["revoke"] * 3, "enrol") if self.denies else ()))
        )  # fmt: skip
        self.say(f"{fault} broker {broker.index}, {end}")
        self.fault_at = NEVER  # until the next quiet time
        if fault in ("kill", "restart"):
            broker.kill()
        if fault in ("restart", "start"):
            broker.start()
        elif fault == "stop":
            broker.stop(self.now + rng.choice((SECOND, 20 * SECOND, 1 << 60)))
        elif fault == "drain" and broker.alive:
            broker.drain(rng.choice((1, self.retry_ms)))  # 1: shorter than any turn may be
        elif fault == "away":
            broker.turn_away(cut=rng.random() < 0.7)
        elif fault in ("cut", "half"):
            self._harm(end, fault)
        elif fault == "stall":
            end.stalled_until = self.now + rng.choice((200 * MS, 2 * SECOND, 30 * SECOND))
        elif fault in ("dark", "light"):
            self._cover(broker, fault == "dark")
        elif fault in ("deny", "revoke", "enrol"):
            self._judge(broker, end, fault)
        elif fault == "forget":
            broker.forget(end)
        elif fault == "heal":
            self._heal()

    def _cover(self, broker: Broker, dark: bool) -> None:
        if not dark:
            self.dark.discard(broker)
            return
        self.dark.add(broker)
        for link in broker.links():
            self.network.half_open(link, self.rng.choice((SECOND, 4700 * MS)))

    def _judge(self, broker: Broker, end: End, fault: str) -> None:
        denials = ("key", "mechanism", "handshake", "foreign", "record", "now")
        before = self.denials.get((broker, end))
        if fault == "enrol":
            self.denials.pop((broker, end), None)
        elif before == "handshake" and self.rng.random() < 0.7:
            self.denials[broker, end] = "full"  # what looks the same to the handshake
        else:
            self.denials[broker, end] = self.rng.choice(denials)
        if fault == "revoke":
            broker.revoke(end)

    def _harm(self, end: End, fault: str) -> None:
        link = end.socket.link if end.socket is not None else None
        if link is None:
            return
        if fault == "cut":
            self.network.break_link(link, peer_knows=self.rng.random() < 0.8)
        else:
            self.network.half_open(link, self.rng.choice((SECOND, 4700 * MS)))

    def advance(self, until: int) -> None:
        """Let everything happen that is due by then."""
        while True:
            breaks = [k.breaks_at for k in self.network.links if k.breaks_at is not None]
            dues = [*[e.due() for e in self.ends], *[b.due() for b in self.brokers], *breaks]
            at = max(self.now, min(dues))
            if at > until:
                break
            self.now = at
            self.network.advance(at)
            for link in self.network.links:
                if link.broken:
                    link.breaks_at = None
            self._step()
        self.now = until
        self.network.advance(until)

    def _step(self) -> None:
        for broker in self.brokers:
            if broker.due() <= self.now:
                broker.turn()
        for end in self.ends:
            if end.due() <= self.now:
                self.turns += 1
                end.turn()
        self.network.links = [
            k for k in self.network.links
            if not (k.broken and self.now >= k.broker_knows_at and not k.up.under_way)
        ]  # fmt: skip

    def say(self, words: str) -> None:
        if self.show is not None:
            self.show(f"{self.now / SECOND:.3f} {words}")


def run(make: Make, seed: int, rounds: int, show: Callable[[str], None] | None) -> tuple[int, bool]:
    """How many turns the seed took, and whether it held."""
    trace: deque[str] = deque(maxlen=SHOWN)
    world = World(make, seed, show or trace.append)
    try:
        world.run(rounds)
    except AssertionError as error:
        if show is None:
            print(*trace, sep="\n")
        print(f"seed {seed}: {world.now / SECOND:.3f} {type(error).__name__}: {error}")
        again = f"python -m tests.simulation.links --seed {seed} --rounds {rounds} --trace"
        print(f"again: {again}", flush=True)
        return world.turns, False
    return world.turns, True


def parsed() -> argparse.Namespace:
    parser = parser_of("python -m tests.simulation.links", "Run seeds of the links' simulation.")
    parser.add_argument("--rounds", type=int, default=4, help="bursts of faults per seed")
    parser.add_argument("--probe", default="", help="the module of the rules' handle")
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    make = (import_module(arguments.probe) if arguments.probe else load("links")).Link
    show = print if arguments.trace else None
    return run_seeds(arguments, lambda seed: run(make, seed, arguments.rounds, show), "turns")


if __name__ == "__main__":
    sys.exit(main())
