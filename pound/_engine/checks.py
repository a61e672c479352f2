"""Checks of the arguments of clients and workers; each returns the argument as it is used.

An error names what it refuses, its value, and what would do.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import zmq

from pound._base.addresses import PORT_MAX, is_ipv6, split_endpoint
from pound.errors import ConfigError

if TYPE_CHECKING:
    from pound.security.credential import Credential

    Key: TypeAlias = str | os.PathLike[str] | Credential  # the path of a credential, or one
else:
    Key = Any

LABEL_BYTES_MAX = 64
BACKEND_PORT = 5556
FRONTEND_PORT = 5555
SECONDS_MAX = 1e9  # 30 years: who gives more has no limit in mind


def check_endpoints(endpoints: str | Sequence[str], port: int = FRONTEND_PORT) -> tuple[str, ...]:
    """Return the endpoints as a tuple.

    Parameters
    ----------
    endpoints : str or sequence of str
    port : int
        What is suggested where one lacks a port.

    Raises
    ------
    ConfigError
        There is none, or one is not of the forms tcp://HOST:PORT, ipc://PATH, inproc://NAME.
    """
    one = isinstance(endpoints, (str, bytes)) or not isinstance(endpoints, Iterable)
    given: tuple[Any, ...] = (endpoints,) if one else tuple(endpoints)
    if not given:
        raise ConfigError(f"no endpoint given: name at least one, such as tcp://127.0.0.1:{port}")
    for endpoint in given:
        if not _is_endpoint(endpoint):
            raise ConfigError(
                f"endpoint {endpoint!r:.300} is not a str of the form tcp://HOST:PORT"
                f" (PORT 1..{PORT_MAX}), ipc://PATH or inproc://NAME"
                f"{_meant(endpoint, endpoints, port)}"
            )
    return given


def check_key(key: Key | None) -> Credential | None:
    """Return the credential that a path names, or the one given.

    Raises
    ------
    ConfigError
        It can't be read, others can read it, or it is none; or this libzmq knows no CURVE.
    TypeError
        It is neither a path nor a credential.
    """
    if key is None:
        return None
    from pound.security.credential import Credential  # for those who have one

    if not zmq.has("curve"):
        raise ConfigError("this libzmq was built without CURVE: install pyzmq from a wheel")
    if isinstance(key, Credential):
        return key
    if not isinstance(key, (str, os.PathLike)):
        raise TypeError(
            f"key is the path of a credential file or a pound.Credential, not {reprlib.repr(key)}"
        )
    return Credential.load(Path(key))


class Default(str):
    """An endpoint for those who give none, neither by itself nor by a credential."""

    __slots__ = ()


def given_endpoints(
    endpoints: str | Sequence[str], credential: Credential | None, side: str
) -> str | Sequence[str]:
    """Return the endpoints that a program gave, else those of its credential, else the default."""
    if credential is None or not isinstance(endpoints, Default):
        return endpoints
    return credential_endpoints(credential, side)


def credential_endpoints(credential: Credential, side: str) -> tuple[str, ...]:
    """Return where a credential says that a side of the broker listens.

    Raises
    ------
    ConfigError
        It does not: it has no role for that side.
    """
    endpoints: tuple[str, ...] = getattr(credential, side)
    if not endpoints:
        raise ConfigError(
            f"the credential of {credential.name} names no {side} (its roles: "
            f"{', '.join(credential.roles)}): use one that does, or name an endpoint"
        )
    return endpoints


def _meant(endpoint: object, given: object, port: int) -> str:
    """Return what was perhaps meant by something that is no endpoint, as the end of a sentence."""
    if isinstance(given, Mapping):
        return "; the first argument is where the broker listens, then come the services"
    if isinstance(endpoint, bool) or not isinstance(endpoint, (str, bytes, int)):
        return ""
    text = endpoint.decode(errors="replace") if isinstance(endpoint, bytes) else str(endpoint)
    if text.startswith("tcp://*:"):
        return "; * is for a broker to bind: connect to the name of its host, or to 127.0.0.1"
    if text.endswith(":*"):
        return "; the line that `pound serve` prints when it is ready has the real port"
    address = text.strip().rpartition("/")[2].removeprefix("tcp:")
    host, _, last = address.rpartition(":")
    if is_ipv6(host):
        address = f"[{host}]:{last}"
    guess = f"tcp://127.0.0.1:{address}" if address.isdecimal() else f"tcp://{address}"
    guess = guess if ":" in address or address.isdecimal() else f"{guess}:{port}"
    known = "/" not in text or ":" in address or text.startswith("tcp://")  # else a file's path
    return f"; did you mean {guess!r}?" if known and _is_endpoint(guess) else ""


def _is_endpoint(endpoint: object) -> bool:
    """Return whether something can be connected to."""
    if not isinstance(endpoint, str) or "\0" in endpoint:
        return False
    try:
        os.fsencode(endpoint)
        transport, host, port = split_endpoint(endpoint)
    except ValueError:  # UnicodeEncodeError is one
        return False
    return transport != "tcp" or (host != "*" and port != "*" and int(port) > 0)


def check_seconds(name: str, given: float, zero: bool = False) -> float:
    """Return a time, at most `SECONDS_MAX`.

    Parameters
    ----------
    name : str
        Of the argument.
    given : float
    zero : bool
        Whether it may be 0.

    Raises
    ------
    TypeError
        It is no number.
    ValueError
        It is negative, not a number (NaN), or 0 where that is none.
    """
    sign = "non-negative" if zero else "positive"
    words = f"{name} is a {sign} number of seconds, not {reprlib.repr(given)}"
    if not hasattr(given, "__float__"):
        raise TypeError(words)
    if not (given > 0 or (zero and given == 0)):
        raise ValueError(words)
    return float(min(given, SECONDS_MAX))


def check_whole(name: str, given: int, least: int, most: float = math.inf) -> int:
    """Return a whole number.

    Parameters
    ----------
    name : str
        Of the argument.
    given : int
    least, most : int
        The range.

    Raises
    ------
    TypeError
        It is no int, nor what can stand for one (`operator.index`).
    ValueError
        It is out of range.
    """
    limits = f"{least}..{most}" if most < math.inf else f"{least} or more"
    words = f"{name} is a whole number, {limits}, not {reprlib.repr(given)}"
    try:
        number = operator.index(given)
    except TypeError:
        raise TypeError(words) from None
    if not least <= number <= most:
        raise ValueError(words)
    return number


def check_rates(heartbeat: float, liveness: int) -> tuple[float, int]:
    """Return both.

    Raises
    ------
    TypeError, ValueError
        `heartbeat` is no positive number, or `liveness` no positive whole one.
    """
    return check_seconds("heartbeat", heartbeat), check_whole("liveness", liveness, 1)


def check_descriptors(count: int, what: str) -> None:
    """Refuse to start what needs `count` file descriptors without them: libzmq would abort.

    Raises
    ------
    OSError
        Fewer are to be had.
    """
    taken: list[int] = []
    try:
        for _ in range(count):
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        words = f"too few file descriptors for a {what}: raise the limit of open files (ulimit -n)"
        raise OSError(error.errno, words) from error
    finally:
        for fd in taken:
            os.close(fd)


def check_context(context: zmq.Context[Any] | None) -> zmq.Context[Any] | None:
    """Return the context.

    Raises
    ------
    TypeError
        It is something else.
    """
    if context is not None and not isinstance(context, zmq.Context):
        raise TypeError(f"context is a zmq.Context or None, not {reprlib.repr(context)}")
    return context


def as_bytes(name: str, text: str) -> bytes:
    """Return text as UTF-8; bytes of a command line that were none are as they were typed.

    Raises
    ------
    ValueError
        It holds half a character (a lone surrogate).
    """
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise ValueError(f"{name} {text!r} can't be sent: it is no valid Unicode text") from None


def label_bytes(label: str | None) -> bytes:
    """Return the label as it travels; ``host:pid`` when none is given.

    Raises
    ------
    TypeError
        It is no str.
    ValueError
        It is longer than 64 bytes.
    """
    if label is None:
        pid = f":{os.getpid()}"
        return os.uname().nodename.encode()[: LABEL_BYTES_MAX - len(pid)] + pid.encode()
    if not isinstance(label, str):
        raise TypeError(f"label is a str or None, not {reprlib.repr(label)}")
    encoded = as_bytes("label", label)
    if len(encoded) > LABEL_BYTES_MAX:
        raise ValueError(f"a label of {len(encoded)} bytes; at most {LABEL_BYTES_MAX} are allowed")
    return encoded
