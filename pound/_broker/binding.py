"""Binding a socket to an endpoint of the configuration: what libzmq leaves to its caller.

- A name stands for all its addresses (``localhost``: 127.0.0.1 and ::1), on one port.
- IPv6 is switched on for the addresses that need it, and for no other: ``*`` stays IPv4.
- An ``ipc`` path that somebody listens on, or that is no socket, is left alone: libzmq would remove
  what is there. Two brokers that start at once are kept apart by a lock on the directory.
- What failed is reported with its own remedy.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket as sockets
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

import zmq

from pound._logging import LOGGER, log_event
from pound.errors import BindError
from pound.security.listener import Listener

PATH_BYTES_MAX = 107  # of a Unix socket, without its final NUL
PORTS_TRIED = 16  # free ports of the first address, until one is free on all of a name's
LOCK_S = 2.0
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # addresses that a host need not have


def bind(socket: zmq.Socket[Any], name: str, listener: Listener) -> str:
    """Bind `socket` to an endpoint and return it, with a real port for a wildcard.

    Parameters
    ----------
    socket : zmq.Socket
    name : str
        ``frontend`` or ``backend``, for the message.
    listener : Listener

    Raises
    ------
    BindError
        With what to do about it.
    """
    url = listener.endpoint
    transport, _, address = url.partition("://")
    try:
        if transport == "tcp":
            return _bind_tcp(socket, url, address)
        if transport == "ipc" and address.startswith("@") and (listener.mode or listener.owner):
            raise OSError(errno.EINVAL, "what has no path has neither mode nor owner")
        if transport == "ipc" and address != "*" and not address.startswith("@"):
            return _bind_path(socket, listener, address)
        return _bind_one(socket, url)
    except (zmq.ZMQError, OSError) as error:
        raise BindError(
            f"cannot bind {name} {url!r}: {_reason(error)}{_remedy(error, transport, name)}"
        ) from error


def _bind_one(socket: zmq.Socket[Any], url: str) -> str:
    socket.bind(url)
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")


# -- TCP --------------------------------------------------------------------------------------


def _bind_tcp(socket: zmq.Socket[Any], url: str, address: str) -> str:
    host, _, port = address.rpartition(":")
    addresses = _addresses(host, _interfaces())
    if not addresses:
        with _ipv6(socket, host.startswith("[")):
            return _bind_one(socket, url)
    for attempt in range(PORTS_TRIED):
        try:
            return f"tcp://{host}:{_bind_all(socket, host, addresses, port)}"
        except (zmq.ZMQError, OSError) as error:
            last = attempt + 1 == PORTS_TRIED
            if port != "*" or error.errno != errno.EADDRINUSE or last:
                raise
    raise AssertionError("not reached")


def _interfaces() -> set[str]:
    """Return the names of this machine's network interfaces.

    libzmq asks for them in the same way before it binds, and aborts the process if it may not.
    """
    if sys.platform == "win32":
        return set()
    try:
        return {name for _, name in sockets.if_nameindex()}
    except OSError as error:
        raise OSError(
            errno.ENOTSUP,
            f"this process may not ask for the network interfaces, as libzmq does "
            f"({error.strerror}): allow netlink sockets (systemd: add AF_NETLINK to "
            f"RestrictAddressFamilies)",
        ) from error


def _addresses(host: str, interfaces: set[str]) -> list[str]:
    """Return the addresses of a name as they stand in an endpoint; none if `host` is no name."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.strip("[]"))
        return []
    if host == "*" or host in interfaces:
        return []
    found = sockets.getaddrinfo(host, None, type=sockets.SOCK_STREAM)
    known = dict.fromkeys(str(place[0]) for *_, place in found)  # in order, each once
    return sorted((f"[{a}]" if ":" in a else a for a in known), key=lambda a: a.startswith("["))


def _bind_all(socket: zmq.Socket[Any], host: str, addresses: list[str], port: str) -> str:
    """Bind the same port on every address of a name that this machine has; return the port."""
    bound: list[str] = []
    absent: OSError | zmq.ZMQError | None = None
    for address in addresses:
        try:
            with _ipv6(socket, address.startswith("[")):
                bound.append(_bind_one(socket, f"tcp://{address}:{port}"))
        except (zmq.ZMQError, OSError) as error:
            if error.errno in ABSENT:
                absent = error
                log_event(
                    LOGGER,
                    logging.INFO,
                    "address not bound",
                    name=host,
                    address=address,
                    error=_reason(error),
                )
                continue
            for url in bound:
                socket.unbind(url)
            raise OSError(error.errno, f"{address}: {_reason(error)}") from error
        port = bound[0].rpartition(":")[2]
    if not bound:
        assert absent is not None
        raise absent
    return port


