"""One seed: limits, rates and peers are drawn from it, stepped, and brought to rest.

While it runs, ``Pair`` compares the dispatcher with the model and the ledger checks the invariants,
at every call. After the last step all faults stop: what is open must end within ``CALM_NS``. Then
everybody leaves, and every table must be empty.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .books import must
from .broker import Broker
from .network import MS, SECOND, Network
from .pair import Factory, Pair
from .peers import PND, WORKER_DIALECTS, Client, Peer, Rates, Worker
from .words import Limits

CALM_NS = 120 * SECOND
LEAVE_NS = 60 * SECOND
AUDIT_EVERY = 50
WORK_PACES = ((0, 2, 10, 30, 100), (0, 2), (30, 100))
IDENTITIES = ((None,), (0,), (0, 1), (None, 0, 1, 65534))
LEASE_PACES = ((0,), (0, 10, 60), (10, 20))
RESTARTS = (0.0, 0.01, 0.02, 0.05)  # per step, of a broker whose tasks are taken up again


def drawn_limits(rng: Random) -> Limits:
    """Limits of which some are small enough to be reached."""

    def seldom(small: int, large: int) -> int:
        return small if rng.random() < 0.15 else large

    service_wait_ns = rng.choice((0, 200 * MS, 3 * SECOND))
    return Limits(
        attempts_max=rng.choice((1, 2, 3, 5, 5, 9)),
        clients_max=seldom(3, 100),
        workers_max=seldom(4, 100),
        # A service that nobody may offer: what waits for it ends by the wait for a first worker.
        services_max=seldom(2, 100) if service_wait_ns else 100,
        waiting_max=seldom(10, 1000),
        waiting_bytes_max=seldom(2000, 1 << 30),
        service_waiting_max=seldom(5, 1000),
        service_waiting_bytes_max=seldom(1000, 1 << 30),
        requests_max=seldom(5, 1000),
        foreign_window=seldom(2, 1000),
        answers_bytes_max=rng.choice((0, 500, 5000, 1 << 20)),
        service_wait_ns=service_wait_ns,
        block_ns=rng.choice((0, 5 * MS, 5 * MS)),
        shares_from=rng.choice((1, 64, 1 << 40)),
        unknown_reject=seldom(1, 0),
    )


class Simulation:
    """A world of one seed; ``run`` raises an AssertionError when anything is wrong."""

    def __init__(
        self,
        factory: Factory,
        seed: int,
        show: Callable[[str], None] | None = None,
        audit: bool = True,
    ) -> None:
        self.factory = factory
        self.show = show
        self.audit = audit  # let the dispatcher check itself too, which aborts the process
        self.steps = 0
        self.rng = Random(seed)
        self.rates = Rates.drawn(self.rng)
        self.limits = drawn_limits(self.rng)
        # Drawn apart: where memory is plenty, a seed is what it was without this limit.
        self.memory_max = Random(f"memory {seed}").choice((*[1 << 40] * 4, 8000, 2000))
        self.owners_rng = Random(f"owners {seed}")  # likewise
        self.identities: tuple[int | None, ...] = self.owners_rng.choice(IDENTITIES)
        self.adoption_rng = Random(f"adoption {seed}")  # likewise
        self.adopts = self.adoption_rng.random() < 0.5
        self.ends_early = self.adoption_rng.choice(RESTARTS) if self.adopts else 0.0
        self.epoch = 0
        self.now = self.rng.choice((1, 1000 * SECOND))
        self.calm = False
        self.pace_ns = self.rng.choice((MS, 10 * MS, 100 * MS))
        mark = self.rng.choice((2, 10, 1000))
        self.network = Network(self.rng, self.pace_ns, mark, self.rates.spurious_eagain)
        self.service_names = [f"service-{n}" for n in range(self.rng.randint(1, 4))]
        self.work_paces: tuple[int, ...] = self.rng.choice(WORK_PACES)
        leases = self.rng.choice(LEASE_PACES)
        self.leases = {n: self.rng.choice(leases) * self.pace_ns for n in self.service_names}
        self.dialects = self.rng.choice(WORKER_DIALECTS)
        self.all_pnd = self.adopts and self.adoption_rng.random() < 0.8  # so much is taken up
        if self.all_pnd:
            self.dialects, self.work_paces = (PND,), (10, 30, 100)
            self.rates.crash /= 5
        self.names = 0
        self.clients = [self._new_client() for _ in range(self.rng.choice((1, 2, 3, 6)))]
        self.workers = [self._new_worker() for _ in range(self.rng.choice((1, 2, 3, 5, 8)))]
        self.calls = 0
        self._start()

    def _start(self) -> None:
        token_seed = self.rng.choice((0, self.rng.getrandbits(64), (1 << 64) - 20))
        self.epoch += 1
        if self.adopts and self.adoption_rng.random() < 0.9:  # else claims may clash with it
            token_seed = self.adoption_rng.getrandbits(64)
        self.pair = Pair(self.factory, self.limits, token_seed)
        self.pair.show = self.show
        self.broker = Broker(self, self.pair, self.limits, self.leases)

    def _new_client(self) -> Client:
        self.names += 1
        dialect = self.rng.choice(("plain", "dealer", "pnd", "pnd", "pnd"))
        dialect = "pnd" if self.all_pnd else dialect
        client = Client(self, f"client-{self.names}", dialect)
        client.identity = self.owners_rng.choice(self.identities)
        return client

    def _new_worker(self) -> Worker:
        self.names += 1
        dialect = self.rng.choice(self.dialects)
        most = len(self.service_names) if dialect.many_services else 1
        services = self.rng.sample(self.service_names, self.rng.randint(1, most))
        capacity = self.rng.choice((1, 3, dialect.capacity_max)) if dialect is PND else 1
        return Worker(self, f"worker-{self.names}", dialect, services, capacity)

    def token_of_another(self, worker: Worker) -> int:
        """A token that the worker has no right to: live, or no longer, or never."""
        live = [t for peer in self.workers if peer is not worker for t in peer.tasks]
        past = [t for _, t, peer in self.broker.tokens if peer is not worker]
        return self.rng.choice(self.rng.choice((live, past, [])) or [self._random_token()])

    def _random_token(self) -> int:
        return self.rng.getrandbits(64)

    def run(self, steps: int) -> None:
        for self.steps in range(1, steps + 1):
            self._step(self._pause_or_pace())
            if self.audit and self.steps % AUDIT_EVERY == 0:
                self.pair.real.check()
        self._rest()
        self._leave()
        self.calls += self.pair.calls

    def _pause_or_pace(self) -> int:
        rng = self.rng
        if rng.random() < self.rates.restart:
            self._restart()
        if self.adoption_rng.random() < self.ends_early:
            self._restart()
        if rng.random() < self.rates.pause:
            return rng.choice((2 * SECOND, 15 * SECOND))
        return rng.choice((0, self.pace_ns, rng.randrange(self.pace_ns), 10 * self.pace_ns))

    def _restart(self) -> None:
        """The broker dies and comes back: a new epoch, which nobody's tokens belong to."""
        for link in self.network.links:
            self.network.break_link(link)
        self.network.links = []
        self.calls += self.pair.calls
        self._start()

    def _step(self, passes_ns: int) -> None:
        self.now += passes_ns
        self.network.advance(self.now)
        for peer in self._peers():
            peer.step()
        self.broker.turn()
        if not self.calm and self.rng.random() < self.rates.aimed:
            self._aim()
        self._replace_dead()

    def _aim(self) -> None:
        """A fault where it hurts: at a worker that runs empty for an isolated request."""
        for w, seat in self.broker.workers.items():
            if self.pair.real.worker(w)["reserved_for"] is not None:
                seat.worker.falter()

    def _peers(self) -> list[Peer]:
        peers = [*self.clients, *self.workers]
        self.rng.shuffle(peers)
        return peers

    def _replace_dead(self) -> None:
        if self.calm or self.rng.random() > 0.1:
            return
        self.clients = [self._new_client() if c.dead else c for c in self.clients]
        self.workers = [self._new_worker() if w.dead else w for w in self.workers]

    def _rest(self) -> None:
        """No fault any more, and a good worker for all: everything open ends."""
        self.calm = True
        self.network.eagain = 0.0
        for link in self.network.links:
            if link.swallows:
                link.breaks_at = self.now
        for worker in self.workers[2:]:  # room for one more
            worker.crash()
        self.workers.append(Worker(self, "good", PND, self.service_names, 4))
        ends = self.now + CALM_NS
        while self._open():
            must(self.now < ends, "END", "still open:", self._open())
            self._step(self.rng.choice((MS, 50 * MS, 500 * MS)))

    def _open(self) -> list[object]:
        return [asked for asked in self.pair.ledger.asked.values() if asked.open]

    def _leave(self) -> None:
        for peer in self._peers():
            peer.crash()
        ends = self.now + LEAVE_NS
        while self.pair.ledger.asked or self.broker.clients or self.broker.workers:
            if self.now >= ends:
                break
            self._step(self.rng.choice((MS, 500 * MS)))
        self.pair.ledger.empty(self.pair.real.counters(), self.broker.pinned)
        if self.audit:
            self.pair.real.check()
