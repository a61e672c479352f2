"""The names of what the broker counts, logs and refuses with: derived from their declarations."""

from __future__ import annotations

from pound._broker import kinds

__all__ = ["DIALECTS", "DISPATCHER_COUNTERS", "LOG_KINDS", "LOOP_COUNTERS", "REASONS"]


def names_of(prefix: str) -> tuple[str, ...]:
    """Return the names of the constants with this prefix, in small letters and without it."""
    kinds_of = [(number, name) for name, number in vars(kinds).items() if name.startswith(prefix)]
    return tuple(name.removeprefix(prefix).lower() for _, name in sorted(kinds_of))


LOOP_COUNTERS = names_of("C_")[: kinds.C_COUNT]
LOG_KINDS = names_of("LOG_")
DISPATCHER_COUNTERS = kinds.dispatcher_counters()
DIALECTS = kinds.dialects()
REASONS = kinds.reasons()
