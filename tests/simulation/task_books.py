"""The ledger's books of tasks, and I23: what must hold of claims and of who adopts them."""

from __future__ import annotations

from typing import Any

from .books import Asked, Given, Hand, must
from .words import Claim

AHEAD = 1 << 44
Call = dict[str, Any]
"""the arguments of a call by name, and ``call``, its name"""


class TaskBooks:
    """The part of the ledger that is about tasks, above all those of other epochs."""

    next_token: int
    now: int
    services: dict[int, tuple[int, bool]]
    hands: dict[int, Hand]
    asked: dict[int, Asked]
    given: dict[int, Given]
    adopted: int

    def _claimable(self, w: int, token: int) -> Claim:
        """What a token is to a worker, as the books have it."""
        given = self.given.get(token)
        if given is None:
            return Claim.OTHER if (token - self.next_token) % (1 << 64) < AHEAD else Claim.NONE
        if given.worker != w or not given.sent:
            return Claim.OTHER
        if given.claimed:
            return Claim.OPEN
        return Claim.OTHER if given.asked is None else Claim.ADOPTED

    def _before_claims(self, call: Call, result: int) -> None:
        hand, w = self.hands[call["w"]], call["w"]
        held, entered = hand.held, 0
        for token, running in () if hand.gone else call["claims"]:
            if self._claimable(w, token) == Claim.NONE:
                given = Given(token, w, None, isolates=False, sent=True, claimed=True)
                self.given[token] = hand.tasks[token] = given
            if self._claimable(w, token) == Claim.OPEN:
                hand.tasks[token].answered, hand.tasks[token].holds = not running, running
                entered += 1
        must(result == entered, "I23", "claims", result, "of", call)
        alone = any(given.isolates for given in hand.tasks.values() if given.holds)
        if hand.held > held and (hand.held > hand.capacity or alone):
            self._undo_unsent(hand)

    def _before_adopt(self, call: Call, result: bool) -> None:
        asked, hand = self.asked[call["slot"]], self.hands[call["w"]]
        claim = self._claimable(call["w"], call["token"]) == Claim.OPEN
        task = self.given.get(asked.token) if asked.token is not None else None
        free = task is None if asked.phase == "waiting" else task is not None and not task.sent
        fits = claim and free and not asked.isolated and asked.service in hand.services
        must(result == fits, "I23", "adopts" if result else "does not adopt", asked, call)
        if not result:
            return
        call["undone"] = task is not None
        if task is not None:
            self._end_task(task)
        given = self.given[call["token"]]
        given.claimed, given.asked = False, asked
        asked.phase, asked.token, asked.dispatched = "running", given.token, True
        asked.held_back = False
        asked.delayed_until, asked.attempts = None, max(1, asked.attempts)
        self.adopted += 1
        self._lease(given)

    def _after_adopt(
        self, call: Call, result: bool, actions: list[Any], counters: dict[str, int]
    ) -> None:
        """It takes nothing from anybody, so that nothing else comes of it, unless it made room."""
        must(not actions or call["undone"], "I23", "adopting did", actions)
        must(counters["adopted"] == self.adopted, "I23", counters["adopted"], "were adopted")
        holders = [given for given in self.given.values() if given.asked is not None]
        slots = [given.asked.slot for given in holders if given.asked is not None]
        must(len(slots) == len(set(slots)), "I23", "a request has two tasks", slots)

    def _before_claim_drop(self, call: Call, result: None) -> None:
        if self._claimable(call["w"], call["token"]) == Claim.OPEN:
            self._end_task(self.given[call["token"]])

    # -- tasks ----------------------------------------------------------------------------------

    def _lease(self, given: Given) -> None:
        if given.asked is not None and given.asked.service in self.services:
            lease_ns = self.services[given.asked.service][0]
            given.lease_due = self.now + lease_ns if lease_ns else None

    def _end_task(self, given: Given) -> None:
        """The token is dead; its request, if it was that one's task, waits again."""
        del self.given[given.token]
        del self.hands[given.worker].tasks[given.token]
        if given.asked is not None and given.asked.token == given.token:
            given.asked.token = None
            if given.asked.phase == "running":
                given.asked.phase = "waiting"

    def _end_old_task(self, asked: Asked) -> None:
        given = self.given.get(asked.token) if asked.token is not None else None
        asked.token = None
        if given is None:
            return
        if not given.sent or self.hands[given.worker].gone:
            del self.given[given.token]
            del self.hands[given.worker].tasks[given.token]
        else:
            given.asked, given.lease_due = None, None

    def _undo_unsent(self, hand: Hand) -> None:
        for given in list(hand.tasks.values()):
            if not given.sent:
                self._end_task(given)
