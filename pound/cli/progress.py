"""A bar on a terminal: how much of the input was read, how many answers came, how fast.

Shown on stderr, redrawn at most ten times a second, gone without a trace when it was not to be
shown. Between two redraws a batch of answers costs a counter and a look at the clock.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Self

REDRAW_S = 0.1
BAR_CELLS = 30


class Progress:
    """The state of one bar.

    Parameters
    ----------
    size : int
        Bytes of the input; 0: not known, then there is no bar, only numbers.
    shown : bool
        False: nothing is written.
    out : text stream, optional
        By default stderr.
    """

    def __init__(self, size: int, shown: bool, out: TextIO | None = None) -> None:
        self._size = size
        self._shown = shown
        self._out = sys.stderr if out is None else out
        self._bytes = 0
        self._answers = 0
        self._began = self._drawn_at = time.monotonic()

    def read(self, size: int) -> None:
        """Note that `size` bytes of the input were read."""
        self._bytes += size

    def answered(self, count: int) -> None:
        """Note that so many answers more came."""
        self._answers += count
        if self._shown:
            now = time.monotonic()
            if now - self._drawn_at >= REDRAW_S:
                self._draw(now)

    def __enter__(self) -> Self:
        """Show that it has begun."""
        if self._shown:
            self._draw(time.monotonic())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw the last state and leave the line."""
        if self._shown:
            self._draw(time.monotonic())
            self._out.write("\n")
            self._out.flush()

    def _draw(self, now: float) -> None:
        self._drawn_at = now
        seconds = max(now - self._began, 1e-9)
        words = f"{self._answers:,} answers, {self._answers / seconds:,.0f}/s"
        if self._size:
            done = min(self._bytes / self._size, 1.0)
            filled = round(done * BAR_CELLS)
            words = f"[{'#' * filled:<{BAR_CELLS}}] {done:4.0%}  {words}"
        self._out.write(f"\r{words}\x1b[K")
        self._out.flush()
