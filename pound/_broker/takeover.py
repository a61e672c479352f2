"""When a standby serves: decided from when its preferred broker came and went.

No sockets and no clock: the time is an argument, so that a test decides what time it is.

- At the start the preferred broker has `FIRST_S` to be found.
- One that was there and is lost is missed after `LOST_S`: a connection that was only cut is made
  again sooner than that. Where several are preferred, the next of them needs time to take over.
- One that is back has to stay for a while, so that nobody moves to a broker that comes and goes. If
  it is lost soon after, it has to stay for twice as long the next time.
"""

from __future__ import annotations

import math

FIRST_S = 2.0
LOST_S = 0.5
SETTLE_S = 1.0
SETTLE_MAX_S = 60.0
STEADY_S = 60.0  # it was there for so long: then the next absence is the first one


class Takeover:
    """Whether to serve.

    Parameters
    ----------
    now : float
        Seconds, monotonic, as everywhere here.
    several : bool
        Whether more than one broker is preferred.

    Attributes
    ----------
    serves : bool
        What was decided last.
    """

    def __init__(self, now: float, several: bool = False) -> None:
        self.serves = False
        self._there = False
        self._since = now  # that it is there, or is not
        self._lost = FIRST_S if several else LOST_S
        self._patience = FIRST_S
        self._settle = SETTLE_S
        self._back_at = -math.inf  # when it was given its peers back last

    def note(self, there: bool, now: float) -> None:
        """Take in whether the preferred broker is there."""
        if there == self._there:
            return
        self._there, self._since = there, now
        if not there:
            self._patience = self._lost
        if not there and not self.serves:
            soon = now - self._back_at < STEADY_S
            self._settle = min(2 * self._settle, SETTLE_MAX_S) if soon else SETTLE_S

    def decide(self, now: float) -> bool:
        """Return whether to serve from now on."""
        if now >= self.due():
            self.serves = not self.serves
            if not self.serves:
                self._back_at = now
        return self.serves

    def due(self) -> float:
        """Return when `decide` changes its mind if nothing else does; infinity: never."""
        if self.serves != self._there:
            return math.inf
        return self._since + (self._settle if self.serves else self._patience)
