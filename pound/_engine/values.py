"""What bodies come with, as Python values: answers, partials, META, the names of services.

A body is one bytes-like object or a sequence of them, its parts; `_engine.mailbox` turns it into C
and back. META is a dict of strings; on the wire it is a JSON object in part 0, told by the
flag META.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from pound._engine.checks import as_bytes
from pound._wire.names import NAME_BYTES_MAX
from pound.errors import ProtocolError

if TYPE_CHECKING:
    from typing_extensions import Buffer
    from typing_extensions import TypeVar as Defaulted

    Body: TypeAlias = Buffer | Sequence[Buffer]  # what callers and handlers may give

# What they get. With ``copy=False`` a part of 4096 bytes and more is a memoryview.
Part: TypeAlias = bytes | memoryview
Reply: TypeAlias = Part | list[Part]  # a list when there are other than one part
if TYPE_CHECKING:
    P = Defaulted("P", bound=Part, default=bytes)  # what the parts are that a client gets
else:
    P = TypeVar("P")


class Answer(NamedTuple):
    """A final answer with its META; a handler returns one to send META along.

    Parameters
    ----------
    body : bytes or list of bytes
        A list when the body has other than one part.
    meta : dict of str to str
        Empty when the other end sent none.
    """

    body: Body
    meta: Mapping[str, str] = {}


class Partial(NamedTuple):
    """One partial answer of a stream.

    Parameters
    ----------
    body : bytes or list of bytes
        A list when the body has other than one part. A client made with ``copy=False`` gets parts
        of 4096 bytes and more as memoryviews.
    attempt : int
        Which run of the task this partial is from. A higher attempt than the partial before means
        that the task was lost with its worker and that the stream starts anew: forget the
        partials of the lower attempt. 0 when the only partial is the final one.
    sequence : int
        The place in its attempt, from 0.
    final : bool
        True for the last partial: the handler's own return value.
    meta : dict of str to str
        Empty when the worker sent none.
    """

    body: Reply
    attempt: int
    sequence: int
    final: bool
    meta: Mapping[str, str] = {}


def service_name(service: str) -> bytes:
    """Return a service's name as it travels.

    Raises
    ------
    TypeError
        It is no str: a body, if the arguments were swapped.
    ValueError
        The name is longer than 255 bytes.
    """
    if not isinstance(service, str):
        raise TypeError(
            f"service is a str, not {reprlib.repr(service)}: the service comes first, as in"
            " request(service, body) and map(service, bodies)"
        )
    name = as_bytes("service", service)
    if len(name) > NAME_BYTES_MAX:
        raise ValueError(
            f"a service name of {len(name)} bytes; at most {NAME_BYTES_MAX} are allowed"
        )
    return name


def encode_meta(meta: Mapping[str, str]) -> bytes:
    """Return META as it travels: a JSON object.

    Raises
    ------
    TypeError
        `meta` is no mapping, or holds something other than strings.
    """
    try:
        items = meta.items()
    except AttributeError:
        raise TypeError(
            f"meta maps str to str, for example {{'key': 'value'}}; not {reprlib.repr(meta)}"
        ) from None
    for key, value in items:
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"meta maps str to str, not {key!r} to {value!r}")
    text = json.dumps(dict(meta), ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(dict(meta), separators=(",", ":")).encode()  # half a character, escaped


def decode_meta(part: bytes) -> dict[str, str]:
    """Return the META that came in a part.

    Raises
    ------
    ProtocolError
        It is not a JSON object of strings.
    """
    try:
        meta = json.loads(part)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the META part is not JSON: {error}") from None
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise ProtocolError("the META part is not a JSON object of strings")
    return meta
