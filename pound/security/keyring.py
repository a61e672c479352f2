"""The keys of a broker: its own pair, and the peers that it knows, in a directory of two files.

``broker.toml`` holds the secret. ``peers.toml`` is for people, who edit it by hand or by commands;
a command changes it as a whole, under a lock, and leaves a file that the broker takes.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pound._config_keys import suggestion
from pound.errors import ConfigError

from . import edits, files
from .curve import Pair, checked_key, new_pair
from .peer import Peer, checked_name

BROKER_FILE, PEERS_FILE = "broker.toml", "peers.toml"
SECTIONS = ("peers", "revoked")
PEERS_HEAD = (
    "# The peers that this broker knows. A broker that runs takes changes within a second.\n"
)


@dataclasses.dataclass(frozen=True)
class Keyring:
    """What `peers.toml` says.

    Parameters
    ----------
    peers : mapping of str to Peer
        By name.
    revoked : mapping of str to str
        Names by public keys that don't count any more.
    """

    peers: Mapping[str, Peer]
    revoked: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, broker: str) -> Keyring:
        """Return what a text says, for the broker with this public key.

        Raises
        ------
        ConfigError
            It is no TOML, something in it is none, or a key belongs to two.
        """
        values = edits.parsed(text)
        for section, entries in values.items():
            if section not in SECTIONS:
                raise ConfigError(f"unknown key {section!r}{suggestion(section, SECTIONS)}")
            if not isinstance(entries, dict):
                raise ConfigError(f"{section} is not a table")
        peers = {name: _peer(name, table) for name, table in values.get("peers", {}).items()}
        revoked = values.get("revoked", {})
        _check_revoked(revoked)
        _check_owners(peers, revoked, broker)
        return cls(MappingProxyType(peers), MappingProxyType(revoked))


def _peer(name: str, table: object) -> Peer:
    try:
        return Peer.from_table(name, table)
    except ConfigError as error:
        raise ConfigError(f"peers.{name!r}: {error}") from None


def _check_revoked(revoked: Mapping[str, object]) -> None:
    for key, name in revoked.items():
        checked_key("revoked", key)
        checked_name(name)


def _check_owners(peers: Mapping[str, Peer], revoked: Mapping[str, str], broker: str) -> None:
    """Raise ConfigError, which names both, for a key that belongs to two."""
    owners = {broker: "the broker"}
    for key, name in revoked.items():
        if key in owners:
            raise ConfigError(f"the key of {owners[key]} is a revoked one of {name}, too")
    for name, peer in peers.items():
        for key in peer.keys:
            if key in owners:
                raise ConfigError(f"{owners[key]} and {name} have the same key {key}")
            if key in revoked:
                raise ConfigError(f"the key {key} of {name} is revoked: remove one of the two")
            owners[key] = name


class KeyDirectory:
    """The directory of a broker's keys.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def init(self) -> Pair:
        """Make the directory, with a new pair and no peers; return the pair.

        Raises
        ------
        ConfigError
            There is a pair already, or it can't be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {self.path}: {error.strerror}") from None
        pair = new_pair()
        with files.locked(self.path):
            if not (self.path / PEERS_FILE).exists():
                files.create(self.path / PEERS_FILE, PEERS_HEAD, 0o640)
            text = f'public = "{pair.public}"\nsecret = "{pair.secret}"\n'
            files.create(self.path / BROKER_FILE, text, 0o600)
        return pair

    def pair(self) -> Pair:
        """Return the broker's pair; raise ConfigError if it can't be read or others can read it."""
        path = self.path / BROKER_FILE
        text = files.read(path, secret=True)
        try:
            values = edits.parsed(text)
            if set(values) != {"public", "secret"}:
                raise ConfigError("it has public and secret, and nothing else")
            return Pair(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    def keyring(self) -> Keyring:
        """Return the peers; raise ConfigError if their file can't be read or is wrong."""
        return self._parsed(self._text(), self.pair().public)

    def add(self, peer: Peer) -> Keyring:
        """Enrol a peer; raise ConfigError if its name or key is taken."""
        return self._edit(lambda text, _: edits.add(text, peer.name, peer.table()))

    def revoke(self, name: str) -> Keyring:
        """Remove a peer, and note that its keys are revoked."""
        return self._edit(lambda text, old: edits.revoke(text, name, _known(old, name).keys))

    def expire(self, name: str, expires: datetime.datetime | None) -> Keyring:
        """Set when a peer's key ends; None: never."""
        return self._edit(lambda text, _: edits.change(text, name, {"expires": expires}))

    def rotate(self, name: str, key: str, until: datetime.datetime) -> Keyring:
        """Give a peer its next key; until a moment both count."""
        values = {"next_key": key, "next_until": until}
        return self._edit(lambda text, _: edits.change(text, name, values))

    def _edit(self, edit: Callable[[str, Keyring], str]) -> Keyring:
        """Change the peers' file, unless the broker would not take what comes of it."""
        broker = self.pair().public
        with files.locked(self.path):
            text = self._text()
            old = self._parsed(text, broker)
            try:
                text = edit(text, old)
            except ConfigError as error:
                raise ConfigError(f"{self.path / PEERS_FILE}: {error}") from None
            keyring = self._parsed(text, broker)
            files.replace(self.path / PEERS_FILE, text)
        return keyring

    def _text(self) -> str:
        return files.read(self.path / PEERS_FILE, secret=False)

    def _parsed(self, text: str, broker: str) -> Keyring:
        try:
            return Keyring.parse(text, broker)
        except ConfigError as error:
            raise ConfigError(f"{self.path / PEERS_FILE}: {error}") from None


def _known(keyring: Keyring, name: str) -> Peer:
    if name not in keyring.peers:
        raise ConfigError(f"no peer is called {name!r}{suggestion(name, keyring.peers)}")
    return keyring.peers[name]