@contextlib.contextmanager
def _ipv6(socket: zmq.Socket[Any], wanted: bool) -> Iterator[None]:
    """Have what is bound inside be IPv6; libzmq looks at the option at the time of each bind."""
    socket.setsockopt(zmq.IPV6, wanted)
    try:
        yield
    finally:
        socket.setsockopt(zmq.IPV6, 0)


# -- paths ------------------------------------------------------------------------------------


def _bind_path(socket: zmq.Socket[Any], listener: Listener, path: str) -> str:
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise OSError(
            errno.ENAMETOOLONG, f"the path has {size} bytes, a socket's at most {PATH_BYTES_MAX}"
        )
    folder = os.path.dirname(path) or "."
    with _locked(folder):
        _check_path(path)
        if listener.mode is None and listener.owner is None:
            return _bind_one(socket, listener.endpoint)
        return _bind_for(socket, listener, path)


def _bind_for(socket: zmq.Socket[Any], listener: Listener, path: str) -> str:
    """Bind a path for whom it is meant: until its mode and owner are set, it is for us alone."""
    user, group = _owner(listener.owner or "")
    mask = os.umask(0o177)
    try:
        endpoint = _bind_one(socket, listener.endpoint)
    finally:
        os.umask(mask)
    try:
        if listener.owner is not None:
            _give(path, listener.owner, user, group)
        os.chmod(path, 0o777 & ~mask if listener.permissions is None else listener.permissions)
    except OSError:
        socket.unbind(endpoint)
        raise
    return endpoint


def _give(path: str, owner: str, user: int, group: int) -> None:
    try:
        os.chown(path, user, group)
    except PermissionError:
        raise OSError(
            errno.ENOTSUP,
            f"this user may not give it to {owner!r}: to another user only root may, to a group "
            f"only its members",
        ) from None


def _owner(owner: str) -> tuple[int, int]:
    """Return the numbers of ``USER:GROUP``; -1 stays as it is."""
    import grp
    import pwd

    user, _, group = owner.partition(":")
    try:
        return (
            -1 if not user else int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid,
            -1 if not group else int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid,
        )
    except KeyError:
        raise OSError(errno.EINVAL, f"this machine does not know the owner {owner!r}") from None


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the folder's lock, which other brokers of Pound take too before they bind in it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # to make a socket there may be allowed all the same
        yield
        return
    try:
        end = time.monotonic() + LOCK_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError):  # held, or a file system without locks
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _check_path(path: str) -> None:
    """Raise OSError unless libzmq, which removes what is at `path`, may do so."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "what is there is no socket, and is left alone")
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # nobody listens: what a broker that was killed has left
        except BlockingIOError:
            pass  # its queue is full
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            if error.errno not in (errno.EPROTOTYPE, errno.EINPROGRESS):
                raise
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


# -- words ------------------------------------------------------------------------------------


def _reason(error: OSError | zmq.ZMQError) -> str:
    if isinstance(error, sockets.gaierror):
        return f"the name does not resolve ({error.strerror})"
    told_by_zmq = isinstance(error, zmq.ZMQError)
    text = zmq.strerror(error.errno or 0) if told_by_zmq else error.strerror or str(error)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _remedy(error: OSError | zmq.ZMQError, transport: str, name: str) -> str:
    """Return what to do about it, to be appended to the reason."""
    other = f"choose another with --{name}"
    if isinstance(error, sockets.gaierror):
        return f"; give an address, or {other}"
    remedies = {
        errno.EADDRINUSE: f"; is another broker running there? {other}",
        errno.EADDRNOTAVAIL: "; this machine has no such address: give one of its own "
        "(127.0.0.1, or 0.0.0.0 for all)",
        errno.EAFNOSUPPORT: "; this machine has no IPv6: give an IPv4 address",
        errno.ENODEV: "; no network interface or address of this machine has that name",
        errno.EEXIST: f"; remove it, or {other}",
        errno.ENAMETOOLONG: "; choose a shorter one",
        errno.ENOENT: "; make its directory first",
        errno.ENOTDIR: "; part of the path is no directory",
        errno.ENOSPC: "; the disk is full",
        errno.EROFS: "; choose a directory that can be written",
        errno.EMFILE: "; raise the limit of open files (ulimit -n)",
        errno.ENFILE: "; the system has no file descriptors left",
        errno.EPROTONOSUPPORT: f"; this libzmq has no {transport}",
    }
    if error.errno in (errno.EACCES, errno.EPERM):
        if transport == "tcp":
            return "; ports below 1024 are for privileged programs: choose a higher one"
        return "; choose a directory in which this user may write"
    return remedies.get(error.errno or 0, "")
