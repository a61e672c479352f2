"""A listener: one endpoint of the broker, and who may use it, in which dialects.

A `Listener` that exists is valid by itself. What also depends on the broker's other settings, is
decided by `resolved`: whether it is encrypted, and whether it may be bound.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from pound._base.addresses import is_loopback, split_endpoint
from pound._config_keys import suggestion
from pound.errors import ConfigError

from .names import (
    DIALECTS,
    LISTENERS_MAX,
    ROLES,
    SECURITIES,
    SIDES,
    check_word,
    checked_words,
)

MODE = re.compile(r"0?[0-7]{3}")  # as chmod takes it
OWNER = re.compile(r"[^:\s]+(:[^:\s]+)?|:[^:\s]+")  # as chown takes it


@dataclasses.dataclass(frozen=True)
class Listener:
    """One endpoint that a broker binds.

    Parameters
    ----------
    endpoint : str
        ``tcp://ADDRESS:PORT``, ``ipc://PATH`` or ``inproc://NAME``.
    side : str
        ``frontend``, where clients (and MDP workers) connect, or ``backend``, for workers.
    security : str, optional
        ``curve``: encrypted, for the peers that the broker's keys name; ``none``: for everybody
        who reaches it. By default ``curve`` if the broker has keys. ``inproc`` has none.
    roles : tuple of str
        Those of ``client``, ``worker`` and ``operator`` that may be used here; by default all.
        Of ``inproc`` always all.
    dialects : tuple of str
        Those of ``pnd``, ``plain``, ``ppp`` and ``mdp`` that may be spoken here; by default all.
        Of ``inproc`` always all.
    mode : str, optional
        Of an ``ipc`` socket: its permissions as octal text, such as ``0660``.
    owner : str, optional
        Of an ``ipc`` socket: ``USER``, ``USER:GROUP`` or ``:GROUP``; names or numbers.

    Raises
    ------
    ConfigError
        A value is none of these.
    """

    endpoint: str
    side: str = dataclasses.field(default="frontend", kw_only=True)
    security: str | None = dataclasses.field(default=None, kw_only=True)
    roles: tuple[str, ...] = dataclasses.field(default=ROLES, kw_only=True)
    dialects: tuple[str, ...] = dataclasses.field(default=DIALECTS, kw_only=True)
    mode: str | None = dataclasses.field(default=None, kw_only=True)
    owner: str | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check every value."""
        transport, _, _ = _split(self.endpoint)
        check_word("side", self.side, SIDES)
        if self.security is not None:
            check_word("security", self.security, SECURITIES)
        if transport == "inproc" and self.security == "curve":
            raise ConfigError("security: inproc stays inside a process, and is never encrypted")
        for field, words in (("roles", ROLES), ("dialects", DIALECTS)):
            object.__setattr__(self, field, checked_words(field, getattr(self, field), words))
        limited = len(self.roles) < len(ROLES) or len(self.dialects) < len(DIALECTS)
        if transport == "inproc" and limited:
            raise ConfigError(
                "roles and dialects: peers of inproc are this program itself, and may do all; bind "
                "tcp:// or ipc:// where less is allowed"
            )
        _check_form("mode", self.mode, MODE, 'octal text, such as "0660"')
        _check_form("owner", self.owner, OWNER, 'text such as "pound:www-data"')
        if (self.mode or self.owner) and (transport != "ipc" or self.endpoint == "ipc://*"):
            raise ConfigError(f"mode and owner are of ipc://PATH, not of {self.endpoint!r}")

    @property
    def permissions(self) -> int | None:
        """The bits of `mode`."""
        return None if self.mode is None else int(self.mode, 8)

    def resolved(self, *, keys: bool, insecure: bool) -> Listener:
        """Return this listener with its security.

        Parameters
        ----------
        keys : bool
            Whether the broker has keys.
        insecure : bool
            Whether it may be open to other machines without encryption.

        Returns
        -------
        Listener

        Raises
        ------
        ConfigError
            It may not be bound so.
        """
        transport, host, _ = _split(self.endpoint)
        by_default = "curve" if keys and transport != "inproc" else "none"
        security = self.security or by_default
        if security == "curve" and not keys:
            raise ConfigError(
                f"{self.endpoint!r} with security curve needs the broker's keys: pound keys init "
                'makes them, keys = "DIR" names their directory'
            )
        open_to_all = security == "none" and transport == "tcp" and not is_loopback(host)
        if open_to_all and not insecure:
            raise ConfigError(
                f"{self.endpoint!r} is reachable from other machines, and nothing is encrypted or "
                "authenticated: give the broker keys (pound keys init), bind loopback, or allow it "
                "with --insecure (insecure = true)"
            )
        return dataclasses.replace(self, security=security)


def listener_of(entry: object) -> Listener:
    """Return the listener that an entry of `Config.listen` is; raise ConfigError if none."""
    if isinstance(entry, Listener):
        return entry
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{entry!r} is not a table")
    for key in entry:
        if key not in FIELDS:
            raise ConfigError(f"unknown key {key!r}{suggestion(key, FIELDS)}")
    if "endpoint" not in entry:
        raise ConfigError("endpoint is missing")
    return Listener(**entry)


FIELDS = tuple(field.name for field in dataclasses.fields(Listener))


def check_set(listeners: list[Listener]) -> None:
    """Raise ConfigError for too many, or for an endpoint that would be bound twice.

    Ports that libzmq chooses differ.
    """
    endpoints = [listener.endpoint for listener in listeners]
    for endpoint in endpoints:
        if endpoints.count(endpoint) > 1 and not endpoint.endswith((":*", ":0", "ipc://*")):
            raise ConfigError(
                f"{endpoint!r} is given twice: each listener needs an endpoint of its own"
            )
    if len(endpoints) > LISTENERS_MAX:
        raise ConfigError(
            f"{len(endpoints)} endpoints are more than a broker binds: at most {LISTENERS_MAX}, "
            "frontend and backend together"
        )


def _split(endpoint: object) -> tuple[str, str, str]:
    if not isinstance(endpoint, str):
        raise ConfigError(f"endpoint: {endpoint!r} is not text such as tcp://127.0.0.1:5555")
    try:
        return split_endpoint(endpoint)
    except ValueError as error:
        raise ConfigError(f"{endpoint!r} {error}") from None


def _check_form(label: str, value: object, form: re.Pattern[str], example: str) -> None:
    if value is not None and not (isinstance(value, str) and form.fullmatch(value)):
        raise ConfigError(f"{label}: {value!r} is not {example}")
