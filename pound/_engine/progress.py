"""A bar on a terminal: how much of the work is done, how many answers came, how fast.

Shown on stderr, redrawn at most ten times a second, gone without a trace when it was not to be
shown. Between two redraws a batch of answers costs a counter and a look at the clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sized
from contextlib import aclosing, closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

    from pound._engine.map import Map

T = TypeVar("T")

REDRAW_S = 0.1
BAR_CELLS = 30


class Progress:
    """The state of one bar.

    Parameters
    ----------
    size : int
        Of the whole work, in bytes or in answers; 0: not known, then there is no bar, only
        numbers.
    shown : bool
        False: nothing is written.
    out : text stream, optional
        By default stderr.
    """

    def __init__(self, size: int, shown: bool, out: TextIO | None = None) -> None:
        self._size = size
        self._shown = shown
        self._out = sys.stderr if out is None else out
        self._done = 0
        self._answers = 0
        self._began = self._drawn_at = time.monotonic()

    def step(self, size: int, answers: int) -> None:
        """Note that so much of the work is done, and that so many answers more came."""
        self._done += size
        self._answers += answers
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
            done = min(self._done / self._size, 1.0)
            filled = round(done * BAR_CELLS)
            words = f"[{'#' * filled:<{BAR_CELLS}}] {done:4.0%}  {words}"
        self._out.write(f"\r{words}\x1b[K")
        self._out.flush()


def of_answers(bodies: object) -> Progress:
    """Return the bar of a map: on stderr, if that is a terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Progress(len(bodies) if isinstance(bodies, Sized) else 0, terminal)


def shown(answers: Map, bodies: object) -> Iterator[Any]:
    """Yield the answers, and show how many have come."""
    with closing(answers), of_answers(bodies) as progress:
        for answer in answers:
            progress.step(1, 1)
            yield answer


async def shown_async(answers: AsyncGenerator[T, None], bodies: object) -> AsyncGenerator[T, None]:
    """Yield the answers as `shown` does."""
    async with aclosing(answers):
        with of_answers(bodies) as progress:
            async for answer in answers:
                progress.step(1, 1)
                yield answer
