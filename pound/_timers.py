"""One timer for each key, in order of time.

Holds a heap of (when, serial, key) and for each armed key the serial that counts; entries of
other serials are dead and skipped. Arming costs O(log n), disarming O(1); the heap is rebuilt
when more than half of it is dead, so memory follows the number of armed keys.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

K = TypeVar("K")
DEAD_MIN = 64  # below this many dead entries a rebuild is not worth its while


class Timers(Generic[K]):
    """The armed keys; times are seconds on one clock, whichever the caller uses."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._armed: dict[K, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        """Return the number of armed keys."""
        return len(self._armed)

    def arm(self, key: K, when: float) -> None:
        """Arm `key` for `when`, in place of its earlier time; infinity disarms it."""
        if when == math.inf:
            self.disarm(key)
            return
        self._serial += 1
        self._armed[key] = self._serial
        heapq.heappush(self._heap, (when, self._serial, key))
        if len(self._heap) > 2 * len(self._armed) + DEAD_MIN:
            self._heap = [entry for entry in self._heap if self._armed.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def disarm(self, key: K) -> None:
        """Forget the time of `key`, if it has one."""
        self._armed.pop(key, None)

    def next_due(self) -> float:
        """Return the earliest time of an armed key; infinity when there is none."""
        while self._heap and self._armed.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> list[K]:
        """Return the keys whose time has come, earliest first, and disarm them."""
        due = []
        while self.next_due() <= now:
            key = heapq.heappop(self._heap)[2]
            del self._armed[key]
            due.append(key)
        return due
