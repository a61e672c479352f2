"""A body and its META as Python values, on their way into records and out of them.

A body is one bytes-like object or a sequence of them (its parts). Inside the package it is a list
of `bytes`: whatever is not `bytes` already is copied once, at the door, because an open request
must be able to be sent again after the caller has gone on to change its buffer.
META is a dict of strings; on the wire it is a JSON object in part 0, told by the flag META.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from pound._wire import ATTACH_FROM, META, Record
from pound.config import NAME_BYTES_MAX
from pound.errors import ProtocolError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Body: TypeAlias = Buffer | Sequence[Buffer]  # what callers and handlers may give

PARTS_MAX = 65535  # a record counts its parts in a u16


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
        A list when the body has other than one part.
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

    body: bytes | list[bytes]
    attempt: int
    sequence: int
    final: bool
    meta: Mapping[str, str] = {}


def to_parts(body: Body, meta: Mapping[str, str] | None = None) -> tuple[list[bytes], int]:
    """Return the parts of a record and its flags (META or 0).

    Raises
    ------
    TypeError
        `body` is neither bytes-like nor a sequence of bytes-like objects, or `meta` holds
        something other than strings.
    ValueError
        There are more than 65535 parts.
    """
    parts = [_encode_meta(meta)] if meta else []
    if isinstance(body, bytes):
        parts.append(body)
    else:
        parts.extend(_split(body))
    if len(parts) > PARTS_MAX:
        raise ValueError(f"a body of {len(parts)} parts; at most {PARTS_MAX} travel in one record")
    return parts, META if meta else 0


def from_parts(parts: Sequence[bytes]) -> bytes | list[bytes]:
    """Return the one part as `bytes`, any other number of parts as a list."""
    return parts[0] if len(parts) == 1 else list(parts)


def split_meta(record: Record) -> tuple[list[bytes], dict[str, str]]:
    """Return the body parts of a record that came in, and its META.

    Raises
    ------
    ProtocolError
        The META part is not a JSON object of strings.
    """
    parts = cast("list[bytes]", record.parts)  # the link receives bytes, so the codec gives bytes
    return (parts[1:], _decode_meta(parts[0])) if record.flags & META else (parts, {})


def words(record: Record) -> str:
    """Return the sentence of an ERROR that came in."""
    return b" ".join(cast("list[bytes]", record.parts)).decode(errors="replace")


def service_name(service: str | bytes) -> bytes:
    """Return a service's name as it travels.

    Raises
    ------
    ValueError
        The name is longer than 255 bytes.
    """
    name = service.encode() if isinstance(service, str) else bytes(service)
    if len(name) > NAME_BYTES_MAX:
        raise ValueError(
            f"a service name of {len(name)} bytes; at most {NAME_BYTES_MAX} are allowed"
        )
    return name


def excess(parts: Sequence[bytes], body_bytes_max: int, frames_max: int) -> str | None:
    """Return a sentence about the limit that the body exceeds, None when it keeps to both."""
    size = sum(map(len, parts))
    if size > body_bytes_max:
        return f"a body of {size} bytes exceeds the broker's body_bytes_max of {body_bytes_max}"
    if len(parts) >= frames_max and any(len(part) >= ATTACH_FROM for part in parts):
        return (
            f"a body of {len(parts)} attached parts exceeds the broker's frames_max of {frames_max}"
        )
    return None


def _split(body: Body) -> list[bytes]:
    if isinstance(body, str):
        raise TypeError("a body is bytes-like, not str: encode the text first")
    one = _copy(body)
    if one is not None:
        return [one]
    if not isinstance(body, Sequence):
        raise TypeError(f"a body is bytes-like or a sequence of those, not {type(body).__name__}")
    parts = []
    for part in body:
        copy = part if isinstance(part, bytes) else _copy(part)
        if copy is None:
            raise TypeError(f"a part of a body is bytes-like, not {type(part).__name__}")
        parts.append(copy)
    return parts


def _copy(value: object) -> bytes | None:
    try:
        view = memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        return None
    return view.tobytes()


def _encode_meta(meta: Mapping[str, str]) -> bytes:
    for key, value in meta.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"meta maps str to str, not {key!r} to {value!r}")
    return json.dumps(dict(meta), ensure_ascii=False, separators=(",", ":")).encode()


def _decode_meta(part: bytes) -> dict[str, str]:
    try:
        meta = json.loads(part)
    except ValueError as error:
        raise ProtocolError(f"the META part is not JSON: {error}") from None
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise ProtocolError("the META part is not a JSON object of strings")
    return meta
