"""Tables of keys, made of what `peers.toml` says, one after another while a broker lives."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from zmq.utils import z85

from pound.errors import ConfigError

from .keytable import NEVER, ROLE_BITS, SETS_MAX, Keytable
from .peer import Peer

if TYPE_CHECKING:
    from .keyring import Keyring

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
EARLIEST = -(2**63)  # ns: what a table can hold


class Tables:
    """Makes tables; what has a number in one has the same in all that follow.

    A connection proved a key by its serial, and an identity's requests are noted under its number:
    neither is ever given to another.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._serials: dict[tuple[str, str], int] = {}

    def build(self, keyring: Keyring) -> Keytable:
        """Return the table of a keyring; one that can't be built uses up no number.

        Raises
        ------
        ConfigError
            It is more than a table holds, or than a broker gives numbers for while it lives.
        """
        before = self._numbers.copy(), self._serials.copy()
        try:
            return self._built(keyring)
        except BaseException:
            self._numbers, self._serials = before
            raise

    def _built(self, keyring: Keyring) -> Keytable:
        _check_sets(keyring)
        table = Keytable()
        grants: dict[tuple[bytes, ...], int] = {}

        def grant(peer: Peer | None) -> int:
            patterns = _patterns(peer)
            if patterns not in grants:
                grants[patterns] = table.put_grant(patterns)
            return grants[patterns]

        # Those that the file has no more keep their names, for the log, and no rights.
        for name in dict.fromkeys([*keyring.peers, *keyring.revoked.values(), *self._numbers]):
            peer = keyring.peers.get(name)
            roles = sum(ROLE_BITS[role] for role in peer.roles) if peer is not None else 0
            connections_max = peer.connections_max if peer is not None else 0
            table.put_identity(
                self._number(name), name.encode(), roles, grant(peer), connections_max
            )
        for name, peer in keyring.peers.items():
            table.put_limits(
                self._number(name),
                peer.weight,
                peer.open_max,
                peer.bytes_max,
                peer.rate_per_second,
                peer.burst,
            )
            for key, end in peer.ends:
                table.put_key(
                    z85.decode(key), self._number(name), self._serial(name, key), _ns(end)
                )
        for key, name in keyring.revoked.items():
            table.put_revoked(z85.decode(key), self._number(name))
        return table

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _serial(self, name: str, key: str) -> int:
        return self._serials.setdefault((name, key), len(self._serials) + 1)


def _check_sets(keyring: Keyring) -> None:
    count = len({_patterns(peer) for peer in keyring.peers.values()} - {()})
    if count > SETS_MAX:
        raise ConfigError(
            f"{count} different sets of services are too many, at most {SETS_MAX}: give peers that "
            "may use the same ones the same list, or names that end in *"
        )


def _patterns(peer: Peer | None) -> tuple[bytes, ...]:
    """Return the services of a peer; none for one that was revoked."""
    if peer is None:
        return ()
    if peer.services is None:
        return (b"*",)
    return tuple(sorted({pattern.encode() for pattern in peer.services}))


def _ns(moment: datetime.datetime | None) -> int:
    """Return when a key ends, ns since 1970."""
    if moment is None:
        return NEVER
    ns = (moment - EPOCH) // datetime.timedelta(microseconds=1) * 1000
    return max(EARLIEST, min(ns, NEVER - 1))
