"""``pound config``: look at a configuration without running it; options that set one."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pound._config_keys import Key
from pound._logging import escape
from pound.config import Config, ignored_variables, keys

DEFAULT_FILE = Path("pound.toml")  # read if it is in the working directory

Function = TypeVar("Function", bound=Callable[..., Any])

file_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Configuration file; pound.toml in the working directory if there is one.",
)


def setting_options(command: Function) -> Function:
    """Give `command` one option for each key, all None unless given."""
    for key in reversed(list(keys().values())):
        command = _setting_option(key)(command)
    return command


def _setting_option(key: Key) -> Callable[[Function], Function]:
    if key.kind == "flag":
        return click.option(key.flag, key.name, is_flag=True, default=None, help=key.meaning)
    metavar = {"choice": "|".join(key.choices), "name": "NAME", "size": "BYTES"}.get(
        key.kind, (key.unit or "N").upper()
    )
    several = key.kind == "endpoints"
    return click.option(
        key.flag,
        key.name,
        metavar=metavar,
        multiple=several,
        default=None,
        help=f"{key.meaning}{' Repeatable.' if several else ''} Default: {as_text(key)}.",
    )


def default_file() -> Path | None:
    """Return the file that is read when none is named; None: there is none."""
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(path: Path | None, flags: dict[str, object]) -> tuple[Config, dict[str, str]]:
    """Return the configuration that a command runs with, and the origins of its values."""
    path = path or default_file()
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    return Config.load(path, os.environ, given)


def as_text(key: Key) -> str:
    """Return the default of `key` as people write it."""
    value = key.default
    if isinstance(value, tuple):
        return ",".join(value)
    if key.kind == "size" and isinstance(value, int):
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value and value % size == 0:
                return f"{value // size} {unit}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


@click.group(short_help="Check or show the broker's configuration.")
def config() -> None:
    """Check or show the configuration: file < environment < flags of pound serve."""


@config.command(short_help="Say whether the configuration is valid.")
@file_option
def check(path: Path | None) -> None:
    """Read the file and the environment; exit with 2 and a reason if something is wrong."""
    path = path or default_file()
    _, origins = load(path, {})
    for variable in ignored_variables(os.environ):
        click.echo(f"pound: {variable} is no key, ignored", err=True)
    read = str(path.absolute()) if path else f"no file (there is no {DEFAULT_FILE} here)"
    variables = [origin.split()[1] for origin in origins.values() if origin.startswith("environ")]
    sources = ", ".join([escape(read), *variables])
    click.echo(f"pound: the configuration is valid; read: {sources}")


@config.command(short_help="Print the effective configuration as TOML.")
@file_option
@click.option("--origin", is_flag=True, help="Say behind each value where it came from.")
@click.option("--explain", is_flag=True, help="Say above each value what it means.")
def show(path: Path | None, origin: bool, explain: bool) -> None:
    """Print what pound serve would run with; the output is a valid configuration file."""
    effective, origins = load(path, {})
    for name, key in keys().items():
        if explain:
            click.echo("\n".join(["", *(f"# {line}" for line in _explained(key))]))
        line = f"{name} = {_toml(getattr(effective, name))}"
        click.echo(f"{line}  # {origins[name]}" if origin else line)
    for name, service in effective.services.items():
        click.echo(f"\n[services.{_toml(name)}]" + (f"  # {origins['services']}" if origin else ""))
        if service.lease is not None:
            click.echo(f"lease = {_toml(service.lease)}")
        click.echo(f"one_part = {_toml(service.one_part)}")


def _explained(key: Key) -> list[str]:
    """Return lines that say what a key means, in what unit, and its default as people write it."""
    unit = {"choice": " | ".join(key.choices)}.get(key.kind, key.unit)
    default = f"Default: {as_text(key)}{f' ({unit})' if unit else ''}."
    return textwrap.wrap(f"{key.meaning} {default}", 98)


def _toml(value: object) -> str:
    """Return a value as TOML: for these types it is JSON, but for DEL and float integers."""
    if isinstance(value, float):
        return repr(value)
    listed = list(value) if isinstance(value, tuple) else value
    return json.dumps(listed, ensure_ascii=False).replace("\x7f", "\\u007f")
