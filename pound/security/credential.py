"""A credential: the one file that a peer needs to reach a broker and to prove who it is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from pound._config_keys import suggestion
from pound.errors import ConfigError

from . import edits, files
from .curve import Pair, checked_key
from .names import SIDES
from .peer import checked_name, checked_roles
from .reach import checked_endpoints, sides_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credential:
    """Who a peer is, where its broker listens, and by which key it knows it.

    Parameters
    ----------
    name : str
    roles : tuple of str
    frontend, backend : tuple of str
        Where clients and where workers connect; empty, if it has no role for that.
    broker : str
        The broker's public key.
    pair : Pair
        The peer's own.
    """

    name: str
    roles: tuple[str, ...]
    frontend: tuple[str, ...]
    backend: tuple[str, ...]
    broker: str
    pair: Pair

    def __post_init__(self) -> None:
        """Check every value."""
        checked_name(self.name)
        object.__setattr__(self, "roles", checked_roles(self.roles))
        for side in SIDES:
            endpoints = checked_endpoints(side, getattr(self, side))
            if not endpoints and side in sides_of(self.roles):
                raise ConfigError(
                    f"{side} has no endpoint, and {' and '.join(self.roles)} needs one"
                )
            object.__setattr__(self, side, endpoints)
        if checked_key("broker", self.broker) == self.pair.public:
            raise ConfigError("broker and public are the same key")

    @classmethod
    def load(cls, path: Path) -> Credential:
        """Read a credential that nobody but its owner and group can read.

        Parameters
        ----------
        path : Path

        Returns
        -------
        Credential

        Raises
        ------
        ConfigError
            It can't be read, others can read it, or it is none. No message holds the secret.
        """
        _check_meant(path)
        text = files.read(path, secret=True)
        try:
            return cls.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, text: str) -> Credential:
        """Return the credential that a file's text is.

        Parameters
        ----------
        text : str

        Returns
        -------
        Credential

        Raises
        ------
        ConfigError
            It is none. No message holds the secret.
        """
        values = edits.parsed(text)
        for key in values:
            if key not in KEYS:
                raise ConfigError(f"unknown key {key!r}{suggestion(key, KEYS)}")
        for key in KEYS:
            if key not in values:
                raise ConfigError(
                    f"{key} is missing: a credential is what pound keys add writes, or, with "
                    "--public, what it prints and the key pair"
                )
        return cls(pair=Pair(values.pop("public"), values.pop("secret")), **values)

    def text(self) -> str:
        """Return the file's text, the secret included.

        Returns
        -------
        str
        """
        values = {
            "name": self.name,
            "roles": list(self.roles),
            "frontend": list(self.frontend),
            "backend": list(self.backend),
            "broker": self.broker,
            "public": self.pair.public,
            "secret": self.pair.secret,
        }
        return "".join(f"{key} = {edits.literal(value)}\n" for key, value in values.items())

    def write(self, path: Path) -> None:
        """Write a new file for its owner alone.

        Parameters
        ----------
        path : Path

        Raises
        ------
        ConfigError
            There is one already, or it can't be written.
        """
        files.create(path, self.text(), 0o600)


def _check_meant(path: Path) -> None:
    """Raise ConfigError for a directory, or a file that has no key: the wrong path was given.

    What others may read is not judged yet: advice for a file of keys would mislead.
    """
    try:
        other = path.is_dir() or (
            path.is_file()
            and path.stat().st_size <= files.SIZE_MAX
            and not HAS_KEY.search(path.read_bytes())
        )
    except (OSError, ValueError):  # that of the reading is reported
        return
    if other:
        files.check_path(path)
        raise ConfigError(
            f"{path} is no credential: what is needed is NAME.key, as pound keys add writes it"
        )


HAS_KEY = re.compile(rb"^\s*(public|secret)\s*=", re.MULTILINE)
KEYS = ("name", "roles", "frontend", "backend", "broker", "public", "secret")
