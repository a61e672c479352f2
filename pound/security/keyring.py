"""The keys of a broker: its own pair, and the peers that it knows, in a directory of two files.

``broker.toml`` holds the secret. ``peers.toml`` is for people, who edit it by hand or by commands;
a command changes it as a whole, under a lock, and leaves a file that the broker takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pound._config_keys import suggestion
from pound.errors import ConfigError

from . import edits, files
from .curve import Pair, checked_key, new_pair
from .moments import as_text, now
from .names import SIDES
from .peer import Peer, checked_name
from .reach import check_apart, checked_endpoints
from .tables import Tables

BROKER_FILE, PEERS_FILE = "broker.toml", "peers.toml"
SECTIONS = (*SIDES, "peers", "revoked")
PEERS_HEAD = (
    "# The peers that this broker knows. A running broker picks up changes within a second.\n"
    "# frontend and backend say where peers reach it, for new credentials.\n"
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
    frontend, backend : tuple of str
        Where peers reach the broker, for new credentials; may be empty.
    blank : bool
        Whether the file has nothing in it, not even a comment.
    """

    peers: Mapping[str, Peer]
    revoked: Mapping[str, str]
    frontend: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    blank: bool = dataclasses.field(default=False, compare=False)

    def peer(self, name: str) -> Peer:
        """Return a peer; raise ConfigError, with a remedy, if nobody has this name any more."""
        if name not in self.peers and name in self.revoked.values():
            raise ConfigError(
                f"{name} is revoked already, and its keys never count again: pound keys add may "
                "enrol the name with a new one"
            )
        if name not in self.peers:
            raise ConfigError(f"no peer is called {name!r}{suggestion(name, self.peers)}")
        return self.peers[name]

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
            if section not in SIDES and not isinstance(entries, dict):
                raise ConfigError(f"{section} is not a table")
        sides = {side: checked_endpoints(side, values.get(side, ())) for side in SIDES}
        peers = {name: _peer(name, table) for name, table in values.get("peers", {}).items()}
        revoked = values.get("revoked", {})
        _check_revoked(revoked)
        _check_owners(peers, revoked, broker)
        blank = not text.strip()
        return cls(MappingProxyType(peers), MappingProxyType(revoked), **sides, blank=blank)


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
            raise ConfigError(f"the key of {owners[key]} is also a revoked key of {name}")
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

    Raises
    ------
    ConfigError
        It is no path.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        files.check_path(self.path)

    def init(self, frontend: tuple[str, ...] = (), backend: tuple[str, ...] = ()) -> Pair:
        """Make the directory, with a new pair and no peers; return the pair.

        Parameters
        ----------
        frontend, backend : tuple of str, optional
            Where peers reach the broker: new credentials say so.

        Raises
        ------
        ConfigError
            There is a pair already, or it can't be written.
        """
        check_apart(frontend, backend)
        head = PEERS_HEAD
        for side, endpoints in (("frontend", frontend), ("backend", backend)):
            if endpoints:
                head += f"{side} = {edits.literal(list(checked_endpoints(side, endpoints)))}\n"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {self.path}: {error.strerror}") from None
        pair = new_pair()
        with files.locked(self.path):
            if not (self.path / PEERS_FILE).exists():
                files.create(self.path / PEERS_FILE, head, 0o640)
            text = f'public = "{pair.public}"\nsecret = "{pair.secret}"\n'
            files.create(self.path / BROKER_FILE, text, 0o600)
        return pair

    def pair(self) -> Pair:
        """Return the broker's pair; raise ConfigError if it can't be read or others can read it."""
        path = self.path / BROKER_FILE
        if self.path.is_file():
            raise ConfigError(
                f"{self.path} is a file: give the directory that holds {BROKER_FILE} and "
                f"{PEERS_FILE}, which pound keys init makes"
            )
        if not path.exists():
            remedy = f"pound keys init --dir {shlex.quote(str(self.path))}"
            raise ConfigError(f"{self.path} has no broker's keys: {remedy}")
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
        broker = self.pair().public
        return self._parsed(self._text(), broker)

    def keyring_for(self, broker: str) -> Keyring:
        """Return the peers of the broker with this public key, without a look at its own file."""
        return self._parsed(self._text(), broker)

    def add(self, peer: Peer) -> Keyring:
        """Enrol a peer; raise ConfigError if its name or key is taken."""
        return self._edit(lambda text, _: edits.add(text, peer.name, peer.table()))

    def revoke(self, name: str) -> Keyring:
        """Remove a peer, and note that its keys are revoked."""
        return self._edit(
            lambda text, old: edits.revoke(text, name, old.peer(name).keys), ends=True
        )

    def expire(self, name: str, expires: datetime.datetime | None) -> Keyring:
        """Set when a peer's key ends; None: never."""

        def edit(text: str, old: Keyring) -> str:
            return edits.change(text, old.peer(name).name, {"expires": expires})

        return self._edit(edit, ends=True)

    def rotate(
        self, name: str, key: str, until: datetime.datetime, *, replace: bool = False
    ) -> Keyring:
        """Give a peer its next key; until a moment both count, then the next one alone.

        Raises
        ------
        ConfigError
            It has a next key already, which may be in use. With `replace` that one is revoked. Or
            its keys end before `until`, the next one too.
        """

        def edit(text: str, old: Keyring) -> str:
            peer = old.peer(name)
            _check_lasts(peer, until)
            if peer.next_key is not None:
                if not replace:
                    raise ConfigError(_rotating(peer))
                text = edits.note_revoked(text, name, (peer.next_key,))
            return edits.change(text, name, {"next_key": key, "next_until": until})

        return self._edit(edit)

    def _settled(self, text: str, broker: str) -> str:
        """Return the peers' file with the next keys of rotations that are over as the keys."""
        now = datetime.datetime.now(datetime.timezone.utc)
        for name, peer in self._parsed(text, broker).peers.items():
            if peer.rotated(now):
                values = {"key": peer.next_key, "next_key": None, "next_until": None}
                with contextlib.suppress(ConfigError):  # it means the same as it is
                    changed = edits.change(text, name, values)
                    text = edits.note_revoked(changed, name, (peer.key,))
        return text

    def _edit(self, edit: Callable[[str, Keyring], str], *, ends: bool = False) -> Keyring:
        """Change the peers' file, unless the broker would not take what comes of it.

        An edit that `ends` something is written all the same: the broker takes that of any file.
        """
        broker = self.pair().public
        with files.locked(self.path):
            text = self._settled(self._text(), broker)
            old = self._parsed(text, broker)
            try:
                text = edit(text, old)
            except ConfigError as error:
                raise ConfigError(f"{self.path / PEERS_FILE}: {error}") from None
            text = self._settled(text, broker)
            keyring = self._parsed(text, broker)
            if not ends:
                self._check_fits(keyring)
            files.replace(self.path / PEERS_FILE, text)
        return keyring

    def _check_fits(self, keyring: Keyring) -> None:
        """Raise ConfigError for what no broker takes but for what it ends."""
        try:
            Tables().build(keyring)
        except ConfigError as error:
            raise ConfigError(f"{self.path / PEERS_FILE}: {error}") from None

    def _text(self) -> str:
        return files.read(self.path / PEERS_FILE, secret=False)

    def _parsed(self, text: str, broker: str) -> Keyring:
        try:
            return Keyring.parse(text, broker)
        except ConfigError as error:
            raise ConfigError(f"{self.path / PEERS_FILE}: {error}") from None


def _check_lasts(peer: Peer, until: datetime.datetime) -> None:
    """Raise ConfigError if a next key would have ended when it is to count alone."""
    if peer.expires is None or peer.expires > max(until, now()):
        return
    when = as_text(peer.expires)
    ends = f"expired on {when}"
    if peer.expires > now():
        ends = f"expires on {when}, and the old key counts until {as_text(until)}"
    raise ConfigError(
        f"{peer.name} {ends}; a next key ends when the old one expires: first set a later end "
        f"(pound keys expire {peer.name} 365d, or never)"
    )


def _rotating(peer: Peer) -> str:
    since = as_text(peer.next_until) if peer.next_until else ""
    return (
        f"{peer.name} has a next key already, which counts alone from {since}: wait "
        "until then, or replace the next key, which is then revoked (--replace)"
    )
