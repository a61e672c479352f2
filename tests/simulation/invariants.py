"""What must hold whatever the dispatcher decides: I1-I13, I17-I23, judged from the outside.

The ledger sees calls, results and actions, as the core does, and keeps the books that they imply:
who holds which task, what is open, who was sent a task last. It predicts nothing: it refuses what
must never happen. Of the dispatcher's inside it asks one thing, for whom a worker is reserved.

A broken rule raises ``BrokenError``, whose text begins with the rule's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .books import Asked, Given, Hand, must
from .task_books import Call, TaskBooks
from .words import Act, Action, Ans, Claim, Code, Limits, Mode, Opened, Ready, Req

PRIORITIES = range(10)
Round = dict[tuple[str, int], dict[tuple[str, int], int]]
"""owners that wait: what each other owner was given meanwhile"""


class Ledger(TaskBooks):
    """The ledger of one dispatcher's life; ``called`` is called after every call."""

    def __init__(
        self, limits: Limits, token_seed: int, reserved_for: Callable[[int], int | None]
    ) -> None:
        self.limits = limits
        self.reserved_for = reserved_for
        self.next_token = token_seed
        self.order = 0
        self.adopted = 0
        self.held_until = 0
        self.services: dict[int, tuple[int, bool]] = {}  # lease, pinned
        self.dispatches: dict[int, int] = {}  # of requests that are not isolated
        self.passed: dict[int, list[int]] = {}  # dispatches since a priority that waits was served
        self.clients: dict[int, bool] = {}  # is_guide
        self.owners: dict[int, int] = {}  # client: the identity that it has
        self.weights: dict[int, int] = {}  # identity: the largest weight that it ever had
        self.quotas: dict[tuple[str, int], Call] = {}  # of identities, and of services
        self.rounds: dict[tuple[int, int], Round] = {}  # by service and priority
        self.done: dict[int, int] = {}
        self.graces: dict[int, int] = {}
        self.hands: dict[int, Hand] = {}
        self.asked: dict[int, Asked] = {}
        self.given: dict[int, Given] = {}
        self.kept: list[Asked] = []
        self.candidates: set[int] = set()  # eligible before the call
        self.counters: dict[str, int] = {}
        self.full = False  # as of the last call
        self.call: Call = {}
        self.now = 0

    def called(
        self, call: Call, result: Any, actions: Iterable[Action], counters: dict[str, int]
    ) -> None:
        """Check one call, with its result, its actions and the counters after it."""
        self.call, self.now = call, max(self.now, call.get("now", 0))
        before = getattr(self, "_before_" + call["call"], None)
        if before is not None:
            before(call, result)
        actions = list(actions)
        for kind, code, slot, peer, token in actions:
            getattr(self, "_act_" + Act(kind).name.lower())(code, slot, peer, token)
        after = getattr(self, "_after_" + call["call"], None)
        if after is not None:
            after(call, result, actions, counters)
        self._recount(counters)
        self._rounds_end()
        self._nothing_left_to_match()
        self.counters = counters

    # -- before the actions: what the call itself says -------------------------------------------

    def _before_service_open(self, call: Call, result: int | None) -> None:
        if result is not None:
            must(result not in self.services, "I1", "service number in use", result)
            self.services[result] = (call["lease_ns"], call["how"] == Opened.PINNED)
            self.dispatches[result] = 0
            self.passed[result] = [0 for _ in PRIORITIES]

    def _before_client_open(self, call: Call, result: int | None) -> None:
        if result is not None:
            must(result not in self.clients, "I1", "client number in use", result)
            self.clients[result] = call["is_guide"]

    def _before_client_owner(self, call: Call, result: None) -> None:
        self.owners[call["c"]] = call["owner"]

    def _before_owner_set(self, call: Call, result: None) -> None:
        owner, weight = call["owner"], max(1, call["weight"])
        self.weights[owner] = max(weight, self.weights.get(owner, 1))
        self.quotas["identity", owner] = call

    def _before_service_quota(self, call: Call, result: None) -> None:
        self.quotas["service", call["s"]] = call

    def _before_client_done(self, call: Call, result: None) -> None:
        self.done[call["c"]] = max(call["done"], self.done.get(call["c"], 0))

    def _before_client_lost(self, call: Call, result: None) -> None:
        self.graces[call["c"]] = call["now"] + call["grace_ns"]

    def _before_client_back(self, call: Call, result: None) -> None:
        self.graces.pop(call["c"], None)

    def _before_request(self, call: Call, result: tuple[int, int | None]) -> None:
        code, slot = result
        c, id = call["c"], call["id"]
        same = [a for a in self.asked.values() if (a.client, a.id) == (c, id)]
        must(code != Req.BUSY_MEMORY or self.full, "I20", "refused without need", c, id)
        if code == Req.ACCEPTED:
            must(not self.full or call["internal"], "I20", "accepted above the mark", c, id)
            must(slot is not None and slot not in self.asked, "I1", "slot in use", slot)
            must(self.clients[c] or not same, "I11", "accepted twice", c, id)
            self._accept(call, slot or 0)
        elif code in (Req.HELD, Req.ANSWERED, Req.KEPT):
            must([a.slot for a in same] == [slot], "I11", "not that request", c, id, slot)
            must(same[0].open == (code == Req.HELD), "I11", "held or answered", slot)
            must((same[0].phase == "kept") == (code == Req.KEPT), "I11", "kept or not", slot)
            if code == Req.KEPT:
                self.kept.remove(same[0])
                same[0].phase = "ended"
        elif code == Req.STALE:
            must(not same and id < self.done.get(c, 0), "I11", "not stale", c, id)

    def _accept(self, call: Call, slot: int) -> None:
        timeout = call["timeout_ns"]
        asked = Asked(
            slot,
            call["c"],
            call["id"],
            call["s"],
            call["priority"],
            call["size"],
            self.order,
            self.now + timeout if timeout else None,
        )
        if call["hold_ns"] and not call["internal"]:
            self.held_until = max(self.held_until + 1, self.now + call["hold_ns"])
            asked.held_back, asked.delayed_until = True, self.held_until
        asked.rank = self.order
        self.order += 1
        self.asked[slot] = asked
        if call["internal"]:
            asked.phase = "ended"

    def _before_worker_open(self, call: Call, result: int | None) -> None:
        if result is not None:
            must(result not in self.hands, "I1", "worker number in use", result)
            self.order += 1
            hand = Hand(
                call["mode"], call["liveness_ns"], call["notified"], call["live"], self.order
            )
            self.hands[result] = hand

    def _before_worker_ready(self, call: Call, result: None) -> None:
        hand = self.hands[call["w"]]
        was_gone, hand.gone, hand.leaving = hand.gone, False, False
        hand.blocked_until, hand.heard = None, call["live"]
        hand.capacity, hand.services = call["capacity"], tuple(call["services"])
        for given in list(hand.tasks.values()):
            asked = given.asked
            if call["how"] == Ready.SAME_ROUTE:
                given.holds = not given.answered
                if given.claimed and given.token not in call["tokens"]:
                    self._end_task(given)
            elif not given.sent or call["how"] == Ready.NEW_LIFE:
                self._end_task(given)
            elif given.token not in call["tokens"]:
                self._end_task(given)
                if asked is not None:
                    asked.attempts -= 1
            elif asked is not None and (was_gone or asked.phase == "waiting"):
                asked.phase, given.holds = "running", not given.answered
                self._lease(given)

    def _before_worker_leave(self, call: Call, result: None) -> None:
        hand = self.hands[call["w"]]
        if not hand.gone:
            hand.leaving = True
            self._undo_unsent(hand)

    def _before_worker_gone(self, call: Call, result: None) -> None:
        self._gone(self.hands[call["w"]])

    def _gone(self, hand: Hand) -> None:
        hand.gone, hand.services, hand.blocked_until = True, (), None
        self._undo_unsent(hand)
        for given in list(hand.tasks.values()):
            given.holds, given.lease_due = False, None
            if given.asked is None:
                self._end_task(given)
            else:
                given.asked.phase = "waiting"

    def _before_worker_void(self, call: Call, result: None) -> None:
        hand = self.hands[call["w"]]
        self._gone(hand)
        for given in list(hand.tasks.values()):
            self._end_task(given)

    def _before_blocked(self, call: Call, result: None) -> None:
        hand = self.hands[call["w"]]
        if not hand.gone:
            hand.blocked_until = self.now + self.limits.block_ns
            self._undo_unsent(hand)

    def _before_heard(self, call: Call, result: None) -> None:
        hand = self.hands[call["w"]]
        hand.heard, hand.blocked_until = call["live"], None

    def _before_answer(self, call: Call, result: tuple[int, int | None]) -> None:
        was_blocked = self.hands[call["w"]].blocked_until is not None
        self._before_heard(call, None)
        call["was_blocked"] = was_blocked
        code, slot = result
        call["slot"] = slot
        given = self.given.get(call["token"])
        if given is None or given.worker != call["w"] or not given.sent or given.claimed:
            must(code == Ans.DEAD, "I7", "counted without its task", call["token"], Ans(code))
            return
        asked = given.asked
        self._end_task(given)
        if asked is None:
            must(code == Ans.DROPPED, "I8", "an ended request was answered", Ans(code))
        elif call["code"] == Code.UNAVAILABLE:
            must((code, slot) == (Ans.RELEASED, asked.slot), "I7", "not released", asked)
            asked.attempts -= 1
            if call["delay_ns"] > 0 and not (call["elsewhere"] and self._others(asked)):
                asked.delayed_until = self.now + call["delay_ns"]
        else:
            must((code, slot) == (Ans.COUNTED, asked.slot), "I7", "not counted", asked)
            asked.phase, asked.size = "ended", call["size"]

    def _before_partial(self, call: Call, result: int | None) -> None:
        given = self.given.get(call["token"])
        mine = given is not None and given.worker == call["w"] and given.sent
        slot = given.asked.slot if mine and given is not None and given.asked else None
        must(result == slot, "I7", "partial of", call["token"], "went to", result)

    def _before_sent(self, call: Call, result: bool) -> None:
        given = self.given.get(call["token"])
        unsent = given is not None and not given.sent
        must(result == unsent, "I1", "sent said", result, "of", call["token"])
        if given is not None and unsent and given.asked is not None:
            given.sent = True
            given.asked.attempts += 1
            must(given.asked.attempts <= self.limits.attempts_max, "I9", given.asked)
            self._lease(given)

    def _before_delivered(self, call: Call, result: None) -> None:
        asked = self.asked[call["slot"]]
        asked.phase = "kept"
        self.kept.append(asked)

    def _before_answer_bytes(self, call: Call, result: None) -> None:
        self.asked[call["slot"]].size = call["size"]

    def _before_full(self, call: Call, result: None) -> None:
        self.full = call["full"]

    def _before_tick(self, call: Call, result: int | None) -> None:
        for given in self.given.values():
            if given.lease_due is not None and given.lease_due <= self.now:
                given.lease_due = None
                if given.asked is not None and not self._expires(given.asked):
                    given.asked.phase = "waiting"
        delayed = [a for a in self.asked.values() if a.delayed_until is not None]
        for asked in sorted(delayed, key=lambda a: a.delayed_until or 0):
            if asked.delayed_until is not None and asked.delayed_until <= self.now:
                asked.delayed_until = None
                if asked.held_back:
                    asked.held_back, asked.rank = False, self.order
                    self.order += 1
        for hand in self.hands.values():
            if hand.blocked_until is not None and hand.blocked_until <= self.now:
                hand.blocked_until = None

    def _expires(self, asked: Asked) -> bool:
        return asked.deadline is not None and asked.deadline <= self.now

    # -- the actions -----------------------------------------------------------------------------

    def _act_task(self, code: int, slot: int, peer: int, token: int) -> None:
        must(slot in self.asked, "I1", "a task of no request", slot)
        must(peer in self.hands, "I6", "a task for no worker", peer)
        asked, hand = self.asked[slot], self.hands[peer]
        must(asked.phase == "waiting", "I8", "a task of a request that is", asked.phase)
        must(asked.delayed_until is None, "I19", "a task of a delayed request", asked)
        back = self._given_back(asked) and self.call["delay_ns"] and peer == self.call["w"]
        must(not back, "I19", "back at once to worker", peer, asked)
        must(not hand.gone and not hand.leaving, "I6", "a task for a worker that is gone", peer)
        must(hand.blocked_until is None, "I6", "a task for a blocked worker", peer)
        must(asked.service in hand.services, "I2", "not a service of worker", peer, asked)
        must(hand.held < hand.capacity, "I3", "worker", peer, "holds", hand.held)
        must(hand.able, "I3", "something joined an isolated task of worker", peer)
        must(not asked.isolated or hand.held == 0, "I3", "isolated, but not alone", asked)
        must(code == asked.attempts + 1, "I9", "attempt", code, asked)
        must(code <= self.limits.attempts_max, "I9", "one attempt too many", asked)
        must(token == self.next_token, "I7", "token", token, "after", self.next_token - 1)
        self._in_order(asked)
        self._longest_ago(asked, peer)
        self._end_old_task(asked)
        self.next_token = (token + 1) % (1 << 64)
        given = Given(token, peer, asked, isolates=asked.isolated)
        self.given[token] = hand.tasks[token] = given
        asked.phase, asked.token, asked.dispatched = "running", token, True
        self.dispatches[asked.service] += not asked.isolated
        self.order += 1
        hand.last_sent = self.order

    def _others(self, asked: Asked) -> list[int]:
        """Who but the worker that gives a request back could take it at once."""
        others = [(n, self.hands[n]) for n in self.candidates - {self.call["w"]}]
        able = [(n, hand) for n, hand in others if asked.service in hand.services]
        return [n for n, hand in able if hand.held == 0 or not asked.isolated]

    def _given_back(self, asked: Asked) -> bool:
        """Whether this call gives it back, for another worker to take it at once."""
        return bool(self.call.get("elsewhere")) and self.call["slot"] == asked.slot

    def _in_order(self, asked: Asked) -> None:
        """I10: by priority, returned before fresh, by acceptance; fresh ones for each owner."""
        round = self.rounds.setdefault((asked.service, asked.priority), {})
        round.pop(self._owner(asked), None)
        if asked.isolated or self.call["call"] == "tick":
            return
        line = [
            a
            for a in self.asked.values()
            if a.lined and a.service == asked.service and not a.isolated
        ]
        waiting = {a.priority for a in line}
        out_of_turn = self.dispatches[asked.service] % 16 == 15 and len(waiting) > 1
        highest = asked.priority == max(waiting)
        must(highest != out_of_turn, "I10", "of priorities", waiting, "comes", asked)
        same = [a for a in line if a.priority == asked.priority]
        if not any(a.returned for a in same):
            self._in_turn(asked, same)
            same = [a for a in same if self._owner(a) == self._owner(asked)]
        head = min(same, key=lambda a: (not a.returned, a.order if a.returned else a.rank))
        must(asked is head, "I10", "first comes", head, "not", asked)
        self._within_bound(asked, waiting)

    def _owner(self, asked: Asked) -> tuple[str, int]:
        """In whose name a request was made."""
        if asked.client in self.owners:
            return ("identity", self.owners[asked.client])
        return ("client", asked.client)

    def _in_turn(self, asked: Asked, fresh: list[Asked]) -> None:
        """I21: while an owner waits, each other one is given no more than its weight."""
        owner = self._owner(asked)
        weight = self.weights.get(owner[1], 1) if owner[0] == "identity" else 1
        round = self.rounds[asked.service, asked.priority]
        for waits in {self._owner(a) for a in fresh} - {owner}:
            given = round.setdefault(waits, {})
            given[owner] = given.get(owner, 0) + 1
            must(given[owner] <= weight, "I21", waits, "waits while", given, "were given")

    def _rounds_end(self) -> None:
        """Who does not wait any more begins anew when it waits again."""
        for (service, priority), round in self.rounds.items():
            fresh = [
                a
                for a in self.asked.values()
                if a.lined and not a.returned and (a.service, a.priority) == (service, priority)
            ]
            waiting = {self._owner(a) for a in fresh}
            for owner in [owner for owner in round if owner not in waiting]:
                del round[owner]

    def _within_bound(self, asked: Asked, waiting: set[int]) -> None:
        """I18: no priority that waits is passed by for longer than 16 dispatches for each."""
        passed = self.passed[asked.service]
        for priority in PRIORITIES:
            served = priority == asked.priority or priority not in waiting
            passed[priority] = 0 if served else passed[priority] + 1
            must(passed[priority] <= 16 * len(PRIORITIES), "I18", "starves: priority", priority)

    def _longest_ago(self, asked: Asked, peer: int) -> None:
        """I5, as far as it is certain who was eligible at that moment.

        Idle ones come first, and of them who was sent a task longest ago. A busy one that was sent
        one longer ago than the chosen one holds more, and is the only one.
        """
        if self.call["call"] == "tick":
            return
        chosen, passed = self.hands[peer], 0
        for number in self.candidates - {peer}:
            hand = self.hands.get(number)
            if hand is None or not hand.able or asked.service not in hand.services:
                continue
            if self._given_back(asked) and number == self.call["w"]:
                continue
            if self.reserved_for(number) is not None or (chosen.held == 0 and hand.held):
                continue
            must(chosen.held == 0 or hand.held, "I5", number, "is idle, not", peer)
            if hand.last_sent < chosen.last_sent:
                passed += 1
                less = 0 < chosen.held < hand.held
                must(less and passed == 1, "I5", number, "waits longer than", peer)

    def _act_cancel(self, code: int, slot: None, peer: int, token: int) -> None:
        must(peer in self.hands, "I6", "a cancel for no worker", peer)
        must(not self.hands[peer].gone, "I6", "a cancel for a worker that is gone", peer)
        listed = self.call["call"] == "worker_ready" and token in self.call["tokens"]
        if listed and self.call["w"] == peer:
            claimed = self._claimable(peer, token) == Claim.OPEN
            must(not claimed, "I23", "a cancel of a claim", token)
            return
        must(self.hands[peer].notified, "I6", "a cancel for a worker that is not notified", peer)
        given = self.given.get(token)
        mine = given is not None and given.worker == peer and given.sent
        mine = mine and given is not None and not given.claimed
        must(mine, "I7", "a cancel of", token, "for worker", peer)

    def _act_fail(self, code: int, slot: int, peer: None, token: int) -> None:
        asked = self.asked[slot]
        must(asked.open, "I8", "a second final answer of", asked)
        tick = self.call["call"] == "tick"
        if code == Code.DEADLINE_EXCEEDED:
            must(tick and self._expires(asked), "I13", "expired early", asked, self.now)
        elif code == Code.ABORTED:
            must(asked.attempts >= self.limits.attempts_max, "I9", "aborted early", asked)
        elif code == Code.NOT_FOUND:
            offered = any(asked.service in hand.services for hand in self.hands.values())
            must(tick and not offered and asked.lined, "I13", "no worker, it says", asked)
        else:
            cancelled = (self.call["call"], self.call.get("id")) == ("cancel", asked.id)
            must(code == Code.CANCELLED and cancelled, "I8", "fails with", code, asked)
        self._end_old_task(asked)
        asked.phase, asked.size, asked.delayed_until = "ended", 0, None

    def _act_free(self, code: int, slot: int, peer: None, token: int) -> None:
        asked = self.asked.pop(slot)
        if asked.open:
            due = self.graces.get(asked.client)
            lost = self.call["call"] == "tick" and due is not None and due <= self.now
            lost |= self.call["call"] == "client_room" and due == min(self.graces.values())
            closed = self.call["call"] == "client_close" and self.call["c"] == asked.client
            must(lost or closed, "I1", "an open request was forgotten", asked)
        if self.call["call"] == "evict":
            must(asked.phase == "kept", "I20", "evicted, but not a kept answer:", asked)
            must(asked is self.kept[0], "I20", "evicted before an older one:", asked)
            held = sum([a.size for a in self.kept])
            must(held > self.call["size"], "I20", "evicted without need:", asked)
        if asked.phase == "kept":
            self.kept.remove(asked)
        self._end_old_task(asked)

    def _act_worker_gone(self, code: int, slot: None, peer: int, token: int) -> None:
        hand = self.hands[peer]
        due = hand.heard + hand.liveness_ns
        must(hand.mode != Mode.NEVER and due <= self.call["live"], "I13", "gone early", peer)
        must(hand.mode == Mode.ALWAYS or hand.held == 0, "I13", "gone while it works", peer)
        self._gone(hand)

    def _act_worker_free(self, code: int, slot: None, peer: int, token: int) -> None:
        hand = self.hands.pop(peer)
        must(hand.gone, "I1", "a living worker was forgotten", peer)
        for given in hand.tasks.values():  # of a request that this call dispatches or ends
            self.given.pop(given.token)
            must(given.asked is not None, "I1", "an orphan of a worker that is gone", peer)
        must(len(hand.tasks) <= 1, "I1", "forgotten with its tasks", peer)

    def _act_client_free(self, code: int, slot: None, peer: int, token: int) -> None:
        del self.clients[peer]
        self.graces.pop(peer, None)
        self.done.pop(peer, None)
        self.owners.pop(peer, None)
        must(all(a.client != peer for a in self.asked.values()), "I1", "client freed", peer)

    def _act_service_free(self, code: int, slot: None, peer: int, token: int) -> None:
        _, pinned = self.services.pop(peer)
        used = any(a.service == peer for a in self.asked.values())
        offered = any(peer in hand.services for hand in self.hands.values())
        must(not pinned and not used and not offered, "I1", "service freed", peer)

    # -- after the actions -----------------------------------------------------------------------

    def _after_answer(
        self, call: Call, result: tuple[int, int | None], actions: list[Action], counters: Any
    ) -> None:
        if result[0] == Ans.DEAD and not call["was_blocked"]:
            self._only("answers_late", actions, counters)

    def _after_partial(self, call: Call, result: int | None, actions: Any, counters: Any) -> None:
        if result is None:
            self._only("partials_late", actions, counters)

    def _only(self, counter: str, actions: list[Action], counters: dict[str, int]) -> None:
        changed = {k: v - self.counters.get(k, 0) for k, v in counters.items()}
        changed = {k: v for k, v in changed.items() if v}
        must(changed == {counter: 1} and not actions, "I14", "changed", changed, actions)

    def _after_request(
        self, call: Call, result: tuple[int, int | None], actions: Any, counters: Any
    ) -> None:
        if result[0] != Req.ACCEPTED or call["internal"] or result[1] is None:
            return
        asked, limits = self.asked[result[1]], self.limits
        self._within_quotas(asked)
        opened = [a for a in self.asked.values() if a.open and a.client == asked.client]
        most = limits.foreign_window if self.clients[asked.client] else limits.requests_max
        must(len(opened) <= most, "I12", "open of a client", len(opened))
        every = [a for a in self.asked.values() if a.open]
        if len(every) > 1:
            self._within(every, len(every), limits.waiting_bytes_max)
        if asked.phase == "waiting":
            line = [a for a in self.asked.values() if a.phase == "waiting"]
            self._within(line, limits.waiting_max, sum(a.size for a in line))
            line = [a for a in line if a.service == asked.service]
            self._within(line, limits.service_waiting_max, limits.service_waiting_bytes_max)

    def _within_quotas(self, asked: Asked) -> None:
        """I22: an owner has no more open than its quota, in all and in the service, allows."""
        owner = self._owner(asked)
        opened = [a for a in self.asked.values() if a.open and self._owner(a) == owner]
        here = [a for a in opened if a.service == asked.service]
        for key, line in ((owner, opened), (("service", asked.service), here)):
            quota = self.quotas.get(key)
            if quota is not None:
                most = quota["open_max"]
                must(not most or len(line) <= most, "I22", key, len(line), "open")
                most = quota["bytes_max"]
                fits = not most or len(line) == 1 or sum(a.size for a in line) <= most
                must(fits, "I22", key, "has too many bytes open")

    @staticmethod
    def _within(line: list[Asked], most: int, most_bytes: int) -> None:
        size = sum(a.size for a in line)
        must(len(line) <= most and size <= most_bytes, "I12", len(line), size, "wait")

    def _after_evict(
        self, call: Call, result: None, actions: list[Action], counters: dict[str, int]
    ) -> None:
        must(counters["kept_bytes"] <= call["size"], "I20", "kept", counters["kept_bytes"])
        freed = {kind for kind, *_ in actions} <= {Act.FREE, Act.SERVICE_FREE}
        must(freed, "I20", "evicting did", actions)
        for part in ("accepted", "waiting", "running", "answered", "failed", "cancelled"):
            must(counters[part] == self.counters.get(part, 0), "I20", part, "changed", counters)

    def _after_full(self, call: Call, result: None, actions: list[Action], counters: Any) -> None:
        same = not self.counters or counters == self.counters
        must(same and not actions, "I20", "did", actions, counters)

    def _after_tick(self, call: Call, result: int | None, actions: Any, counters: Any) -> None:
        must(result is None or result > self.now, "I13", "tick left behind what is due", result)
        for asked in self.asked.values():
            must(not (asked.open and self._expires(asked)), "I13", "not expired", asked)
            if asked.open and asked.deadline is not None:
                must(result is not None and result <= asked.deadline, "I13", "sleeps over", asked)
        for asked in self.asked.values():
            due = asked.delayed_until
            must(due is None or (result is not None and self.now < result <= due), "I19", asked)
        for c, due in self.graces.items():
            must(due > self.now, "I13", "grace not over", c)

    def _recount(self, counters: dict[str, int]) -> None:
        waiting = [a.size for a in self.asked.values() if a.phase == "waiting"]
        expected = {
            "waiting": len(waiting),
            "running": len([a for a in self.asked.values() if a.phase == "running"]),
            "waiting_bytes": sum(waiting),
            "running_bytes": sum([a.size for a in self.asked.values() if a.phase == "running"]),
            "kept": len(self.kept),
            "kept_bytes": sum([a.size for a in self.kept]),
            "clients": len(self.clients),
            "workers": len([hand for hand in self.hands.values() if not hand.gone]),
            "services": len(self.services),
            "delayed": len([a for a in self.asked.values() if a.delayed_until is not None]),
        }
        found = {name: counters[name] for name in expected}
        must(found == expected, "I12", found, "should be", expected)
        must(counters["kept_bytes"] <= self.limits.answers_bytes_max, "I12", "kept", found)
        parts = ("waiting", "running", "answered", "failed", "cancelled", "expired")
        must(counters["accepted"] == sum([counters[p] for p in parts]), "I1", counters)

    def _nothing_left_to_match(self) -> None:
        """I4, and who may be chosen by the next call."""
        self.candidates = {
            number
            for number, hand in self.hands.items()
            if hand.able and self.reserved_for(number) is None
        }
        waiting = [a for a in self.asked.values() if a.lined]
        for number in self.candidates if waiting else ():
            hand = self.hands[number]
            for asked in waiting:
                takes = asked.service in hand.services and (hand.held == 0 or not asked.isolated)
                must(not takes, "I4", "worker", number, "could take", asked)

    def empty(self, counters: dict[str, int], pinned: int) -> None:
        """I17: after all have left, nothing is kept but the pinned services."""
        gauges = "waiting delayed running waiting_bytes running_bytes kept"
        gauges += " kept_bytes clients workers"
        names = gauges.split()
        left = {name: counters[name] for name in names if counters[name]}
        must(not left and counters["services"] == pinned, "I17", left, counters["services"])
        must(not self.asked and not self.given and not self.hands, "I17", "the books are open")
