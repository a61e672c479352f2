"""Memory whose every byte outside the data is forbidden.

A copy between two pages that may not be touched: a reader that goes one byte beyond the end (or,
placed the other way, before the beginning) is killed by the processor at that instruction, in
every build. An exact-size malloc'd copy shows the same only under AddressSanitizer.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

PAGE = mmap.PAGESIZE
_PROT_NONE = 0


class Guarded:
    """A place for one piece of data of up to `room` bytes, rounded up to pages."""

    def __init__(self, room: int = PAGE) -> None:
        self.room = max(1, -(-room // PAGE)) * PAGE
        self._map = mmap.mmap(-1, self.room + 2 * PAGE)
        self._bytes = memoryview(self._map)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for address in (start, start + PAGE + self.room):
            if ctypes.CDLL(None, use_errno=True).mprotect(
                ctypes.c_void_p(address), ctypes.c_size_t(PAGE), _PROT_NONE
            ):
                raise OSError(ctypes.get_errno(), "mprotect")

    def end(self, data: bytes) -> memoryview:
        """A copy whose last byte is the last one that may be read."""
        return self._at(PAGE + self.room - len(data), data)

    def start(self, data: bytes) -> memoryview:
        """A copy whose first byte is the first one that may be read."""
        return self._at(PAGE, data)

    def _at(self, offset: int, data: bytes) -> memoryview:
        assert len(data) <= self.room
        place = self._bytes[offset : offset + len(data)]
        place[:] = data
        return place


class Guards:
    """A place for each frame of a message; made as needed, used again."""

    def __init__(self) -> None:
        self._places: list[Guarded] = []

    def copy(self, frames: Sequence[bytes], *, at_end: bool = True) -> list[memoryview]:
        """The frames, each at a border of its place; good until the next call."""
        copies = []
        for i, frame in enumerate(frames):
            if i == len(self._places):
                self._places.append(Guarded())
            if len(frame) > self._places[i].room:
                self._places[i] = Guarded(len(frame))
            place = self._places[i]
            copies.append(place.end(frame) if at_end else place.start(frame))
        return copies
