"""Who is let in: real libzmq peers of every kind at the listeners of a broker with keys."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket as sockets
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from pound._broker import door
from pound._engine.reach import troubles_of
from pound.security.curve import Pair, new_pair
from pound.security.listener import Listener
from tests.keys import (
    LET_IN,
    LONG_AGO,
    MISMATCH,
    NO_ANSWER,
    REFUSED,
    Keys,
    outcome,
    outcome_of,
    use,
    watched,
)
from tests.support import ROOT, WAIT_S, wait_until

ANY = "tcp://127.0.0.1:*"
STRANGER = new_pair()
HELD_S = 3  # the GIL
NO_KEY = (MISMATCH, NO_ANSWER)  # whichever end sees it first


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def guarded(start_broker: Callable[..., Any], keys: Keys) -> Callable[..., Any]:
    """``guarded(**settings)``: a running broker with these keys."""

    def start(**settings: Any) -> Any:
        return start_broker(keys=str(keys.path), **settings)

    return start


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]


# -- who comes in -----------------------------------------------------------------------------


def test_a_known_key_is_let_in(context: Any, guarded: Any, keys: Keys) -> None:
    pair = keys.enrol("alice")
    broker = guarded()
    endpoint = broker.frontend_endpoints[0]
    assert outcome(context, endpoint, pair, keys.broker.public) == LET_IN
    assert broker.stats()["connections_refused"] == 0


def test_an_unknown_key_is_refused_and_logged_once(
    context: Any, guarded: Any, keys: Keys, caplog: Any
) -> None:
    broker = guarded()
    for _ in range(3):
        assert (
            outcome(context, broker.frontend_endpoints[0], STRANGER, keys.broker.public) == REFUSED
        )
    wait_until(lambda: broker.stats()["connections_refused"] == 3)
    lines = wait_until(lambda: refusals(caplog))
    assert len(lines) == 1
    assert STRANGER.public in lines[0]
    assert "address=127.0.0.1" in lines[0]
    assert 'why="the key is unknown"' in lines[0]


def test_a_peer_without_a_key_is_refused(context: Any, guarded: Any) -> None:
    broker = guarded()
    for endpoint in (broker.frontend_endpoints[0], broker.backend_endpoints[0]):
        assert outcome(context, endpoint) in NO_KEY


def test_a_peer_without_a_key_is_logged(guarded: Any, silent: Any, caplog: Any) -> None:
    """One of libzmq's own may close the connection before the broker knows why."""
    broker = guarded()
    for endpoint in (broker.frontend_endpoints[0], broker.backend_endpoints[0]):
        connection = silent(endpoint)
        connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 32))
        assert is_closed(connection)
    lines = wait_until(lambda: refusals(caplog))
    assert 'why="it has no key"' in lines[0]
    wait_until(lambda: broker.stats()["connections_refused"] >= 2)


def test_a_password_is_refused(context: Any, guarded: Any) -> None:
    with watched(context) as (socket, monitor):
        socket.plain_username, socket.plain_password = b"alice", b"secret"
        socket.connect(guarded().frontend_endpoints[0])
        assert outcome_of(monitor) in NO_KEY


def test_an_expired_key_is_refused_by_name(
    context: Any, guarded: Any, keys: Keys, caplog: Any
) -> None:
    pair = keys.enrol("alice", expires=LONG_AGO)
    endpoint = guarded().frontend_endpoints[0]
    assert outcome(context, endpoint, pair, keys.broker.public) == REFUSED
    lines = wait_until(lambda: refusals(caplog))
    assert 'address=127.0.0.1 why="the key has expired" identity=alice' in lines[0]


def test_a_revoked_key_is_refused_by_name(
    context: Any, guarded: Any, keys: Keys, caplog: Any
) -> None:
    pair = keys.enrol("alice")
    keys.directory.revoke("alice")
    endpoint = guarded().frontend_endpoints[0]
    assert outcome(context, endpoint, pair, keys.broker.public) == REFUSED
    lines = wait_until(lambda: refusals(caplog))
    assert 'address=127.0.0.1 why="the key is revoked" identity=alice' in lines[0]


