"""A broker that knows its peers: CURVE on both sides, with a directory of keys."""

from __future__ import annotations

import os
from typing import Any

import zmq
from zmq.utils import z85

import pound
from pound._core import Core
from pound.security.keyring import KeyDirectory
from pound.security.keytable import NEVER, ROLE_BITS, Keytable
from pound.security.peer import Peer

ENFORCE_DOMAIN = 93  # ZMQ_ZAP_ENFORCE_DOMAIN
ALL_ROLES, ALL_DIALECTS = 7, 255


class GuardedBroker(pound.Broker):
    """Its listeners are the frontend, 0, and the backend, 1.

    Parameters
    ----------
    keys : str
        The directory.
    listeners : tuple
        (curve, roles, dialects) of each.
    """

    def __init__(self, *, keys: str, listeners: tuple[Any, ...] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.directory = KeyDirectory(keys)
        self.listeners = listeners or ((True, ALL_ROLES, ALL_DIALECTS),) * 2
        self._core_of_loop: Core | None = None
        self._numbers: dict[str, int] = {}
        self._serials: dict[str, int] = {}

    def reload_keys(self) -> None:
        assert self._core_of_loop is not None
        self._core_of_loop.take_table(self._table())

    def _table(self) -> Keytable:
        ring, table = self.directory.keyring(), Keytable()
        for peer in ring.peers.values():
            self._put(table, peer)
        for key, name in ring.revoked.items():
            number = self._numbers.setdefault(name, len(self._numbers))
            if name not in ring.peers:
                table.put_identity(number, name.encode(), 0, table.put_grant(()), 0)
            table.put_revoked(z85.decode(key), number)
        return table

    def _put(self, table: Keytable, peer: Peer) -> None:
        patterns = ("*",) if peer.services is None else peer.services
        grant = table.put_grant(tuple(pattern.encode() for pattern in patterns))
        number = self._numbers.setdefault(peer.name, len(self._numbers))
        roles = sum(ROLE_BITS[role] for role in peer.roles)
        table.put_identity(number, peer.name.encode(), roles, grant, peer.connections_max)
        table.put_limits(
            number, peer.weight, peer.open_max, peer.bytes_max, peer.rate_per_second, peer.burst
        )
        expires = NEVER if peer.expires is None else int(peer.expires.timestamp() * 1e9)
        for key in peer.keys:
            serial = self._serials.setdefault(key, len(self._serials) + 1)
            table.put_key(z85.decode(key), number, serial, expires)

    def _make_router(self, context: zmq.Context[Any], side: int) -> zmq.Socket[Any]:
        socket = super()._make_router(context, side)
        if self.listeners[side][0]:
            socket.curve_server = True
            socket.curve_secretkey = self.directory.pair().secret.encode()
        socket.setsockopt(zmq.ZAP_DOMAIN, b"pound/%d" % side)
        socket.setsockopt(ENFORCE_DOMAIN, 1)
        return socket

    def _open(self, context: zmq.Context[Any]) -> Core:
        zap = context.socket(zmq.REP)
        zap.linger = 0
        zap.bind("inproc://zeromq.zap.01")
        core = super()._open(context)
        core.guard(self._table(), self.listeners, int.from_bytes(os.urandom(4), "big"))
        core.attach_zap(zap)
        self._core_of_loop = core
        self._sockets.append(zap)
        return core
