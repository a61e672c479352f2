"""The broker's door: how each listener is secured, and the socket that libzmq asks by ZAP.

libzmq copies the options of security to a listener when it is bound, so one ROUTER may have
listeners of several kinds. A listener whose domain is not enforced would let everybody in when
nobody answers: so the domain is enforced, and that is read back.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Sequence
from typing import Any

import zmq

from pound._broker.names import DIALECTS
from pound.errors import BindError
from pound.security import names
from pound.security.curve import Pair
from pound.security.keytable import ROLE_BITS
from pound.security.listener import Listener

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
FAMILIES = {  # what a dialect of the configuration is called by the loop
    "pnd": ("pnd",),
    "plain": ("plain", "bare"),
    "ppp": ("ppp",),
    "mdp": ("mdp1", "mdp2"),
}


def needs_guard(listeners: Sequence[Listener]) -> bool:
    """Tell whether not everybody may do everything at each of the listeners."""
    return any(
        listener.security == "curve"
        or listener.roles != names.ROLES
        or listener.dialects != names.DIALECTS
        for listener in listeners
    )


def rows(listeners: Sequence[Listener]) -> list[tuple[bool, int, int]]:
    """Return (curve, roles, dialects) of each listener, as the loop takes them."""
    return [
        (
            listener.security == "curve",
            sum(ROLE_BITS[role] for role in listener.roles),
            sum(1 << DIALECTS.index(name) for word in listener.dialects for name in FAMILIES[word]),
        )
        for listener in listeners
    ]


def salt() -> int:
    """Return what distinguishes the proofs of this start from those of all others."""
    return secrets.randbits(32)


def bind_zap(context: zmq.Context[Any]) -> zmq.Socket[Any]:
    """Return the socket that libzmq asks about each connection that is made in this context.

    Raises
    ------
    BindError
        The context has a ZAP handler already.
    """
    socket: zmq.Socket[Any] = context.socket(zmq.REP)
    socket.setsockopt(zmq.LINGER, 0)
    try:
        socket.bind(ZAP_ENDPOINT)
    except zmq.ZMQError as error:
        socket.close(0)
        if error.errno != errno.EADDRINUSE:
            raise
        raise BindError(
            "this context has a ZAP handler already (an authenticator, or another broker with "
            "keys), and there can be only one: give the broker a zmq.Context of its own, or none"
        ) from error
    return socket


def secure(socket: zmq.Socket[Any], number: int, listener: Listener, pair: Pair | None) -> None:
    """Set what the next listener of a socket has; it is the one with this number.

    Raises
    ------
    BindError
        libzmq does not do what it was told.
    """
    curve = listener.security == "curve"
    domain = f"pound/{number}"
    try:
        if curve and pair is not None:
            socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
        socket.setsockopt(zmq.CURVE_SERVER, curve)
        socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        done = (
            socket.getsockopt(zmq.MECHANISM) == (zmq.CURVE if curve else zmq.NULL)
            and socket.getsockopt(zmq.ZAP_ENFORCE_DOMAIN) == 1
            and socket.getsockopt_string(zmq.ZAP_DOMAIN).rstrip("\0") == domain
        )
    except zmq.ZMQError as error:
        raise BindError(f"{_cannot(listener)}: {zmq.strerror(error.errno or 0)}") from error
    if not done:
        raise BindError(_cannot(listener))


def _cannot(listener: Listener) -> str:
    return (
        f"this libzmq ({zmq.zmq_version()}) cannot secure {listener.endpoint!r}: install pyzmq "
        "from a wheel, whose libzmq has CURVE"
    )