def test_another_brokers_key_ends_the_handshake(
    context: Any, guarded: Any, keys: Keys, caplog: Any
) -> None:
    pair = keys.enrol("alice")
    endpoint = guarded().frontend_endpoints[0]
    assert outcome(context, endpoint, pair, new_pair().public) == NO_ANSWER
    lines = wait_until(lambda: refusals(caplog))
    assert "it expects the key of another broker" in lines[0]


def test_a_listener_lets_in_only_those_with_its_roles(
    context: Any, guarded: Any, keys: Keys
) -> None:
    client, worker = keys.enrol("alice"), keys.enrol("bob", "worker")
    broker = guarded(backend=(), listen=(Listener(ANY, side="backend", roles=("worker",)),))
    endpoint = broker.backend_endpoints[0]
    assert outcome(context, endpoint, client, keys.broker.public) == REFUSED
    assert outcome(context, endpoint, worker, keys.broker.public) == LET_IN


def test_both_keys_of_a_rotation_count(context: Any, guarded: Any, keys: Keys) -> None:
    before, after = keys.enrol("alice"), new_pair()
    keys.directory.rotate("alice", after.public, LONG_AGO.replace(year=2200))
    endpoint = guarded().frontend_endpoints[0]
    for pair in (before, after):
        assert outcome(context, endpoint, pair, keys.broker.public) == LET_IN


def test_the_former_key_ends_with_the_rotation(context: Any, guarded: Any, keys: Keys) -> None:
    before, after = keys.enrol("alice"), new_pair()
    keys.directory.rotate("alice", after.public, LONG_AGO)
    endpoint = guarded().frontend_endpoints[0]
    assert outcome(context, endpoint, before, keys.broker.public) == REFUSED
    assert outcome(context, endpoint, after, keys.broker.public) == LET_IN


def test_listeners_of_both_kinds_stand_side_by_side(context: Any, guarded: Any, keys: Keys) -> None:
    pair = keys.enrol("alice")
    broker = guarded(frontend=(), listen=(Listener(ANY), Listener(ANY, security="none")))
    curve, null = broker.frontend_endpoints
    assert outcome(context, curve, pair, keys.broker.public) == LET_IN
    assert outcome(context, curve) in NO_KEY
    assert outcome(context, null) == LET_IN
    assert outcome(context, null, pair, keys.broker.public) in NO_KEY


# -- faults of the one that libzmq asks -------------------------------------------------------


class Handler:
    """A ZAP handler with a fault, and a ROUTER with the listener of a broker with keys."""

    def __init__(
        self, answer: Callable[[list[bytes]], list[bytes] | None], handshake_ms: int = 6000
    ) -> None:
        self.pair = new_pair()
        self.context: zmq.Context[Any] = zmq.Context()
        self.zap = door.bind_zap(self.context)
        self.router = self.context.socket(zmq.ROUTER)
        self.router.handshake_ivl = handshake_ms
        listener = Listener(ANY, security="curve")
        door.secure(self.router, 0, listener, self.pair)
        self.router.bind(ANY)
        self.endpoint = self.router.get_string(zmq.LAST_ENDPOINT)
        self._answer = answer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self.zap.poll(20):
                continue
            reply = self._answer(self.zap.recv_multipart())
            if reply is None:
                break
            self.zap.send_multipart(reply)
        self.zap.close(0)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.router.close(0)
        self.context.term()


def granted(request: list[bytes]) -> list[bytes]:
    return [b"1.0", request[1], b"200", b"", b"", b""]


def late(delay_s: float, answered: list[float] | None = None) -> Callable[..., list[bytes]]:
    """Give a handler that grants after a delay, and notes when."""

    def answer(request: list[bytes]) -> list[bytes]:
        time.sleep(delay_s)
        if answered is not None:
            answered.append(time.monotonic())
        return granted(request)

    return answer


