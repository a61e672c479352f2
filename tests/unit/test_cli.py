"""The command line without a broker: help, usage errors, tables, loading of handlers."""

from __future__ import annotations

import ctypes
import json
import queue
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import pound
from pound.cli import main, serve
from pound.cli.common import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, Unreachable, exit_code
from pound.cli.inspect import all_rows, duration, table
from pound.cli.serve import SIGNALLED, notify, seed_libc, watch_signals
from pound.cli.worker import load_handler
from pound.config import keys


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_version(runner: CliRunner) -> None:
    assert runner.invoke(main, ["--version"]).output == f"pound {pound.__version__}\n"


def test_help_lists_every_command(runner: CliRunner) -> None:
    output = runner.invoke(main, ["--help"]).output
    for command in ("serve", "worker", "call", "status", "services", "workers", "config", "demo"):
        assert f"\n  {command} " in output


def test_every_key_is_a_flag_of_serve(runner: CliRunner) -> None:
    output = runner.invoke(main, ["serve", "--help"]).output
    for key in keys().values():
        assert f"{key.flag} " in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--livness", "3"], "--liveness"),
        (["serve", "--liveness", "0"], "flag --liveness"),
        (["serve", "--frontend", "tcp://*:5555"], "--insecure"),
        (["serve", "-c", "absent.toml"], "cannot read absent.toml"),
        (["call"], "SERVICE"),
        (["call", "s", "--priority", "10"], "0<=x<=9"),
        (["worker", "nowhere"], "MODULE:HANDLER"),
        (["worker", "no.such.module:x"], "there is no module"),
        (["worker", "json:nothing"], "has no 'nothing'"),
        (["worker", "json:__name__"], "not callable"),
        (["demo", "/no/such/folder"], "does not exist"),
        (["status", "--connect", "nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(
    runner: CliRunner, arguments: list[str], words: str
) -> None:
    result = runner.invoke(main, arguments)
    assert words in result.output
    assert result.exit_code == EXIT_USAGE


def test_errors_have_exit_codes() -> None:
    assert exit_code(pound.ConfigError("x")) == EXIT_USAGE
    assert exit_code(pound.BindError("x")) == EXIT_UNREACHABLE
    assert exit_code(Unreachable("x")) == EXIT_UNREACHABLE
    assert exit_code(pound.ClosedError("x")) == EXIT_FAILED


def test_handlers_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_handlers.py").write_text("class Group:\n    size = staticmethod(len)\n")
    (tmp_path / "broken_handlers.py").write_text("import no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_handler("own_handlers:Group.size")(b"abc") == 3
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_handler("broken_handlers:x")
    with pytest.raises(click.BadParameter):
        load_handler("own_handlers:Group.depth")


class Pages:
    """A client whose internal services answer in pages of two rows."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.asked: list[int] = []

    def request(self, body: bytes, service: str, timeout: float) -> bytes:
        after = json.loads(body)["after"] if body else 0
        self.asked.append(after)
        page = self.rows[after : after + 2]
        end = after + len(page)
        more = end if end < len(self.rows) else None
        return json.dumps({service.removeprefix("pound."): page, "after": more}).encode()


@pytest.mark.parametrize("count", range(6))
def test_pages_are_joined(count: int) -> None:
    rows = [{"number": n} for n in range(count)]
    client: Any = Pages(rows)
    assert all_rows(client, "workers") == rows
    assert len(client.asked) == max(1, -(-count // 2))


def test_tables_align_and_escape() -> None:
    rows = [
        {"name": "a\x1b", "waiting": 3, "services": ["x", ""], "idle_ms": 1500, "state": None},
        {"name": "", "waiting": 12, "services": [], "idle_ms": 3, "state": "ready"},
    ]
    assert table(("name", "waiting", "services", "idle_ms", "state"), rows).splitlines() == [
        "name   waiting  services  idle   state",
        'a\\x1b        3  x,""      1.5 s  -',
        '""          12             3 ms  ready',
    ]
    assert table(("name",), []) == "name"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0014, "1 ms"),
        (1.25, "1.2 s"),
        (119, "119.0 s"),
        (180, "3 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_libc_is_seeded_before_the_broker_is_made(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def refuse(config: pound.Config) -> None:
        order.append("broker")
        raise pound.BindError("taken")

    monkeypatch.setattr(serve, "seed_libc", lambda: order.append("seed"))
    monkeypatch.setattr(serve, "configure", lambda level, form: None)
    monkeypatch.setattr(pound, "Broker", refuse)
    result = runner.invoke(main, ["serve"])
    assert (result.exit_code, order) == (EXIT_UNREACHABLE, ["seed", "broker"])


def test_each_seed_is_another() -> None:
    libc = ctypes.CDLL(None)
    drawn = set()
    for _ in range(3):
        libc.srand(1)
        seed_libc()
        drawn.add(libc.rand())
    assert len(drawn) > 1


@pytest.fixture
def signals() -> Iterator[queue.SimpleQueue[str]]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield watch_signals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_each_signal_is_told(signals: queue.SimpleQueue[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)
        assert signals.get(timeout=5) == SIGNALLED


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@pound-test-{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(name.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_systemd_is_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not notify("READY=1")
