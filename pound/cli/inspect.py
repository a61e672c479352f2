"""``pound status``, ``services``, ``workers``: what a broker says about itself.

Each asks the internal service of its name; the long lists come in pages, which are joined here.
What a person sees fits a terminal of 24 lines and 80 columns; ``--json`` gives all of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

import pound
from pound._logging import escape
from pound.cli.common import WELCOME_S, client_of, connect_options, operates

if TYPE_CHECKING:
    from pound.security.credential import Credential

Function = TypeVar("Function", bound=Callable[..., Any])
Row = Mapping[str, Any]

TEXT_MAX = 60  # characters of a fact of a status, beside its name
LINES = 22  # of a status: a terminal has 24, and the prompt needs some
CUT_TO_MIN = 8  # characters that a cell keeps however narrow the terminal is
# Counters of what is as it should be, or of sizes; every other one above 0 is worth a look.
SOUND = frozenset({
    "accepted", "waiting", "delayed", "running", "running_bytes", "answered", "cancelled",
    "released", "waiting_bytes", "kept", "kept_bytes", "answers_evicted", "answers_deferred",
    "messages_in", "messages_out", "records_in", "bytes_in", "bytes_out", "partials", "turns",
    "peers", "routes", "queued", "stored_records", "closed_connections", "disconnects", "clients",
    "unrouted_connections",  # a check whether the port is open leaves one
    "workers", "services", "undelivered_bytes", "pipe_bytes", "control_bytes", "held_bytes",
    "handshakes", "adopted",
})  # fmt: skip
# The worst of the others first.
GRAVE = ("refused", "expired", "redelivered", "bad_messages", "logs_dropped")
ALWAYS = ("waiting", "running", "answered", "failed", "losses")  # a 0 is worth a line, too

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
wide_option = click.option("--wide", is_flag=True, help="Don't cut long names to fit the terminal.")


@click.command(short_help="Ask a broker how it is; its health check.")
@click.option("--all", "everything", is_flag=True, help="Print every counter.")
@json_option
@connect_options("frontend")
def status(
    everything: bool, as_json: bool, endpoints: tuple[str, ...], key: Credential | None
) -> None:
    """Print the broker's state, what waits and what went wrong.

    Exits with 3 if no broker answers within 3 s.
    """
    with operator_of(endpoints, key) as client:
        answer = ask(client, "pound.status")
        waits = answer.get("counters", {}).get("waiting") and not (as_json or everything)
        oldest = oldest_wait(all_rows(client, "services")) if waits else ""
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        facts = all_facts(answer) if everything else summary(answer, oldest)
        width = max(map(len, facts), default=0)
        for name, text in facts.items():
            click.echo(f"{name:<{width}}  {text}")


def all_facts(answer: Row) -> dict[str, str]:
    """Return everything that ``pound.status`` says, as text, one level deep."""
    facts: dict[str, Any] = {}
    for name, value in answer.items():
        if name == "memory":
            facts.update({f"memory_{part}_bytes": count for part, count in value.items()})
        else:
            facts.update(value if isinstance(value, dict) else {name: value})
    return {name: _cell(name, value) for name, value in facts.items()}


def summary(answer: Row, oldest: str) -> dict[str, str]:
    """Return what matters of ``pound.status``, as text: not more than a terminal's lines."""
    counters = dict(answer.get("counters", {}))
    facts = {
        "version": _cell("", answer.get("version")),
        "state": "draining" if answer.get("draining") else "serving",
        "uptime": _cell("uptime_ms", answer.get("uptime_ms")),
    }
    for side, bound in answer.get("endpoints", {}).items():
        facts[side] = cut(", ".join(map(escape, bound)), TEXT_MAX)
    for name in ("workers", "clients", "services"):
        facts[name] = _cell(name, answer.get(name))
    for name in ALWAYS:
        facts[name] = _cell(name, counters.get(name))
    if oldest:
        facts["waiting"] = cut(f"{facts['waiting']} ({oldest})", TEXT_MAX)
    held = {name: counters.get(f"{name}_bytes", 0) for name in ("waiting", "running", "kept")}
    memory = answer.get("memory", held)
    facts["memory"] = memory_text(memory, TEXT_MAX)
    return {**facts, **troubles(counters, LINES - len(facts))}


def memory_text(memory: Mapping[str, int], width: int | None = None) -> str:
    """Return what the broker holds: the total and its limit, if it says those, then the parts.

    Of more than `width` characters the smallest parts are left out.
    """
    held = {name: value for name, value in memory.items() if value and name not in ("total", "max")}
    shown = dict(held)
    while True:
        parts = [f"{size(value)} {name}" for name, value in shown.items()]
        text = ", ".join([*parts, "…"] if len(shown) < len(held) else parts)
        if "total" in memory:
            limit = f" of {size(memory['max'])}" if memory.get("max") else ""
            text = f"{size(memory['total'])}{limit}{': ' if text else ''}{text}"
        if width is None or len(text) <= width or not shown:
            return text or size(0)
        del shown[min(shown, key=lambda name: shown[name])]


def troubles(counters: Mapping[str, int], room: int) -> dict[str, str]:
    """Return the counters above 0 that are not `SOUND`; a last line counts those without room."""
    found = [name for name in GRAVE if counters.get(name)]
    found += [name for name in counters if name not in (*found, *SOUND, *ALWAYS) and counters[name]]
    shown = found if len(found) <= room else found[: room - 1]
    facts = {name: _cell(name, counters[name]) for name in shown}
    if len(shown) < len(found):
        facts["others"] = f"{len(found) - len(shown)} more counters above 0: pound status --all"
    return facts


