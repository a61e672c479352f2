"""What the commands say when something is wrong, as a person at a terminal meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import WAIT_S, Process, Served, clean_environ, pound_command, wait_until

RunPound = Callable[..., subprocess.CompletedProcess[bytes]]
Serve = Callable[..., Served]
Spawn = Callable[..., Process]

NOBODY = "tcp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (NOBODY, "connection refused: nothing listens there"),
        ("tcp://no-such-name.invalid:5556", "the name 'no-such-name.invalid' does not resolve"),
        ("ipc:///no/such/file", "there is no such socket file"),
    ],
)
@pytest.mark.parametrize("handler", ["handlers:echo", "async_handlers:loop"])
def test_a_worker_without_a_broker_says_so_and_tries_again(
    spawn: Spawn, endpoint: str, words: str, handler: str
) -> None:
    worker = spawn(pound_command("worker", f"tests.integration.{handler}", "--service", "echo",
                                 "--connect", endpoint))  # fmt: skip
    wait_until(lambda: "no broker, trying again" in worker.stderr)
    first, *_, last = worker.stderr.splitlines()
    assert f"connecting endpoint={endpoint} services=echo" in first
    assert words in last
    assert endpoint in last
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0
    assert "Traceback" not in worker.stderr
    assert "Aborted" not in worker.stderr


def test_a_worker_says_what_becomes_of_it(serve: Serve, spawn: Spawn) -> None:
    served = serve()
    worker = spawn(pound_command("worker", "tests.integration.handlers:echo", "--service", "a",
                                 "--service", "b", "--connect", served.backend))  # fmt: skip
    wait_until(lambda: "broker found" in worker.stderr)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    events = [re.sub(r"^\S+ \w+ ", "", line) for line in worker.stderr.splitlines()]
    assert events == [
        f'connecting endpoint={served.backend} services="a, b"',
        f"broker found endpoint={served.backend}",
        "worker draining held=0",
    ]


def test_a_command_without_a_broker_says_why(run_pound: RunPound) -> None:
    failed = run_pound("call", "x", "--connect", NOBODY)
    assert failed.returncode == 3
    assert b"no broker answered within 3 s: connection refused" in failed.stderr
    assert failed.stderr.count(b"connection refused") == 1


def test_a_call_says_what_it_waits_for(serve: Serve, spawn: Spawn, tmp_path: Path) -> None:
    served = serve()
    environ = clean_environ(POUND_FRONTEND=served.frontend, POUND_BACKEND=served.backend)
    spawn(pound_command("worker", "tests.integration.handlers:hold", "--service", "slow"), environ)
    wait_until(lambda: "worker ready" in served.process.stderr)
    call = spawn(pound_command("call", "slwo", "x"), environ)
    wait_until(lambda: "did you mean 'slow'?" in call.stderr)
    assert "no worker offers 'slwo'" in call.stderr
    held = [spawn(pound_command("call", "slow", str(tmp_path / "gate")), environ) for _ in range(2)]
    for one in held:
        wait_until(lambda one=one: "1 worker offers 'slow'; it has 1 running" in one.stderr)
    for one in (call, *held):
        one.signal(signal.SIGINT)
        assert one.wait() == 130
        assert "Aborted" not in one.stderr
        assert "Traceback" not in one.stderr


def test_a_call_says_what_the_broker_refused_it_with(serve: Serve, spawn: Spawn) -> None:
    served = serve("--service-waiting-max", "1")
    environ = clean_environ(POUND_FRONTEND=served.frontend)
    first = spawn(pound_command("call", "nobody", "x"), environ)
    wait_until(lambda: "no worker offers 'nobody'" in first.stderr)
    second = spawn(pound_command("call", "nobody", "x"), environ)
    wait_until(lambda: "no worker offers 'nobody'" in second.stderr)
    assert "did not take it at first, and is asked again: " in second.stderr
    assert "service_waiting_max" in second.stderr
    assert "asked again" not in first.stderr


def test_a_map_whose_lines_have_not_come_waits_for_no_service(
    serve: Serve, run_pound: RunPound
) -> None:
    """It is the lines that it waits for; once one came, the service."""
    served = serve()
    command = pound_command("call", "nobody", "--map", "--connect", served.frontend)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=clean_environ()) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        wait_until(lambda: clients(run_pound, served) >= 2)
        time.sleep(1.2)  # longer than it would be silent if it asked
        asked = time.monotonic()
        process.stdin.write("line\n")
        process.stdin.flush()
        assert "no worker offers 'nobody'" in process.stderr.readline()
        assert time.monotonic() - asked > 0.9
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        assert "Aborted" not in process.stderr.read()


def clients(run_pound: RunPound, served: Served) -> int:
    told = run_pound("status", "--json", "--connect", served.frontend)
    return int(json.loads(told.stdout)["clients"])


@pytest.mark.parametrize("command", [["demo"], ["call", "x"], ["call", "x", "--map"], ["status"]])
def test_ctrl_c_ends_every_command_without_a_word(spawn: Spawn, command: list[str]) -> None:
    at = [] if command == ["demo"] else ["--connect", NOBODY]
    # The command says when it runs: before that, a signal is Python's own to report.
    code = ("from pound.cli import main; main.callback = lambda: print('here', flush=True);"
            f" main({[*command, *at]!r}, prog_name='pound')")  # fmt: skip
    process = spawn([sys.executable, "-c", code])
    process.wait_line("here")
    process.signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr.strip() == ""


def test_ctrl_c_while_the_program_is_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    environ = clean_environ()
    environ["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"
    done = subprocess.run(pound_command("status"), capture_output=True, timeout=WAIT_S,
                          env=environ, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize(
    "command", [["config", "show"], ["--help"], ["config", "check"], ["--version"]]
)
def test_a_full_disk_is_an_error_in_words(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(pound_command(*command), stdout=full, stderr=subprocess.PIPE,
                              timeout=WAIT_S, env=clean_environ(), check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"pound: the output can't be written: No space left on device\n"


def test_an_answer_that_finds_a_full_disk_is_an_error_in_words(serve: Serve) -> None:
    served = serve()
    for command in (["call", "pound.status"], ["status"], ["workers"], ["services", "--json"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(pound_command(*command, "--connect", served.frontend),
                                  stdout=full, stderr=subprocess.PIPE, timeout=WAIT_S,
                                  env=clean_environ(), check=False)  # fmt: skip
        assert done.returncode == 1, command
        assert done.stderr == b"pound: the output can't be written: No space left on device\n"


def test_a_full_disk_under_stderr_changes_nothing_else() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            pound_command("config", "check", "-c", "/no/such/file"),
            stdout=full,
            stderr=full,
            timeout=WAIT_S,
            env=clean_environ(),
            check=False,
        )
    assert done.returncode == 2


@pytest.mark.parametrize("command", [["config", "show"], ["--help"]])
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(command: list[str]) -> None:
    out, into = os.pipe()
    os.close(out)
    try:
        done = subprocess.run(pound_command(*command), stdout=into, stderr=subprocess.PIPE,
                              timeout=WAIT_S, env=clean_environ(), check=False)  # fmt: skip
    finally:
        os.close(into)
    assert done.stderr == b""
    assert done.returncode in (1, 141)  # click prints the help, and ends with 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(closed: str) -> None:
    command = " ".join(pound_command("config", "show", closed))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=WAIT_S,
                          env=clean_environ(), check=False)  # fmt: skip
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_bytes_that_are_no_text_travel_as_they_were_typed(
    serve: Serve, spawn: Spawn, run_pound: Any
) -> None:
    served = serve()
    name = b"\xff\xfe"
    spawn(
        [
            *pound_command(
                "worker", "tests.integration.handlers:echo", "--connect", served.backend, "--label"
            ),
            b"\xfd",
            b"--service",
            name,
        ]
    )  # type: ignore[list-item]
    wait_until(lambda: "worker ready" in served.process.stderr)
    at = ("--connect", served.frontend)
    assert run_pound("call", name, name, *at).stdout == name
    for command in ("services", "workers", "status"):
        assert run_pound(command, *at).returncode == 0
    for command in ([name], ["status", "--connect", name], ["config", "check", "-c", name],
                    ["call", "x", name, "--map", *at]):  # fmt: skip
        wrong = run_pound(*command)
        assert wrong.returncode == 2, command
        assert b"Traceback" not in wrong.stderr
    wrong = run_pound("config", "show", POUND_DEFAULT_SERVICE=os.fsdecode(name))
    assert wrong.returncode == 2
    assert b"no valid Unicode text" in wrong.stderr


def test_what_a_person_sees_fits_a_terminal(
    serve: Serve, spawn: Spawn, run_pound: RunPound, tmp_path: Path
) -> None:
    served = serve()
    for label in ("a-machine-with-quite-a-long-name.example.com:1234567", "short:1"):
        spawn(pound_command("worker", "tests.integration.handlers:echo", "--service", "s" * 255,
                            "--capacity", "65535", "--label", label, "--connect", served.backend,
                            "--service", "thumbnails.of.a.considerable.length"))  # fmt: skip
    wait_until(lambda: served.process.stderr.count("worker ready") == 2)
    late = run_pound("call", "nobody", "--timeout", "200ms", "--connect", served.frontend)
    assert late.returncode == 12
    waiting = spawn(pound_command("call", "nobody", "--connect", served.frontend))
    status = ("status", "--connect", served.frontend)
    wait_until(lambda: b"the oldest for" in run_pound(*status).stdout)
    for command in ("status", "services", "workers"):
        text = run_pound(command, "--connect", served.frontend).stdout.decode()
        assert max(map(len, text.splitlines())) <= 80, text
        assert len(text.splitlines()) <= 24, text
    wide = run_pound("workers", "--wide", "--connect", served.frontend).stdout
    assert b"s" * 255 in wide
    told = json.loads(run_pound("services", "--json", "--connect", served.frontend).stdout)
    (nobody,) = (row for row in told["services"] if row["name"] == "nobody")
    assert 0 <= nobody["oldest_wait_ms"] < 60_000
    assert [row["oldest_wait_ms"] for row in told["services"] if not row["waiting"]] == [
        None for row in told["services"] if not row["waiting"]
    ]
    assert len(run_pound("status", "--all", "--connect", served.frontend).stdout.splitlines()) > 50
    assert waiting.popen.poll() is None