def hung(request: list[bytes]) -> list[bytes]:
    time.sleep(2)
    return granted(request)[:2]


FAULTS = {
    "killed": lambda request: None,
    "hung": hung,
    "no frames": lambda request: [b""],
    "too few frames": lambda request: granted(request)[:5],
    "too many frames": lambda request: [*granted(request), b""],
    "another version": lambda request: [b"2.0", *granted(request)[1:]],
    "another request": lambda request: [b"1.0", b"no", *granted(request)[2:]],
    "no status": lambda request: [b"1.0", request[1], b"20", b"", b"", b""],
    "another status": lambda request: [b"1.0", request[1], b"201", b"", b"", b""],
    "rubbish": lambda request: [os.urandom(40) for _ in range(6)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_handler_lets_nobody_in(context: Any, fault: str) -> None:
    handler = Handler(FAULTS[fault])
    try:
        assert outcome(context, handler.endpoint, new_pair(), handler.pair.public, 1.0) != LET_IN
    finally:
        handler.close()


def test_a_handler_that_grants_lets_in(context: Any) -> None:
    """Keep the test above from passing over a peer that could never come in."""
    handler = Handler(granted)
    try:
        assert outcome(context, handler.endpoint, new_pair(), handler.pair.public) == LET_IN
    finally:
        handler.close()


def test_a_grant_that_comes_late_and_in_time_lets_in(context: Any) -> None:
    """Until the time for a handshake is over, libzmq waits for the answer."""
    handler = Handler(late(0.5))
    try:
        assert outcome(context, handler.endpoint, new_pair(), handler.pair.public) == LET_IN
    finally:
        handler.close()


def test_a_grant_that_comes_too_late_lets_nobody_in(context: Any) -> None:
    """The connection that it is for is gone; those that are tried meanwhile fare no better."""
    answered: list[float] = []
    handler = Handler(late(5.0, answered), handshake_ms=4000)
    begun = time.monotonic()
    try:
        with watched(context) as (socket, monitor):
            use(socket, STRANGER, handler.pair.public)
            socket.reconnect_ivl = 5000
            socket.connect(handler.endpoint)
            assert outcome_of(monitor) == NO_ANSWER
            assert not answered, "it was refused for another reason"
            wait_until(lambda: answered)
            assert outcome_of(monitor, 0.5) != LET_IN
    finally:
        handler.close()
    assert time.monotonic() - begun > 5.0


def test_without_a_handler_nobody_comes_in(context: Any) -> None:
    handler = Handler(lambda request: None)
    try:
        assert outcome(context, handler.endpoint, STRANGER, handler.pair.public, 1.0) != LET_IN
        handler._thread.join()
        assert outcome(context, handler.endpoint, STRANGER, handler.pair.public, 1.0) != LET_IN
    finally:
        handler.close()


# -- the broker tests itself --------------------------------------------------------------------


def test_the_self_test_leaves_no_trace_and_takes_no_time(guarded: Any, caplog: Any) -> None:
    begun = time.monotonic()
    broker = guarded()
    assert time.monotonic() - begun < 5  # some ten milliseconds; a loaded machine is slow
    stats = broker.stats()
    names = ("connections_refused", "closed_connections", "unrouted_connections", "handshakes")
    assert {name: stats[name] for name in names} == dict.fromkeys(names, 0)
    assert not refusals(caplog)


def test_a_broker_that_lets_in_peers_without_a_key_does_not_serve(
    guarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def insecure(socket: Any, *_: Any) -> None:
        socket.curve_server = 0

    monkeypatch.setattr(door, "secure", insecure)
    with pytest.raises(pound.BindError, match="let in a peer without a key, so this broker does"):
        guarded()


def test_a_broker_that_lets_in_unknown_keys_does_not_serve(
    guarded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unasked(socket: Any, number: int, listener: Listener, pair: Pair) -> None:
        socket.curve_secretkey, socket.curve_server = pair.secret.encode(), 1

    monkeypatch.setattr(door, "secure", unasked)
    monkeypatch.setattr(door, "ZAP_ENDPOINT", "inproc://nobody-asks-here")
    with pytest.raises(pound.BindError, match="let in a peer with an unknown key"):
        guarded()


def test_a_libzmq_that_does_not_enforce_domains_is_not_served_with(keys: Keys) -> None:
    class Old:
        """A socket of a libzmq that forgets."""

        def setsockopt(self, option: int, value: object) -> None:
            pass

        def getsockopt(self, option: int) -> int:
            return 0

        def getsockopt_string(self, option: int) -> str:
            return ""

    with pytest.raises(pound.BindError, match=r"cannot secure 'tcp://127\.0\.0\.1:5555'"):
        door.secure(Old(), 0, Listener("tcp://127.0.0.1:5555", security="curve"), keys.broker)  # type: ignore[arg-type]


# -- in a program's own context ---------------------------------------------------------------


def test_a_context_with_a_zap_handler_is_refused(context: Any, keys: Keys) -> None:
    handler = context.socket(zmq.REP)
    handler.bind(door.ZAP_ENDPOINT)
    broker = pound.Broker(frontend=ANY, backend=ANY, keys=str(keys.path), context=context)
    with pytest.raises(pound.BindError, match=r"give the broker a zmq\.Context of its own"):
        broker.start()
    handler.close()


def test_a_broker_in_a_programs_context_has_its_door_there(
    context: Any, guarded: Any, keys: Keys
) -> None:
    pair = keys.enrol("alice")
    broker = guarded(context=context)
    assert outcome(context, broker.frontend_endpoints[0], pair, keys.broker.public) == LET_IN
    assert outcome(context, broker.frontend_endpoints[0], STRANGER, keys.broker.public) == REFUSED


def test_a_program_that_holds_the_gil_stalls_no_handshake(guarded: Any, keys: Keys) -> None:
    """Peers in another process come in while nothing of Python can run in the broker's."""
    pair = keys.enrol("alice")
    broker = guarded()
    begun, ended, lines = shaken_meanwhile(broker.frontend_endpoints[0], pair, keys.broker.public)
    assert {became for _, _, became in lines} == {LET_IN}
    within = [line for line in lines if begun < float(line[0]) and float(line[1]) < ended]
    assert len(within) >= 5


def test_a_handler_in_python_would_stall_them(context: Any) -> None:
    """Keep the test above from passing over a program that does not hold the GIL."""
    handler = Handler(granted)
    try:
        begun, ended, lines = shaken_meanwhile(handler.endpoint, new_pair(), handler.pair.public)
    finally:
        handler.close()
    assert not [line for line in lines if begun < float(line[0]) and float(line[1]) < ended]


def shaken_meanwhile(
    endpoint: str, pair: Pair, broker: str
) -> tuple[float, float, list[list[str]]]:
    """Hold the GIL while another process shakes hands: from when to when, and its lines."""
    words = [endpoint, broker, pair.public, pair.secret]
    command = [sys.executable, "-m", "tests.integration.shaking_hands", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as peer:
        assert peer.stdout is not None
        peer.stdout.readline()
        begun = time.monotonic()
        hold_the_gil()
        rest, _ = peer.communicate(timeout=WAIT_S)
    return begun, begun + HELD_S, [line.split(maxsplit=2) for line in rest.splitlines()]


def hold_the_gil() -> None:
    """Let no other thread of Python run for a while: a `PyDLL` does not give the GIL up."""
    ctypes.PyDLL(None).sleep(HELD_S)


def test_a_broker_that_ends_leaves_a_programs_context_at_work(
    context: Any, guarded: Any, keys: Keys
) -> None:
    """libzmq's I/O thread is the program's: an event for a monitor that is gone would block it."""
    pair = keys.enrol("alice")
    broker = guarded(context=context)
    peers = [context.socket(zmq.DEALER) for _ in range(30)]
    for peer in peers:
        peer.curve_serverkey = keys.broker.public.encode()
        peer.curve_publickey, peer.curve_secretkey = pair.public.encode(), pair.secret.encode()
        peer.connect(broker.frontend_endpoints[0])
        peer.send(b"")
    wait_until(lambda: broker.stats()["routes"])  # the others are shaking hands
    broker.stop()
    server, client = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    client.send(b"")
    assert server.poll(10_000)
    for socket in (*peers, server, client):
        socket.close(0)


# -- keys that change -------------------------------------------------------------------------


def test_a_peer_that_is_added_is_let_in_soon(context: Any, guarded: Any, keys: Keys) -> None:
    broker = guarded()
    pair = keys.enrol("alice")
    endpoint = broker.frontend_endpoints[0]
    begun = time.monotonic()
    wait_until(lambda: outcome(context, endpoint, pair, keys.broker.public) == LET_IN)
    assert time.monotonic() - begun < 5


def test_reload_keys_takes_the_file_at_once(context: Any, guarded: Any, keys: Keys) -> None:
    broker = guarded()
    endpoint = broker.frontend_endpoints[0]
    pair = keys.enrol("alice")
    broker.reload_keys()
    assert outcome(context, endpoint, pair, keys.broker.public) == LET_IN
    keys.directory.revoke("alice")
    broker.reload_keys()
    assert outcome(context, endpoint, pair, keys.broker.public) == REFUSED


def test_a_faulty_file_changes_nothing_and_is_logged_once(
    context: Any, guarded: Any, keys: Keys, caplog: Any
) -> None:
    pair = keys.enrol("alice")
    broker = guarded()
    good = keys.peers.read_text()
    keys.peers.write_text("peers = 3\n")

    def faults() -> list[str]:
        return [r.getMessage() for r in caplog.records if "keys not read" in r.getMessage()]

    for _ in range(2):
        with pytest.raises(pound.ConfigError, match="peers is not a table"):
            broker.reload_keys()
    wait_until(faults)
    os.utime(keys.peers)  # the watch looks again: its content is the same
    time.sleep(1.2)  # two looks
    lines = faults()
    assert len(lines) == 1
    assert "peers is not a table" in lines[0]
    assert outcome(context, broker.frontend_endpoints[0], pair, keys.broker.public) == LET_IN
    keys.peers.write_text(good)
    broker.reload_keys()


def test_there_are_keys_to_reload(start_broker: Any) -> None:
    broker = start_broker()
    with pytest.raises(pound.ConfigError, match="has no keys"):
        broker.reload_keys()
    broker.stop()
    broker.wait()
    with pytest.raises(pound.ClosedError):
        broker.reload_keys()


def test_sighup_has_the_keys_read_again(context: Any, serve: Any, keys: Keys) -> None:
    served = serve(f"--keys={keys.path}")
    pair = keys.enrol("alice")
    served.process.signal(signal.SIGHUP)
    wait_until(
        lambda: outcome(context, served.frontend, pair, keys.broker.public) == LET_IN, interval=0.05
    )
    wait_until(lambda: served.process.stderr.count("keys read") >= 2)
    assert "signal ignored" not in served.process.stderr


# -- ipc --------------------------------------------------------------------------------------


def test_the_mode_of_an_ipc_listener(start_broker: Any, tmp_path: Path) -> None:
    path = tmp_path / "pound.sock"
    umask = os.umask(0)
    os.umask(umask)
    owner = f"{os.getuid()}:{os.getgid()}"
    start_broker(frontend=(), listen=(Listener(f"ipc://{path}", mode="0620", owner=owner),))
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o620
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert os.umask(umask) == umask


def test_an_owner_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pound.sock"
    listener = Listener(f"ipc://{path}", owner="no-such-user")
    broker = pound.Broker(frontend=(), backend=ANY, listen=(listener,))
    with pytest.raises(pound.BindError, match="does not know the owner 'no-such-user'"):
        broker.start()
    assert not path.exists()


def test_a_listener_without_a_path_has_no_mode() -> None:
    listener = Listener("ipc://@pound-test", mode="0600")
    broker = pound.Broker(frontend=(), backend=ANY, listen=(listener,))
    with pytest.raises(pound.BindError, match="has neither mode nor owner"):
        broker.start()


# -- pending handshakes -----------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[Callable[[str], sockets.socket]]:
    """``silent(endpoint)``: a TCP connection that says nothing."""
    opened: list[sockets.socket] = []

    def connect(endpoint: str) -> sockets.socket:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        opened.append(sockets.create_connection((host, int(port)), timeout=15))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def is_closed(connection: sockets.socket, wait_s: float = 15.0) -> bool:
    """Tell whether the other end closes a connection."""
    connection.settimeout(wait_s)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"\xff", b"\xff" + bytes(8) + b"\x7f\x03"])
@pytest.mark.parametrize("curve", [True, False])
def test_a_handshake_that_takes_too_long_ends(
    guarded: Any, silent: Any, sent: bytes, curve: bool
) -> None:
    listener = Listener(ANY, security="curve" if curve else "none")
    broker = guarded(frontend=(), listen=(listener,), handshake_timeout=0.5)
    connection = silent(broker.frontend_endpoints[0])
    connection.sendall(sent)
    assert is_closed(connection)


def test_a_handshake_that_drips_ends(guarded: Any, silent: Any) -> None:
    """What comes byte by byte does not gain time."""
    connection = silent(guarded(handshake_timeout=1).frontend_endpoints[0])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + bytes(32)
    begun = time.monotonic()
    for byte in greeting:
        try:
            connection.sendall(bytes([byte]))
        except ConnectionError:
            break
        if is_closed(connection, 0.1):
            break
    assert time.monotonic() - begun < 4
    assert is_closed(connection)


def test_the_oldest_of_too_many_handshakes_are_cut(guarded: Any, silent: Any, caplog: Any) -> None:
    broker = guarded(handshakes_max=5)
    connections = []
    for _ in range(20):
        connections.append(silent(broker.frontend_endpoints[0]))
        wait_until(lambda: broker.stats()["handshakes_cut"] == max(0, len(connections) - 5))
        wait_until(lambda: broker.stats()["handshakes"] == min(len(connections), 5))
    assert all(is_closed(connection) for connection in connections[:15])
    assert not any(is_closed(connection, 0.05) for connection in connections[15:])
    assert [r.getMessage() for r in caplog.records if "handshakes cut" in r.getMessage()] == [
        "handshakes cut handshakes_max=5"
    ]


def test_a_peer_that_has_shaken_hands_is_not_cut(
    context: Any, guarded: Any, keys: Keys, silent: Any
) -> None:
    """It is the oldest, and has not sent a message; a flood is not its fault."""
    pair = keys.enrol("alice")
    broker = guarded(
        frontend=(), handshakes_max=5, listen=(Listener(ANY), Listener(ANY, security="none"))
    )
    curve, null = broker.frontend_endpoints
    with watched(context) as (one, seen_one), watched(context) as (two, seen_two):
        use(one, pair, keys.broker.public)
        for socket, seen, endpoint in ((one, seen_one, curve), (two, seen_two, null)):
            socket.connect(endpoint)
            assert outcome_of(seen) == LET_IN
        for _ in range(20):
            silent(curve)
        wait_until(lambda: broker.stats()["handshakes_cut"] == 15)
        for seen in (seen_one, seen_two):
            assert not seen.poll(50), "it was cut"


def test_a_look_at_an_endpoint_is_no_refusal(guarded: Any, caplog: Any) -> None:
    """So do clients and workers without a key look why they are not let in: nobody hears of it."""
    broker = guarded()
    caplog.set_level(logging.INFO, "pound")
    before = len(caplog.records)
    for _ in range(3):
        (trouble,) = troubles_of(broker.frontend_endpoints[:1], False, False, False)
        assert trouble.foreign
    wait_until(lambda: broker.stats()["unrouted_connections"] == 3)
    assert broker.stats()["connections_refused"] == 0
    assert [record.getMessage() for record in caplog.records[before:]] == []
