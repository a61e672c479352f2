"""Every error that Pound raises.

Three families. *You did wrong*: `ConfigError`, `ForkError`, `PatchedError`, `ClosedError` and the
built-in `ValueError` and `TypeError`. *The peer did wrong*: `ProtocolError`. *The request ended
without an answer*: `RequestError` and its children, one per error code of PND/1 that a caller can
act on.
"""

# ruff: noqa: N818 - they read as what happened: `except Busy`, `except DeadlineExceeded`

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "AttemptsExhausted",
    "BindError",
    "Busy",
    "Cancelled",
    "ClosedError",
    "ConfigError",
    "DataLoss",
    "DeadlineExceeded",
    "ForkError",
    "InternalError",
    "InvalidRequest",
    "MultipartError",
    "NoSuchService",
    "PatchedError",
    "PermissionDenied",
    "PoundError",
    "ProtocolError",
    "Release",
    "RequestError",
    "TaskFailed",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "error_for",
]


class PoundError(Exception):
    """The root of every error of this package."""


class ConfigError(PoundError, ValueError):
    """A setting is unknown, malformed or refused."""


class BindError(PoundError):
    """The broker cannot listen at an endpoint."""


class ForkError(PoundError, RuntimeError):
    """An object with sockets was used in a child process; make it there instead."""


class PatchedError(PoundError, RuntimeError):
    """gevent or eventlet has replaced the threads of this program, which Pound needs."""


class ClosedError(PoundError):
    """A client, worker or broker was used after it was closed."""


class MultipartError(PoundError, ValueError):
    """A body of several parts came where one part was asked for; nothing of it is lost.

    `Client.request`, `submit` and `map` give the answer as one part; `request_full`, `submit_full`
    and `map_full` give any number of them. So does ``parts`` of a `Task`, an `Answer` or a
    `Partial`, whose ``body`` is one part.

    Parameters
    ----------
    message : str
    parts : iterable of bytes

    Attributes
    ----------
    parts : list of bytes
        All that came. With ``copy=False`` parts of 4096 bytes and more are memoryviews.
    """

    parts: list[Any]

    def __init__(self, message: str = "", parts: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.parts = list(parts)


class ProtocolError(PoundError, ValueError):
    """A peer sent bytes that can't be read, such as metadata that is no JSON."""


class RequestError(PoundError):
    """A request ended without an answer.

    Parameters
    ----------
    message : str
        A sentence for a person, from the peer that ended the request.
    code : int, optional
        The PND/1 error code; by default the one of the class.
    retry_after : float, optional
        Seconds after which the same request may succeed; 0 if nothing is known.

    Attributes
    ----------
    code : int
    message : str
    retry_after : float
    """

    code: int = 2

    def __init__(
        self, message: str = "", code: int | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class Cancelled(RequestError):
    """The request was cancelled (code 1)."""

    code = 1


class TaskFailed(RequestError):
    """The worker's handler failed (code 2, or a code that this version does not know)."""

    code = 2


class InvalidRequest(RequestError):
    """The broker or the worker refused a value of the request (code 3)."""

    code = 3


class DeadlineExceeded(RequestError, TimeoutError):
    """No answer came within the request's timeout (code 4)."""

    code = 4


class NoSuchService(RequestError):
    """No worker offers the service (code 5)."""

    code = 5


class PermissionDenied(RequestError):
    """The peer may not do this (code 7)."""

    code = 7


class Busy(RequestError):
    """A limit of the broker is reached; `retry_after` says when to ask again (code 8)."""

    code = 8


class AttemptsExhausted(RequestError):
    """Each worker that was sent the task was lost; the limit of attempts is reached (code 10)."""

    code = 10


class Unimplemented(RequestError):
    """The peer does not know this command or this version of the protocol (code 12)."""

    code = 12


class InternalError(RequestError):
    """The peer found a defect in itself (code 13)."""

    code = 13


class Unavailable(RequestError):
    """The peer is going away or cannot do this now (code 14)."""

    code = 14


class DataLoss(RequestError):
    """A partial answer is missing, or an answer was dropped for a client not reading (code 15)."""

    code = 15


class Unauthenticated(RequestError):
    """The peer could not prove who it is (code 16)."""

    code = 16


class Release(PoundError):
    """Raise it in a worker's handler to give the task back, uncounted.

    Parameters
    ----------
    reason : str
        For the log, and for the client if the task's deadline passes before a worker could do it.
    after : float, optional
        Seconds that the task waits before any worker gets it again. Without it (or with 0)
        another worker that has room gets it at once. If there is none, or each has had it, the
        broker holds it back for 0.1 s, and for twice as long each further time, up to 5 s.

    Raises
    ------
    ValueError
        `after` is negative or not a number (NaN).
    TypeError
        It is no number.

    Attributes
    ----------
    after : float or None
    """

    after: float | None = None

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason)
        if after is not None and not after >= 0:
            raise ValueError(f"after is a non-negative number of seconds, not {after!r}")
        self.after = after


_BY_CODE: dict[int, type[RequestError]] = {
    kind.code: kind
    for kind in (
        Cancelled,
        TaskFailed,
        InvalidRequest,
        DeadlineExceeded,
        NoSuchService,
        PermissionDenied,
        Busy,
        AttemptsExhausted,
        Unimplemented,
        InternalError,
        Unavailable,
        DataLoss,
        Unauthenticated,
    )
}


def error_for(code: int, message: str = "", retry_after: float = 0.0) -> RequestError:
    """Return the exception for an ERROR record.

    Parameters
    ----------
    code : int
        As on the wire; one without a class of its own gives a `TaskFailed` that carries it.
    message : str, optional
        The record's text.
    retry_after : float, optional
        Seconds.

    Returns
    -------
    RequestError
        An instance of the class of `code`, ready to be raised.
    """
    return _BY_CODE.get(code, TaskFailed)(message, code, retry_after)


def error_name(code: int) -> str:
    """Return the name of the class of a code, for log lines."""
    return _BY_CODE.get(code, TaskFailed).__name__
