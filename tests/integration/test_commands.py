"""The command ``pound`` as processes: a broker, workers and calls as a person runs them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pound
from tests.support import Process, Served, clean_environ, pound_command, wait_until

RunPound = Callable[..., subprocess.CompletedProcess[bytes]]
Serve = Callable[..., Served]
Spawn = Callable[..., Process]

HERE = "tests.integration.handlers"


@pytest.fixture
def offer(spawn: Spawn) -> Callable[[Served, str], Process]:
    """``offer(served, handler)``: a ``pound worker`` of the service of that name, at work."""

    def start(served: Served, handler: str, *extra: str) -> Process:
        process = spawn(
            pound_command(
                "worker",
                f"{HERE}:{handler}",
                "--service",
                handler,
                "--connect",
                served.backend,
                *extra,
            )
        )
        with pound.Client(served.frontend) as client:
            wait_until(lambda: offered(client, handler))
        return process

    return start


def offered(client: pound.Client, service: str) -> bool:
    answer = client.request("pound.services", b"", timeout=15)
    assert isinstance(answer, bytes)
    return any(row["name"] == service and row["workers"] for row in json.loads(answer)["services"])


def test_call_and_its_exit_codes(
    serve: Serve, offer: Callable[..., Process], run_pound: RunPound
) -> None:
    served = serve("--unknown-service", "reject")
    for handler in ("echo", "double", "fail"):
        offer(served, handler)
    at = ("--connect", served.frontend, "--timeout", "15")
    assert run_pound("call", "echo", "hé", *at).stdout == "hé".encode()
    assert run_pound("call", "echo", *at).stdout == b""
    binary = bytes(range(256))
    assert run_pound("call", "echo", "-", *at, stdin=binary).stdout == binary
    assert run_pound("call", "double", "x", *at).stdout == b"x\nx\n"
    failed = run_pound("call", "fail", "x", *at)
    assert (failed.returncode, failed.stdout) == (10, b"")
    assert b"ValueError: \\x1b[31mred" in failed.stderr
    assert b"Traceback" not in failed.stderr
    assert run_pound("call", "absent", *at).returncode == 11
    absent = run_pound("call", "pound.absent", *at)
    assert absent.returncode == 11
    assert b"the broker has no service 'pound.absent' of its own" in absent.stderr


def test_a_call_writes_what_a_service_streams(
    serve: Serve, offer: Callable[..., Process], run_pound: RunPound
) -> None:
    served = serve()
    for handler in ("count", "stages", "fail"):
        offer(served, handler)
    at = ("--connect", served.frontend, "--timeout", "15")
    counted = run_pound("call", "count", "3", "--stream", *at)
    assert (counted.stdout, counted.stderr) == (b"0\n1\n2\n", b"")
    staged = run_pound("call", "stages", "--stream", *at)
    assert staged.stdout == b"a\tb\n\x1b[31m\nend\n"
    assert staged.stderr == b"pound: progress: 1/2\n"
    assert run_pound("call", "fail", "--stream", *at).returncode == 10
    assert run_pound("call", "count", "--stream", "--map", *at).returncode == 2


def test_a_call_that_is_no_stream_says_what_it_leaves_out(
    serve: Serve, offer: Callable[..., Process], run_pound: RunPound
) -> None:
    served = serve()
    for handler in ("count", "stages"):
        offer(served, handler)
    at = ("--connect", served.frontend, "--timeout", "15")
    left_out = b"pound: %d partial answers came before this one: --stream writes them\n"
    counted = run_pound("call", "count", "3", *at)
    assert (counted.stdout, counted.stderr) == (b"", left_out % 3)
    staged = run_pound("call", "stages", *at)
    assert (staged.stdout, staged.stderr) == (b"end", left_out % 2)


def test_a_streaming_call_says_where_the_work_begins_anew(
    serve: Serve, offer: Callable[..., Process], spawn: Spawn, tmp_path: Path
) -> None:
    served = serve()
    first = offer(served, "again")
    begun = tmp_path / "begun"
    call = spawn(
        pound_command("call", "again", str(begun), "--stream", "--connect", served.frontend)
    )
    wait_until(begun.exists)
    wait_until(lambda: "attempt 1" in call.stdout)
    first.signal(signal.SIGKILL)
    offer(served, "again")
    assert call.wait() == 0
    assert call.stdout == "attempt 1\nattempt 2\n"
    assert "lost with its worker" in call.stderr


def test_call_past_its_deadline_exits_with_12(serve: Serve, run_pound: RunPound) -> None:
    served = serve()
    late = run_pound("call", "absent", "--timeout", "0.2", "--connect", served.frontend)
    assert late.returncode == 12


def test_without_a_broker_exits_with_3(run_pound: RunPound, tmp_path: Path) -> None:
    nobody = ("--connect", f"ipc://{tmp_path}/nobody")
    commands = (["status"], ["workers", "--json"], ["call", "x"])
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda command: run_pound(*command, *nobody), commands))
    for result in results:
        assert result.returncode == 3
        assert b"no broker answered within 3 s" in result.stderr
        assert result.stdout == b""


def test_status_services_workers(
    serve: Serve, offer: Callable[..., Process], run_pound: RunPound
) -> None:
    served = serve()
    worker = offer(served, "echo", "--capacity", "7")

    def ask(*command: str) -> Any:
        result = run_pound(*command, "--json", "--connect", served.frontend)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    status = ask("status")
    assert status["version"] == pound.__version__
    assert status["draining"] is False
    assert status["endpoints"]["frontend"] == [served.frontend]
    assert status["workers"] == 1
    (row,) = ask("workers")["workers"]
    assert row["label"].endswith(f":{worker.pid}")
    assert (row["services"], row["capacity"], row["held"]) == (["echo"], 7, 0)
    (service,) = (row for row in ask("services")["services"] if row["name"] == "echo")
    assert (service["workers"], service["waiting"]) == (1, 0)

    for command in ("status", "services", "workers"):
        shown = run_pound(command, "--connect", served.frontend)
        assert shown.returncode == 0
        assert b"{" not in shown.stdout
    assert re.search(
        rb"^name .*\n(?:.*\n)*echo ",
        run_pound("services", "--connect", served.frontend).stdout,
        re.MULTILINE,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_and_exits_with_0(
    serve: Serve, offer: Callable[..., Process], tmp_path: Path, number: int
) -> None:
    served = serve()
    offer(served, "hold")
    gate = tmp_path / "gate"
    with pound.Client(served.frontend) as client:
        future = client.submit("hold", str(gate).encode())
        wait_until(gate.with_suffix(".held").exists)
        served.process.signal(number)
        wait_until(lambda: "draining" in served.process.stderr)
        assert served.process.popen.poll() is None
        gate.touch()
        assert future.result(15) == b"released"
    assert served.process.wait() == 0


def test_work_that_a_drain_leaves_is_said_and_has_an_exit_code(
    serve: Serve, offer: Callable[..., Process], tmp_path: Path
) -> None:
    served = serve("--drain-timeout", "0.3")
    offer(served, "hold")
    gate = tmp_path / "gate"
    with pound.Client(served.frontend) as client:
        client.submit("hold", str(gate).encode())
        wait_until(gate.with_suffix(".held").exists)
        served.process.signal(signal.SIGTERM)
        assert served.process.wait() == 4
    last = served.process.stderr.splitlines()[-1]
    assert "WARNING drained" in last
    assert 'left="unnotified=0 undelivered=0" running=1 waiting=0' in last


def test_a_second_signal_stops_at_once(
    serve: Serve, offer: Callable[..., Process], tmp_path: Path
) -> None:
    served = serve()
    offer(served, "hold")
    gate = tmp_path / "gate"
    with pound.Client(served.frontend) as client:
        client.submit("hold", str(gate).encode())
        wait_until(gate.with_suffix(".held").exists)
        served.process.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in served.process.stderr)
        served.process.signal(signal.SIGTERM)
        assert served.process.wait() == 1


def test_a_worker_drains_on_sigterm(
    serve: Serve, offer: Callable[..., Process], tmp_path: Path
) -> None:
    served = serve()
    worker = offer(served, "hold")
    gate = tmp_path / "gate"
    with pound.Client(served.frontend) as client:
        future = client.submit("hold", str(gate).encode())
        wait_until(gate.with_suffix(".held").exists)
        worker.signal(signal.SIGTERM)
        gate.touch()
        assert future.result(15) == b"released"
    assert worker.wait() == 0


def test_a_taken_port_exits_with_3(serve: Serve, run_pound: RunPound) -> None:
    served = serve()
    second = run_pound("serve", "--frontend", served.frontend, "--backend", "tcp://127.0.0.1:*")
    assert second.returncode == 3
    assert served.frontend.encode() in second.stderr
    assert second.stdout == b""


def test_several_endpoints_and_a_file(serve: Serve, tmp_path: Path, run_pound: RunPound) -> None:
    path = tmp_path / "own.toml"
    path.write_text('frontend = ["tcp://127.0.0.1:*", "ipc://*"]\nlog_format = "json"\n')
    served = serve(
        "-c", str(path), "--frontend=tcp://127.0.0.1:*", f"--frontend=ipc://{tmp_path}/f"
    )
    assert len(served.frontends) == 2
    for endpoint in served.frontends:
        assert run_pound("status", "--connect", endpoint).returncode == 0
    served.process.signal(signal.SIGTERM)
    assert served.process.wait() == 0
    for line in served.process.stderr.splitlines():
        json.loads(line)


def test_a_silent_broker_is_passed_over(serve: Serve, tmp_path: Path, run_pound: RunPound) -> None:
    served = serve()
    first = ("--connect", f"ipc://{tmp_path}/nobody")
    result = run_pound("call", "absent", "--timeout", "0.3", *first, "--connect", served.frontend)
    assert result.returncode == 12, result.stderr


def test_systemd_is_told_of_readiness_and_the_end(serve: Serve, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(15)
        listener.bind(str(tmp_path / "notify"))
        served = serve(environ=clean_environ(NOTIFY_SOCKET=str(tmp_path / "notify")))
        assert listener.recv(100) == b"READY=1"
        served.process.signal(signal.SIGTERM)
        assert listener.recv(100) == b"STOPPING=1"
        assert served.process.wait() == 0
