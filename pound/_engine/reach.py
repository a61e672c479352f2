"""Why an endpoint is not reached: what libzmq, which tries again without end, does not say.

Asked by a client or worker that no broker has welcomed. It resolves and connects once, as libzmq
does, beside its own socket; that may take seconds, so it runs on a thread of its own. The sentence
is for a person: it names the endpoint and what to look at. It also finds the addresses of a name
that has several of one family, of which libzmq tries only the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pound._base.addresses import split_endpoint

ADDRESSES_MAX = 64  # of one name; more are left out
CONNECT_S = 2.0  # a host that does not answer within this counts as silent


class Trouble(NamedTuple):
    """What is wrong with one endpoint.

    Parameters
    ----------
    endpoint : str
    reason : str
        Without the endpoint, as a log line has it in a field of its own.
    certain : bool
        False: a broker that is only slow would look the same.
    """

    endpoint: str
    reason: str
    certain: bool

    @property
    def sentence(self) -> str:
        """The reason and the endpoint."""
        return f"{self.reason} ({self.endpoint})"


def troubles_of(endpoints: Iterable[str], answers: bool, own_context: bool) -> list[Trouble]:
    """Return what is wrong with each endpoint.

    Parameters
    ----------
    endpoints : iterable of str
    answers : bool
        Whether a ZeroMQ connection stands to the one in use.
    own_context : bool
        Whether the end made its own context: then nobody else can be in it.
    """
    return [_trouble(endpoint, answers, own_context) for endpoint in endpoints]


def _trouble(endpoint: str, answers: bool, own_context: bool) -> Trouble:
    import socket

    transport, _, address = endpoint.partition("://")
    if transport == "inproc":
        reason = "no broker of this zmq.Context listens there"
        if own_context:
            reason = "inproc needs the broker's zmq.Context: give it as context"
        return Trouble(endpoint, reason, True)
    try:
        _reach_ipc(address) if transport == "ipc" else _reach_tcp(endpoint)
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
    reason = "connections are accepted, but nobody speaks ZeroMQ: another program, or a broker that"
    reason += " hangs or is stopped"
    if answers:
        reason = "something answers there, but no broker of Pound: is that the broker's endpoint?"
    return Trouble(endpoint, reason, False)


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


def _reach_tcp(endpoint: str) -> None:
    import socket

    with socket.create_connection(_host_and_port(endpoint), CONNECT_S):
        return  # whatever listens is sent nothing, and takes it for a client that went away


def _reach_ipc(path: str) -> None:
    import socket

    name = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(CONNECT_S)
        peer.connect(name)
