"""The load's ends for the peers: clean against their servers, and not silent when refused."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bench.peers import PEERS, serve
from bench.peers.servers import SERVERS, Server
from tests.support import ROOT, Process, clean_environ, need, wait_until

SMALL = ["--clients", "2", "--outstanding", "8", "--workers", "3"]
BRIEF = ["--warm-up-ms", "20", "--duration-ms", "100"]
READY_S = 45.0  # RabbitMQ needs a quarter of it on an idle machine


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the command of the compiled load generator."""
    need("cc")
    need("make")
    out = tmp_path_factory.mktemp("bench")
    make = ["make", "-s", "-j2", "-C", str(ROOT / "bench"), f"OUT={out}", "CFLAGS=-O1 -Werror"]
    subprocess.run([*make, str(out / "load")], check=True)
    return [str(out / "load")]


def drive(load: list[str], dialect: str, end: str, *more: str) -> tuple[int, Any, str]:
    """Run the generator; return its exit code, its figures if it printed any, its complaint."""
    command = [*load, dialect, "--frontend", end, *SMALL, *BRIEF, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def need_server(name: str) -> None:
    """Skip without the server's program; where to get it is said."""
    if SERVERS[name].path() is None:
        need(SERVERS[name].program)


CASES = [
    ("nats", "nats", [[], ["--bytes", "300000"]]),
    ("gearman", "gearman", [[], ["--bytes", "300000"]]),
    ("redis", "redis", [[], ["--capacity", "8"], ["--bytes", "300000", "--capacity", "2"]]),
    ("rabbitmq", "amqp", [[], ["--capacity", "8"], ["--bytes", "300000", "--capacity", "2"]]),
]


@pytest.mark.parametrize(("server", "dialect", "loads"), CASES, ids=[case[0] for case in CASES])
def test_server_serves_the_load_and_leaves_nothing(
    load: list[str],
    spawn: Callable[..., Process],
    tmp_path_factory: pytest.TempPathFactory,
    server: str,
    dialect: str,
    loads: list[list[str]],
) -> None:
    need_server(server)
    state = tmp_path_factory.mktemp("state")
    command = [sys.executable, "-m", "bench.peers.serve", server]
    process = spawn(command, clean_environ(TMPDIR=str(state)))
    end = process.wait_line(r"ready frontend=(\S+) backend=\1$", READY_S)[1]
    assert os.listdir(state)
    for more in loads:
        code, figures, _ = drive(load, dialect, end, *more)
        assert (code, figures["errors"], figures["lost"]) == (0, 0, 0), figures
        assert figures["requests"] > 0
    process.popen.kill()
    process.wait()
    wait_until(lambda: not os.listdir(state))


REFUSALS = [
    ("nats", b"-ERR 'Authorization Violation'\r\n", "Authorization Violation"),
    ("redis", b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
    ("gearman", b"\0RES\0\0\0\x13\0\0\0\0", "a packet of kind 19"),
    ("amqp", b"\1\0\0\0\0\0\4\0\x0a\0\x32\xce", "method 10.50"),
    ("amqp", b"AMQP\0\0\x09\x01", "closed the connection"),
    ("gearman", b"what is it?\n", "not a packet"),
]


@pytest.mark.parametrize(("dialect", "reply", "complaint"), REFUSALS)
def test_refusals_are_told(load: list[str], dialect: str, reply: bytes, complaint: str) -> None:
    def refuse() -> None:
        peer, _ = server.accept()
        with peer:
            peer.sendall(reply)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=refuse)
        thread.start()
        end = f"127.0.0.1:{server.getsockname()[1]}"
        code, figures, complaints = drive(load, dialect, end, "--workers", "1")
        thread.join()
    assert (code, figures) == (2, None)
    assert complaint in complaints


def test_a_missing_server_is_no_contestant(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Server("no-such-server", "a-package", SERVERS["nats"].start)
    monkeypatch.setitem(SERVERS, "absent", absent)
    assert not dataclasses.replace(PEERS[0], needs=absent.needs()).here()
    monkeypatch.setattr(sys, "argv", ["serve", "absent"])
    with pytest.raises(SystemExit, match=r"no-such-server is not here \(Debian: a-package\)"):
        serve.main()


def test_every_server_is_a_contestant() -> None:
    assert {peer.command[-1] for peer in PEERS} == set(SERVERS)
