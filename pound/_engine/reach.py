"""Why an endpoint is not reached: what libzmq, which tries again without end, does not say.

Asked by a client or worker that no broker has welcomed, and, of the preferred endpoint, by one that
another broker has. It resolves and connects once, as libzmq
does, beside its own socket; that may take seconds, so it runs on a thread of its own. The sentence
is for a person: it names the endpoint and what to look at. It also finds the addresses of a name
that has several of one family, of which libzmq tries only the first.

It reads the other one's greeting, too. That names a mechanism (with keys or without), and libzmq
may close a connection of the wrong one before either end knows why. Then it says nothing more, and
waits: a broker that has no room cuts such a connection, and one that has room leaves it. By the
handshakes alone a full broker and a wrong key of the broker look the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from pound._base.addresses import split_endpoint

if TYPE_CHECKING:
    import socket

ADDRESSES_MAX = 64  # of one name; more are left out
CONNECT_S = 2.0  # a host that does not answer within this counts as silent
GREETING_S = 0.5  # for a greeting; what takes longer is known from the next look, or never
STAYS_S = 0.25  # a broker without room cuts a guest, who is of its own machine, after 150 ms
GREETING_SIZE = 64
# As much of our greeting (ZMTP 3) as has another one send all of its own: signature and version. It
# names no mechanism of ours, so that nothing is refused.
GREETING_START = b"\xff" + bytes(8) + b"\x7f\x03"
VERSION_AT = 10
MECHANISM = slice(12, 32)  # of a greeting


class Trouble(NamedTuple):
    """What is wrong with one endpoint.

    Parameters
    ----------
    endpoint : str
    reason : str
        Without the endpoint, as a log line has it in a field of its own.
    certain : bool
        False: a broker that is only slow would look the same.
    foreign : bool
        It speaks ZeroMQ with keys and we have none, or the other way round.
    has_room : bool or None
        Whether it lets a connection stay that says nothing; None: it does not speak ZeroMQ.
    """

    endpoint: str
    reason: str
    certain: bool
    foreign: bool = False
    has_room: bool | None = None

    @property
    def sentence(self) -> str:
        """The reason and the endpoint."""
        return f"{self.reason} ({self.endpoint})"


def troubles_of(
    endpoints: Iterable[str], answers: bool, own_context: bool, has_key: bool
) -> list[Trouble]:
    """Return what is wrong with each endpoint, in their order.

    Parameters
    ----------
    endpoints : iterable of str
    answers : bool
        Whether a ZeroMQ connection stands to the one in use.
    own_context : bool
        Whether the end made its own context: then nobody else can be in it.
    has_key : bool
        Whether the end has a key.
    """
    return [_trouble(endpoint, answers, own_context, has_key) for endpoint in endpoints]


def _trouble(endpoint: str, answers: bool, own_context: bool, has_key: bool) -> Trouble:
    import socket

    transport, _, address = endpoint.partition("://")
    if transport == "inproc":
        reason = "no broker of this zmq.Context listens there"
        if own_context:
            reason = "inproc needs the broker's zmq.Context: give it as context"
        return Trouble(endpoint, reason, True)
    try:
        mechanism, room = _reach_ipc(address) if transport == "ipc" else _reach_tcp(endpoint)
    except ConnectionResetError:  # it was cut before we knew that it stands
        mechanism, room = b"", False
    except socket.gaierror as error:
        host = _host_and_port(endpoint)[0]
        words = (error.strerror or str(error)).lower()
        return Trouble(endpoint, f"the name {host!r} does not resolve: {words}", True)
    except ConnectionRefusedError:
        reason = "connection refused: nothing listens there"
        return Trouble(endpoint, f"{reason}; is the broker running, is the port right?", True)
    except FileNotFoundError:
        return Trouble(endpoint, "there is no such socket file; is the broker running?", True)
    except TimeoutError:
        reason = f"the host did not answer within {CONNECT_S:g} s: it is down, or a firewall is in"
        return Trouble(endpoint, f"{reason} between", True)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        return Trouble(endpoint, f"cannot connect: {words.lower()}", True)
    if mechanism == (b"NULL" if has_key else b"CURVE"):
        reason = "it listens without keys" if has_key else "it lets nobody in without a key"
        return Trouble(endpoint, reason, True, True)
    if room is False:
        reason = "it closes connections at once: a broker without room for more (its log says"
        reason += " `descriptors short` or `handshakes cut`), or a proxy that does not reach one"
        return Trouble(endpoint, reason, False, False, room)
    reason = "connections are accepted, but nobody speaks ZeroMQ: another program, or a broker that"
    reason += " hangs or is stopped"
    if answers or mechanism:
        reason = "something answers there, but no broker of Pound: is that the broker's endpoint?"
    return Trouble(endpoint, reason, False, False, room)


def addresses_of(endpoint: str) -> list[str]:
    """Return an endpoint for each address of its name, if libzmq would not try them all.

    It tries one of each family. The list is empty if there are no others, or it is no name.
    """
    transport, _, address = endpoint.partition("://")
    if transport != "tcp":
        return []
    source, semicolon, _ = address.rpartition(";")
    try:
        host, port = _host_and_port(endpoint)
        if ":" in host or not any(map(str.isalpha, host)):
            return []  # it is an address already
        import socket

        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # UnicodeError is a ValueError
        return []
    families = {str(end[0]): family for family, _, _, _, end in found}
    if len(families) == len(set(families.values())):
        return []
    hosts = [f"[{host}]" if family == socket.AF_INET6 else host
             for host, family in families.items()]  # fmt: skip
    return [f"tcp://{source}{semicolon}{host}:{port}" for host in hosts[:ADDRESSES_MAX]]


def _host_and_port(endpoint: str) -> tuple[str, int]:
    _, host, port = split_endpoint(endpoint)
    return host, int(port)


def _reach_tcp(endpoint: str) -> tuple[bytes, bool | None]:
    import socket

    with socket.create_connection(_host_and_port(endpoint), CONNECT_S) as peer:
        return _greeting_of(peer)


def _reach_ipc(path: str) -> tuple[bytes, bool | None]:
    import socket

    name = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(CONNECT_S)
        peer.connect(name)
        return _greeting_of(peer)


def _greeting_of(peer: socket.socket) -> tuple[bytes, bool | None]:
    """Return the mechanism that a greeting names, and whether the connection may stay.

    Without a greeting of ZMTP 3 they are empty, and False if it was cut, or None. Whoever listens
    takes us for a client that went away in its handshake.
    """
    greeting = b""
    until = time.monotonic() + GREETING_S
    try:
        peer.sendall(GREETING_START)
        while len(greeting) < GREETING_SIZE and (left := until - time.monotonic()) > 0:
            peer.settimeout(left)
            part = peer.recv(GREETING_SIZE - len(greeting))
            if not part:
                break
            greeting += part
        else:
            mechanism = _mechanism_of(greeting)
            return mechanism, _stays(peer) if mechanism else None
    except TimeoutError:
        return b"", None
    except OSError:
        pass  # it is reached, and reset the connection
    return b"", False if GREETING_START.startswith(greeting[:1]) else None


def _stays(peer: socket.socket) -> bool:
    """Whether a connection that says nothing is not cut."""
    peer.settimeout(STAYS_S)
    try:
        return peer.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def _mechanism_of(greeting: bytes) -> bytes:
    if len(greeting) < GREETING_SIZE or greeting[0] != 0xFF or greeting[VERSION_AT] < 3:
        return b""
    return greeting[MECHANISM].rstrip(b"\0")
