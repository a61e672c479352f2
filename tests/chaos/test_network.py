"""Connections that are cut, delayed, truncated or half-open; peers that never read."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.conftest import Status
from tests.chaos.journal import NOTHING_WRONG, Journal, Load
from tests.chaos.proxy import Proxy
from tests.peers import zmtp
from tests.peers.base import digest
from tests.peers.catalogue import CLIENTS
from tests.support import Process, Served, clean_environ, need, pound_command, wait_until

RATES = {"ppp_heartbeat": "0.2", "mdp_heartbeat": "0.2", "heartbeat": "0.2"}
BEATS = ("--heartbeat", "0.2")


@pytest.fixture
def proxied() -> Iterator[Callable[[str], Proxy]]:
    """``proxied(url)``: a running `Proxy` before an endpoint."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(Proxy(url))


@pytest.mark.timeout(120)
def test_cut_connections_under_load(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    proxied: Callable[[str], Proxy],
) -> None:
    """Workers lose their connections; PND clients too, and a foreign one that keeps its own."""
    broker = pound_serve(**RATES)
    front, back = proxied(broker.frontend), proxied(broker.backend)
    for name in ("ppp", "mdp1", "mdp2", "pnd"):
        work(name, back.url, "--work", "0.002", *BEATS)
    loads = [load_on(front.url, "pnd"), load_on(broker.frontend, "dealer", "mdp2")]
    for number in range(6):
        for load in loads:
            load.wait_answers(40)
        (front if number % 2 else back).cut()
    wait_until(lambda: front.accepted >= 4 and back.accepted >= 16)
    for load in loads:
        assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]


@pytest.mark.timeout(120)
def test_messages_truncated_under_load(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    proxied: Callable[[str], Proxy],
) -> None:
    """A connection that ends in the middle of a message has delivered none of it."""
    broker = pound_serve(**RATES)
    back = proxied(broker.backend)
    for name in ("ppp", "mdp1", "mdp2", "pnd"):
        work(name, back.url, "--work", "0.002", *BEATS)
    load = load_on(broker.frontend)
    for size in (1, 3, 50, 701, 1999):
        load.wait_answers(40)
        back.truncate(size)
    wait_until(lambda: back.accepted >= 9)
    load.wait_answers(40)
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]


def test_slow_network(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    load_on: Callable[..., Load],
    proxied: Callable[[str], Proxy],
    status_of: Callable[[str], Status],
) -> None:
    """250 ms each way, under heartbeats of a second: nobody is taken for dead."""
    broker = pound_serve()
    front, back = proxied(broker.frontend), proxied(broker.backend)
    front.delay = back.delay = 0.25
    names = ["req", "ppp", "mdp1", "mdp2", "pnd"]
    for name in names:
        work(name, back.url)
    status = status_of(broker.frontend)
    status.wait_workers(len(names))
    load = load_on(front.url)
    load.wait_answers(50)
    assert load.finish() == NOTHING_WRONG, load.journal.unexpected[:5]
    assert status.counter("losses") == 0
    assert status.counter("expired_workers") == 0


@pytest.mark.parametrize("name", ["ppp", "mdp1", "mdp2", "pnd"])
def test_half_open_idle_worker_expires_by_its_dialects_heartbeat(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    proxied: Callable[[str], Proxy],
    status_of: Callable[[str], Status],
    name: str,
) -> None:
    """TCP is fine to both ends and nothing comes through."""
    broker = pound_serve(**RATES)
    back = proxied(broker.backend)
    work(name, back.url, *BEATS)
    status = status_of(broker.frontend)
    status.wait_workers(1)
    back.silent = True
    status.wait_workers(0)
    assert status.counter("expired_workers") >= 1
    back.silent = False
    status.wait_workers(1)


def test_half_open_busy_worker_loses_its_task(
    pound_serve: Callable[..., Served],
    spawn: Callable[..., Process],
    work: Callable[..., Process],
    proxied: Callable[[str], Proxy],
    status_of: Callable[[str], Status],
    tmp_path: Path,
) -> None:
    """Pound's own, which beats while its handler works; what it answers at last comes too late."""
    gate, runs = tmp_path / "gate", tmp_path / "runs"
    broker = pound_serve(**RATES)
    back = proxied(broker.backend)
    command = pound_command("worker", "tests.chaos.ends:gated", "--connect", back.url)
    spawn([*command, "--service", "work"], clean_environ(RUNS=str(runs)))
    status = status_of(broker.frontend)
    status.wait_workers(1)
    with CLIENTS["dealer"](broker.frontend) as client:
        client.ask([bytes(gate)])
        status.wait(lambda now: bool(now["counters"]["running"] == 1))
        back.silent = True
        work("ppp", broker.backend, *BEATS)
        assert client.take() == digest([bytes(gate)])
        back.silent = False
        gate.touch()
        wait_until(runs.exists)
        assert client.poll(0.5) is None


# ---- a link that goes down: what only the kernel can do ----


