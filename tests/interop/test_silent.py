"""Connections that prove a key and then say nothing: they count, and end with their key."""

from __future__ import annotations

import contextlib
import socket as sockets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from pound.security.curve import new_pair
from pound.security.listener import Listener
from tests.chaos.proxy import Proxy
from tests.interop.keyed import KeyedRig, Keys, lines_of, serving
from tests.interop.rig import WILDCARD
from tests.keys import LET_IN, REFUSED, outcome_of, watched
from tests.peers import zmtp
from tests.peers.curve import CurveConnection
from tests.peers.pnd_client import PndClient
from tests.support import WAIT_S, readable, wait_until

CROWD = 6  # silent peers of a key
LOOKS_S = 0.2  # a few of the broker's looks for the connections of silent peers


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "keys")
    keys.add("alice", "client")
    keys.add("bob", "client")
    keys.edit("alice", connections_max=2)
    return keys


@pytest.fixture
def rig(keys: Keys) -> Iterator[KeyedRig]:
    with serving(keys) as rig:
        yield rig


class Silent:
    """A peer that shakes hands once, and sends nothing."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.monitor = socket, socket.get_monitor_socket()

    def shake(self) -> Silent:
        self.outcome = outcome_of(self.monitor)
        if self.outcome != LET_IN:
            self.leave()
        return self

    def leave(self) -> None:
        if not self.socket.closed:
            self.socket.disable_monitor()
            self.monitor.close(0)
            self.socket.close(0)

    def is_cut(self, wait_s: float = WAIT_S) -> bool:
        """Tell whether the broker closes the connection."""
        while self.monitor.poll(wait_s * 1000):
            event = parse_monitor_message(self.monitor.recv_multipart())["event"]
            if event == zmq.EVENT_DISCONNECTED:
                return True
        return False


@pytest.fixture
def silent(context: Any) -> Iterator[Callable[..., Silent]]:
    """``silent(rig, name)``: a silent peer with that key, at the frontend or an endpoint."""
    with contextlib.ExitStack() as peers:

        def open_one(rig: KeyedRig, name: str, endpoint: str = "", *, wait: bool = True) -> Silent:
            socket = context.socket(zmq.DEALER)
            for option, value in rig.keys.options(name).items():
                socket.setsockopt(option, value)
            socket.reconnect_ivl = -1
            one = Silent(socket)
            peers.callback(one.leave)
            socket.connect(endpoint or rig.frontend)
            return one.shake() if wait else one

        yield open_one


Open = Callable[..., Silent]


@pytest.fixture
def half_open() -> Iterator[Callable[[str], sockets.socket]]:
    """``half_open(endpoint)``: a connection that sends its greeting, and no more."""
    with contextlib.ExitStack() as opened:

        def connect(endpoint: str) -> sockets.socket:
            connection = opened.enter_context(zmtp.dial(endpoint))
            connection.sendall(zmtp.GREETING.replace(b"NULL\0", b"CURVE"))
            return connection

        yield connect


def let_in(
    silent: Open, rig: KeyedRig, name: str = "alice", endpoint: str = ""
) -> Callable[[], Any]:
    return lambda: silent(rig, name, endpoint).outcome == LET_IN


def test_silent_connections_count(rig: KeyedRig, silent: Open) -> None:
    first, second = silent(rig, "alice"), silent(rig, "alice")
    assert (first.outcome, second.outcome) == (LET_IN, LET_IN)
    assert silent(rig, "alice").outcome == REFUSED
    assert silent(rig, "bob").outcome == LET_IN
    rig.wait_stat("handshakes", 0)  # whose they are is known by now
    assert silent(rig, "alice").outcome == REFUSED


def test_one_that_ends_makes_room(rig: KeyedRig, silent: Open) -> None:
    first, _ = silent(rig, "alice"), silent(rig, "alice")
    rig.wait_stat("handshakes", 0)
    first.leave()
    wait_until(let_in(silent, rig))
    assert silent(rig, "alice").outcome == REFUSED


def test_one_that_ends_at_once_makes_room(rig: KeyedRig, silent: Open) -> None:
    for _ in range(2):
        silent(rig, "alice").leave()
    wait_until(let_in(silent, rig))


def test_one_that_speaks_counts_once(
    rig: KeyedRig, silent: Open, open_as: Callable[..., Any]
) -> None:
    first, late = open_as(PndClient, "alice"), silent(rig, "alice")
    first.welcome()
    rig.wait_stat("handshakes", 0)
    late.socket.send_multipart([b"", b"ask"])  # a plain request
    rig.wait_stat("waiting", 1)
    assert silent(rig, "alice").outcome == REFUSED
    late.leave()
    wait_until(let_in(silent, rig))
    assert silent(rig, "alice").outcome == REFUSED


def test_a_stranger_that_was_refused_and_stays_hides_no_silent_one(
    rig: KeyedRig, silent: Open
) -> None:
    """libzmq leaves the connection open after its ERROR: it was sent more than WELCOME."""
    with contextlib.ExitStack() as strangers:
        for _ in range(3):
            refused(strangers, rig)
        first, _ = silent(rig, "alice"), silent(rig, "alice")
        rig.wait_stat("handshakes", 3)
        assert silent(rig, "alice").outcome == REFUSED
        first.leave()
        wait_until(let_in(silent, rig))
        assert silent(rig, "alice").outcome == REFUSED


def test_strangers_that_were_refused_and_stay_are_bounded(keys: Keys) -> None:
    with serving(keys, handshakes_max=5) as rig, contextlib.ExitStack() as strangers:
        crowd = [refused(strangers, rig) for _ in range(20)]
        wait_until(lambda: sum(map(is_closed, crowd)) == 15)
        assert rig.broker.stats()["handshakes_cut"] == 15


def refused(strangers: contextlib.ExitStack, rig: KeyedRig) -> CurveConnection:
    """Return a connection of an unknown key that hears so, and stays."""
    stranger = strangers.enter_context(CurveConnection(rig.frontend, new_pair(), rig.keys.server))
    stranger.hello()
    with contextlib.suppress(EOFError):
        stranger.initiate()
    return stranger


def is_closed(connection: CurveConnection) -> bool:
    if not readable(connection.socket.fileno(), 0):
        return False
    try:
        return not connection.socket.recv(1, sockets.MSG_PEEK)
    except ConnectionError:
        return True


def test_a_reload_counts_the_silent_ones(rig: KeyedRig, silent: Open) -> None:
    silent(rig, "alice")
    rig.wait_stat("handshakes", 0)
    silent(rig, "alice")
    rig.broker.reload_keys()
    rig.keys.add("carol", "client")
    rig.broker.reload_keys()
    wait_until(let_in(silent, rig, "carol"))
    assert silent(rig, "alice").outcome == REFUSED


def test_handshakes_that_do_not_end_hide_no_silent_one(
    rig: KeyedRig, silent: Open, half_open: Callable[[str], Any]
) -> None:
    """They come from the same address, before, between and after."""
    covers = [half_open(rig.frontend)]
    first = silent(rig, "alice")
    covers.append(half_open(rig.frontend))
    silent(rig, "alice")
    covers.append(half_open(rig.frontend))
    rig.wait_stat("handshakes", len(covers))
    covers.pop().close()
    rig.wait_stat("handshakes", len(covers))
    assert silent(rig, "alice").outcome == REFUSED
    first.leave()
    wait_until(let_in(silent, rig))
    assert silent(rig, "alice").outcome == REFUSED


def test_peers_without_keys_hide_no_silent_one(keys: Keys, silent: Open, context: Any) -> None:
    listen = [Listener(WILDCARD[0]), Listener(WILDCARD[0], security="none")]
    with serving(keys, listen=listen, backend=WILDCARD) as rig, watched(context) as (null, seen):
        curve, none = rig.broker.frontend_endpoints
        null.connect(none)
        assert outcome_of(seen) == LET_IN
        for _ in range(2):
            assert silent(rig, "alice", curve).outcome == LET_IN
        null.disconnect(none)
        assert silent(rig, "alice", curve).outcome == REFUSED


def test_silent_connections_of_ipc_count(keys: Keys, silent: Open, tmp_path: Path) -> None:
    """Nobody says how far a handshake by ipc came: it is known when it must have ended."""
    endpoint = f"ipc://{tmp_path}/s"
    with serving(keys, frontend=endpoint, handshake_timeout=0.5) as rig:
        first, second = silent(rig, "alice", endpoint), silent(rig, "alice", endpoint)
        assert silent(rig, "alice", endpoint).outcome == REFUSED
        rig.wait_stat("handshakes", 0)
        assert silent(rig, "alice", endpoint).outcome == REFUSED
        for one in (first, second):
            one.leave()
        wait_until(let_in(silent, rig, endpoint=endpoint))


def test_a_key_that_is_revoked_ends_its_silent_connections(
    rig: KeyedRig, silent: Open, caplog: pytest.LogCaptureFixture
) -> None:
    hers, his = silent(rig, "alice"), silent(rig, "bob")
    rig.wait_stat("handshakes", 0)
    rig.keys.directory.revoke("alice")
    rig.broker.reload_keys()
    assert hers.is_cut()
    (line,) = lines_of(caplog, "rights lost")
    assert line.startswith('rights lost peer=127.0.0.1 why="the key was revoked')
    assert line.endswith("identity=alice")
    assert silent(rig, "alice").outcome == REFUSED
    if not his.is_cut(LOOKS_S):
        his.socket.send_multipart([b"", b"ask"])
        rig.wait_stat("waiting", 1)


def test_a_key_that_is_removed_ends_one_whose_connection_is_not_known_yet(
    rig: KeyedRig, silent: Open
) -> None:
    peers = Path(rig.keys.path) / "peers.toml"
    hers = silent(rig, "alice")
    peers.write_text("# nobody\n")
    rig.broker.reload_keys()
    assert hers.is_cut()


@pytest.fixture
def through() -> Iterator[Callable[[str], Proxy]]:
    """``through(endpoint)``: a proxy."""
    with contextlib.ExitStack() as proxies:
        yield lambda endpoint: proxies.enter_context(Proxy(endpoint))


def crowd(
    rig: KeyedRig, silent: Open, through: Callable[[str], Proxy]
) -> tuple[list[Silent], list[Silent]]:
    """Have peers of bob's and of carol's shake hands at the same moment, from one address.

    Hers connect first, and shake hands last.
    """
    rig.keys.add("carol", "client")
    for name in ("bob", "carol"):
        rig.keys.edit(name, connections_max=CROWD)
    rig.broker.reload_keys()
    wait_until(let_in(silent, rig, "carol"))
    rig.wait_stat("handshakes", 0)
    his, hers = [], []
    for _ in range(CROWD - 1):
        proxy = through(rig.frontend)
        proxy.delay = 3600.0
        hers.append(silent(rig, "carol", proxy.url, wait=False))
        wait_until(lambda proxy=proxy: proxy.accepted)
        his.append(silent(rig, "bob"))
        proxy.delay = 0.0
        assert his[-1].outcome == hers[-1].shake().outcome == LET_IN
    rig.wait_stat("handshakes", 0)
    return his, hers


def test_one_that_was_taken_for_another_ends_with_its_own_key(
    rig: KeyedRig, silent: Open, through: Callable[[str], Proxy]
) -> None:
    _, hers = crowd(rig, silent, through)
    rig.keys.directory.revoke("carol")
    rig.broker.reload_keys()
    assert all(one.is_cut() for one in hers)


def test_one_that_was_taken_for_another_counts_for_its_own_key(
    rig: KeyedRig, silent: Open, through: Callable[[str], Proxy]
) -> None:
    his, hers = crowd(rig, silent, through)
    assert silent(rig, "carol").outcome == REFUSED
    for one in his:
        one.socket.send_multipart([b"", b"ask"])
    rig.wait_stat("waiting", len(his))
    assert silent(rig, "carol").outcome == REFUSED
    for one in his:
        one.leave()
    wait_until(let_in(silent, rig, "bob"))
    assert silent(rig, "carol").outcome == REFUSED
    hers.pop().leave()
    wait_until(let_in(silent, rig, "carol"))
    assert silent(rig, "carol").outcome == REFUSED


def test_handshakes_up_to_the_proof_hide_no_silent_one(
    rig: KeyedRig, silent: Open, raw: Callable[[str], CurveConnection]
) -> None:
    """They have read WELCOME, and show no key."""
    for _ in range(3):
        raw("bob").hello()
    silent(rig, "alice"), silent(rig, "alice")
    for _ in range(3):
        raw("bob").hello()
    rig.wait_stat("handshakes", 6)
    assert silent(rig, "alice").outcome == REFUSED


def test_a_raw_peer_counts_from_its_proof_on(
    rig: KeyedRig, silent: Open, raw: Callable[[str], CurveConnection]
) -> None:
    first, second = raw("alice"), raw("alice")
    for one in (first, second):
        one.hello()
    assert silent(rig, "alice").outcome == LET_IN
    second.initiate()
    with pytest.raises((EOFError, ConnectionError)):
        first.initiate()
    second.send([b"", b"ask"])
    rig.wait_stat("waiting", 1)
    assert silent(rig, "alice").outcome == REFUSED
    second.close()
    rig.wait_stat("waiting", 0)
    wait_until(let_in(silent, rig))
