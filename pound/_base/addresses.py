"""What an endpoint may look like: one rule for those who bind it and those who connect to it."""

from __future__ import annotations

import re

PORT_MAX = 65535
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
PORT = re.compile(r"\*|[0-9]{1,5}")


def split_endpoint(endpoint: str) -> tuple[str, str, str]:
    """Return transport, host and port of an endpoint.

    The host of an IPv6 address comes without its brackets, perhaps with a zone. Of ``ipc`` and
    ``inproc`` the host is the path or the name, and the port is empty.

    Parameters
    ----------
    endpoint : str
        ``tcp://HOST:PORT``, ``ipc://PATH`` or ``inproc://NAME``. PORT is a number, or ``*`` for any
        free one; before HOST may stand ``SOURCE;``, the address to connect from.

    Raises
    ------
    ValueError
        It is none; the words follow its name.
    """
    if CONTROL.search(endpoint):
        raise ValueError("has a control character")
    transport, _, address = endpoint.partition("://")
    if transport not in ("tcp", "ipc", "inproc") or not address:
        raise ValueError("is no endpoint: tcp://ADDRESS:PORT, ipc://PATH, inproc://NAME")
    if transport != "tcp":
        return transport, address, ""
    host, _, port = address.rpartition(";")[2].rpartition(":")
    if not host or not PORT.fullmatch(port) or (port != "*" and int(port) > PORT_MAX):
        raise ValueError(f"has no port: a number up to {PORT_MAX}, or * for any free one")
    if host.startswith("["):
        host = host[1:-1] if host.endswith("]") else ""
        if not is_ipv6(host):
            raise ValueError("has no IPv6 address in its brackets: [ADDRESS] or [ADDRESS%ZONE]")
    elif ":" in host:
        raise ValueError("is ambiguous: an IPv6 address stands in brackets, as in tcp://[::1]:5555")
    return transport, host, port


def is_ipv6(host: str) -> bool:
    """Return whether text is an IPv6 address, perhaps with a zone: ``fe80::1%eth0``."""
    import ipaddress  # seldom needed, and dear to a client's start

    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a TCP bind address is reachable from this machine only.

    Parameters
    ----------
    host : str
        A name other than ``localhost`` may be any interface, so it is not loopback.
    """
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
