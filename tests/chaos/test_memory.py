"""Allocations that fail: what finds no memory is refused or told, and costs nobody anything more.

The broker is a real process; scarce.c refuses what its extensions allocate.
"""

from __future__ import annotations

import mmap
import platform
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.conftest import Status
from tests.peers import pnd_wire as wire
from tests.peers.base import Body
from tests.peers.dealer_client import DealerClient
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import Process, Served, clean_environ, need, wait_until

SOURCE = Path(__file__).with_name("scarce.c")
ANY_SIZE = (0, 2**32 - 1)
SMALL = 1003  # bytes of a small part; nothing else that is allocated has its size
TOLD = {8, 15}  # RESOURCE_EXHAUSTED: not accepted; DATA_LOSS: it was answered, and that is lost
BEAT_S = 0.2
STEP_S = 0.002
AGAIN_S = 0.5  # after so long without an answer a client asks for a sign of life


class Scarcity:
    """The plan by which a broker's allocations are refused."""

    PLAN = struct.Struct("=4I")
    REFUSED = struct.Struct("=I")

    def __init__(self, library: Path, file: Path) -> None:
        file.write_bytes(bytes(self.PLAN.size + self.REFUSED.size))
        self.environ = {"LD_PRELOAD": str(library), "SCARCE": str(file)}
        with file.open("r+b") as opened:
            self._plan = mmap.mmap(opened.fileno(), 0)

    def begin(self, one_in: int, sizes: tuple[int, int] = ANY_SIZE, zmq: bool = False) -> None:
        """Refuse one in `one_in` allocations of these sizes; those of libzmq, too, with `zmq`."""
        self.PLAN.pack_into(self._plan, 0, one_in, *sizes, zmq)

    def end(self) -> None:
        self.PLAN.pack_into(self._plan, 0, 0, 0, 0, 0)

    @property
    def refused(self) -> int:
        """How many were refused."""
        return int(self.REFUSED.unpack_from(self._plan, self.PLAN.size)[0])


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scarce.so, compiled."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("scarce.c stands in front of glibc's allocator")
    compiler = need("cc")
    made = tmp_path_factory.mktemp("scarce") / "scarce.so"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    command = [compiler, *flags, "-o", str(made), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def scarcity(library: Path, tmp_path: Path) -> Scarcity:
    return Scarcity(library, tmp_path / "plan")


@pytest.fixture
def broker(scarcity: Scarcity, serve: Callable[..., Served]) -> Served:
    """A broker whose memory may become scarce."""
    settings = {"default-service": "work", "heartbeat": BEAT_S, "client-grace": 0.5}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return serve(*flags, environ=clean_environ(**scarcity.environ))


class Echo(PndWorker):
    """Answers what it was asked, a partial before it; or holds it, if told.

    It beats, and says READY when it is asked for it, and no sooner, even if one was refused.
    """

    def __init__(self, url: str, capacity: int, service: bytes = b"") -> None:
        super().__init__(url, service=service, heartbeat=BEAT_S, capacity=capacity)
        self.holds = False
        self._beaten = 0.0
        self.ready()

    def step(self) -> None:
        if time.monotonic() - self._beaten > BEAT_S / 2:
            self._beaten = time.monotonic()
            self.beat()
        while (frames := self.poll(0)) is not None:
            task = self.parse(frames)
            while task is not None:
                if not self.holds and self.token(task) in self.held:
                    self.partial(task, [b"soon"])
                    self.answer(task, task.body)
                task = self._inbox.popleft() if self._inbox else None

    def _act(self, epoch: bytes, record: wire.Record, frames: list[bytes]) -> None:
        if record.kind != wire.ERROR or wire.ERROR_HEAD.unpack(record.head)[0] not in TOLD:
            super()._act(epoch, record, frames)


class Asker(PndClient):
    """Looks at each answer; in silence it beats, and asks again only when it is welcomed again."""

    def __init__(self, url: str) -> None:
        self.bodies: dict[int, Body] = {}
        self.wrong: list[tuple[int, Body | FailedError]] = []
        self.whole = self.holes = 0
        self._begun: set[int] = set()  # requests whose partial came
        self._heard = time.monotonic()
        super().__init__(url)

    def ask_for(self, body: Body, service: bytes = b"") -> None:
        self.bodies[self.ask(body, service)] = body

    def step(self) -> None:
        while self.pump(0):
            pass
        while self.answers:
            self._heard = time.monotonic()
            id, answer = self.answers.popleft()
            asked = self.bodies.pop(id)
            if answer == asked:
                self.whole += 1
                self.holes += id not in self._begun
            elif not (isinstance(answer, FailedError) and answer.code in TOLD):
                self.wrong.append((id, answer))
        if time.monotonic() - self._heard > AGAIN_S:
            self._heard = time.monotonic()
            self.put(wire.Record(wire.HEARTBEAT)) if self.epoch else self.hello()

    def _act(self, epoch: bytes, record: wire.Record) -> None:
        if record.kind == wire.PARTIAL:
            self._begun.add(record.id)
        super()._act(epoch, record)


class Stranger(DealerClient):
    """A plain client: it is told nothing but answers, which must be whole."""

    def __init__(self, url: str, name: bytes) -> None:
        super().__init__(url, stack=(name, name * 40))
        self.name = name
        self.answered = 0
        self.wrong: list[list[bytes]] = []

    def ask_for(self, body: Body) -> None:
        self.ask([self.name, *body])

    def step(self) -> None:
        while (frames := self.poll(0)) is not None:
            depth = len(self.envelope)
            self.answered += 1
            if frames[: depth + 1] != [*self.envelope, self.name] or len(frames) != depth + 2:
                self.wrong.append(frames)


class Crowd:
    """Peers that take turns in one thread."""

    def __init__(self) -> None:
        self.peers: list[Any] = []

    def add(self, peer: Any) -> Any:
        self.peers.append(peer)
        return peer

    def until(self, reached: Callable[[], bool], timeout: float = 30.0) -> None:
        """Let all go on until something is so."""

        def step() -> bool:
            for peer in self.peers:
                peer.step()
            return reached()

        wait_until(step, timeout, STEP_S)

    def close(self) -> None:
        while self.peers:
            self.peers.pop().close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.close()


def bodies(number: int) -> Body:
    """A request's body: inline or attached, of one part or several, never the same."""
    words = b"%d" % number
    return [[words], [words, bytes(700), b"end"], [words * 1200], [bytes(5000), words]][number % 4]


@pytest.mark.timeout(120)
def test_scarce_memory_costs_no_credit_and_no_answer(
    broker: Served, scarcity: Scarcity, crowd: Crowd, status_of: Callable[[str], Status]
) -> None:
    """One in ten allocations fails for a while; afterwards everybody is served as before."""
    workers = [crowd.add(Echo(broker.backend, capacity)) for capacity in (1, 4, 40)]
    askers = [crowd.add(Asker(broker.frontend)) for _ in range(3)]
    strangers = [crowd.add(Stranger(broker.frontend, name)) for name in (b"a", b"b")]
    crowd.until(lambda: all(peer.epoch for peer in workers + askers))
    number = 0

    def more() -> bool:
        nonlocal number
        for asker in askers:
            while len(asker.open) < 20:
                number += 1
                asker.ask_for(bodies(number))
        for stranger in strangers:
            stranger.ask_for([b"%d" % number])
        return scarcity.refused >= 1000

    scarcity.begin(10)
    crowd.until(more)
    scarcity.end()
    crowd.until(lambda: not any(asker.open for asker in askers))
    assert [peer.wrong for peer in askers + strangers] == [[]] * 5
    assert all(asker.whole and not asker.holes for asker in askers)

    status = status_of(broker.frontend)
    crowd.until(lambda: status.counter("running") == 0 and status.counter("waiting") == 0)
    for worker in workers:
        worker.holds = True
    for _ in range(45):
        askers[0].ask_for([b"held"])
    crowd.until(lambda: [len(worker.held) for worker in workers] == [1, 4, 40])
    for worker in workers:
        worker.bye()
    crowd.close()
    status.wait(lambda now: now["workers"] == 0 and now["clients"] == 1)
    assert status.counter("queued") == 0


def test_a_body_without_memory_for_a_small_part_is_not_sent_without_it(
    broker: Served, scarcity: Scarcity, crowd: Crowd
) -> None:
    """libzmq allocates the copy of a small part beside a large one."""
    crowd.add(Echo(broker.backend, 10))
    asker = crowd.add(Asker(broker.frontend))
    crowd.until(lambda: bool(asker.epoch))

    def more() -> bool:
        while len(asker.open) < 10:
            asker.ask_for([bytes(4500), bytes(SMALL)])
        return scarcity.refused >= 30

    scarcity.begin(4, (SMALL, SMALL + 64), zmq=True)
    crowd.until(more)
    scarcity.end()
    crowd.until(lambda: not asker.open)
    assert asker.wrong == []
    assert asker.whole


def test_a_message_without_memory_for_a_frame_is_not_sent_in_part(
    broker: Served, scarcity: Scarcity, crowd: Crowd
) -> None:
    """Else the next one, somebody else's, would be taken for the rest of it."""
    crowd.add(Echo(broker.backend, 10))
    strangers = [crowd.add(Stranger(broker.frontend, name)) for name in (b"a", b"b")]

    def more() -> bool:
        for stranger in strangers:
            stranger.ask_for([bytes(SMALL)])
        return scarcity.refused >= 30

    scarcity.begin(4, (SMALL, SMALL + 64), zmq=True)
    crowd.until(more)
    scarcity.end()
    before = [stranger.answered for stranger in strangers]
    for stranger in strangers:
        stranger.ask_for([bytes(SMALL)])
    crowd.until(lambda: all(s.answered > n for s, n in zip(strangers, before, strict=True)))
    assert [stranger.wrong for stranger in strangers] == [[], []]


def test_workers_that_fall_silent_without_room_for_their_tasks(
    broker: Served, scarcity: Scarcity, crowd: Crowd
) -> None:
    """Each is offered tasks for which its list finds no room, until its silence ends it."""
    silent = [
        PndWorker(broker.backend, heartbeat=BEAT_S, label=b"silent:%d" % n) for n in range(40)
    ]
    asker = crowd.add(Asker(broker.frontend))
    first = crowd.add(Echo(broker.backend, 1))
    for _ in silent:
        asker.ask_for([b"once, so that only the workers' lists have to grow"])
    crowd.until(lambda: asker.whole == len(silent))
    crowd.peers.remove(first)
    first.bye()
    first.close()
    for worker in silent:
        worker.ready()
        worker.recv()
        worker.ready()
        time.sleep(0.004)  # they are to fall silent one by one
    scarcity.begin(1, (200, 2**32 - 1))
    for _ in range(len(silent)):
        asker.ask_for([b"q"])
    crowd.until(lambda: broker.process.stderr.count("worker silent") == len(silent))
    scarcity.end()
    assert scarcity.refused
    crowd.add(Echo(broker.backend, 1))
    crowd.until(lambda: not asker.open)
    assert asker.whole == 2 * len(silent)
    for worker in silent:
        worker.close()


def test_peers_that_find_no_memory_come_in_later_and_leave_nothing(
    broker: Served, scarcity: Scarcity, crowd: Crowd, status_of: Callable[[str], Status]
) -> None:
    """Each needs several allocations: connection, route, session, role, service, WELCOME."""
    status = status_of(broker.frontend)
    names = ("clients", "workers", "services")
    alone = [status.read()[name] for name in names]
    askers: list[Asker] = []
    workers: list[Echo] = []

    def settled() -> bool:
        return all(peer.epoch for peer in askers + workers) and not any(
            asker.open for asker in askers
        )

    def more() -> bool:
        if settled():
            for number in range(len(askers), len(askers) + 20):
                service = b"service %d" % number
                workers.append(crowd.add(Echo(broker.backend, 1, service)))
                askers.append(crowd.add(Asker(broker.frontend)))
                askers[-1].ask_for([b"q"], service)
        return scarcity.refused >= 300

    scarcity.begin(3)
    crowd.until(more)
    scarcity.end()
    crowd.until(settled)
    assert [asker.wrong for asker in askers] == [[]] * len(askers)
    status.wait_workers(len(workers))
    for worker in workers:
        worker.bye()
    crowd.close()
    status.wait(lambda now: [now[name] for name in names] == alone)
    status.wait(lambda now: bool(now["counters"]["peers"] == now["counters"]["routes"] == 1))


def test_a_client_without_memory_for_a_request_says_so_and_ends(
    scarcity: Scarcity, serve: Callable[..., Served], spawn: Callable[..., Process]
) -> None:
    """The engine's list of 65 frames has room for 128; nothing else has that size."""
    program = f"""
import os, pathlib, sys, time, pound, pound._logging
pound._logging.configure("info", "text")
client = pound.Client({serve().frontend!r})
assert client.wait_connected(20)
print("ready", flush=True)
while not any(pathlib.Path(os.environ["SCARCE"]).read_bytes()[:4]):
    time.sleep(0.005)
try:
    client.request("pound.status", [bytes(5000)] * 65, timeout=20)
except pound.ClosedError as error:
    print(error, flush=True)
    sys.exit(1)
"""
    process = spawn([sys.executable, "-c", program], clean_environ(**scarcity.environ))
    wait_until(lambda: "ready" in process.stdout)
    scarcity.begin(1, (128 * 64, 128 * 64))
    assert process.wait() == 1
    said = 'CRITICAL engine failed error="its engine failed: no memory"'
    assert said in process.stderr
    assert "its engine failed: no memory" in process.stdout.splitlines()
