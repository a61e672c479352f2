"""One enrolled peer: its name, its keys, what it may do and how much.

A `Peer` that exists is valid. Its table in `peers.toml` has a key for each field but the name.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pound._base.addresses import CONTROL
from pound._config_keys import Key, burst_of, check_service_name, rate_of, suggestion
from pound.errors import ConfigError

from .curve import checked_key
from .names import ROLES, checked_words

# Nothing of a name means anything to a log, a shell, TOML or a path.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PATTERNS_MAX = 64
QUOTAS = {
    "weight": Key("weight", "count", 1, "", 1, 1000),
    "open_max": Key("open_max", "count", 0, "", 0, 2**32 - 2),
    "bytes_max": Key("bytes_max", "size", 0, "", 0, 1 << 62),
    "connections_max": Key("connections_max", "count", 0, "", 0, 2**32 - 2),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """What an enrolled peer may do.

    Parameters
    ----------
    name : str
    key : str
        Its public key.
    roles : tuple of str
        Some of `ROLES`.
    services : tuple of str, optional
        Names, or beginnings and ``*``; None: all.
    expires : datetime, optional
        When the key ends; None: never. Without a zone it is UTC.
    weight : int
        How many requests it is served in its turn.
    open_max, bytes_max, connections_max : int
        Quotas; 0: no limit.
    rate : str
        Requests, as ``100/s``; empty: no limit.
    next_key : str, optional
        The key that takes the place of `key`: until `next_until` both count, then it alone.
    next_until : datetime, optional
    """

    name: str
    key: str
    roles: tuple[str, ...]
    services: tuple[str, ...] | None = None
    expires: datetime.datetime | None = None
    weight: int = 1
    open_max: int = 0
    bytes_max: int = 0
    rate: str = ""
    connections_max: int = 0
    next_key: str | None = None
    next_until: datetime.datetime | None = None

    def __post_init__(self) -> None:
        """Bring every value to its type."""
        checked_name(self.name)
        checked_key("key", self.key)
        self._set("roles", checked_roles(self.roles))
        if self.services is not None:
            self._set("services", _patterns(self.services))
        for field in ("expires", "next_until"):
            if getattr(self, field) is not None:
                self._set(field, _moment(field, getattr(self, field)))
        for field, key in QUOTAS.items():
            self._set(field, key.parse(getattr(self, field)))
        rate_of("rate", self.rate)
        if (self.next_key is None) != (self.next_until is None):
            raise ConfigError("next_key and next_until go together")
        if self.next_key is not None and checked_key("next_key", self.next_key) == self.key:
            raise ConfigError("next_key is the same as key")

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its public keys."""
        return (self.key,) if self.next_key is None else (self.key, self.next_key)

    @property
    def ends(self) -> tuple[tuple[str, datetime.datetime | None], ...]:
        """Its keys, each with the moment from which it counts no more; None: never.

        While a peer rotates, the old key ends when the rotation does. What the file still says of
        it afterwards means nothing.
        """
        if self.next_key is None or self.next_until is None:
            return ((self.key, self.expires),)
        until = self.next_until if self.expires is None else min(self.next_until, self.expires)
        return ((self.key, until), (self.next_key, self.expires))

    def rotated(self, now: datetime.datetime) -> bool:
        """Tell whether `next_key` has taken the place of `key`."""
        return self.next_until is not None and self.next_until <= now

    @property
    def rate_per_second(self) -> float:
        """The rate as a number; 0: no limit."""
        return rate_of("rate", self.rate)

    @property
    def burst(self) -> float:
        """How many requests it may ask at once, with a rate."""
        return burst_of(self.rate_per_second)

    @classmethod
    def from_table(cls, name: str, table: object) -> Peer:
        """Return the peer of a table of `peers.toml`.

        Raises
        ------
        ConfigError
            A key is unknown or missing, or a value is none.
        """
        if not isinstance(table, Mapping):
            raise ConfigError("is not a table")
        for key in table:
            if key not in FIELDS:
                raise ConfigError(f"unknown key {key!r}{suggestion(key, FIELDS)}")
        for key in ("key", "roles"):
            if key not in table:
                raise ConfigError(f"{key} is missing")
        return cls(name=name, **table)

    def table(self) -> dict[str, Any]:
        """Return what its table in `peers.toml` has: what is not the default."""
        values = ((f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(self))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value, default in values
            if name != "name" and value != default
        }


FIELDS = tuple(field.name for field in dataclasses.fields(Peer) if field.name != "name")


def checked_name(value: object) -> str:
    """Return a peer's name; raise ConfigError if it is none."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(
            f"{value!r} is not a name for a peer: at most 64 letters, digits and . _ - with a "
            "letter or digit first"
        )
    return value


def checked_roles(value: object) -> tuple[str, ...]:
    """Return roles; raise ConfigError if they are none."""
    return checked_words("roles", value, ROLES)


def _texts(label: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{label}: {value!r} is not a list of texts")
    texts = tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{label}: {value!r} is not a list of texts")
    return texts


def _patterns(value: object) -> tuple[str, ...]:
    patterns = _texts("services", value)
    if len(patterns) > PATTERNS_MAX:
        raise ConfigError(
            f"services: {len(patterns)} are given, and a peer may have {PATTERNS_MAX}"
        )
    for pattern in patterns:
        if "*" in pattern[:-1]:
            raise ConfigError(f"services: {pattern!r}: a * may only stand at the end")
        if pattern != pattern.strip():
            raise ConfigError(
                f"services: {pattern!r}: a name has no blanks at its ends, remove them"
            )
        if CONTROL.search(pattern):
            raise ConfigError(f"services: {pattern!r} has a control character")
        try:
            check_service_name(pattern)
        except ValueError as error:
            raise ConfigError(f"services: {error}") from None
    return patterns


def _moment(label: str, value: object) -> datetime.datetime:
    """Return a TOML date, with or without a time, as a moment in UTC."""
    if not isinstance(value, datetime.date):
        raise ConfigError(
            f"{label}: {value!r} is not a date, such as 2027-01-01T00:00:00Z, unquoted"
        )
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        return value.replace(tzinfo=datetime.timezone.utc)
    try:
        return value.astimezone(datetime.timezone.utc)
    except OverflowError:
        raise ConfigError(f"{label}: {value} is beyond the calendar") from None
