"""The broker's log and its host: a handler that fails or blocks, a held GIL, a flood of events."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.rig import Own, Rig
from tests.interop.test_dialects_workers import DealerReqWorker
from tests.peers.dealer_client import DealerClient
from tests.peers.req_worker import ReqWorker
from tests.support import WAIT_S, clean_environ, wait_until

LOGGER = logging.getLogger("pound")

# A program that embeds a broker and holds the GIL in C when it is told to.
HOLDS_THE_GIL = """
import ctypes, logging, sys
import pound
logging.basicConfig(level=logging.INFO)
broker = pound.Broker(frontend=["tcp://127.0.0.1:*"], backend=["tcp://127.0.0.1:*"])
broker.start()
print(broker.frontend_endpoints[0], broker.backend_endpoints[0], flush=True)
sys.stdin.readline()
print("held", flush=True)
ctypes.PyDLL(None).sleep(3)
print("given back", flush=True)
sys.stdin.readline()
broker.drain()
"""


class Handler(logging.Handler):
    """A host's handler that does what the test wants, with the lines that came."""

    def __init__(self, act: Callable[[str], object]) -> None:
        super().__init__()
        self.act = act
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        self.act(line)
        self.lines.append(line)


@pytest.fixture
def handle() -> Iterator[Callable[[Callable[[str], object]], Handler]]:
    """``handle(act)``: the host's handler; the logger is as before afterwards."""
    before = LOGGER.level
    added: list[Handler] = []

    def add(act: Callable[[str], object]) -> Handler:
        added.append(Handler(act))
        LOGGER.addHandler(added[-1])
        return added[-1]

    LOGGER.setLevel(logging.INFO)
    yield add
    LOGGER.setLevel(before)
    for handler in added:
        LOGGER.removeHandler(handler)


def serves(rig: Rig, own: Own, worker: ReqWorker) -> None:
    """Let the broker carry one request and its answer."""
    client = own(DealerClient(rig.frontend))
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take() == [b"a"]


def spoil(rig: Rig, count: int) -> None:
    """Send malformed messages, each by a connection of its own."""
    bad = rig.stat("bad_messages")
    clients = [DealerClient(rig.frontend) for _ in range(count)]
    for client in clients:
        client.send([b"PND garbage"])
    rig.wait_stat("bad_messages", bad + count)
    for client in clients:
        client.close()


def fail(error: BaseException) -> Callable[[str], object]:
    def act(_: str) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr
)
def test_a_handler_that_raises_costs_its_lines_only(
    rig: Rig, own: Own, handle: Any, error: BaseException
) -> None:
    handle(fail(error))
    worker = own(ReqWorker(rig.backend))
    rig.ready(worker)
    wait_until(lambda: rig.stat("logs_dropped") >= 1)
    serves(rig, own, worker)
    assert rig.broker.drain(WAIT_S)
    assert not rig.broker.running


def test_a_filter_that_raises_costs_its_lines_only(rig: Rig, own: Own) -> None:
    before = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    LOGGER.addFilter(broken := lambda _: 1 // 0)  # type: ignore[arg-type, return-value]
    try:
        worker = own(ReqWorker(rig.backend))
        rig.ready(worker)
        wait_until(lambda: rig.stat("logs_dropped") >= 1)
        serves(rig, own, worker)
    finally:
        LOGGER.removeFilter(broken)  # type: ignore[arg-type]
        LOGGER.setLevel(before)


def test_a_handler_that_blocks_holds_up_neither_the_loop_nor_its_end(
    rig: Rig, own: Own, handle: Any
) -> None:
    going = threading.Event()
    blocked = handle(lambda _: going.wait(WAIT_S))
    worker = own(ReqWorker(rig.backend))
    rig.ready(worker)
    spoil(rig, 20)
    serves(rig, own, worker)
    begun = time.monotonic()
    assert rig.broker.drain(WAIT_S)
    assert time.monotonic() - begun < WAIT_S / 2
    assert not rig.broker.running
    assert not blocked.lines
    going.set()
    wait_until(lambda: any(line.startswith("drained") for line in blocked.lines))


def test_a_flood_of_one_client_is_one_line_and_a_count(rig: Rig, handle: Any) -> None:
    lines = handle(lambda _: None).lines
    spoil(rig, 100)
    rig.broker.drain(WAIT_S)
    bad = [line for line in lines if line.startswith("bad message")]
    assert len(bad) == 2  # the first one, and one at the end for the others
    assert sum(repeats(line) + 1 for line in bad) == 100


@pytest.mark.parametrize("apart", [False, True])
def test_each_reason_of_bad_messages_has_a_line(
    rig: Rig, own: Own, handle: Any, apart: bool
) -> None:
    lines = handle(lambda _: None).lines
    worker = own(DealerReqWorker(rig.backend))
    kinds = [[b"MDPW01", b"\x09"], [b"MDPW07", b"\x01"], [b"MDPW08", b"\x01"], [b"MDPW01"]]
    for count, frames in enumerate(kinds, 1):
        worker.send(frames)
        rig.wait_stat("bad_messages", count)
        if apart:
            worker = own(DealerReqWorker(rig.backend))
    wait_until(lambda: sum(line.startswith("bad message") for line in lines) == 3)
    for words in ("no such command", "unknown MDP version 'MDPW07'", "wrong number of frames"):
        assert sum(words in line for line in lines) == 1


def repeats(line: str) -> int:
    """Return how many events before its own a line tells of."""
    return int(dict(w.split("=", 1) for w in line.split() if "=" in w).get("repeated", 0))


def test_a_host_that_holds_the_gil_delays_no_peer_when_there_is_something_to_log(
    own: Own,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_GIL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environ(),
    ) as host:
        try:
            assert host.stdin is not None
            assert host.stdout is not None
            frontend, backend = host.stdout.readline().split()
            worker = own(ReqWorker(backend))
            worker.ready()
            client = own(DealerClient(frontend))
            client.ask([b"q"])  # the worker is ready, and both are connected
            worker.answer(worker.task(), [b"a"])
            assert client.take() == [b"a"]
            host.stdin.write("\n")
            host.stdin.flush()
            assert host.stdout.readline() == "held\n"
            begun = time.monotonic()
            bad = own(DealerClient(frontend))
            for _ in range(5):
                bad.send([b"PND garbage"])
                client.ask([b"q"])
                worker.answer(worker.task(), [b"a"])
                assert client.take() == [b"a"]
            assert time.monotonic() - begun < 2.0
            assert host.stdout.readline() == "given back\n"
            _, err = host.communicate("\n", WAIT_S)
            assert host.returncode == 0
            assert "bad message" in err
        finally:
            host.kill()
