"""``pound config``: look at a configuration without running it; options that set one."""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pound._config_keys import Key
from pound._engine.checks import check_key
from pound._logging import escape
from pound.cli.ceiling import ceiling
from pound.config import Config, ServiceConfig, ignored_variables, keys
from pound.security.keyring import KeyDirectory
from pound.security.listener import Listener
from pound.security.names import SIDES

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
    metavars = {
        "choice": "|".join(key.choices),
        "name": "NAME",
        "path": "DIR",
        "file": "FILE",
        "size": "BYTES",
    }
    metavar = metavars.get(key.kind, (key.unit or "N").upper())
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
        return ",".join(value) or "empty"
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
    effective, origins = load(path, {})
    if effective.keys:
        KeyDirectory(effective.keys).keyring()
    check_key(effective.standby_key or None)
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
        if name in SIDES and not getattr(effective, name):
            line = f"# {name}: those of the tables below"
        click.echo(f"{line}  # {origins[name]}" if origin else line)
    _show_tables(effective, origins if origin else {})
    click.echo()
    for sentence in ceiling(effective):
        wrapped = textwrap.wrap(sentence, 98, subsequent_indent="  " * sentence.startswith("- "))
        click.echo("\n".join(f"# {line}" for line in wrapped))


def _show_tables(effective: Config, origins: dict[str, str]) -> None:
    """Print the tables, each with its origin if there are origins."""
    tables: list[tuple[str, str, Listener | ServiceConfig]] = []
    for listener in effective.listen:
        bound = listener.resolved(keys=bool(effective.keys), insecure=effective.insecure)
        tables.append(("[[listen]]", "listen", bound))
    for name, service in effective.services.items():
        tables.append((f"[services.{_toml(name)}]", "services", service))
    for header, name, table in tables:
        click.echo(f"\n{header}" + (f"  # {origins[name]}" if origins else ""))
        for key, value in dataclasses.asdict(table).items():
            if value is not None:
                click.echo(f"{key} = {_toml(value)}")


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
