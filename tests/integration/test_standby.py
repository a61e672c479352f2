"""A standby beside its preferred broker: real processes, and clients and workers that list both."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pound
from pound._engine.checks import label_bytes
from pound.standby import _label
from tests.keys import Keys
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import (
    WAIT_S,
    Process,
    clean_environ,
    pound_command,
    run_pound,
    stop_process,
    wait_until,
)

Spawn = Callable[..., Process]
TIMES = ("--heartbeat", "0.2", "--liveness", "5")
RATES: dict[str, Any] = {"heartbeat": 0.2, "liveness": 5}
READY, STANDBY = r"^pound: ready ", r"^pound: standby of "
TAKEOVER_S = 1.0


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago: a standby needs the same one each time."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listens(endpoint: str) -> bool:
    """Return whether the kernel takes connections for an endpoint."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
        return True
    return False


class Place:
    """Where one of the two brokers listens, and its process while there is one."""

    def __init__(self, spawn: Spawn, *options: str) -> None:
        self._spawn = spawn
        self._options = options
        self.frontend, self.backend = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        self.process: Process

    def start(self, *options: str, until: str = READY, environ: Any = None) -> Process:
        ends = ("--frontend", self.frontend, "--backend", self.backend)
        command = pound_command("serve", *ends, *TIMES, *self._options, *options)
        self.process = self._spawn(command, environ)
        self.process.wait_line(until)
        return self.process

    def times(self, pattern: str) -> int:
        """Return how often its process has said so."""
        return len(re.findall(pattern, self.process.stdout, re.MULTILINE))

    def wait_times(self, pattern: str, count: int) -> None:
        wait_until(lambda: self.times(pattern) >= count)

    def kill(self) -> None:
        self.process.signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        self.process.signal(signal.SIGTERM)
        return self.process.wait()


class Two:
    """The preferred broker (first) and its standby (second)."""

    def __init__(self, spawn: Spawn) -> None:
        self.first = Place(spawn)
        self.second = Place(spawn, "--standby-of", self.first.frontend)

    @property
    def frontends(self) -> list[str]:
        return [self.first.frontend, self.second.frontend]

    @property
    def backends(self) -> list[str]:
        return [self.first.backend, self.second.backend]


@pytest.fixture
def two(spawn: Spawn) -> Two:
    """Both run, and the second stands by."""
    two = Two(spawn)
    two.first.start()
    two.second.start(until=STANDBY)
    return two


class Load:
    """Calls, one after another, of a worker that counts its runs; both list the two brokers."""

    def __init__(self, two: Two, pause: float = 0.005, work: float = 0.0) -> None:
        self.runs: collections.Counter[bytes] = collections.Counter()
        self.failures: list[str] = []
        self.calls = 0
        self.longest = 0.0
        self._pause, self._work = pause, work
        self._over = threading.Event()
        self._worker = pound.Worker(two.backends, {"echo": self._echo}, capacity=8, **RATES)
        self._client = pound.Client(two.frontends, **RATES)
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(4)]

    def _echo(self, body: bytes) -> bytes:
        self.runs[body] += 1
        self._over.wait(self._work)
        return body

    def _call(self, number: int) -> None:
        count = 0
        while not self._over.wait(self._pause):
            body = b"%d.%d" % (number, count)
            count += 1
            began = time.monotonic()
            try:
                if self._client.request("echo", body, timeout=WAIT_S) != body:
                    self.failures.append(f"another answer for {body!r}")
            except pound.PoundError as error:
                self.failures.append(repr(error))
            self.longest = max(self.longest, time.monotonic() - began)
            self.calls += 1

    def more(self, calls: int = 50) -> None:
        """Wait until so many more calls have come back."""
        enough = self.calls + calls
        wait_until(lambda: self.calls >= enough)

    def __enter__(self) -> Load:
        self._worker.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(WAIT_S)
        self._client.close()
        self._worker.stop()

    def check(self) -> None:
        again = sum(self.runs.values()) - len(self.runs)
        print(f"{self.calls} calls, longest {self.longest:.3f} s, {again} ran again")
        assert self.failures == []
        assert len(self.runs) == self.calls


def logged(place: Place, pattern: str) -> bool:
    return re.search(pattern, place.process.stderr) is not None


# ---- who serves ----


def test_while_the_preferred_broker_is_there_all_meet_at_it(two: Two) -> None:
    assert not listens(two.second.frontend)
    assert not listens(two.second.backend)
    with Load(two) as load:
        load.more(200)
        workers = run_pound("workers", "--connect", two.first.frontend).stdout
        assert b"echo" in workers
    load.check()
    assert logged(two.second, "INFO standing by preferred=tcp://")
    assert two.second.times(READY) == 0


