"""``pound worker``: offer a Python function as a service."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

import pound
from pound import _logging, aio
from pound._base import signals as _signals
from pound._engine.handlers import CAPACITY_MAX
from pound.aio.worker import is_async
from pound.cli.common import Seconds, connect_options, note_ignored
from pound.config import keys

if TYPE_CHECKING:
    from pound.security.credential import Credential

LOGGER = logging.getLogger("pound.worker")


def load_handler(spec: str) -> Callable[..., Any]:
    """Return the callable that ``MODULE:HANDLER`` names; the working directory is importable.

    Raises
    ------
    click.BadParameter
        If there is no such module, attribute or callable. An error that the module itself
        raises while it is imported passes through.
    """
    module_name, separator, path = spec.partition(":")
    if not separator or not module_name or not path:
        raise click.BadParameter(f"{spec!r} is not of the form MODULE:HANDLER")
    plain = module_name.removesuffix(".py").removeprefix("./").replace("/", ".")
    if plain != module_name:
        raise click.BadParameter(f"{spec!r} names a file, not a module: use {plain}:{path}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        handler: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise click.BadParameter(f"there is no module {module_name!r}") from None
    for name in path.split("."):
        if not hasattr(handler, name):
            near = get_close_matches(name, dir(handler), n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise click.BadParameter(f"{module_name!r} has no {path!r}{hint}")
        handler = getattr(handler, name)
    if not callable(handler):
        raise click.BadParameter(f"{spec!r} is not callable")
    return handler  # type: ignore[no-any-return]


def run_async(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, on uvloop if it is installed and on asyncio's loop if not."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


@click.command(short_help="Offer a Python function as a service.")
@click.argument("handler", metavar="MODULE:HANDLER")
@click.option(
    "--service",
    "services",
    metavar="NAME",
    multiple=True,
    default=("",),
    help="Name of the service; repeatable. Without it: the default service.",
)
@click.option(
    "--capacity",
    type=click.IntRange(1, CAPACITY_MAX),
    default=1,
    show_default=True,
    help="Tasks held, and run, at once: in threads, or coroutines of one event loop.",
)
@click.option("--label", metavar="TEXT", help="Name shown to people; host:pid if not given.")
@click.option(
    "--log-level",
    type=click.Choice(keys()["log_level"].choices),
    default="info",
    show_default=True,
    help="Least level of the log lines.",
)
@click.option(
    "--log-format",
    type=click.Choice(keys()["log_format"].choices),
    default="text",
    show_default=True,
    help="Form of the log lines.",
)
@click.option(
    "--drain-timeout",
    type=Seconds(zero=True),
    metavar="SECONDS",
    default=keys()["drain_timeout"].default,
    show_default=True,
    help="How long held tasks may take after the first signal; then they are given back.",
)
@connect_options("backend")
def worker(
    handler: str,
    services: tuple[str, ...],
    capacity: int,
    label: str | None,
    log_level: str,
    log_format: str,
    drain_timeout: float,
    endpoints: tuple[str, ...],
    key: Credential | None,
) -> None:
    """Answer the tasks of a service with the function HANDLER of MODULE, until SIGTERM or SIGINT.

    The function gets the body as bytes, or a pound.Task if its parameter is annotated so or named
    task, and returns the body of the answer; what a generator yields is streamed. An async def,
    also one that functools.wraps put into a plain function, runs on an event loop: uvloop if it is
    installed, asyncio's own if not. The first signal lets held tasks finish, a second one gives
    them back at once.

    What the program logs goes to stderr like Pound's own lines, unless it set up logging itself.
    """
    function = load_handler(handler)
    _logging.configure(log_level, log_format)
    _logging.configure_program(log_level)
    if "" in services:
        hint = "for requests that name no service; --service NAME offers one by name"
        _logging.log_event(LOGGER, logging.INFO, "default service offered", hint=hint)
    settings: dict[str, Any] = {
        "services": dict.fromkeys(services, function),
        "capacity": capacity,
        "label": label,
        "drain_timeout": drain_timeout,
        "key": key,
    }
    with _signals.ignored(functools.partial(note_ignored, LOGGER)):
        if is_async(function) or is_async(inspect.unwrap(function)):
            with _signals.not_inherited(_signals.installed()):  # nor the runner's
                run_async(aio.Worker(endpoints, **settings).run())
        else:
            pound.Worker(endpoints, **settings).run()
