"""``pound call``: requests from the command line, one or one for each line of input."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, BinaryIO

import click

import pound
from pound._engine.checks import as_bytes
from pound._engine.progress import Progress
from pound._engine.values import PROGRESS
from pound.cli.common import (
    EXIT_DEADLINE,
    EXIT_NO_SERVICE,
    EXIT_TASK_FAILED,
    Seconds,
    client_of,
    complain,
    connect_options,
    exit_code,
)
from pound.cli.lines import Lines, Pipeline, pipe
from pound.cli.waiting import Explanation, explained

if TYPE_CHECKING:
    from pound.security.credential import Credential


@click.command(short_help="Send one request, or one for each line, and print the answers.")
@click.argument("service")
@click.argument("body", required=False)
@click.option(
    "--map",
    "each_line",
    is_flag=True,
    help="Send each line of the file BODY (default: stdin) as a request of its own.",
)
@click.option(
    "--stream",
    is_flag=True,
    help="Write each partial answer as a line, as soon as it comes.",
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Requests open at once, with --map.",
)
@click.option(
    "--timeout",
    type=Seconds(),
    metavar="SECONDS",
    help="Deadline of each request; none if not given. Also 500ms, 2m.",
)
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    default=0,
    show_default=True,
    help="9 is the most urgent.",
)
@connect_options("frontend")
@click.pass_context
def call(
    ctx: click.Context,
    service: str,
    body: str | None,
    each_line: bool,
    stream: bool,
    window: int,
    timeout: float | None,
    priority: int,
    endpoints: tuple[str, ...],
    key: Credential | None,
) -> None:
    """Send BODY to SERVICE and write the answer to stdout.

    BODY is sent as UTF-8; - reads it from stdin; without it the body is empty. An answer of
    several parts is written one part a line.

    With --stream what a generator yields is written, one item a line, as soon as it comes, then
    what it returns, unless that is empty; the parts of one item are separated by tabs. How far the
    work is, if the handler says so, goes to stderr. Without --stream a line on stderr says how many
    items were left out.

    With --map each line of input is the body of a request, and each answer is written as a line,
    as soon as its turn in the order of the input has come; the parts of one answer are separated
    by tabs. A bar on stderr shows how far it is when stderr is a terminal and stdout is not. The
    first request that fails ends the command, and its line is named.

    If no answer comes within a second, a line on stderr says what is waited for. Exits with 3 if no
    broker answers within 3 s, 5 if it does not let this peer in, 10 if the task failed, 11 if there
    is no such service, 12 if the deadline passed.
    """
    if each_line and stream:
        raise click.UsageError("--map and --stream exclude each other")
    if each_line:
        ctx.exit(_map(service, body, window, timeout, priority, endpoints, key))
    try:
        payload = sys.stdin.buffer.read() if body == "-" else as_bytes("BODY", body or "")
        with client_of(endpoints, key) as client, explained(client, service, key) as explanation:
            explanation.begin()
            partials = client.stream(service, payload, timeout=timeout, priority=priority)
            if stream:
                _write_stream(partials, explanation)
            else:
                _write(_final(partials).parts)
    except pound.RequestError as error:
        complain(str(error))
        ctx.exit(_exit_code(error))


def _exit_code(error: pound.RequestError) -> int:
    if isinstance(error, (pound.TaskFailed, pound.AttemptsExhausted)):
        return EXIT_TASK_FAILED
    if isinstance(error, pound.NoSuchService):
        return EXIT_NO_SERVICE
    return EXIT_DEADLINE if isinstance(error, pound.DeadlineExceeded) else exit_code(error)


def _final(partials: pound.Stream) -> pound.Partial:
    """Return the last partial, the answer; say how many before it are not shown."""
    passed = 0
    for partial in partials:
        if partial.final:
            break
        passed = (passed if partial.sequence else 0) + (PROGRESS not in partial.meta)
    if passed:
        complain(f"{passed} partial answers came before this one: --stream writes them")
    return partial


def _write_stream(partials: pound.Stream, explanation: Explanation) -> None:
    """Write each partial as it comes; say where the work began anew."""
    attempt = 0
    for partial in partials:
        explanation.end()
        if 0 < attempt < partial.attempt:
            complain("the task was lost with its worker; what follows is of its next attempt")
        attempt = partial.attempt
        if PROGRESS in partial.meta:
            complain(f"progress: {partial.meta[PROGRESS]}")
        elif not partial.final or any(partial.parts):
            _write_lines([b"\t".join(partial.parts)])


def _write(parts: list[bytes]) -> None:
    """Write the bytes as they are; a newline only where a person reads or one of several ends."""
    out = sys.stdout.buffer
    if len(parts) == 1:
        out.write(parts[0])
        if sys.stdout.isatty():
            out.write(b"\n")
    else:
        out.writelines(part + b"\n" for part in parts)
    out.flush()


def _map(
    service: str,
    name: str | None,
    window: int,
    timeout: float | None,
    priority: int,
    endpoints: tuple[str, ...],
    key: Credential | None,
) -> int:
    """Write the answer to each line of a file, in order; return the exit code."""
    shows = sys.stderr.isatty() and not sys.stdout.isatty()
    written = 0
    try:
        with (
            _source(name) as source,
            pipe() as (rung, ring),
            client_of(endpoints, key) as client,
            Progress(_size(source), shown=shows) as progress,
            explained(client, service, key, bar=shows) as explanation,
        ):
            pipeline = Pipeline(client, rung, ring, service, timeout, priority)
            for size, answers in pipeline.answers(Lines(source.fileno()), window):
                explanation.end() if answers else explanation.begin()
                _write_lines(answers)
                written += len(answers)
                progress.step(size, len(answers))
    except pound.RequestError as error:
        complain(f"line {written + 1}: {error}")
        return _exit_code(error)
    return 0


def _write_lines(answers: list[bytes]) -> None:
    out = sys.stdout.buffer
    for answer in answers:
        out.write(answer)
        out.write(b"\n")
    out.flush()


def _source(name: str | None) -> AbstractContextManager[BinaryIO]:
    if name is None or name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return open(name, "rb")
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="BODY") from None


def _size(source: BinaryIO) -> int:
    """Return the bytes of a regular file, 0 for a pipe or a terminal."""
    status = os.fstat(source.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