def test_a_killed_broker_is_replaced_within_a_second_and_its_peers_return(two: Two) -> None:
    with Load(two) as load:
        load.more()
        two.first.kill()
        killed = time.monotonic()
        wait_until(lambda: listens(two.second.frontend) and listens(two.second.backend))
        took = time.monotonic() - killed
        two.second.wait_times(READY, 1)
        load.more()
        two.first.start()
        two.second.wait_times(STANDBY, 2)
        assert not listens(two.second.frontend)
        load.more()
    load.check()
    print(f"listened after {took:.3f} s")
    assert took < TAKEOVER_S
    assert logged(two.second, "WARNING preferred broker not there, serving preferred=tcp://")
    assert logged(two.second, "INFO preferred broker is back, handing over preferred=tcp://")


def test_a_silent_broker_is_replaced_and_may_come_back(two: Two) -> None:
    stop_process(two.first.process.pid)
    try:
        two.second.wait_times(READY, 1)
    finally:
        os.kill(two.first.process.pid, signal.SIGCONT)
    two.second.wait_times(STANDBY, 2)
    with Load(two) as load:
        load.more()
    load.check()


def test_a_standby_that_is_started_first_serves_until_the_preferred_broker_comes(
    spawn: Spawn,
) -> None:
    two = Two(spawn)
    two.second.start()
    assert two.second.times(STANDBY) == 0
    with Load(two) as load:
        load.more()
        two.first.start()
        two.second.wait_times(STANDBY, 1)
        load.more()
    load.check()


def test_a_third_broker_serves_when_neither_of_two_does(spawn: Spawn) -> None:
    two = Two(spawn)
    third = Place(spawn, "--standby-of", two.first.frontend, "--standby-of", two.second.frontend)
    two.first.start()
    two.second.start(until=STANDBY)
    third.start(until=STANDBY)
    two.first.kill()
    two.second.wait_times(READY, 1)
    two.second.kill()
    third.wait_times(READY, 1)
    assert re.search("pound: standby of tcp://.*\npound: ready", third.process.stdout)
    two.first.start()
    third.wait_times(STANDBY, 2)


# ---- handing over ----


def test_tasks_that_run_are_answered_by_the_preferred_broker(two: Two) -> None:
    """Nothing is cancelled and nothing fails when the standby hands over in the middle of tasks."""
    two.first.kill()
    two.second.wait_times(READY, 1)
    with Load(two, work=0.3) as load:
        load.more(8)
        two.first.start()
        two.second.wait_times(STANDBY, 2)
        load.more(8)
    load.check()
    assert not logged(two.second, "request failed")


def test_peers_are_sent_away_and_nothing_is_cancelled(two: Two, own: Callable[..., Any]) -> None:
    """What a peer that holds a task, and one that waits for it, get when the standby goes."""
    two.first.kill()
    two.second.wait_times(READY, 1)
    worker = own(PndWorker(two.second.backend, service=b"echo", heartbeat=0.2))
    client = own(PndClient(two.second.frontend, service=b"echo"))
    worker.ready()
    client.welcome()
    client.ask([b"q"])
    worker.task()
    two.first.start()

    def sent_away() -> bool:
        frames = worker.poll(0.05)
        if frames is not None:
            worker.parse(frames)
        worker.keep_alive()
        client.pump(0.05)
        return bool(worker.byes and client.byes)

    wait_until(sent_away)
    assert (worker.byes, worker.cancelled) == ([1], [])
    assert (client.byes, list(client.answers), len(client.open)) == ([1], [], 1)


def test_it_serves_again_if_the_preferred_broker_goes_while_it_is_given_the_peers(
    two: Two,
) -> None:
    two.first.kill()
    two.second.wait_times(READY, 1)
    with Load(two) as load:
        load.more()
        two.first.start()
        wait_until(lambda: logged(two.second, "handing over"))
        two.first.kill()
        two.second.wait_times(READY, 2)
        load.more()
    load.check()


def test_a_rolling_restart_fails_no_call(two: Two) -> None:
    with Load(two) as load:
        load.more()
        assert two.first.end() == 0
        two.second.wait_times(READY, 1)
        load.more()
        two.first.start()
        two.second.wait_times(STANDBY, 2)
        load.more()
        assert two.second.end() == 0
        load.more()
        two.second.start(until=STANDBY)
        assert two.first.end() == 0
        two.second.wait_times(READY, 1)
        load.more()
        two.first.start()
        two.second.wait_times(STANDBY, 2)
        load.more()
    load.check()


# ---- signals, and what is wrong ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_signal_ends_it_at_once_while_it_stands_by(two: Two, number: int) -> None:
    two.second.process.signal(number)
    assert two.second.process.wait(5.0) == 0
    assert not logged(two.second, "draining")


