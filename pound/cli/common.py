"""What the commands share: exit codes, the options of clients, and the first answer of a broker."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

import pound
from pound._config_keys import Key
from pound._engine.checks import check_endpoints, check_key, credential_endpoints
from pound._logging import SPOOL, Repeats, escape, log_event
from pound.config import keys

if TYPE_CHECKING:
    from pound.security.credential import Credential

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_UNFINISHED = 4
EXIT_DENIED = 5
EXIT_TASK_FAILED = 10
EXIT_NO_SERVICE = 11
EXIT_DEADLINE = 12
EXIT_INTERRUPTED = 130  # as a shell says it of a program that SIGINT ended
EXIT_PIPE = 141  # and of one that nobody reads any more

UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

KEY_VARIABLE = "POUND_KEY"

ERASE = "\r\x1b[K"  # the line that a terminal's cursor is in

WELCOME_S = 3.0  # a broker answers in milliseconds; a human gives up after a few seconds
HEARTBEAT_S = 0.2  # with several endpoints: a silent one is left in time for the next ones

_IGNORED = Repeats()  # lines of signals that mean nothing to us

Function = TypeVar("Function", bound=Callable[..., Any])


class Unreachable(pound.PoundError):
    """No broker answered in time."""


def exit_code(error: pound.PoundError) -> int:
    """Return the exit code that an error stands for, whichever the command."""
    if isinstance(error, pound.ConfigError):
        return EXIT_USAGE
    if isinstance(error, (pound.BindError, Unreachable)):
        return EXIT_UNREACHABLE
    if isinstance(error, (pound.Unauthenticated, pound.PermissionDenied)):
        return EXIT_DENIED
    return EXIT_FAILED


class ErrorsAsExitCodes(click.Group):
    """A group that turns errors into one line on stderr and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run the command line, and exit as a program of the shell does.

        Ctrl-C ends it without a word; so does the end of a pipe that it writes to. Output that
        can't be written (a full disk) is an error.
        """
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        _open_closed_streams()
        try:
            code = super().main(args, standalone_mode=False, **extra)
            sys.stdout.flush()
        except click.ClickException as error:
            with suppress(OSError):
                error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            code = EXIT_INTERRUPTED
        except OSError as error:
            code = _unwritten(error)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except pound.PoundError as error:
            complain(str(error))
            ctx.exit(exit_code(error))
        except OSError as error:
            ctx.exit(_unwritten(error))


def complain(message: str, over_bar: bool = False) -> None:
    """Write a line to stderr, or over a bar there; escaped: it may hold what a peer sent."""
    with suppress(OSError):  # a full disk: there is nobody left to say it to
        click.echo(f"{ERASE if over_bar else ''}pound: {escape(message)}", err=True)


def _open_closed_streams() -> None:
    """Open what the caller closed (``pound status >&-``); what an encoding lacks becomes ``?``."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _unwritten(error: OSError) -> int:
    """Say why output can't be written, unless it is a pipe that nobody reads; the exit code.

    Raises
    ------
    OSError
        It is the error of something else.
    """
    if error.filename is not None or error.errno not in UNWRITTEN:
        raise error
    with suppress(OSError):  # what is buffered is not tried again at the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return EXIT_PIPE
    complain(f"the output can't be written: {error.strerror}")
    return EXIT_FAILED


