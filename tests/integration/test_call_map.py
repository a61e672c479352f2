"""``pound call --map``: a request for each line, the answers in order, a bar for people."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pound
import pound.aio
from pound._engine.progress import Progress
from pound.cli.lines import Lines
from tests.support import WAIT_S, clean_environ, pound_command, readable, run_pound

Call = Callable[..., subprocess.CompletedProcess[bytes]]


def fail_at_7(body: bytes) -> bytes:
    if body == b"7":
        raise ValueError("seven")
    return body


@pytest.fixture
def call(broker: Any) -> Iterator[Call]:
    """``call(service, *arguments, stdin=b"")``: the command, against a broker with a worker."""
    services = {
        "upper": lambda body: body.upper(),
        "double": lambda body: [body, body],
        "fail": fail_at_7,
    }

    def call(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        at = ("--connect", broker.frontend_endpoints[0], "--timeout", "15")
        return run_pound("call", *arguments, *at, stdin=stdin)

    with pound.Worker(broker.backend_endpoints, services, capacity=64) as worker:
        assert worker.wait_connected(WAIT_S)
        yield call


def test_each_line_is_a_request_and_each_answer_a_line(call: Call, tmp_path: Path) -> None:
    lines = [b"line %d" % n for n in range(2000)] + [b"", b"\xff no text", b"no newline at the end"]
    expected = b"".join(line.upper() + b"\n" for line in lines)
    done = call("upper", "--map", stdin=b"\n".join(lines))
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")
    file = tmp_path / "lines"
    file.write_bytes(b"\n".join(lines))
    assert call("upper", str(file), "--map", "--window", "3").stdout == expected


def test_the_parts_of_an_answer_share_its_line(call: Call) -> None:
    assert call("double", "-", "--map", stdin=b"a\nb\n").stdout == b"a\ta\nb\tb\n"


def test_no_lines_no_answers(call: Call) -> None:
    done = call("upper", "--map")
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_first_failure_ends_it_after_the_answers_before(call: Call) -> None:
    done = call("fail", "--map", stdin=b"".join(b"%d\n" % n for n in range(20)))
    assert (done.returncode, done.stdout) == (10, b"".join(b"%d\n" % n for n in range(7)))
    assert done.stderr.startswith(b"pound: line 8: ")
    assert b"seven" in done.stderr


def test_a_file_that_can_not_be_read_is_a_wrong_argument(call: Call, tmp_path: Path) -> None:
    done = call("upper", str(tmp_path / "absent"), "--map")
    assert done.returncode == 2
    assert b"absent" in done.stderr


def test_a_terminal_shows_a_bar_and_keeps_the_answers_apart(
    call: Call, broker: Any, tmp_path: Path
) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"line\n" * 50)
    terminal, stderr = pty.openpty()
    at = ("--connect", broker.frontend_endpoints[0])
    done = subprocess.run(
        pound_command("call", "upper", str(file), "--map", *at),
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=clean_environ(),
        timeout=2 * WAIT_S,
    )
    os.close(stderr)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert (done.returncode, done.stdout) == (0, b"LINE\n" * 50)
    assert "100%" in shown
    assert "50 answers" in shown


def test_an_answer_is_told_before_the_next_line_comes(call: Call, broker: Any) -> None:
    """As with ``tail -f``: the input goes on later, or never."""
    at = ("--connect", broker.frontend_endpoints[0])
    with subprocess.Popen(
        pound_command("call", "upper", "--map", *at),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environ(),
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        try:
            told = b""
            for given, expected in ((b"a\nb\nc", b"A\nB\n"), (b"d\n", b"A\nB\nCD\n")):
                process.stdin.write(given)
                process.stdin.flush()
                while told != expected:
                    assert readable(process.stdout.fileno()), f"{told!r}, then nothing"
                    told += os.read(process.stdout.fileno(), 100)
                    assert expected.startswith(told)
        finally:
            process.kill()


def test_lines_are_taken_apart_however_they_come() -> None:
    rest, given = os.pipe()
    lines = Lines(rest)
    for chunk, complete in ((b"a", []), (b"b\n\nc", [b"ab", b""]), (b"\n", [b"c"]), (b"d", [])):
        os.write(given, chunk)
        assert lines.read() == len(chunk)
        assert lines.take(9) == complete
    os.close(given)
    assert (lines.read(), lines.ended, lines.take(9)) == (0, True, [b"d"])
    os.close(rest)


# -- the bar --------------------------------------------------------------------------------


def test_a_bar_that_is_not_shown_writes_nothing() -> None:
    out = io.StringIO()
    with Progress(100, shown=False, out=out) as progress:
        progress.step(50, 1)
    assert out.getvalue() == ""


def test_a_bar_tells_how_far_it_is() -> None:
    out = io.StringIO()
    with Progress(100, shown=True, out=out) as progress:
        progress.step(50, 1)
    first, *_, last = out.getvalue().split("\r")[1:]
    assert "0%" in first
    assert f"[{'#' * 15}{' ' * 15}]  50%  1 answers" in last
    assert last.endswith("\n")


def test_without_a_size_there_are_numbers_only() -> None:
    out = io.StringIO()
    with Progress(0, shown=True, out=out) as progress:
        progress.step(50, 1)
    assert "%" not in out.getvalue()
    assert "1 answers" in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def mapped(broker: Any, bodies: Any, progress: bool) -> None:
    with pound.Client(broker.frontend_endpoints[0]) as client:
        assert list(client.map("upper", bodies, progress=progress)) == [b"A"] * 10


def mapped_async(broker: Any, bodies: Any, progress: bool) -> None:
    async def run() -> list[bytes]:
        async with pound.aio.Client(broker.frontend_endpoints[0]) as client:
            return [answer async for answer in client.map("upper", bodies, progress=progress)]

    assert asyncio.run(run()) == [b"A"] * 10


@pytest.mark.parametrize("run", [mapped, mapped_async])
def test_a_map_shows_a_bar_on_a_terminal_if_it_is_told_to(
    call: Call, broker: Any, monkeypatch: pytest.MonkeyPatch, run: Callable[..., None]
) -> None:
    for out, progress, words in (
        (Terminal(), True, ["100%", "10 answers"]),
        (Terminal(), False, []),
        (io.StringIO(), True, []),
    ):
        monkeypatch.setattr("sys.stderr", out)
        run(broker, [b"a"] * 10, progress)
        assert bool(out.getvalue()) == bool(words)
        assert all(word in out.getvalue() for word in words)


def test_a_map_of_unknown_length_shows_numbers_only(
    call: Call, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    mapped(broker, iter([b"a"] * 10), True)
    assert "%" not in terminal.getvalue()
    assert "10 answers" in terminal.getvalue()
