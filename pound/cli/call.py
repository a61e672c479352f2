"""``pound call``: one request from the command line."""

from __future__ import annotations

import sys

import click

import pound
from pound.cli.common import (
    EXIT_DEADLINE,
    EXIT_FAILED,
    EXIT_NO_SERVICE,
    EXIT_TASK_FAILED,
    client_of,
    complain,
    connect_option,
)


@click.command(short_help="Send one request and print its answer.")
@click.argument("service")
@click.argument("body", required=False)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Deadline of the request; none if not given.")
@click.option("--priority", type=click.IntRange(0, 9), default=0, show_default=True,
              help="9 is the most urgent.")
@connect_option("frontend")
@click.pass_context
def call(
    ctx: click.Context,
    service: str,
    body: str | None,
    timeout: float | None,
    priority: int,
    endpoints: tuple[str, ...],
) -> None:
    """Send BODY to SERVICE and write the answer to stdout.

    BODY is sent as UTF-8; - reads it from stdin; without it the body is empty. An answer of
    several parts is written one part a line. Exits with 10 if the task failed, 11 if there is no
    such service, 12 if the deadline passed.
    """
    payload = sys.stdin.buffer.read() if body == "-" else (body or "").encode()
    with client_of(endpoints) as client:
        try:
            answer = client.request(payload, service, timeout=timeout, priority=priority)
        except pound.RequestError as error:
            complain(str(error))
            ctx.exit(_exit_code(error))
    _write(answer)


def _exit_code(error: pound.RequestError) -> int:
    if isinstance(error, (pound.TaskFailed, pound.AttemptsExhausted)):
        return EXIT_TASK_FAILED
    if isinstance(error, pound.NoSuchService):
        return EXIT_NO_SERVICE
    return EXIT_DEADLINE if isinstance(error, pound.DeadlineExceeded) else EXIT_FAILED


def _write(answer: bytes | list[bytes]) -> None:
    """Write the bytes as they are; a newline only where a person reads or a part ends."""
    out = sys.stdout.buffer
    if isinstance(answer, bytes):
        out.write(answer)
        if sys.stdout.isatty():
            out.write(b"\n")
    else:
        out.writelines(bytes(part) + b"\n" for part in answer)
    out.flush()