class Island:
    """A network namespace behind a veth pair; its link can be taken down from this side."""

    def __init__(self, tag: str) -> None:
        self.name, self.near, self.far = f"pound-{tag}", f"pnd{tag}a", f"pnd{tag}b"
        net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.host, self.guest = f"{net}.1", f"{net}.2"

    def _ip(self, *words: str, check: bool = True) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
        if check and done.returncode:
            why = f"no network namespaces here: ip {' '.join(words)}: {done.stderr.strip()}"
            demanded = os.environ.get("POUND_TEST_ALL", "0") not in ("", "0")
            (pytest.fail if demanded else pytest.skip)(why)

    def __enter__(self) -> Island:
        self._ip("netns", "add", self.name)
        self._ip("link", "add", self.near, "type", "veth", "peer", "name", self.far)
        self._ip("link", "set", self.far, "netns", self.name)
        self._ip("addr", "add", f"{self.host}/24", "dev", self.near)
        self._ip("link", "set", self.near, "up")
        inside = ["netns", "exec", self.name, "ip"]
        self._ip(*inside, "addr", "add", f"{self.guest}/24", "dev", self.far)
        self._ip(*inside, "link", "set", self.far, "up")
        return self

    def down(self) -> None:
        """From now on nothing crosses, and neither end is told."""
        self._ip("netns", "exec", self.name, "ip", "link", "set", self.far, "down")

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    def __exit__(self, *_: object) -> None:
        self._ip("link", "del", self.near, check=False)
        self._ip("netns", "del", self.name, check=False)


@pytest.fixture
def island() -> Iterator[Island]:
    if os.geteuid():
        pytest.skip("only root makes network namespaces")
    need("ip")
    with Island(str(os.getpid() % 100000)) as island:
        yield island


@pytest.mark.timeout(120)
def test_link_down_under_a_busy_req_worker(
    island: Island,
    pound_serve: Callable[..., Served],
    spawn: Callable[..., Process],
    work: Callable[..., Process],
    status_of: Callable[[str], Status],
) -> None:
    """It has no heartbeat and no lease: only TCP's own limit tells, within some seconds."""
    url = f"tcp://{island.host}:*"
    broker = pound_serve("--insecure", "--backend", url, "--backend", "tcp://127.0.0.1:*")
    module = [sys.executable, "-m", "tests.peers.req_worker", broker.backends[0]]
    far = spawn(island.command(*module, "--work", "600"))
    far.wait_line("^ready$")
    status = status_of(broker.frontend)
    status.wait_workers(1)
    with CLIENTS["dealer"](broker.frontend) as client:
        client.ask([b"q"])
        status.wait(lambda now: bool(now["counters"]["running"] == 1))
        island.down()
        work("req", broker.backends[1])
        assert client.take(60.0) == digest([b"q"])


# ---- clients that never read ----


@pytest.mark.timeout(120)
def test_clients_that_never_read(
    pound_serve: Callable[..., Served],
    work: Callable[..., Process],
    status_of: Callable[[str], Status],
) -> None:
    """Their answers wait in a bounded room, then they are refused; others are served meanwhile."""
    broker = pound_serve(undelivered_bytes_max="65536", foreign_window="1000000")
    work("pnd", broker.backend, "--capacity", "16")
    status = status_of(broker.frontend)
    request = zmtp.message([b"", b"x" * 2000])
    with ExitStack() as stack:
        deaf = [stack.enter_context(zmtp.Connection(broker.frontend)) for _ in range(3)]
        with CLIENTS["req"](broker.frontend) as client:

            def refused() -> bool:
                for connection in deaf:
                    connection.socket.sendall(request * 100)
                assert client.request([b"q"], 30.0) == digest([b"q"])
                counters = status.read()["counters"]
                return bool(counters["answers_dropped"] + counters["refused_foreign"] >= 1000)

            wait_until(refused, 60.0)
    status.wait(lambda now: bool(now["clients"] <= 1))
    counters = status.read()["counters"]
    assert counters["waiting"] == counters["running"] == 0


# ---- few file descriptors ----


def test_more_connections_than_file_descriptors(
    spawn: Callable[..., Process],
    work: Callable[..., Process],
) -> None:
    """Who is connected is served on; whoever comes too late is served once there is room."""
    ends = [f"--{side}=tcp://127.0.0.1:*" for side in ("frontend", "backend")]
    served = pound_command("serve", *ends)
    script = ["sh", "-c", 'ulimit -n 80 && exec "$@"', "sh", *served]
    broker = Served(spawn(script, clean_environ(POUND_DEFAULT_SERVICE="work")))
    work("ppp", broker.backend)
    with CLIENTS["dealer"](broker.frontend) as client, ExitStack() as stack:
        assert client.request([b"first"]) == digest([b"first"])
        for _ in range(100):
            stack.enter_context(contextlib.closing(zmtp.dial(broker.frontend)))
        assert client.request([b"among many"]) == digest([b"among many"])
        stack.close()
        with CLIENTS["req"](broker.frontend) as late:
            assert late.request([b"late"], 30.0) == digest([b"late"])


def test_verdict_sees_what_it_is_for() -> None:
    """The checker is checked: each fault of an answer is told apart."""
    journal = Journal()
    one, two = journal.ask("a"), journal.ask("a")
    other = journal.ask("b")
    journal.answer("a", digest([one]))
    assert journal.verdict().lost == 2
    journal.answer("a", digest([one]))
    assert journal.verdict().second == 1
    journal.answer("a", digest([other]))
    assert journal.verdict().wrong_client == 1
    journal.answer("a", digest([b"a 99"]))
    journal.answer("a", [digest([two])[0], one])
    assert journal.verdict().unexpected == 2
