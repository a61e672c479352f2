"""What bodies come with, as Python values: answers, partials, META, the names of services.

A body is one bytes-like object or a sequence of them, its parts; `_engine.mailbox` turns it into C
and back. What comes in is read as one part (``body``), or as the list of all (``parts``). META is
a dict of strings; on the wire it is a JSON object in part 0, marked by the flag META.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pound._engine.checks import as_bytes
from pound._wire.names import NAME_BYTES_MAX
from pound.errors import MultipartError, ProtocolError

if TYPE_CHECKING:
    from typing_extensions import Buffer
    from typing_extensions import TypeVar as Defaulted

    Body: TypeAlias = Buffer | Sequence[Buffer]  # what callers and handlers may give
else:
    Buffer = bytes | bytearray | memoryview
    Body = Buffer | Sequence[Buffer]

PROGRESS = "progress"  # the key of META by which a partial says how far the work is
PARTS_MAX = 65535  # of a body: a record counts them in 16 bits

# What they get. With ``copy=False`` a part of 4096 bytes and more is a memoryview.
Part: TypeAlias = bytes | memoryview
if TYPE_CHECKING:
    P = Defaulted("P", bound=Part, default=bytes)  # what the parts are that a client gets
else:
    P = TypeVar("P")


class _Parts(Generic[P]):
    """What has a body and META: the base of `Answer` and `Partial`."""

    __slots__ = ("_given", "meta")
    meta: Mapping[str, str]

    def __init__(self, body: Body, meta: Mapping[str, str]) -> None:
        self._given = body
        self.meta = meta

    @property
    def parts(self) -> list[P]:
        """The body's parts, in a list of their own."""
        given: Any = self._given
        one = not isinstance(given, (list, tuple)) and is_buffer(given)
        return [given] if one else all_parts(given)

    @property
    def body(self) -> P:
        """The body's one part; empty if it has none.

        Raises
        ------
        MultipartError
            It has several: see ``parts``.
        """
        return one_part(self.parts)

    def __eq__(self, other: object) -> bool:
        """Compare all that the two hold."""
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the call that makes an equal one."""
        words = ", ".join(repr(value) for value in (self._given, *self._values()[1:]))
        return f"{type(self).__name__}({words})"

    def _values(self) -> tuple[Any, ...]:
        return self.parts, self.meta


class Answer(_Parts[P]):
    """A final answer with its META; a handler returns one to send META along.

    Parameters
    ----------
    body : bytes-like or sequence of bytes-like
        A sequence is a body of several parts.
    meta : dict of str to str, optional
        Empty when the other end sent none.

    Attributes
    ----------
    parts : list of bytes
        All parts of the body. A client made with ``copy=False`` gets parts of 4096 bytes and more
        as memoryviews.
    body : bytes
        The one part, empty if there is none; raises `MultipartError` if there are several.
    meta : dict of str to str

    Examples
    --------
    >>> def handler(body: bytes) -> Answer:
    ...     return Answer(body.upper(), {"content-type": "text/plain"})
    """

    __slots__ = ()

    def __init__(self, body: Body, meta: Mapping[str, str] | None = None) -> None:
        super().__init__(body, {} if meta is None else meta)


class Partial(_Parts[P]):
    """One partial answer of a stream.

    Parameters
    ----------
    body : bytes-like or sequence of bytes-like
        A sequence is a body of several parts.
    attempt : int
        Which run of the task this partial is from. A higher attempt than the partial before means
        that the task was lost with its worker and that the stream starts anew: forget the
        partials of the lower attempt. 0 when the only partial is the final one.
    sequence : int
        The place in its attempt, from 0.
    final : bool
        True for the last partial: the handler's own return value.
    meta : dict of str to str, optional
        Empty when the worker sent none.

    Attributes
    ----------
    parts : list of bytes
        All parts of the body, as those of an `Answer`.
    body : bytes
        The one part, empty if there is none; raises `MultipartError` if there are several.
    attempt : int
    sequence : int
    final : bool
    meta : dict of str to str
    """

    __slots__ = ("attempt", "final", "sequence")

    def __init__(
        self,
        body: Body,
        attempt: int,
        sequence: int,
        final: bool,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(body, {} if meta is None else meta)
        self.attempt = attempt
        self.sequence = sequence
        self.final = final

    def _values(self) -> tuple[Any, ...]:
        return self.parts, self.attempt, self.sequence, self.final, self.meta


def is_buffer(given: object) -> bool:
    """Return whether something is bytes-like."""
    try:
        memoryview(given)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def all_parts(given: Iterable[P]) -> list[P]:
    """Return the parts of a body of several in a list of their own.

    Raises
    ------
    ValueError
        They are more than one record can carry, perhaps without end.
    """
    parts = list(islice(given, PARTS_MAX + 1))
    if len(parts) > PARTS_MAX:
        raise ValueError(
            f"a body of more than {PARTS_MAX} parts, META's included: no more travel in one record"
        )
    return parts


def one_part(parts: list[P]) -> P:
    """Return the one part of a body, or an empty one if it has none.

    Raises
    ------
    MultipartError
        It has several.
    """
    if len(parts) > 1:
        raise multipart_error(parts)
    return parts[0] if parts else b""  # type: ignore[return-value]


def multipart_error(parts: list[Any]) -> MultipartError:
    """Return the error of a body of several parts where one was asked for."""
    return MultipartError(
        f"a body of {len(parts)} parts, not one: `parts` has them all, here and in a Task, a"
        " Partial or an Answer (request_full, submit_full, map_full)",
        parts,
    )


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


def progress_meta(done: float, total: float | None) -> dict[str, str]:
    """Return the META of a partial that says how far the work is."""
    return {PROGRESS: f"{done:g}" if total is None else f"{done:g}/{total:g}"}


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
