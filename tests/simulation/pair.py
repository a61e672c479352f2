"""Every call on the real dispatcher and on the model, side by side, and the ledger notified."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .invariants import Ledger
from .model import Model
from .words import Action, Limits

Factory = Callable[..., Any]
"""``Dispatcher``: called with token_seed and the limits by name"""

CALLS = {
    "service_open": ("lease_ns", "how", "now", "c"),
    "service_drop": ("s",),
    "offerable": ("services",),
    "client_room": ("now",),
    "client_open": ("is_guide", "reserve"),
    "client_owner": ("c", "owner"),
    "owner_set": ("owner", "weight", "open_max", "bytes_max", "interval_ns", "burst_ns", "now"),
    "service_quota": ("s", "open_max", "bytes_max", "interval_ns", "burst_ns"),
    "quota_wait": ("c", "s", "now"),
    "client_done": ("c", "done"),
    "client_lost": ("c", "grace_ns", "now"),
    "client_back": ("c",),
    "client_close": ("c", "now"),
    "request": ("c", "id", "s", "priority", "timeout_ns", "size", "internal", "now", "hold_ns"),
    "cancel": ("c", "id", "now"),
    "worker_open": ("mode", "liveness_ns", "notified", "live"),
    "worker_ready": ("w", "capacity", "services", "tokens", "how", "now", "live"),
    "worker_leave": ("w", "now"),
    "worker_gone": ("w", "now"),
    "worker_void": ("w", "now"),
    "heard": ("w", "now", "live"),
    "blocked": ("w", "now"),
    "answer": ("w", "token", "code", "size", "now", "live", "delay_ns", "elsewhere"),
    "partial": ("w", "token"),
    "claim_state": ("w", "token"),
    "claims": ("w", "claims", "now"),
    "adopt": ("w", "token", "slot", "now"),
    "claim_drop": ("w", "token", "now"),
    "sent": ("slot", "token", "now"),
    "unsent": ("slot", "token"),
    "delivered": ("slot",),
    "undeliverable": ("slot",),
    "answer_bytes": ("slot", "size"),
    "evict": ("size",),
    "full": ("full",),
    "tick": ("now", "live"),
}
TRACE_KEPT = 40
Note = tuple[Any, ...]
"""a call's number, name and values, or its result and actions: text only when somebody reads it"""


class DifferentError(AssertionError):
    """The dispatcher and the model do not do the same."""


class Pair:
    """One dispatcher and its model; ``pair("tick", now, live)`` calls both."""

    def __init__(self, factory: Factory, limits: Limits, token_seed: int) -> None:
        self.real = factory(token_seed=token_seed, **asdict(limits))
        self.model = Model(limits, token_seed)
        self.ledger = Ledger(limits, token_seed, self._reserved_for)
        self._trace: deque[Note] = deque(maxlen=TRACE_KEPT)
        self.show: Callable[[str], None] | None = None
        self.calls = 0

    def __call__(self, name: str, *values: Any) -> tuple[Any, list[Action]]:
        self.calls += 1
        expected, expected_actions = getattr(self.model, name)(*values), self.model.actions()
        self._note(self.calls, name, values)
        result = getattr(self.real, name)(*values)
        self._same("result", result, expected)
        if name in ("unsent", "claim_state"):
            return result, []
        actions = [tuple(action) for action in self.real.actions()]
        counters = self.real.counters()
        self._note(result, actions)
        self._same("actions", actions, expected_actions)
        self._same("counters", counters, self.model.counters())
        call = dict(zip(CALLS[name], values, strict=True), call=name)
        self.ledger.called(call, result, actions, counters)
        return result, actions

    def trace(self) -> list[str]:
        """The last calls with their results, a line for each."""
        return [text_of(note) for note in self._trace]

    def _note(self, *note: Any) -> None:
        self._trace.append(note)
        if self.show is not None:
            self.show(text_of(note))

    def _same(self, what: str, found: Any, expected: Any) -> None:
        if found == expected:
            return
        if isinstance(found, dict):
            keys = sorted(k for k in found | expected if found.get(k) != expected.get(k))
            found = {k: found.get(k) for k in keys}
            expected = {k: expected.get(k) for k in keys}
        raise DifferentError(f"{what}: dispatcher {found}, model {expected}")

    def _reserved_for(self, w: int) -> int | None:
        reserved: int | None = self.real.worker(w)["reserved_for"]
        return reserved


def text_of(note: Note) -> str:
    if len(note) == 2:
        result, actions = note
        return f"    = {result} {actions}"
    number, name, values = note
    shown = ", ".join(f"{key}={value}" for key, value in zip(CALLS[name], values, strict=True))
    return f"{number}: {name}({shown})"
