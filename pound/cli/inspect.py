"""``pound status``, ``services``, ``workers``: what a broker says about itself.

Each asks the internal service of its name; the long lists come in pages, which are joined here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

import pound
from pound._logging import escape
from pound.cli.common import WELCOME_S, client_of, connect_option

Function = TypeVar("Function", bound=Callable[..., Any])
Row = Mapping[str, Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


@click.command(short_help="Ask a broker how it is; its health check.")
@json_option
@connect_option("frontend")
def status(as_json: bool, endpoints: tuple[str, ...]) -> None:
    """Print the broker's state and counters; exit with 3 if none answers within 3 s."""
    with client_of(endpoints) as client:
        answer = ask(client, "pound.status")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    facts = {name: value for name, value in answer.items() if not isinstance(value, dict)}
    for side, bound in answer.get("endpoints", {}).items():
        facts[side] = ", ".join(bound)
    facts.update(answer.get("counters", {}))
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {_cell(name, value)}")


@click.command(short_help="List a broker's services.")
@json_option
@connect_option("frontend")
def services(as_json: bool, endpoints: tuple[str, ...]) -> None:
    """Print each service with its waiting and running requests and its workers."""
    columns = ("name", "waiting", "running", "workers", "waiting_bytes", "oldest_wait_ms",
               "workerless_ms")
    _list("services", columns, as_json, endpoints)


@click.command(short_help="List a broker's workers.")
@json_option
@connect_option("frontend")
def workers(as_json: bool, endpoints: tuple[str, ...]) -> None:
    """Print each worker with its dialect, services, capacity and what it holds."""
    columns = ("number", "dialect", "label", "services", "capacity", "held", "idle_ms", "state")
    _list("workers", columns, as_json, endpoints)


def _list(
    kind: str, columns: Sequence[str], as_json: bool, endpoints: tuple[str, ...]
) -> None:
    with client_of(endpoints) as client:
        rows = all_rows(client, kind)
    click.echo(json.dumps({kind: rows}, indent=2) if as_json else table(columns, rows))


def ask(client: pound.Client, service: str, after: object = None) -> dict[str, Any]:
    """Return the answer of an internal service, decoded."""
    body = b"" if after is None else json.dumps({"after": after}).encode()
    answer = client.request(body, service, timeout=WELCOME_S)
    if not isinstance(answer, bytes):
        answer = b"".join(answer)
    decoded: dict[str, Any] = json.loads(answer)
    return decoded


def all_rows(client: pound.Client, kind: str) -> list[Row]:
    """Return all rows of ``pound.services`` or ``pound.workers``, page by page."""
    rows: list[Row] = []
    after: object = None
    while True:
        page = ask(client, f"pound.{kind}", after)
        rows += page[kind]
        after = page.get("after")
        if after is None:
            return rows


def table(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Return `rows` under a heading, in columns as wide as they need; numbers to the right."""
    heading = [name.removesuffix("_ms") for name in columns]
    cells = [[_cell(name, row.get(name)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    lines = ["  ".join(map(_pad, line, widths)).rstrip() for line in [heading, *cells]]
    return "\n".join(lines)


def _pad(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ",".join(_cell("", item) for item in value)
    if name.endswith("_ms") and isinstance(value, (int, float)):
        return duration(value / 1000)
    if name == "uptime" and isinstance(value, (int, float)):
        return duration(value)
    if isinstance(value, str):
        return escape(value) or '""'
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def duration(seconds: float) -> str:
    """Return a time span in the unit that suits a person: ``12 ms``, ``3.4 s``, ``2 h 05 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
