"""The rules of claims: what a worker was sent in another epoch, and which request takes it up."""

from __future__ import annotations

from collections.abc import Iterable

from .entities import Request, Task, Worker
from .quotas import Quotas
from .rules import ISOLATED_FROM, TOKENS
from .words import Claim, State

AHEAD = 1 << 44
"""how many of the tokens that are given out next nobody may claim"""


class Claims(Quotas):
    """What the model knows of claims."""

    def claim_state(self, w: int, token: int) -> int:
        task = self.tasks.get(token)
        if task is None:
            return Claim.OTHER if (token - self.token) % TOKENS < AHEAD else Claim.NONE
        if task.worker is not self.workers[w] or not task.sent:
            return Claim.OTHER
        if task.claimed:
            return Claim.OPEN
        return Claim.OTHER if task.request is None else Claim.ADOPTED

    def claims(self, w: int, claims: Iterable[tuple[int, bool]], now: int) -> int:
        worker = self.workers[w]
        if worker.gone:
            return 0
        self.now, held = now, worker.held
        entered = sum([self._claim(worker, token, running) for token, running in claims])
        alone = any(task.isolated for task in worker.tasks if task.holds)
        if worker.held > held and (worker.held > worker.capacity or alone):
            self._undo_unsent(worker)
        self.to_serve.add(worker)
        self._settle()
        return entered

    def _claim(self, worker: Worker, token: int, running: bool) -> bool:
        state = self.claim_state(worker.number, token)
        if state == Claim.NONE:
            task = Task(token, worker, None, isolated=False, sent=True, claimed=True)
            self.tasks[token] = task
            worker.tasks.append(task)
        elif state != Claim.OPEN:
            return False
        task = self.tasks[token]
        task.answered, task.holds = not running, running
        self._held_less(worker)
        return True

    def adopt(self, w: int, token: int, slot: int, now: int) -> bool:
        request = self.slots[slot]
        if self.claim_state(w, token) != Claim.OPEN or not self._adopts(request, self.workers[w]):
            return False
        self.now = now
        if request.task is not None:
            self._undo(request.task)
        task = self.tasks[token]
        self._leave_queue(request)
        request.state, request.attempts = State.RUNNING, max(1, request.attempts)
        task.claimed, task.request, request.task = False, request, task
        self._start_lease(task)
        self.sums["adopted"] += 1
        self._settle()
        return True

    @staticmethod
    def _adopts(request: Request, worker: Worker) -> bool:
        """One that was not sent since it waits, and need not be alone, of the worker's services."""
        if request.state is State.WAITING:
            unsent = request.task is None
        else:
            unsent = request.task is not None and not request.task.sent
        shares = request.attempts < ISOLATED_FROM
        return unsent and shares and request.service in worker.offers

    def claim_drop(self, w: int, token: int, now: int) -> None:
        if self.claim_state(w, token) == Claim.OPEN:
            self.now = now
            self._kill(self.tasks[token])
            self._settle()
