"""How the broker brings requests and the tasks of other epochs together: by their keys.

As _broker/adoption.pyx does it: a request that may have a task elsewhere is held back, a worker
claims what it has kept, and the two meet by the key that both know. A claim that nobody wants is
dropped. I24: what was claimed in time does not run a second time, and a request ends once.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from .books import must
from .peers import Key
from .rules import TOKENS
from .words import Claim

if TYPE_CHECKING:
    from .broker import ClientSeat, WorkerSeat
    from .network import Link
    from .pair import Pair
    from .peers import World


@dataclass
class Claimed:
    """What a worker says it holds, and no request has taken up yet."""

    seat: WorkerSeat
    token: int
    since: int
    unfit: bool = False  # the request that it was meant for could not take it up


class Adoption:
    """The part of the broker that is about tasks of other epochs."""

    world: World
    pair: Pair
    workers: dict[int, WorkerSeat]
    slots: dict[int, tuple[ClientSeat, int]]

    def begin_adoption(self) -> None:
        self.adoption_rng: Random = self.world.adoption_rng
        pace = self.world.pace_ns
        self.adopt_wait_ns = self.adoption_rng.choice((1, 10, 50, 200)) * pace
        self.claim_grace_ns = self.adoption_rng.choice((5, 50, 200, 1000)) * pace
        self.claimed: dict[Key, Claimed] = {}
        self.wanted: dict[Key, int] = {}  # slots of open requests
        self.keys: dict[int, Key] = {}  # by slot

    @property
    def now(self) -> int:
        return self.world.now

    # -- requests --------------------------------------------------------------------------------

    def hold_ns(self, seat: ClientSeat, key: Key) -> int:
        """For how long a request waits for its task of another epoch to be claimed."""
        rng = self.adoption_rng
        if not self.world.adopts or seat.is_guide:
            return 0
        if key in self.claimed:
            return self.adopt_wait_ns
        if self.world.epoch > 1 and self.now < seat.opened_at + self.adopt_wait_ns:
            return seat.opened_at + self.adopt_wait_ns - self.now
        return rng.choice((1, 3, 50)) * self.world.pace_ns if rng.random() < 0.03 else 0

    def ended(self, slot: int | None) -> None:
        """A request has its final answer."""
        key = self.keys.get(slot) if slot is not None else None
        if key is not None:
            must(key in self.wanted, "I24", "a second final answer of", key)
            del self.wanted[key]

    def freed(self, slot: int) -> None:
        key = self.keys.pop(slot, None)
        if key is not None and self.wanted.get(key) == slot:  # with its client
            del self.wanted[key]

    def runs(self, slot: int) -> None:
        """A task was made for a request."""
        claimed = self.claimed.get(self.keys[slot]) if slot in self.keys else None
        must(claimed is None or claimed.unfit, "I24", "a second run of", self.keys.get(slot))

    # -- workers ---------------------------------------------------------------------------------

    def _on_holds(self, link: Link, entries: tuple[tuple[int, Key, bool], ...]) -> None:
        seat = self._worker(link)
        if seat is None:
            return
        self._heard(seat)
        w = seat.number
        said = []
        for token, key, running in entries:
            state = self.call("claim_state", w, token)
            if state in (Claim.NONE, Claim.OPEN):
                said.append((token, key, running))
            else:
                kind = "accepted" if state == Claim.ADOPTED else "cancel"
                self._to_worker(w, (kind, token))
        self.call("claims", w, tuple((token, running) for token, _, running in said), self.now)
        for token, key, _ in said:
            self._claim(seat, token, key)

    def _claim(self, seat: WorkerSeat, token: int, key: Key) -> None:
        known = self.claimed.get(key)
        if known is not None and (known.seat, known.token) != (seat, token):
            self._drop(key)
        if self.call("claim_state", seat.number, token) != Claim.OPEN:
            return  # it came twice in one HOLDS, and is dropped
        if key not in self.claimed:
            self.claimed[key] = Claimed(seat, token, self.now)
        if key in self.wanted:
            self.adopt(key, self.wanted[key])

    def adopt(self, key: Key, slot: int) -> None:
        """A request and a claim have met by their key."""
        claimed = self.claimed[key]
        w, token = claimed.seat.number, claimed.token
        if not self._is_there(claimed) or not self.call("adopt", w, token, slot, self.now):
            claimed.unfit = True
            return
        del self.claimed[key]
        self._to_worker(w, ("accepted", token))

    def _is_there(self, claimed: Claimed) -> bool:
        return self.workers.get(claimed.seat.number) is claimed.seat

    def _drop(self, key: Key) -> None:
        claimed = self.claimed.pop(key)
        if self._is_there(claimed):
            self.call("claim_drop", claimed.seat.number, claimed.token, self.now)
            if not claimed.seat.lost:
                self._to_worker(claimed.seat.number, ("cancel", claimed.token))

    def adopt_late(self) -> None:
        """Drop what nobody wants; and what the core says of claims that do not fit."""
        rng = self.adoption_rng
        for key, claimed in list(self.claimed.items()):
            over = self.now >= claimed.since + self.claim_grace_ns
            if over or not self._is_there(claimed) or rng.random() < 0.002:
                self._drop(key)
        self._speak_of_tasks()
        if not self.claimed or rng.random() > 0.1:
            return
        claimed = rng.choice([*self.claimed.values()])
        if self._is_there(claimed):
            self._speak_wrongly(claimed)

    def _speak_of_tasks(self) -> None:
        """Any token may be said to be held; a worker may be lost before its answer comes."""
        rng, given = self.adoption_rng, self.pair.ledger.given
        if not self.world.adopts or not given or self.world.calm:
            return
        if rng.random() < 0.1:
            token = rng.choice([*given])
            self.call("claim_state", given[token].worker, token)
        for task in list(given.values()):
            if task.answered and task.asked is not None and rng.random() < 0.1:
                self._worker_lost(self.workers[task.worker])
                return

    def claim_unasked(self) -> None:
        """A worker claims what nobody knows of while it has tasks that are not sent yet."""
        rng = self.adoption_rng
        for w, seat in list(self.to_flush.items()) if self.world.adopts else ():
            alone = self.pair.real.worker(w)["isolating"]
            if not self.world.calm and rng.random() < (0.3 if alone else 0.03):
                later = self.pair.model.token + rng.choice((0, 1, 1 << 43, 1 << 44))
                token = rng.choice((rng.getrandbits(64), later % TOKENS))
                if self.call("claims", w, ((token, rng.random() < 0.8),), self.now):
                    self.claimed[seat.worker.name, token] = Claimed(seat, token, self.now)

    def _speak_wrongly(self, claimed: Claimed) -> None:
        """Another worker's claim, or a request that cannot take it up."""
        rng, token, own = self.adoption_rng, claimed.token, claimed.seat.number
        w = rng.choice([own, *self.workers])
        asked = self.pair.ledger.asked.values()
        unsent = {t.asked.slot for t in self.pair.ledger.given.values() if t.asked and not t.sent}
        over = [a.slot for a in asked if a.phase != "waiting" and a.slot not in unsent]
        lost = [a.slot for a in asked if a.phase == "waiting" and (a.token or a.isolated)]
        slots = (lost or over) if w == own else [a.slot for a in asked]
        if slots:
            self.call("adopt", w, token, rng.choice(slots), self.now)
        if w != own:
            self.call("claim_state", w, token)
            self.call("claims", w, ((token, True),), self.now)
            self.call("claim_drop", w, token, self.now)