def oldest_wait(rows: Iterable[Row]) -> str:
    """Say which request waits longest, and for what, as far as the broker says."""
    waits = [row for row in rows if row.get("oldest_wait_ms") is not None]
    if not waits:
        return ""
    row = max(waits, key=lambda row: row["oldest_wait_ms"])
    name = cut(_cell("", row["name"]), 24)
    return f"the oldest for {duration(row['oldest_wait_ms'] / 1000)}, service {name}"


@click.command(short_help="List a broker's services.")
@wide_option
@json_option
@connect_options("frontend")
def services(wide: bool, as_json: bool, endpoints: tuple[str, ...], key: Credential | None) -> None:
    """Print each service with its waiting and running requests and its workers.

    oldest_wait is how long the first of its waiting requests has waited; workerless is how long
    requests have waited without any worker. Exits with 3 if no broker answers within 3 s.
    """
    columns = (
        "name",
        "waiting",
        "running",
        "workers",
        "waiting_bytes",
        "oldest_wait_ms",
        "workerless_ms",
    )
    _list("services", columns, {"name"}, wide, as_json, endpoints, key)


@click.command(short_help="List a broker's workers.")
@wide_option
@json_option
@connect_options("frontend")
def workers(wide: bool, as_json: bool, endpoints: tuple[str, ...], key: Credential | None) -> None:
    """Print each worker with what it holds of its capacity, its state and its services.

    oldest is how long it has had the oldest of its tasks, idle how long nothing was heard of it.
    Exits with 3 if no broker answers within 3 s.
    """
    columns = ("label", "services", "held", "capacity", "oldest_ms", "idle_ms", "state", "dialect")
    _list("workers", columns, {"label", "services"}, wide, as_json, endpoints, key)


def _list(
    kind: str,
    columns: Sequence[str],
    names: set[str],
    wide: bool,
    as_json: bool,
    endpoints: tuple[str, ...],
    key: Credential | None,
) -> None:
    with operator_of(endpoints, key) as client:
        rows = all_rows(client, kind)
    if as_json:
        click.echo(json.dumps({kind: rows}, indent=2))
    else:
        shown = {name for row in rows for name in row} if rows else set(columns)
        columns = [name for name in columns if name in shown]  # an older broker says less
        width = None if wide else shutil.get_terminal_size((80, 24)).columns
        click.echo(table(columns, rows, names, width))


@contextmanager
def operator_of(endpoints: tuple[str, ...], key: Credential | None) -> Iterator[pound.Client]:
    """Yield a client for the broker's pages; say which role they take if it is denied.

    A credential may be older than the roles that its peer has by now, so the broker is asked.
    """
    try:
        with client_of(endpoints, key) as client:
            yield client
    except pound.Unauthenticated as error:
        if key is None or operates(key):
            raise
        raise pound.Unauthenticated(
            f"the role 'operator' is needed for this, and the credential of {key.name} has "
            f"{', '.join(key.roles)}; the broker says: {error}"
        ) from None


def ask(client: pound.Client, service: str, after: object = None) -> dict[str, Any]:
    """Return the answer of an internal service, decoded."""
    body = b"" if after is None else json.dumps({"after": after}).encode()
    decoded: dict[str, Any] = json.loads(client.request(service, body, timeout=WELCOME_S))
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


def table(
    columns: Sequence[str], rows: Iterable[Row], names: Iterable[str] = (), width: int | None = None
) -> str:
    """Return `rows` under a heading, in columns as wide as they need; numbers to the right.

    Parameters
    ----------
    columns : sequence of str
    rows : iterable of Row
    names : iterable of str
        Columns that may be cut.
    width : int, optional
        Of a line, at most, as far as cutting achieves that.
    """
    heading = [name.removesuffix("_ms").replace("waiting_bytes", "bytes") for name in columns]
    cells = [[_cell(name, _shown(row, name)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    if width is not None:
        _narrow(widths, [i for i, name in enumerate(columns) if name in names], width)
    lines = ["  ".join(map(_pad, line, widths)).rstrip() for line in [heading, *cells]]
    return "\n".join(lines)


def _shown(row: Row, name: str) -> object:
    return None if name == "oldest_ms" and row.get("held") == 0 else row.get(name)


def _narrow(widths: list[int], where: Sequence[int], width: int) -> None:
    """Take from the widest of the columns `where` until a line has `width` characters."""
    while where and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(where, key=lambda i: widths[i])
        if widths[widest] <= CUT_TO_MIN:
            return
        widths[widest] -= 1


def _pad(cell: str, width: int) -> str:
    cell = cut(cell, width)
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


def cut(text: str, width: int) -> str:
    """Return at most `width` characters, of a longer text its begin and its end.

    Labels of one machine (``host:pid``) and paths differ at their end.
    """
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ",".join(_cell("", item) for item in value)
    if name.endswith("_ms") and isinstance(value, (int, float)):
        return duration(value / 1000)
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return size(value)
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


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits a person: ``12 B``, ``3.4 MiB``."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while count >= 1024 and len(units) > 1:
        count /= 1024
        del units[0]
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"
