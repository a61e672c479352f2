"""The command line without a broker: help, usage errors, tables, loading of handlers."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

import pound
import pound._logging
from pound._broker.names import DISPATCHER_COUNTERS, LOOP_COUNTERS
from pound._logging import Repeats
from pound.cli import call as call_module
from pound.cli import common, inspect, main, serve, waiting
from pound.cli.common import EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, Unreachable, exit_code
from pound.cli.inspect import (
    SOUND,
    all_facts,
    all_rows,
    cut,
    duration,
    memory_text,
    oldest_wait,
    size,
    summary,
    table,
)
from pound.cli.serve import SIGNALLED, notify, seed_libc, watch_signals
from pound.cli.waiting import what_for
from pound.cli.worker import load_handler
from pound.config import keys
from tests.support import ROOT


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
    assert output.count("Repeatable.") == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--livness", "3"], "--liveness"),
        (["serve", "--liveness", "0"], "flag --liveness"),
        (["serve", "--frontend", "tcp://*:5555"], "--insecure"),
        (["serve", "--frontend", "inproc://x"], "no other process can reach it"),
        (["serve", "--backend", "inproc://x"], "(flag --backend)"),
        (["serve", "-c", "absent.toml"], "cannot read absent.toml"),
        (["call"], "SERVICE"),
        (["call", "s", "--priority", "10"], "0<=x<=9"),
        (["worker", "nowhere"], "MODULE:HANDLER"),
        (["worker", "no.such.module:x"], "there is no module"),
        (["worker", "./work.py:x"], "names a file, not a module: use work:x"),
        (["worker", "os.path:joi"], "has no 'joi': did you mean 'join'?"),
        (["worker", "json:nothing"], "has no 'nothing'"),
        (["worker", "json:__name__"], "not callable"),
        (["demo", "/no/such/folder"], "does not exist"),
        (["status", "--connect", "nonsense"], "nonsense"),
        (["call", "x", "--connect", "inproc://x"], "reaches no other process"),
        (["status", "--connect", "tcp://127.0.0.1"], "did you mean 'tcp://127.0.0.1:5555'"),
        (["worker", "json:dumps", "--connect", "tcp://127.0.0.1"], "mean 'tcp://127.0.0.1:5556'"),
        (
            ["worker", "tests.integration.async_handlers:count", "--connect", "tcp://127.0.0.1"],
            "mean 'tcp://127.0.0.1:5556'",
        ),
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

    def request(self, service: str, body: bytes, timeout: float) -> bytes:
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


def test_tables_fit_the_terminal_by_cutting_names() -> None:
    rows = [
        {"label": f"{'very-long-' * 6}host:{n}", "services": ["s" * 255], "held": n}
        for n in (12345, 12346)
    ]
    names = {"label", "services"}
    shown = table(("label", "services", "held"), rows, names, 80).splitlines()
    assert {len(line.rstrip()) for line in shown[1:]} == {80}
    assert [f"host:{n}" in line for n, line in zip((12345, 12346), shown[1:], strict=True)]
    assert all("…" in line for line in shown[1:])
    assert "s" * 255 in table(("label", "services", "held"), rows, names)
    assert len(table(("label",), rows, names, 3).splitlines()[1]) == 8  # narrower says nothing


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abc…fg"), ("abcdefgh", 5, "ab…gh"), ("abc", 1, "…")],
)
def test_a_cut_text_keeps_its_ends(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown


def test_a_status_of_many_faults_fits_a_terminal() -> None:
    counters = {name: 7 for name in (*DISPATCHER_COUNTERS, *LOOP_COUNTERS)}
    bound = [f"tcp://127.0.0.1:{n}" for n in range(9)]
    endpoints = {"frontend": bound, "backend": bound}
    answer = {
        "version": "1",
        "uptime_ms": 5000,
        "draining": True,
        "endpoints": endpoints,
        "clients": 1,
        "workers": 2,
        "services": 3,
        "counters": counters,
    }
    facts = summary(answer, "the oldest for 3 min, service x")
    assert len(facts) <= 22
    assert max(map(len, facts.values())) <= 60
    assert facts["state"] == "draining"
    assert facts["waiting"] == "7 (the oldest for 3 min, service x)"
    assert list(facts).index("failed") < list(facts).index("others")
    shown, hidden = set(facts) - {"others"}, int(facts["others"].split()[0])
    assert set(counters) >= SOUND
    faults = set(counters) - SOUND
    assert len(faults - shown) == hidden
    well = summary({**answer, "counters": dict.fromkeys(counters, 0)}, "")
    assert set(well) & faults == {"failed", "losses"}  # of which a 0 is worth a line
    assert set(counters) <= set(all_facts(answer))


def test_the_sound_counters_exist_and_every_gauge_is_one() -> None:
    assert {*DISPATCHER_COUNTERS, *LOOP_COUNTERS} >= SOUND
    page = (ROOT / "docs" / "architecture.md").read_text()
    for row in re.findall(r"^\| (`.*) \| gauge", page, re.MULTILINE):
        assert set(re.findall(r"`(\w+)`", row)) <= SOUND, f"{row}: no fault; put it into SOUND"


def test_the_oldest_wait_names_its_service() -> None:
    rows = [
        {"name": "a", "oldest_wait_ms": None},
        {"name": "b", "oldest_wait_ms": 1500},
        {"name": "", "oldest_wait_ms": 20},
    ]
    assert oldest_wait(rows) == "the oldest for 1.5 s, service b"
    assert oldest_wait(rows[:1]) == oldest_wait([{"name": "c"}]) == ""


def test_memory_is_told_in_one_line() -> None:
    memory = {"waiting": 3 << 20, "running": 0, "kept": 10, "total": 4 << 20, "max": 1 << 30}
    assert memory_text(memory) == "4.0 MiB of 1.0 GiB: 3.0 MiB waiting, 10 B kept"
    assert memory_text({**dict.fromkeys(memory, 0), "max": 0}) == "0 B"
    assert memory_text({"waiting": 5}) == "5 B waiting"
    sizes = {**dict.fromkeys(("waiting", "running", "kept"), 1023 << 20), "pipes": 4 << 20}
    sizes |= {"total": 1 << 40, "max": 1 << 40}
    assert memory_text(sizes, 60) == ("1.0 TiB of 1.0 TiB: 1023.0 MiB running, 1023.0 MiB kept, …")
    assert memory_text(sizes, 10) == "1.0 TiB of 1.0 TiB: …"
    facts = all_facts({"memory": memory, "counters": {"waiting": 7}})
    assert (facts["waiting"], facts["memory_waiting_bytes"]) == ("7", "3.0 MiB")


def test_a_worker_that_holds_nothing_has_no_oldest_task() -> None:
    rows = [{"held": 0, "oldest_ms": 0}, {"held": 1, "oldest_ms": 2500}]
    assert table(("held", "oldest_ms"), rows).splitlines()[1:] == ["   0  -", "   1   2.5 s"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


# ---- what a call waits for ----


def row(name: str, workers: int, running: int = 0, waiting: int = 0) -> dict[str, Any]:
    return {"name": name, "workers": workers, "running": running, "waiting": waiting}


def test_what_a_request_waits_for() -> None:
    rows = [row("slow", 2, 2, 5), row("echo", 1), row("gone", 0), row("", 1)]
    assert what_for("slow", rows) == (
        "2 workers offer 'slow'; it has 2 running and 5 waiting requests"
    )
    assert what_for("slwo", rows) == (
        "no worker offers 'slwo'; did you mean 'slow'?"
        " Services: the default service, 'echo', 'slow'"
    )
    assert what_for("gone", rows).startswith("no worker offers 'gone'. Services:")
    assert what_for("", []) == "no worker offers the default service, and no other service"
    many = what_for("x", [row(f"service-{n}", 1) for n in range(12)])
    assert many.endswith("'service-7' and 2 more")


def test_what_is_waited_for_is_written_over_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar stays at the end of its line: words behind it would begin in the middle."""
    monkeypatch.setattr(waiting, "SILENT_S", 0.0)
    monkeypatch.setattr(waiting, "all_rows", lambda *_: [])
    monkeypatch.setattr(click, "echo", lambda text, err: sys.stderr.write(text + "\n"))
    for bar, start in ((True, "\r\x1b[K"), (False, "")):
        client = pound.Client.__new__(pound.Client)
        client._engine = SimpleNamespace(refusal="")  # type: ignore[assignment]
        explanation = waiting.Explanation(client, "x", None, bar)
        explanation.begin()
        explanation._timer.join(10)
        assert capsys.readouterr().err.startswith(f"{start}pound: waiting: no worker offers 'x'")