def test_a_signal_drains_it_while_it_serves(two: Two) -> None:
    two.first.kill()
    two.second.wait_times(READY, 1)
    begun, go_on = threading.Event(), threading.Event()

    def held(body: bytes) -> bytes:
        begun.set()
        go_on.wait(WAIT_S)
        return body

    ends = (two.second.frontend, two.second.backend)
    with pound.Worker(ends[1], {"held": held}), pound.Client(ends[0]) as client:
        answer = client.submit("held", b"1", timeout=WAIT_S)
        assert begun.wait(WAIT_S)
        two.second.process.signal(signal.SIGTERM)
        wait_until(lambda: logged(two.second, "INFO draining running=1"))
        two.first.start()  # it ends all the same, and in its own time
        go_on.set()
        assert answer.result(WAIT_S) == b"1"
        assert two.second.process.wait() == 0
    assert two.second.times(STANDBY) == 1


def test_a_port_that_is_taken_at_the_start_is_said_then(spawn: Spawn) -> None:
    two = Two(spawn)
    two.first.start()
    done = run_pound(
        "serve", "--frontend", two.second.frontend, "--backend", two.first.backend,
        "--standby-of", two.first.frontend,
    )  # fmt: skip
    assert done.returncode == 3
    assert b"pound: cannot bind backend" in done.stderr
    assert b"is another broker running there?" in done.stderr
    assert done.stdout == b""


def test_a_port_that_is_taken_later_is_bound_when_it_is_free(two: Two) -> None:
    host, _, port = two.second.backend.removeprefix("tcp://").rpartition(":")
    with socket.create_server((host, int(port))):
        two.first.kill()
        wait_until(lambda: logged(two.second, "ERROR standby can't serve error=.*cannot bind"))
        assert two.second.process.popen.poll() is None
    two.second.wait_times(READY, 1)
    assert listens(two.second.backend)


def test_systemd_is_told_what_it_does(spawn: Spawn, tmp_path: Any) -> None:
    two = Two(spawn)
    two.first.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(15)
        listener.bind(str(tmp_path / "notify"))
        environ = clean_environ(NOTIFY_SOCKET=str(tmp_path / "notify"))
        two.second.start(until=STANDBY, environ=environ)
        assert listener.recv(200) == f"STATUS=standby of {two.first.frontend}".encode()
        assert listener.recv(200) == b"READY=1"
        two.first.kill()
        assert listener.recv(200).startswith(b"STATUS=serving in place of tcp://")


# ---- keys ----


@pytest.fixture
def keys(tmp_path: Any) -> Keys:
    return Keys(tmp_path)


