"""Objects that belong to one process say so when they are pickled or copied.

What has sockets, threads or a place in an engine means nothing in another process: pickling fails
with the remedy, at the sender, instead of with the name of some inner lock.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

ENDPOINTS = "its sockets and threads belong to this process; pass the endpoints, make one there"
RESULT = "it belongs to its client; pass the answer, or the body to ask with"
TASK = "it belongs to its worker; pass its body"


class Unpicklable:
    """A base of what can be neither pickled nor copied."""

    __slots__ = ()
    _noun: ClassVar[str]  # with its article
    _remedy: ClassVar[str] = ENDPOINTS

    def __reduce__(self) -> NoReturn:
        """Refuse.

        Raises
        ------
        TypeError
            Always; it says what to do instead.
        """
        raise TypeError(f"{self._noun} can't be pickled or copied: {self._remedy}")
