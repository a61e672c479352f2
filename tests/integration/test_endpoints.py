"""Endpoints of every form: paths that are taken, IPv6, names, and what a bind error says."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from tests.support import WAIT_S, clean_environ, need, run_pound

FREE = "tcp://127.0.0.1:*"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short path: a socket's has 107 bytes at most."""
    path = tmp_path_factory.mktemp("e")
    assert len(str(path)) < 90
    return path


def serves(broker: Any, frontend: str | None = None, backend: str | None = None) -> None:
    with (
        pound.Worker(backend or broker.backend_endpoints, {"echo": lambda body: body}),
        pound.Client(frontend or broker.frontend_endpoints) as client,
    ):
        assert client.request("echo", b"x", timeout=WAIT_S) == b"x"


# -- paths


@pytest.mark.parametrize("side", ["frontend", "backend"])
def test_a_path_that_a_broker_serves_is_left_to_it(
    start_broker: Callable[..., Any], folder: Path, side: str
) -> None:
    url = f"ipc://{folder}/s"
    first = start_broker(**{side: [url]})
    before = os.stat(folder / "s").st_ino
    with pytest.raises(pound.BindError, match="is another broker running there"):
        start_broker(**{side: [url]})
    assert os.stat(folder / "s").st_ino == before
    serves(first)


def test_of_brokers_that_start_at_once_one_has_the_path(folder: Path) -> None:
    brokers = [pound.Broker(frontend=f"ipc://{folder}/s", backend=FREE) for _ in range(4)]
    begun: list[Any] = []
    together = threading.Barrier(len(brokers))

    def start(broker: pound.Broker) -> None:
        together.wait(WAIT_S)
        try:
            broker.start()
        except pound.BindError:
            return
        begun.append(broker)

    threads = [threading.Thread(target=start, args=(broker,)) for broker in brokers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(begun) == 1
    serves(begun[0])
    begun[0].stop()


def test_what_a_killed_broker_left_is_replaced(serve: Any, folder: Path) -> None:
    url = f"--frontend=ipc://{folder}/s"
    served = serve(url)
    served.process.signal(signal.SIGKILL)
    served.process.wait()
    assert stat.S_ISSOCK(os.stat(folder / "s").st_mode)
    again = serve(url)
    serves(None, again.frontend, again.backend)


def test_a_stopped_broker_keeps_its_path(serve: Any, folder: Path) -> None:
    served = serve(f"--frontend=ipc://{folder}/s")
    served.process.signal(signal.SIGSTOP)
    with pytest.raises(pound.BindError, match="is another broker running there"):
        pound.Broker(frontend=f"ipc://{folder}/s", backend=FREE).start()
    served.process.signal(signal.SIGCONT)
    serves(None, served.frontend, served.backend)


def test_an_abstract_name_has_one_broker(start_broker: Callable[..., Any]) -> None:
    url = f"ipc://@pound-test-{os.getpid()}"
    first = start_broker(frontend=[url])
    with pytest.raises(pound.BindError, match="is another broker running there"):
        start_broker(frontend=[url])
    serves(first)


def test_the_same_path_twice_in_one_broker_is_refused(folder: Path) -> None:
    url = f"ipc://{folder}/s"
    with pytest.raises(pound.ConfigError, match="given twice"):
        pound.Broker(frontend=url, backend=url)
    with pytest.raises(pound.BindError, match="is another broker running there"):
        pound.Broker(frontend=url, backend=f"ipc://{folder}/./s").start()


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "file").write_text("precious")
    with pytest.raises(pound.BindError, match="no socket"):
        pound.Broker(frontend=f"ipc://{folder}/file", backend=FREE).start()
    assert (folder / "file").read_text() == "precious"


def test_a_datagram_socket_is_left_alone(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(folder / "d"))
        before = os.stat(folder / "d").st_ino
        with pytest.raises(pound.BindError):
            pound.Broker(frontend=f"ipc://{folder}/d", backend=FREE).start()
        assert os.stat(folder / "d").st_ino == before


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("{}/no/such/s", "make its directory first"),
        ("{}/" + "x" * 108, "choose a shorter one"),
        ("{}", "no socket"),
        ("{}/file/s", "no directory"),
    ],
)
def test_paths_that_cannot_be(folder: Path, path: str, words: str) -> None:
    (folder / "file").touch()
    with pytest.raises(pound.BindError, match=re.escape(words)) as caught:
        pound.Broker(frontend="ipc://" + path.format(folder), backend=FREE).start()
    assert "another broker" not in str(caught.value)


# -- addresses and names


@ipv6
def test_ipv6_serves(start_broker: Callable[..., Any]) -> None:
    broker = start_broker(frontend=["tcp://[::1]:*"], backend=["tcp://[::1]:*"])
    assert re.fullmatch(r"tcp://\[::1\]:[0-9]+", broker.frontend_endpoints[0])
    serves(broker)


