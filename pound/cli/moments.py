"""Moments as people write them on a command line, in UTC."""

from __future__ import annotations

import datetime
from typing import Any

import click

from pound._config_keys import AMOUNT, TIME_UNITS
from pound.security.moments import UTC, now

FORMS = "a date (2030-01-31), a date and time (2030-01-31T12:00:00Z), or a span from now (90d, 12h)"


def moment_of(text: str) -> datetime.datetime:
    """Return the moment that a person wrote; one without a zone is in UTC.

    Raises
    ------
    ValueError
        It is none.
    """
    text = text.strip()
    try:
        return _from_now(text) or _written(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time: {FORMS}") from None


def _from_now(text: str) -> datetime.datetime | None:
    """Return the moment after a span with a unit; None: `text` is none."""
    if text == "now":
        return now()
    match = AMOUNT.fullmatch(text.lower())
    if match is None or not match[2] or match[2] not in TIME_UNITS:
        return None
    span = datetime.timedelta(seconds=float(match[1]) * TIME_UNITS[match[2]])
    return now() + span


def _written(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)


class Moment(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A moment as people write it.

    Parameters
    ----------
    future : bool
        Refuse one in the past.
    never : bool
        Take the word ``never``, for None.
    """

    name = "when"

    def __init__(self, *, future: bool = False, never: bool = False) -> None:
        self.future = future
        self.never = never

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime.datetime | None:
        """Return the moment."""
        if isinstance(value, datetime.datetime):
            return value
        if self.never and value == "never":
            return None
        try:
            moment = moment_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if self.future and moment <= now():
            self.fail(f"{value} is in the past", param, ctx)
        return moment
