"""The names of what the broker counts and refuses with: derived from their declarations."""

from __future__ import annotations

from pound._broker import kinds

__all__ = ["DIALECTS", "DISPATCHER_COUNTERS", "LOOP_COUNTERS", "REASONS", "ZAP_REASONS"]


def loop_counters() -> tuple[str, ...]:
    """Return the names of the loop's counters, in order: in small letters, without the prefix."""
    numbers = {number: name for name, number in vars(kinds).items() if name.startswith("C_")}
    return tuple(numbers[i].removeprefix("C_").lower() for i in range(kinds.C_COUNT))


LOOP_COUNTERS = loop_counters()
DISPATCHER_COUNTERS = kinds.dispatcher_counters()
DIALECTS = kinds.dialects()
REASONS = kinds.reasons()
ZAP_REASONS = kinds.zap_reasons()