# ---- the environment ----


def endpoints_of(command: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Return where a command would connect to."""
    seen: list[Any] = []

    @contextmanager
    def connect(endpoints: Any, *_: Any) -> Iterator[Any]:
        seen.append(endpoints)
        raise pound.ClosedError("enough")
        yield

    monkeypatch.setattr(pound._logging, "configure", lambda *_: None)
    monkeypatch.setattr(inspect, "client_of", connect)
    monkeypatch.setattr(call_module, "client_of", connect)
    monkeypatch.setattr(pound, "Worker", lambda endpoints, **_: next(connect(endpoints).gen))
    result = CliRunner().invoke(main, [command, *arguments])
    assert seen, result.output
    return tuple(seen[0])


@pytest.mark.parametrize(
    ("command", "arguments", "variable", "default"),
    [
        ("status", [], "POUND_FRONTEND", "tcp://127.0.0.1:5555"),
        ("services", [], "POUND_FRONTEND", "tcp://127.0.0.1:5555"),
        ("workers", [], "POUND_FRONTEND", "tcp://127.0.0.1:5555"),
        ("call", ["s"], "POUND_FRONTEND", "tcp://127.0.0.1:5555"),
        ("worker", ["json:dumps"], "POUND_BACKEND", "tcp://127.0.0.1:5556"),
    ],
)
def test_commands_connect_to_where_the_environment_has_brokers_listen(
    monkeypatch: pytest.MonkeyPatch, command: str, arguments: list[str], variable: str, default: str
) -> None:
    for name in ("POUND_FRONTEND", "POUND_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    assert endpoints_of(command, monkeypatch, *arguments) == (default,)
    monkeypatch.setenv(variable, "tcp://*:1, tcp://[::]:2,ipc:///a,tcp://0.0.0.0:3,tcp://host:4")
    assert endpoints_of(command, monkeypatch, *arguments) == (
        "tcp://127.0.0.1:1",
        "tcp://[::1]:2",
        "ipc:///a",
        "tcp://127.0.0.1:3",
        "tcp://host:4",
    )
    given = endpoints_of(command, monkeypatch, *arguments, "--connect", "ipc:///b")
    assert given == ("ipc:///b",)
    assert variable in CliRunner().invoke(main, [command, "--help"]).output
    monkeypatch.setenv(variable, "tcp://127.0.0.1:*")
    result = CliRunner().invoke(main, [command, *arguments])
    assert result.exit_code == EXIT_USAGE
    assert "only the broker knows" in result.output
    for bad in ("", "tcp://host"):
        monkeypatch.setenv(variable, bad)
        result = CliRunner().invoke(main, [command, *arguments])
        assert result.exit_code == EXIT_USAGE
        assert f"(environment {variable})" in result.output


def test_config_check_names_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: CliRunner
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in os.environ:
        if variable.startswith("POUND_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("POUND_LIVENESS", "3")
    assert runner.invoke(main, ["config", "check"]).output == (
        "pound: the configuration is valid; read: no file (there is no pound.toml here),"
        " POUND_LIVENESS\n"
    )
    (tmp_path / "pound.toml").touch()
    (tmp_path / "own.toml").touch()
    assert f"read: {tmp_path}/pound.toml" in runner.invoke(main, ["config", "check"]).output
    named = runner.invoke(main, ["config", "check", "-c", "own.toml"]).output
    assert f"read: {tmp_path}/own.toml" in named


@pytest.mark.parametrize("text", ["0", "-1", "5 parsecs", "nan"])
def test_a_timeout_that_is_none_is_refused(runner: CliRunner, text: str) -> None:
    result = runner.invoke(main, ["call", "s", "--timeout", text])
    assert result.exit_code == EXIT_USAGE
    assert "--timeout" in result.output


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


def test_a_signal_that_means_nothing_is_logged_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, lines = [0.0], []
    monkeypatch.setattr(common, "_IGNORED", Repeats(lambda: now[0]))
    monkeypatch.setattr(common, "log_event", lambda *_, **fields: lines.append(fields))
    for at in (0, 1, 2, 40):
        now[0] = at
        common.note_ignored(pound._logging.LOGGER, "SIGHUP")
    common.note_ignored(pound._logging.LOGGER, "SIGUSR1")
    assert lines == [
        {"signal": "SIGHUP"},
        {"signal": "SIGHUP", "repeated": 2},
        {"signal": "SIGUSR1"},
    ]


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