@ipv6
def test_commands_reach_ipv6(serve: Any) -> None:
    served = serve("--frontend=tcp://[::1]:*")
    assert run_pound("status", "--connect", served.frontend).returncode == 0


def test_localhost_is_all_its_addresses(
    start_broker: Callable[..., Any], connect: Callable[..., zmq.Socket[Any]]
) -> None:
    broker = start_broker(frontend=["tcp://localhost:*"], backend=["tcp://localhost:*"])
    assert re.fullmatch(r"tcp://localhost:[0-9]+", broker.frontend_endpoints[0])
    serves(broker)
    port = broker.frontend_endpoints[0].rpartition(":")[2]
    found = {a[4][0] for a in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    for address in found - (set() if has_ipv6() else {"::1"}):
        host = f"[{address}]" if ":" in address else address
        serves(broker, frontend=f"tcp://{host}:{port}")


# A broker on one address, and a client and a worker that have only the name.
BY_NAME = """
import sys, pound
address, name = sys.argv[1:]
url = f"tcp://{address}:*"
with pound.Broker(frontend=[url], backend=[url]) as broker:
    front, back = (e[0].rpartition(":")[2]
                   for e in (broker.frontend_endpoints, broker.backend_endpoints))
    with (
        pound.Worker(f"tcp://{name}:{back}", {"echo": lambda body: body}),
        pound.Client(f"tcp://{name}:{front}") as client,
    ):
        sys.stdout.buffer.write(client.request("echo", b"served", timeout=20))
"""
HOSTS = "127.0.0.1 localhost\n::1 localhost six\n127.0.0.1 both\n::1 both\n"


# A broker on a name of which this machine has one address.
BY_PART = """
import pound
from pound import _logging
_logging.configure("info", "text")
with pound.Broker(frontend="tcp://part:*", backend="tcp://part:*", insecure=True) as broker:
    with (
        pound.Worker(broker.backend_endpoints, {"echo": lambda body: body}),
        pound.Client(broker.frontend_endpoints) as client,
    ):
        print(client.request("echo", b"served", timeout=20).decode())
"""


@pytest.fixture
def with_hosts(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """``with_hosts(lines, code, *arguments)``: a Python program with an /etc/hosts of its own."""
    need("root")

    def run(lines: str, code: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        hosts = tmp_path / "hosts"
        hosts.write_text(lines)
        own = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
        if subprocess.run([*own, "true"], capture_output=True).returncode:
            pytest.skip("a process can't have an /etc/hosts of its own here")
        return subprocess.run(
            [*own, sys.executable, "-c", code, *arguments],
            capture_output=True,
            env=clean_environ(),
            timeout=40,
        )

    return run


@ipv6
@pytest.mark.parametrize(
    ("address", "name"),
    [("[::1]", "six"), ("[::1]", "both"), ("127.0.0.1", "both"), ("[::1]", "localhost")],
)
def test_a_name_is_tried_by_both_families(with_hosts: Any, address: str, name: str) -> None:
    done = with_hosts(HOSTS, BY_NAME, address, name)
    assert done.stdout == b"served", done.stderr


MANY = "".join(f"127.0.0.{i} many\n" for i in (1, 2, 3)) + "::1 many\n127.0.0.1 localhost\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
def test_a_name_is_tried_at_each_address_of_a_family(with_hosts: Any, address: str) -> None:
    done = with_hosts(MANY, BY_NAME, address, "many")
    assert done.stdout == b"served", done.stderr


def test_an_address_of_a_name_that_is_not_this_machines_is_left_out(with_hosts: Any) -> None:
    done = with_hosts("127.0.0.1 part localhost\n192.0.2.7 part\n", BY_PART)
    assert done.stdout == b"served\n", done.stderr
    assert b"INFO address not bound name=part address=192.0.2.7" in done.stderr


def test_a_port_that_is_taken_on_one_address_of_a_name_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(pound.BindError, match=r"127\.0\.0\.1: address already in use"):
            pound.Broker(frontend=f"tcp://localhost:{port}", backend=FREE).start()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://192.0.2.1:*", "this machine has no such address"),
        ("tcp://no-such-name.invalid:*", "does not resolve"),
    ],
)
def test_a_bind_error_has_its_own_remedy(url: str, words: str) -> None:
    with pytest.raises(pound.BindError, match=words) as caught:
        pound.Broker(frontend=url, backend=FREE, insecure=True).start()
    assert "another broker" not in str(caught.value)


def test_a_port_that_is_taken_asks_for_the_other_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(pound.BindError, match="is another broker running there"):
            pound.Broker(frontend=url, backend=FREE).start()


def test_an_address_without_brackets_is_told_apart() -> None:
    with pytest.raises(pound.ConfigError, match="in brackets"):
        pound.Config(frontend=("tcp://::1:5555",))
