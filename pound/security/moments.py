"""Moments as people read them: in UTC, and always in one form."""

from __future__ import annotations

import datetime

UTC = datetime.timezone.utc


def now() -> datetime.datetime:
    """Return the present moment."""
    return datetime.datetime.now(UTC).replace(microsecond=0)


def as_text(moment: datetime.datetime) -> str:
    """Return a moment as people read it: midnight as the date alone."""
    moment = moment.astimezone(UTC)
    if moment.time() == datetime.time():
        return moment.date().isoformat()
    precision = "seconds" if moment.second else "minutes"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
