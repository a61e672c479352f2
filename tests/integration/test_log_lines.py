"""Every log line that docs/operations.md promises, driven by the event that it tells of.

The peers and signals are real, and the lines are read from where an operator reads them. A line
that another file's test drives in the same way is named in `ELSEWHERE`. Whoever documents a new
line adds its test here: `test_every_line_is_driven` compares.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from pound._broker import events as broker_events
from pound._engine import handle
from tests.interop.rig import WILDCARD, Own
from tests.peers import pnd_wire as wire
from tests.peers.base import Peer
from tests.peers.dealer_client import DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.zmtp import Connection, dial
from tests.support import (
    ROOT,
    Process,
    Served,
    clean_environ,
    pound_command,
    stop_process,
    wait_until,
)

HANDLERS = "tests.integration.handlers"
ENGINE = "tests/unit/engine/"
PUBLIC = "tests/unit/public/"
HOST = "tests/integration/test_host_limits.py::"
DOOR = "tests/integration/test_door.py::"
STANDBY = "tests/integration/test_standby.py::"
ELSEWHERE = {  # event → the test that drives it
    "cannot connect": ENGINE + "test_engine.py::test_an_endpoint_that_cannot_be_is_logged_and_left",
    "access denied": ENGINE
    + "test_keys.py::test_a_worker_that_is_denied_logs_it_and_comes_in_later",
    "malformed packet dropped": ENGINE
    + "test_engine.py::test_what_a_broker_says_of_the_peer_is_logged",
    "connection refused": DOOR + "test_an_expired_key_is_refused_by_name",
    "handshakes cut": DOOR + "test_the_oldest_of_too_many_handshakes_are_cut",
    "keys read": DOOR + "test_sighup_has_the_keys_read_again",
    "keys not read": DOOR + "test_a_faulty_file_changes_nothing_and_is_logged_once",
    "descriptors short": HOST + "test_with_no_descriptor_left_it_says_so_and_answers_its_operator",
    "engine failed": "tests/chaos/test_memory.py::"
    + "test_a_client_without_memory_for_a_request_says_so_and_ends",
    "signal ignored": HOST + "test_signals_that_mean_nothing_end_no_broker",
    "answers not delivered": ENGINE
    + "test_worker_leaving.py::test_an_answer_that_no_broker_takes_is_said",
    "address not bound": "tests/integration/test_endpoints.py::"
    "test_an_address_of_a_name_that_is_not_this_machines_is_left_out",
    "task released": PUBLIC + "test_worker.py::test_releases_are_logged_once_for_a_service",
    "task held long": "tests/interop/test_overdue.py::"
    + "test_a_task_that_is_held_for_long_is_told_once",
    "client does not read, its answers are dropped": "tests/interop/test_unread.py::"
    + "test_clients_that_never_read_shut_nobody_out",
    "tasks released": "tests/interop/test_releases.py::test_it_is_logged_once_for_a_service",
    "denied": "tests/interop/test_rights.py::test_what_is_refused_is_logged_with_the_keys_name",
    "rights lost": "tests/interop/test_revocation.py::test_rights_that_end_are_logged",
    "standing by": STANDBY + "test_while_the_preferred_broker_is_there_all_meet_at_it",
    "preferred broker not there, serving": STANDBY
    + "test_a_killed_broker_is_replaced_within_a_second_and_its_peers_return",
    "preferred broker is back, handing over": STANDBY
    + "test_a_killed_broker_is_replaced_within_a_second_and_its_peers_return",
    "standby can't serve": STANDBY + "test_a_port_that_is_taken_later_is_bound_when_it_is_free",
    "on_change failed": STANDBY + "test_a_callback_that_fails_holds_up_nothing",
    "the standby failed": STANDBY + "test_a_defect_ends_it_and_says_so",
    "log lines dropped": PUBLIC
    + "test_logging.py::test_a_handler_that_blocks_holds_up_nobody_and_what_is_dropped_is_told",
}
DRIVEN: set[str] = set()


def drives(*events: str) -> Callable[[Any], Any]:
    DRIVEN.update(events)
    return lambda test: test


def documented() -> set[str]:
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text[text.index("## Log events") : text.index("## Counters to watch")]
    rows = re.findall(r"^\| (`[^|]*`) \| (?:info|warning|error|critical)", section, re.MULTILINE)
    return {
        name for row in rows for name in re.findall(r"`([^`;]*)", row) if name not in (", ", "")
    }


def line(process: Process, pattern: str, timeout: float = 15.0) -> re.Match[str]:
    """Wait for a line of the log; give the match."""

    def found() -> re.Match[str] | None:
        return re.search(rf"^\S+ {pattern}$", process.stderr, re.MULTILINE)

    found.__name__ = f"{pattern!r} in\n{process.stderr}"
    match = wait_until(found, timeout)
    assert match
    return match


@pytest.fixture
def broker(serve: Callable[..., Served]) -> Served:
    return serve(
        "--heartbeat", "0.2", "--liveness", "3", "--service-wait", "0.3",
        "--default-service", "work",
    )  # fmt: skip


# ---- the broker ----


@drives("worker ready", "worker leaves", "worker gone")
def test_worker_that_says_goodbye(broker: Served, own: Own) -> None:
    worker = own(PndWorker(broker.backend, service=b"echo", capacity=3))
    worker.ready()
    line(broker.process, "INFO worker ready worker=tests:0 service=echo capacity=3 dialect=pnd")
    worker.bye()
    line(broker.process, "INFO worker leaves worker=tests:0 held=0 dialect=pnd")
    worker.close()
    line(broker.process, "INFO worker gone worker=tests:0 held=0 dialect=pnd")


@drives("worker gone")
def test_worker_that_dies_with_a_task(broker: Served, own: Own) -> None:
    worker, client = own(PndWorker(broker.backend)), own(DealerClient(broker.frontend))
    worker.ready()
    client.ask([b"q"])
    worker.task()
    worker.close()
    line(broker.process, "WARNING worker gone worker=tests:0 held=1 dialect=pnd")


@drives("worker silent")
def test_worker_that_falls_silent(broker: Served, own: Own) -> None:
    own(PndWorker(broker.backend)).ready()
    line(broker.process, "WARNING worker silent worker=tests:0")


@drives("worker refused")
def test_worker_with_a_reserved_name(broker: Served, own: Own) -> None:
    own(PndWorker(broker.backend, service=b"pound.mine")).ready()
    line(broker.process, "WARNING worker refused worker=tests:0 service=pound.mine.*")


@drives("bad message", "peer ignored")
def test_peer_that_talks_nonsense(broker: Served, own: Own) -> None:
    peer = own(Peer(broker.frontend))
    for _ in range(120):
        peer.send([b"PND\x01nonsense"])
    line(broker.process, "WARNING bad message peer=.* why=short dialect=pnd")
    line(broker.process, "ERROR peer ignored peer=.* why=short dialect=pnd")


@drives("log lines held back")
def test_more_workers_than_lines(broker: Served, own: Own) -> None:
    peer = own(Peer(broker.backend))
    for number in range(1500):  # more than a burst of one kind
        greeting = wire.ready(1, [b"work"], label=b"host:%d" % number)
        peer.send(wire.packet(os.urandom(16), [greeting]))
    with pound.Client(broker.frontend) as looks:
        wait_until(lambda: read(looks, "records_in") >= 1500)
    broker.process.signal(signal.SIGTERM)
    assert broker.process.wait() == 0
    line(broker.process, r'WARNING log lines held back event="worker ready" lines=\d+')


def read(client: pound.Client, counter: str) -> int:
    page = json.loads(bytes(client.request("pound.status", b"", timeout=15)))
    return int(page["counters"][counter])


@drives("request failed")
def test_request_past_its_deadline(broker: Served, own: Own) -> None:
    client = own(PndClient(broker.frontend))
    client.ask([b"q"], b"nobody", timeout_ms=50)
    line(
        broker.process,
        "WARNING request failed client=tests:0 service=nobody code=4 attempts=0"
        " error=DeadlineExceeded.*",
    )


@drives("error has no form in the client's dialect")
def test_client_whose_dialect_has_no_error(broker: Served, own: Own) -> None:
    own(Mdp1AsyncClient(broker.frontend, service=b"nobody")).ask([b"q"])
    line(
        broker.process,
        "WARNING error has no form in the client's dialect client=.* service=nobody code=5"
        " error=NoSuchService.*",
    )


@drives("requests refused")
def test_client_whose_dialect_has_no_refusal(broker: Served, own: Own) -> None:
    own(Mdp1AsyncClient(broker.frontend, service=b"pound.nothing")).ask([b"q"])
    line(
        broker.process,
        "WARNING requests refused; the client's dialect has no error client=.*"
        ' service=pound.nothing why="the name is reserved.*',
    )


@drives("service waits without a worker")
def test_service_without_a_worker(serve: Callable[..., Served], own: Own) -> None:
    broker = serve("--default-service", "work")
    own(DealerClient(broker.frontend)).ask([b"q"])
    found = line(
        broker.process,
        r"WARNING service waits without a worker service=work waiting=1 for_ms=(\d+)",
    )
    assert int(found[1]) >= 5000


@drives("the broker itself was paused")
def test_broker_that_is_stopped(broker: Served) -> None:
    stop_process(broker.pid)
    broker.process.signal(signal.SIGCONT)
    stop_process(broker.pid)
    with pytest.raises(zmq.Again):
        silent_for(1.0)
    broker.process.signal(signal.SIGCONT)
    found = line(broker.process, r"WARNING the broker itself was paused pause_ms=(\d+).*")
    assert int(found[1]) >= 1000


def silent_for(seconds: float) -> None:
    """Wait as long as a stopped process has to be: for a message that never comes."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvtimeo = int(seconds * 1000)
        socket.bind("inproc://nobody")
        socket.recv()