class Seconds(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A time as people write it: ``2.5``, ``500ms``, ``2m``."""

    name = "seconds"

    def __init__(self, zero: bool = False) -> None:
        self.zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        try:
            seconds: float = Key("time", "seconds", None, "").parse(value)  # type: ignore[assignment]
        except pound.ConfigError as error:
            self.fail(str(error).partition(": ")[2], param, ctx)
        if seconds == 0 and not self.zero:
            self.fail("0 is no time: a request needs some to be answered", param, ctx)
        return seconds


def connect_options(side: str) -> Callable[[Function], Function]:
    """Return the options ``--connect``, which is repeatable, and ``--key``.

    Without the first a command reads the variable that says where a broker listens, then the
    credential; `side` is a key of the configuration.
    """

    def add(function: Function) -> Function:
        return _key_option(_connect_option(side)(function))

    return add


def _key_option(function: Function) -> Function:
    def load(ctx: click.Context, param: click.Parameter, path: Path | None) -> Credential | None:
        try:
            return check_key(path)
        except pound.ConfigError as error:
            given = ctx.get_parameter_source("key") is ParameterSource.COMMANDLINE
            origin = "flag --key" if given else f"environment {KEY_VARIABLE}"
            raise pound.ConfigError(f"{error} ({origin})") from None

    return click.option(
        "--key",
        metavar="FILE",
        type=click.Path(path_type=Path),
        envvar=KEY_VARIABLE,
        is_eager=True,  # `--connect` looks into it
        callback=load,
        help="Credential to connect with, as `pound keys add` writes it.  "
        f"[default: {KEY_VARIABLE} of the environment]",
    )(function)


def _connect_option(side: str) -> Callable[[Function], Function]:
    setting = keys()[side]
    default: tuple[str, ...] = setting.default  # type: ignore[assignment]

    def find(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Sequence[str]:
        variable = os.environ.get(setting.environment)
        for endpoint in given:
            if endpoint.startswith("inproc:"):
                raise pound.ConfigError(
                    f"{endpoint!r} reaches no other process: use tcp:// or ipc:// (flag --connect)"
                )
        key: Credential | None = ctx.params.get("key")
        if given or variable is None:
            return given or (credential_endpoints(key, side) if key else default)
        try:
            bound: tuple[str, ...] = setting.parse(variable)  # type: ignore[assignment]
            port = int(default[0].rpartition(":")[2])
            return check_endpoints([connectable(endpoint) for endpoint in bound], port)
        except pound.ConfigError as error:
            raise pound.ConfigError(f"{error} (environment {setting.environment})") from None

    return click.option(
        "--connect",
        "endpoints",
        metavar="URL",
        multiple=True,
        callback=find,
        help="Endpoint of a broker; repeat it for brokers to turn to when one is silent.  "
        f"[default: {setting.environment} of the environment, the credential's, or "
        f"{', '.join(default)}]",
    )


def connectable(endpoint: str) -> str:
    """Return where to connect to for what a broker binds: any address is this machine's, too.

    Raises
    ------
    pound.ConfigError
        The port is one that only the broker knows.
    """
    if endpoint.endswith(":*"):
        raise pound.ConfigError(
            f"{endpoint} is a port that only the broker knows; give --connect the one of its ready"
            " line"
        )
    for any_address, this in (("tcp://*:", "tcp://127.0.0.1:"), ("tcp://0.0.0.0:", "tcp://127.0.0.1:"),
                              ("tcp://[::]:", "tcp://[::1]:")):  # fmt: skip
        if endpoint.startswith(any_address):
            return this + endpoint.removeprefix(any_address)
    return endpoint


@contextmanager
def client_of(endpoints: tuple[str, ...], key: Credential | None) -> Iterator[pound.Client]:
    """Yield a client of a broker that has answered.

    Raises
    ------
    Unreachable
        If none answers within 3 s.
    Unauthenticated
        None lets it in.
    """
    heartbeat = HEARTBEAT_S if len(endpoints) > 1 else 1.0
    # With one endpoint a denial is what the command fails with: once is enough.
    denials = nullcontext() if len(endpoints) > 1 else _unlogged("access denied")
    with denials, pound.Client(endpoints, heartbeat=heartbeat, key=key) as client:
        with _unlogged():
            connected = client.wait_connected(WELCOME_S)
        if not connected:
            why = client._engine.trouble
            tried = f": {why}" if why else f" at {', '.join(endpoints)}"
            raise Unreachable(f"no broker answered within {WELCOME_S:g} s{tried}")
        yield client


def operates(key: Credential | None) -> bool:
    """Return whether a broker's pages are for one with this key, as far as its credential says."""
    return key is None or "operator" in key.roles


@contextmanager
def _unlogged(event: str | None = None) -> Iterator[None]:
    """Have a client not log an event, or any: the error at the end has the same reason."""

    def passes(record: logging.LogRecord) -> bool:
        return event is not None and getattr(record.msg, "name", "") != event

    logger = logging.getLogger("pound.client")
    logger.addFilter(passes)
    try:
        yield
    finally:
        SPOOL.flush()
        logger.removeFilter(passes)


def note_ignored(logger: logging.Logger, name: str) -> None:
    """Log a signal that means nothing to this process; one line in 30 s for each."""
    repeated = _IGNORED.pass_one(name)
    if repeated is not None:
        count = {"repeated": repeated} if repeated else {}
        log_event(logger, logging.INFO, "signal ignored", signal=name, **count)
