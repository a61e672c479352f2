"""The words of keys and listeners, and the check of those that a person chose."""

from __future__ import annotations

from collections.abc import Iterable

from pound._config_keys import suggestion
from pound.errors import ConfigError

ROLES = ("client", "worker", "operator")  # role_t of table.pxd
SIDES = ("frontend", "backend")
SECURITIES = ("curve", "none")
DIALECTS = ("pnd", "plain", "ppp", "mdp")
LISTENERS_MAX = 32  # of a broker: a proof has five bits for their number (zap.pxd)


def check_word(label: str, value: object, known: tuple[str, ...]) -> None:
    """Raise ConfigError unless a value is one of the known words."""
    if not isinstance(value, str) or value not in known:
        words = ", ".join(known)
        raise ConfigError(f"{label}: {value!r} is not one of {words}{suggestion(value, known)}")


def checked_words(label: str, value: object, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return some of the known words; raise ConfigError if they are none of them."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{label}: {value!r} is not a list of texts")
    words = tuple(value)
    for word in words:
        check_word(label, word, known)
    if not words or len(set(words)) < len(words):
        raise ConfigError(f"{label}: name at least one, and each once")
    return words