@drives("connection never sent a message")
def test_connection_that_never_sends(
    start_broker: Callable[..., Any],
    own: Own,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has shaken hands; one that has not is closed by libzmq, and that is no news."""
    caplog.set_level("INFO", "pound")
    broker = start_broker(frontend=WILDCARD, backend=WILDCARD, handshake_timeout=0.6)
    own(dial(broker.frontend_endpoints[0]))
    own(dial(broker.backend_endpoints[0]))
    silent = Connection(broker.backend_endpoints[0], identity=b"twice")
    own(silent.socket)
    speaks = Connection(broker.backend_endpoints[0], identity=b"once")
    own(speaks.socket)
    speaks.send([b"", b"READY"])

    def said() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        return [text for text in lines if text.startswith("connection never sent a message")]

    wait_until(said)
    wait_until(lambda: broker.stats()["closed_connections"] == 2)
    assert [text.rpartition(" ")[2] for text in said()] == ["socket=1"]


@drives("draining", "drained")
def test_drain(broker: Served) -> None:
    broker.process.signal(signal.SIGTERM)
    assert broker.process.wait() == 0
    line(broker.process, "INFO draining running=0 waiting=0")
    line(broker.process, "INFO drained running=0 waiting=0")


@drives("drained")
def test_drain_that_leaves_something(serve: Callable[..., Served], own: Own) -> None:
    broker = serve("--drain-timeout", "0.3", "--default-service", "work")
    client = own(DealerClient(broker.frontend))
    client.ask([b"q"])
    with pound.Client(broker.frontend) as looks:
        wait_until(lambda: read(looks, "waiting") == 1)
    broker.process.signal(signal.SIGTERM)
    assert broker.process.wait() == 4
    line(broker.process, 'WARNING drained left="unnotified=1 undelivered=0" running=0 waiting=1')


@drives("second signal, stopping at once")
def test_second_signal(serve: Callable[..., Served], own: Own) -> None:
    broker = serve("--default-service", "work")
    worker, client = own(PndWorker(broker.backend)), own(DealerClient(broker.frontend))
    worker.ready()
    client.ask([b"q"])
    worker.task()
    broker.process.signal(signal.SIGTERM)
    line(broker.process, "INFO draining running=1 waiting=0")
    broker.process.signal(signal.SIGTERM)
    assert broker.process.wait() == 1
    line(broker.process, "WARNING second signal, stopping at once")


SERVE = """
import pound.broker, pound.cli
{patch}
pound.cli.main(["serve", "--frontend", "tcp://127.0.0.1:*", "--backend", "tcp://127.0.0.1:*"])
"""
LOOP_STOPS = """
start = pound.Broker.start
def starts(self):
    start(self)
    self.stop()
pound.Broker.start = starts
"""
LOOP_FAILS = """
class Core(pound.broker.Core):
    def run(self):
        raise RuntimeError("a defect")
pound.broker.Core = Core
"""
LOOP_FAILS_FIRST = f"""
{LOOP_FAILS}
import threading
closed, start, close = threading.Event(), threading.Thread.start, pound.Broker._close
def starts(self):
    start(self)
    if self.name == "pound-broker":
        assert closed.wait(10)
def closes(self, *rest):
    close(self, *rest)
    closed.set()
threading.Thread.start, pound.Broker._close = starts, closes
"""
LOOP_FAILED = "ERROR the broker's loop failed\n(?:    .*\n)+    RuntimeError: a defect"


@drives("broker ended by itself", "the broker's loop failed")
@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (LOOP_STOPS, "ERROR broker ended by itself"),
        (LOOP_FAILS, LOOP_FAILED),
        (LOOP_FAILS_FIRST, LOOP_FAILED),
    ],
    ids=["ended", "failed", "failed before it is logged"],
)
def test_loop_that_ends_unasked(spawn: Callable[..., Process], patch: str, said: str) -> None:
    process = spawn([sys.executable, "-c", SERVE.format(patch=patch)])
    assert process.wait() == 1
    line(process, said)
    assert "Exception in thread" not in process.stderr  # it is reported once


@drives("systemd not notified")
def test_systemd_that_is_not_there(serve: Callable[..., Served], tmp_path: Path) -> None:
    broker = serve(environ=clean_environ(NOTIFY_SOCKET=str(tmp_path / "gone")))
    line(broker.process, r'WARNING systemd not notified state="READY=1" error=.*No such file.*')


# ---- workers and clients ----


@drives("connecting", "no broker, trying again")
def test_worker_without_a_broker(spawn: Callable[..., Process]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening: it stays free
        url = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        command = pound_command("worker", f"{HANDLERS}:echo", "--service", "echo", "--connect", url)
        worker = spawn(command)
        line(worker, f"INFO connecting endpoint={url} services=echo")
        line(worker, f"WARNING no broker, trying again endpoint={url} reason=.*")


@drives("default service offered")
def test_worker_that_names_no_service(broker: Served, spawn: Callable[..., Process]) -> None:
    worker = spawn(pound_command("worker", f"{HANDLERS}:echo", "--connect", broker.backend))
    line(worker, "INFO default service offered hint=.*--service NAME.*")


@pytest.fixture
def offer(spawn: Callable[..., Process]) -> Callable[..., Process]:
    def start(broker: Served, handler: str, *flags: str) -> Process:
        command = pound_command(
            "worker", f"{HANDLERS}:{handler}", "--service", handler,
            "--connect", broker.backend, *flags,
        )  # fmt: skip
        process = spawn(command)
        line(process, f"INFO broker found endpoint={broker.backend}")
        return process

    return start


@drives("broker found", "broker lost", "epoch changed")
def test_broker_that_dies_and_is_back(
    serve: Callable[..., Served], offer: Callable[..., Process], tmp_path: Path
) -> None:
    broker = serve()
    worker = offer(broker, "hold")
    gate = tmp_path / "gate"
    with pound.Client(broker.frontend) as client:
        future = client.submit("hold", str(gate).encode())
        wait_until(gate.with_suffix(".held").exists)
        broker.process.signal(signal.SIGKILL)
        broker.process.wait()
        line(worker, f"WARNING broker lost endpoint={broker.backend} reason=disconnected")
        serve("--frontend", broker.frontend, "--backend", broker.backend)
        line(worker, "WARNING epoch changed kept=1 stale=0")
        gate.touch()
        assert future.result(15) == b"released"


@drives("refused")
def test_worker_that_is_refused(
    serve: Callable[..., Served], spawn: Callable[..., Process], own: Own
) -> None:
    broker = serve("--sessions-max", "1")
    first = own(PndWorker(broker.backend))
    first.ready()
    line(broker.process, "INFO worker ready.*")
    command = pound_command("worker", f"{HANDLERS}:echo", "--connect", broker.backend)
    line(spawn(command), "ERROR refused code=8 words=.*sessions_max.* error=Busy")


@drives("request waiting")
def test_request_that_waits_long(
    serve: Callable[..., Served], spawn: Callable[..., Process]
) -> None:
    broker = serve()
    program = f"""
import logging, pound, pound._engine.client, pound._logging
pound._engine.client.LOG_AFTER = 0.3
pound._logging.configure("info", "text")
pound.Client({broker.frontend!r}).request("nobody", b"q")
"""
    line(
        spawn([sys.executable, "-c", program]),
        r'WARNING request waiting service=nobody waited=0\.\d waits_for=".*" requests=1'
        r"|WARNING request waiting (?=.*service=nobody)(?=.*waits_for=)(?=.*requests=1).*",
    )


@drives("handler failed")
def test_handler_that_raises(broker: Served, offer: Callable[..., Process], own: Own) -> None:
    worker = offer(broker, "fail")
    own(PndClient(broker.frontend)).ask([b"q"], b"fail")
    line(worker, r"ERROR handler failed service=fail attempt=1.*\n(?:    .*\n)+    ValueError: .*")


@drives("a callback of a future failed")
def test_callback_that_ends_everything(
    broker: Served, offer: Callable[..., Process], spawn: Callable[..., Process]
) -> None:
    """It ends nothing: the client serves the next request."""
    offer(broker, "echo")
    program = f"""
import logging, sys, pound, pound._logging
pound._logging.configure("info", "text")
with pound.Client({broker.frontend!r}) as client:
    client.submit("echo", b"q").add_done_callback(lambda _: sys.exit(3))
    assert client.request("echo", b"q", timeout=10) == b"q"
"""
    process = spawn([sys.executable, "-c", program])
    assert process.wait() == 0
    line(process, r"ERROR a callback of a future failed.*\n(?:    .*\n)+    SystemExit: 3")


@drives("worker draining", "tasks given back")
def test_drain_of_a_worker_that_hangs(
    broker: Served, offer: Callable[..., Process], own: Own, tmp_path: Path
) -> None:
    worker = offer(broker, "hold", "--drain-timeout", "0.2")
    gate = tmp_path / "gate"
    own(PndClient(broker.frontend)).ask([str(gate).encode()], b"hold")
    wait_until(gate.with_suffix(".held").exists)
    worker.signal(signal.SIGTERM)
    line(worker, "INFO worker draining held=1")
    line(worker, "WARNING tasks given back tasks=1")


# ---- the handbook ----


def test_every_line_is_driven() -> None:
    known = DRIVEN | set(ELSEWHERE)
    assert documented() - known == set()
    assert known - documented() == set()


def test_every_line_is_documented() -> None:
    """The events of the tables of broker and engine, and those that the code names in place."""
    events = {event for _, event, _ in broker_events.EVENTS.values()}
    events |= {event for _, event, _, _ in handle.LOGS.values()}
    for source in [*(ROOT / "pound").rglob("*.py"), *(ROOT / "pound").rglob("*.pyx")]:
        text = source.read_text()
        events |= set(re.findall(r"_event\(\s*[\w.]+, logging\.[A-Z]+,\s*\"([^\"]+)\"", text))
        events |= set(re.findall(r"\.exception\(\"([^\"]+)\"\)", text))
    assert {event.partition(";")[0] for event in events} - documented() == set()


@pytest.mark.parametrize("where", sorted(set(ELSEWHERE.values())))
def test_elsewhere_is_there(where: str) -> None:
    name, _, test = where.partition("::")
    assert f"def {test}" in (ROOT / name).read_text()
