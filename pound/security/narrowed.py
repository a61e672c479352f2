"""What a file of peers takes away, for a broker that can't use the rest of it.

A file may be valid, and more than a table holds. Who was removed by it, or revoked, must go all the
same: no other line keeps a key alive.
"""

from __future__ import annotations

import dataclasses
import datetime
from types import MappingProxyType

from .keyring import Keyring
from .peer import Peer


def narrowed(old: Keyring, new: Keyring) -> Keyring:
    """Return `old` without the peers, keys, roles and time that `new` takes from it."""
    peers = {
        name: kept
        for name, peer in old.peers.items()
        if (kept := _narrowed(peer, new.peers.get(name))) is not None
    }
    known = {*old.peers, *old.revoked.values()}
    revoked = {key: name for key, name in new.revoked.items() if name in known}
    return dataclasses.replace(
        old, peers=MappingProxyType(peers), revoked=MappingProxyType(revoked)
    )


def _narrowed(old: Peer, new: Peer | None) -> Peer | None:
    """Return a peer with what both allow; None: it is nothing."""
    if new is None:
        return None
    roles = tuple(role for role in old.roles if role in new.roles)
    keys = [key for key in old.keys if key in new.keys]
    if not roles or not keys:
        return None
    if len(keys) > 1:
        return dataclasses.replace(
            old,
            roles=roles,
            key=new.key,
            next_key=new.next_key,
            next_until=new.next_until,
            expires=_earlier(old.expires, new.expires),
        )
    (key,) = keys
    end = _earlier(dict(old.ends)[key], dict(new.ends)[key])
    return dataclasses.replace(
        old, roles=roles, key=key, next_key=None, next_until=None, expires=end
    )


def _earlier(
    one: datetime.datetime | None, other: datetime.datetime | None
) -> datetime.datetime | None:
    """Return the earlier of two ends; None is never."""
    return min((end for end in (one, other) if end is not None), default=None)
