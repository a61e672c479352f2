"""A host with few descriptors, and signals that would end a process: `pound serve` serves on."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from pound.security.credential import Credential
from tests.keys import Keys, use
from tests.peers import zmtp
from tests.support import WAIT_S, Served, pound_command, wait_until

FEW = 40
LASTING = FEW - FEW // 4  # numbers below this one stay; a quarter is for guests, as in the broker
# Limits of a process that then becomes `pound serve`.
LIMITED = (
    "import os, resource, sys;"
    "soft, hard = map(int, sys.argv[1:3]);"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard));"
    "os.execv(sys.argv[3], sys.argv[3:])"
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


@pytest.fixture
def serve_with(spawn: Callable[..., Any]) -> Callable[..., Served]:
    """``serve_with(soft, hard)``: a broker with these limits of descriptors."""

    def start(soft: int, hard: int, *arguments: str, frontend: str = "tcp://127.0.0.1:*") -> Served:
        ends = (f"--frontend={frontend}", "--backend=tcp://127.0.0.1:*")
        command = pound_command("serve", *ends, *arguments)
        return Served(spawn([sys.executable, "-c", LIMITED, str(soft), str(hard), *command]))

    return start


@pytest.fixture
def crowd() -> Iterator[list[pound.Client]]:
    clients: list[pound.Client] = []
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def fill() -> Iterator[Callable[[Served], list[zmtp.Connection]]]:
    """``fill(served)``: connections that take all numbers but the guests', and never come again.

    While they stand, whoever comes is turned away, however fast it comes and whoever else does.
    """
    held: list[zmtp.Connection] = []

    def take(served: Served) -> list[zmtp.Connection]:
        while not lasting_are_taken(served.pid):
            held.append(zmtp.Connection(served.frontend))
        return held

    yield take
    for connection in held:
        connection.socket.close()


def lasting_are_taken(pid: int, lasting: int = LASTING) -> bool:
    folder = Path(f"/proc/{pid}/fd")
    try:
        files = [os.readlink(folder / str(number)) for number in range(lasting)]
    except FileNotFoundError:
        return False
    return not any(file.startswith("/proc/") for file in files)  # open for a moment only


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def soft_limit(pid: int) -> int:
    line = next(
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    )
    return int(line.split()[3])


def own_address() -> str:
    """Return an address of this machine that is no loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("203.0.113.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(route.getsockname()[0])


class Keyed:
    """A broker with keys and few descriptors, a crowd of clients of it, and its operator."""

    LIMIT = 96
    CROWD = 100
    looks = 0

    def __init__(self, folder: Path, serve_with: Any) -> None:
        self.folder, self.keys, self.address = folder, Keys(folder), own_address()
        self.pairs = {role: self.keys.enrol(role, role) for role in ("client", "operator")}
        keys = f"--keys={self.keys.path}"
        self.served: Served = serve_with(self.LIMIT, self.LIMIT, keys, frontend="tcp://0.0.0.0:*")
        self.port = self.served.frontend.rpartition(":")[2]

    @contextlib.contextmanager
    def crowd(self, address: str) -> Iterator[None]:
        """Clients that connect from an address of this machine, more than there is room for.

        They come again and again, until all of them are closed.
        """
        with zmq.Context() as context, contextlib.ExitStack() as stack:
            for _ in range(self.CROWD):
                peer = stack.enter_context(context.socket(zmq.DEALER))
                peer.linger = 0
                use(peer, self.pairs["client"], self.keys.broker.public)
                peer.connect(f"tcp://{self.address}:0;{address}:{self.port}")
            wait_until(lambda: "descriptors short" in self.served.process.stderr)
            wait_until(self.stays_full, interval=0.01)
            yield

    def stays_full(self) -> bool:
        """Whether the last looks found all numbers taken, by those who have shaken hands."""
        taken = lasting_are_taken(self.served.pid, self.LIMIT - self.LIMIT // 4)
        self.looks = self.looks + 1 if taken else 0
        return self.looks >= 50

    def credential(self, role: str, host: str) -> Path:
        path = Path(tempfile.mkdtemp(dir=self.folder)) / f"{role}.key"
        Credential(
            name=role,
            roles=(role,),
            frontend=(f"tcp://{host}:{self.port}",),
            backend=(),
            broker=self.keys.broker.public,
            pair=self.pairs[role],
        ).write(path)
        return path

    def answers(self, host: str) -> bool:
        """Whether `pound status` is answered within its time, by an address of this machine."""
        path = self.credential("operator", host)
        asked = subprocess.run(
            pound_command("status", "--key", str(path)),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert asked.returncode in (0, 3), asked.stderr  # 3: not in time, on a busy machine
        return asked.returncode == 0


def answers(frontend: str) -> bool:
    with pound.Client(frontend) as client:
        try:
            return bool(client.request("pound.status", b"", timeout=WAIT_S))
        except pound.DeadlineExceeded:
            return False


def test_the_soft_limit_is_raised(serve_with: Any) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, 4096) if hard != resource.RLIM_INFINITY else 4096
    assert soft_limit(serve_with(128, limit).pid) == limit


def test_with_no_descriptor_left_it_says_so_and_answers_its_operator(
    serve_with: Any, fill: Callable[..., Any], crowd: list[pound.Client]
) -> None:
    served = serve_with(FEW, FEW)
    with pound.Worker(served.backend, {"echo": lambda body: body}) as worker:
        assert worker.wait_connected(WAIT_S)
        crowd.append(pound.Client(served.frontend))
        assert crowd[0].request("echo", b"x", timeout=WAIT_S) == b"x"
        fill(served)
        crowd += [pound.Client(served.frontend) for _ in range(3)]  # guests, beside the operator
        wait_until(lambda: "descriptors short" in served.process.stderr)
        assert f"limit={FEW}" in served.process.stderr
        assert answers(served.frontend)
        assert crowd[0].request("echo", b"x", timeout=WAIT_S) == b"x"  # who came first stays


@pytest.mark.parametrize("near", [False, True], ids=["of others", "of its own machine"])
def test_a_crowd_at_a_broker_with_keys_keeps_no_operator_away(
    serve_with: Any, tmp_path: Path, near: bool
) -> None:
    """Whatever address of its machine he asks by.

    Others are whoever comes from an address that is neither loopback nor the one they went to.
    """
    keyed = Keyed(tmp_path, serve_with)
    with keyed.crowd(keyed.address if near else "127.0.0.1"):
        for host in (keyed.address, "127.0.0.1"):
            wait_until(lambda host=host: keyed.answers(host))
        keyed.served.process.signal(signal.SIGTERM)
        assert keyed.served.process.wait() == 0


def test_a_peer_that_a_full_broker_cuts_is_not_told_that_its_key_is_wrong(
    serve_with: Any, tmp_path: Path
) -> None:
    keyed = Keyed(tmp_path, serve_with)
    path = keyed.credential("client", f"{keyed.address}:0;127.0.0.1")
    with contextlib.ExitStack() as stack:
        with keyed.crowd("127.0.0.1"):
            client = stack.enter_context(pound.Client(key=path))
            assert not client.wait_connected(3)  # the looks at 0.25 s and 1 s find it full
            assert "a broker without room for more" in client._engine.trouble
        assert client.wait_connected(WAIT_S)


def test_a_crowd_that_comes_again_and_again_does_not_keep_it_busy(
    serve_with: Any, crowd: list[pound.Client]
) -> None:
    served = serve_with(FEW, FEW)
    crowd += [pound.Client(served.frontend) for _ in range(41)]
    wait_until(lambda: "descriptors short" in served.process.stderr)
    begun, used = time.monotonic(), cpu_s(served.pid)
    time.sleep(2)  # what is measured is time
    assert cpu_s(served.pid) - used < 0.25 * (time.monotonic() - begun)
    assert served.process.stderr.count("descriptors short") <= 2


def test_when_the_crowd_has_left_connections_stay(
    serve_with: Any, crowd: list[pound.Client]
) -> None:
    served = serve_with(FEW, FEW)
    crowd += [pound.Client(served.frontend) for _ in range(40)]
    wait_until(lambda: "descriptors short" in served.process.stderr)
    while crowd:
        crowd.pop().close()
    with (
        pound.Worker(served.backend, {"echo": lambda body: body}),
        pound.Client(served.frontend) as client,
    ):
        assert client.request("echo", b"x", timeout=WAIT_S) == b"x"
        assert client.request("echo", b"x", timeout=WAIT_S) == b"x"


def test_on_an_ipc_path_it_survives_too(
    serve_with: Any, crowd: list[pound.Client], tmp_path: Path
) -> None:
    served = serve_with(FEW, FEW, frontend=f"ipc://{tmp_path}/front")
    crowd += [pound.Client(served.frontend) for _ in range(40)]
    wait_until(lambda: "descriptors short" in served.process.stderr)
    assert answers(served.frontend)
    assert served.process.popen.poll() is None
    while crowd:
        crowd.pop().close()
    assert answers(served.frontend)


def test_it_does_not_start_without_room_for_its_peers(spawn: Callable[..., Any]) -> None:
    for limit in (12, 16, 20):
        command = pound_command(
            "serve", "--frontend=tcp://127.0.0.1:*", "--backend=tcp://127.0.0.1:*"
        )
        process = spawn([sys.executable, "-c", LIMITED, str(limit), str(limit), *command])
        assert process.popen.wait(WAIT_S) > 0
        assert "ulimit -n" in process.stderr
        assert "Traceback" not in process.stderr


# A guest's number becomes another socket's before its time is over; libzmq has its own back later.
STOLEN = """
import logging, os, resource, socket, sys, time
import pound
from tests.support import wait_until

few, reserve = 64, 16  # a quarter, as in _broker/descriptors.pyx
guest = few - reserve
resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
broker = pound.Broker(frontend="tcp://127.0.0.1:*", backend="tcp://127.0.0.1:*")
broker.start()
wait_until(lambda: broker.stats()["turns"])  # the first one opens a file of /proc
port = int(broker.frontend_endpoints[0].rpartition(":")[2])
mine, theirs = socket.socketpair()
theirs.setblocking(False)
kept = os.dup(mine.fileno())
raw = socket.socket()
while (number := os.dup(mine.fileno())) < guest:
    pass
os.close(number)

def turned_away():
    return broker.stats()["turned_away"]

short = []  # once the broker has read that the guest came
handler = logging.Handler()
handler.emit = short.append
logging.getLogger("pound").addHandler(handler)
raw.connect(("127.0.0.1", port))
end = time.monotonic() + 1
while not short and time.monotonic() < end:
    pass
if not short or turned_away():  # not a guest: a lower number was in use while these were taken
    sys.exit("late")
os.dup2(guest, kept)
os.dup2(mine.fileno(), guest)
wait_until(turned_away)
try:
    theirs.recv(1)
except BlockingIOError:
    print("open")
else:
    print("cut")
os.dup2(kept, guest)
broker.stop()
"""


def test_a_descriptor_that_is_anothers_by_now_is_not_cut(spawn: Callable[..., Any]) -> None:
    """A guest has a moment; a program that comes too late, or gets no guest, runs again.

    Swapped after the cut, libzmq's own descriptor fails, and libzmq aborts.
    """

    def steal() -> str:
        process = spawn([sys.executable, "-c", STOLEN])
        late = process.wait() == -signal.SIGABRT or process.stderr.endswith("late\n")
        assert late or process.popen.returncode == 0, process.stderr
        return "" if late else str(process.stdout)

    assert wait_until(steal) == "open\n"


CLIENTS = """
import os, resource, sys
import pound
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
clients = []
try:
    while True:
        clients.append(pound.Client("tcp://127.0.0.1:9"))
except OSError as error:
    print(error, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("limit", range(30, 42))
def test_a_program_without_descriptors_for_a_client_is_told_and_not_aborted(limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENTS, str(limit)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "too few file descriptors for a client" in done.stdout


def test_a_client_that_is_turned_away_again_and_again_says_it_once(
    serve_with: Any, fill: Callable[..., Any], spawn: Callable[..., Any], tmp_path: Path
) -> None:
    """And that it found the broker, once it stays, however seldom it beats."""
    served = serve_with(FEW, FEW)
    held = fill(served)
    program = f"""
import pathlib, time, pound, pound._logging
pound._logging.configure("info", "text")
with pound.Client({served.frontend!r}, heartbeat=30) as client:
    lost = 0
    while lost < 5:
        assert client.wait_connected(20)
        lost += 1
        while client.wait_connected(0):
            time.sleep(0.001)
    print("turned away", flush=True)
    while not pathlib.Path({str(tmp_path / "gate")!r}).exists():
        time.sleep(0.01)
"""
    late = spawn([sys.executable, "-c", program])
    wait_until(lambda: "turned away" in late.stdout or late.popen.poll())
    assert late.stderr.count("INFO broker found") == 1, late.stderr
    for connection in held:
        connection.socket.close()
    wait_until(lambda: late.stderr.count("INFO broker found") == 2)
    (tmp_path / "gate").touch()
    assert late.wait() == 0, late.stderr
    assert late.stderr.count("WARNING broker lost") == 1, late.stderr
    assert "WARNING log lines held back" in late.stderr


def test_a_burst_of_raw_connections_is_drained_without_spinning(serve_with: Any) -> None:
    served = serve_with(FEW, FEW)
    port = int(served.frontend.rpartition(":")[2])
    held = []
    for _ in range(100):
        raw = socket.create_connection(("127.0.0.1", port), WAIT_S)
        held.append(raw)
    wait_until(lambda: "descriptors short" in served.process.stderr)
    begun, used = time.monotonic(), cpu_s(served.pid)
    assert answers(served.frontend)
    time.sleep(max(0.0, begun + 1 - time.monotonic()))
    assert cpu_s(served.pid) - used < 0.3 * (time.monotonic() - begun)
    for raw in held:
        raw.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE])
def test_signals_that_mean_nothing_end_no_broker(
    serve: Callable[..., Served], number: signal.Signals
) -> None:
    served = serve()
    served.process.signal(number)
    if number != signal.SIGPIPE:
        wait_until(lambda: f"signal ignored signal={number.name}" in served.process.stderr)
    assert answers(served.frontend)
    served.process.signal(signal.SIGTERM)
    assert served.process.wait() == 0


def test_a_flood_of_handshakes_stops_neither_the_operator_nor_a_drain(
    serve_with: Any, run_pound: Any, tmp_path: Path
) -> None:
    """With keys, no descriptor left, and strangers that connect again as soon as they are cut."""
    keys = Keys(tmp_path)
    pair = keys.enrol("ops", "operator")
    served = serve_with(FEW, FEW, f"--keys={keys.path}")
    file = tmp_path / "ops.key"
    Credential(
        name="ops", roles=("operator",), frontend=(served.frontend,), backend=(),
        broker=keys.broker.public, pair=pair,
    ).write(file)  # fmt: skip
    ended = threading.Event()

    def flood() -> None:
        opened: list[socket.socket] = []
        while not ended.wait(0.001):
            with contextlib.suppress(OSError):
                opened.append(zmtp.dial(served.frontend))
            if len(opened) > FEW:
                opened.pop(0).close()
        for one in opened:
            one.close()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        wait_until(lambda: "descriptors short" in served.process.stderr)
        wait_until(lambda: run_pound("status", "--key", str(file)).returncode == 0)
        served.process.signal(signal.SIGTERM)
        assert served.process.wait() == 0
    finally:
        ended.set()
        thread.join()