def credential(keys: Keys, tmp_path: Any, name: str, role: str, frontend: str) -> str:
    """Enrol a peer by the command, and return the path of its credential."""
    path = tmp_path / f"{name}.key"
    done = run_pound(
        "keys", "add", name, "--dir", str(keys.path), "--role", role, "--out", str(path),
        "--frontend", frontend,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(path)


def test_with_keys_it_watches_by_a_credential(spawn: Spawn, keys: Keys, tmp_path: Any) -> None:
    two = Two(spawn)
    key = credential(keys, tmp_path, "standby", "operator", two.first.frontend)
    two.first.start("--keys", str(keys.path))
    two.second.start("--keys", str(keys.path), "--standby-key", key, until=STANDBY)
    enrolled = keys.peers.read_text()
    keys.peers.write_text("[peers.")
    wait_until(lambda: logged(two.second, "ERROR keys not read"))
    keys.peers.write_text(enrolled)
    two.second.process.signal(signal.SIGHUP)
    wait_until(lambda: two.second.process.stderr.count("INFO keys read") >= 2)
    two.first.kill()
    two.second.wait_times(READY, 1)
    two.first.start("--keys", str(keys.path))
    two.second.wait_times(STANDBY, 2)
    assert two.second.end() == 0


def test_a_standby_that_may_not_watch_does_not_start(
    spawn: Spawn, keys: Keys, tmp_path: Any, run_pound: Callable[..., Any]
) -> None:
    two = Two(spawn)
    key = credential(keys, tmp_path, "standby", "client", two.first.frontend)
    assert run_pound("keys", "revoke", "standby", "--dir", str(keys.path)).returncode == 0
    two.first.start("--keys", str(keys.path))
    done = run_pound(
        "serve", "--frontend", two.second.frontend, "--backend", two.second.backend,
        "--standby-of", two.first.frontend, "--standby-key", key, "--keys", str(keys.path),
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert done.stdout == b""
    assert b"pound: " in done.stderr
    assert not listens(two.second.frontend)


# ---- inside a program ----


@pytest.fixture
def standby(start_broker: Callable[..., Any]) -> Iterator[tuple[pound.Broker, pound.Standby]]:
    """A standby of a broker, both in this process."""
    first = start_broker(**RATES)
    ports = free_ports(2)
    standby = pound.Standby(
        standby_of=first.frontend_endpoints,
        frontend=f"tcp://127.0.0.1:{ports[0]}",
        backend=f"tcp://127.0.0.1:{ports[1]}",
        **RATES,
    )
    yield first, standby
    standby.stop()


def test_it_runs_inside_a_program(standby: tuple[pound.Broker, pound.Standby]) -> None:
    first, second = standby
    with second:
        assert not second.serving
        assert not listens(second.config.frontend[0])
        first.stop()
        broker = wait_until(lambda: second.broker)
        with (
            pound.Worker(broker.backend_endpoints, {"echo": lambda body: body}),
            pound.Client(broker.frontend_endpoints) as client,
        ):
            assert client.request("echo", b"1", timeout=WAIT_S) == b"1"
    assert second.wait(0)
    assert not listens(second.config.frontend[0])
    with pytest.raises(pound.ClosedError, match="make a new one"):
        second.start()


def test_a_callback_that_fails_holds_up_nothing(
    start_broker: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    first = start_broker(**RATES)
    ports = free_ports(2)
    said: list[bool] = []

    def say(serves: bool) -> None:
        said.append(serves)
        raise ValueError("no")

    with pound.Standby(
        standby_of=first.frontend_endpoints, on_change=say, **RATES,
        frontend=f"tcp://127.0.0.1:{ports[0]}", backend=f"tcp://127.0.0.1:{ports[1]}",
    ) as second:  # fmt: skip
        assert said == [False]
        first.stop()
        wait_until(lambda: second.serving)
    assert said == [False, True]
    assert "on_change failed" in caplog.text


def test_a_loop_that_ends_by_itself_is_replaced(
    standby: tuple[pound.Broker, pound.Standby], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = standby
    with second:
        first.stop()
        broker = wait_until(lambda: second.broker)
        broker.stop()
        wait_until(lambda: second.broker not in (None, broker))
    assert "broker ended by itself" in caplog.text


def test_a_defect_ends_it_and_says_so(
    standby: tuple[pound.Broker, pound.Standby],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = standby
    second.start()
    first.stop()
    broker = wait_until(lambda: second.broker)
    monkeypatch.setattr(second._takeover, "decide", None)
    second._watch.wake()
    assert second.wait(WAIT_S)
    assert broker.wait(WAIT_S)
    assert "the standby failed" in caplog.text


def test_a_start_without_a_watch_is_none(
    standby: tuple[pound.Broker, pound.Standby], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(watch: Any) -> None:
        raise OSError("no descriptor for the wake pair")

    monkeypatch.setattr("pound.standby.Watch.start", start)
    with pytest.raises(OSError, match="no descriptor"):
        standby[1].start()
    assert standby[1].wait(WAIT_S)


def test_a_fork_is_refused(standby: tuple[pound.Broker, pound.Standby]) -> None:
    second = standby[1]
    second._pid = 1
    for use in (second.start, second.drain, second.stop, second.wait, second.reload_keys):
        with pytest.raises(pound.ForkError, match="make a Standby in the child"):
            use()
    second._pid = os.getpid()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs the frontend of the preferred broker"),
        ({"standby_key": "x"}, "standby_of has to say"),
        ({"standby_of": "tcp://a:*"}, "nothing to connect to"),
        ({"standby_of": "inproc://a"}, "nothing to connect to"),
        ({"standby_of": "a:5555"}, "is no endpoint"),
        ({"standby_of": "tcp://localhost:5555"}, "is this broker's own frontend"),
        ({"standby_of": "tcp://127.0.0.1:5556"}, "is this broker's own backend"),
        ({"standby_of": "tcp://127.0.0.1:5555", "insecure": True, "frontend": "tcp://*:5555"},
         "is this broker's own frontend"),
        ({"standby_of": "tcp://a:5555", "frontend": "tcp://127.0.0.1:*"}, "is not for a standby"),
        ({"standby_of": "tcp://a:5555", "backend": "inproc://a"}, "is not for a standby"),
        ({"standby_of": "tcp://a:5555", "standby_key": "/nowhere"}, "/nowhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_settings_that_can_not_work_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(pound.ConfigError, match=words):
        pound.Standby(**settings)


def test_its_label_fits_whatever_the_name_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "m\u00fc" * 60)
    monkeypatch.setattr(os, "getpid", lambda: 4194304)
    label = label_bytes(_label())
    assert label.startswith(b"standby m")
    assert label.endswith(b":4194304")


def test_a_broker_is_no_standby() -> None:
    with pytest.raises(pound.ConfigError, match=r"pound\.Standby"):
        pound.Broker(standby_of="tcp://a:5555")
