"""What the commands share: exit codes, the options of clients, and the first answer of a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

import pound
from pound._logging import escape

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_UNFINISHED = 4
EXIT_TASK_FAILED = 10
EXIT_NO_SERVICE = 11
EXIT_DEADLINE = 12

WELCOME_S = 3.0  # a broker answers in milliseconds; a human gives up after a few seconds
HEARTBEAT_S = 0.2  # with several endpoints: a silent one is left in time for the next ones

Function = TypeVar("Function", bound=Callable[..., Any])


class Unreachable(pound.PoundError):
    """No broker answered in time."""


def exit_code(error: pound.PoundError) -> int:
    """Return the exit code that an error stands for, whichever the command."""
    if isinstance(error, pound.ConfigError):
        return EXIT_USAGE
    if isinstance(error, (pound.BindError, Unreachable)):
        return EXIT_UNREACHABLE
    return EXIT_FAILED


class ErrorsAsExitCodes(click.Group):
    """A group that turns Pound's errors into one line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except pound.PoundError as error:
            complain(str(error))
            ctx.exit(exit_code(error))


def complain(message: str) -> None:
    """Write one escaped line to stderr: a message may hold what a peer sent."""
    click.echo(f"pound: {escape(message)}", err=True)


def connect_option(side: str) -> Callable[[Function], Function]:
    """Return the repeatable option ``--connect``; `side` is a key of the configuration."""
    default: tuple[str, ...] = getattr(pound.Config(), side)
    return click.option(
        "--connect", "endpoints", metavar="URL", multiple=True, default=default, show_default=True,
        help="Endpoint of a broker; repeat it for brokers to turn to when one is silent.",
    )


@contextmanager
def client_of(endpoints: tuple[str, ...]) -> Iterator[pound.Client]:
    """Yield a client of a broker that has answered.

    Raises
    ------
    Unreachable
        If none answers within 3 s.
    """
    heartbeat = HEARTBEAT_S if len(endpoints) > 1 else 1.0
    with pound.Client(endpoints, heartbeat=heartbeat) as client:
        if not client.wait_connected(WELCOME_S):
            tried = ", ".join(endpoints)
            raise Unreachable(f"no broker answered within {WELCOME_S:g} s at {tried}")
        yield client
