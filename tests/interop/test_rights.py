"""What a key may do: roles, services, sessions, and routing ids that somebody else had.

The peers are real libzmq sockets with CURVE keys, and raw ones where libzmq would not send it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from tests.interop.keyed import KeyedRig, Keys, lines_of, serving
from tests.interop.rig import QUIET, WILDCARD, Own
from tests.peers import pnd_wire as wire
from tests.peers.base import Peer
from tests.peers.dealer_client import BareClient, DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient, Mdp1Worker
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_wire import Record
from tests.peers.pnd_worker import PndWorker
from tests.peers.req_worker import ReqWorker
from tests.support import WAIT_S, wait_until

UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND = 16, 7, 5


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "keys")
    keys.add("alice", "client")
    keys.add("bob", "client")
    keys.add("anvil", "worker")
    keys.add("forge", "worker")
    keys.add("both", "client", "worker")
    keys.add("ops", "operator")
    keys.add("narrow", "client", "worker", services=("work", "image.*"))
    return keys


@pytest.fixture
def rig(keys: Keys) -> Iterator[KeyedRig]:
    with serving(keys) as rig:
        yield rig


Open = Callable[..., Any]


def errors_of(peer: Peer) -> list[tuple[int, int, str]]:
    """Read until a packet has ERRORs; give (id, code, text) of each."""
    while True:
        records = wire.unpack(peer.recv())[1]
        found = [r for r in records if r.kind == wire.ERROR]
        if found:
            return [(r.id, wire.ERROR_HEAD.unpack(r.head)[0], r.parts[0].decode()) for r in found]


def refused(client: PndClient, service: bytes) -> tuple[int, str]:
    """Ask, and give (code, text) of the refusal."""
    client.ask([b"q"], service)
    with pytest.raises(FailedError) as failed:
        client.take()
    return failed.value.code, failed.value.text


# ---- roles ----


def test_each_role_does_its_own(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take()[1] == [b"a"]
    page = open_as(PndClient, "ops", service=b"pound.status")
    assert b"uptime_ms" in page.request([])[0]
    workers = open_as(PndClient, "ops", service=b"pound.workers").request([])[0]
    assert json.loads(workers)["workers"][0]["identity"] == "anvil"


@pytest.mark.parametrize(
    ("name", "service", "role"),
    [
        ("anvil", b"work", "client"),
        ("ops", b"work", "client"),
        ("alice", b"pound.status", "operator"),
        ("anvil", b"pound.workers", "operator"),
        ("both", b"pound.nothing", "operator"),
        ("anvil", b"mmi.service", "client' or 'operator"),
    ],
)
def test_request_without_the_role(
    rig: KeyedRig, own: Own, name: str, service: bytes, role: str
) -> None:
    peer = own(rig.keys.form(Peer, name)(rig.frontend))
    peer.send(wire.packet(os.urandom(16), [wire.request(7, [b"q"], service)]))
    ((id, code, text),) = errors_of(peer)
    assert (id, code) == (7, UNAUTHENTICATED)
    assert f"the role '{role}' is needed" in text
    assert rig.stat("denied") == 1
    assert rig.stat("waiting") == 0


def test_greeting_of_a_worker_that_is_no_client(rig: KeyedRig, own: Own) -> None:
    peer = own(rig.keys.form(Peer, "anvil")(rig.backend))
    peer.send(wire.packet(os.urandom(16), [wire.hello(b"x")]))
    assert [(id, code) for id, code, _ in errors_of(peer)] == [(0, UNAUTHENTICATED)]
    assert rig.stat("clients") == 0


def test_ready_without_the_role(rig: KeyedRig, own: Own) -> None:
    peer = own(rig.keys.form(Peer, "alice")(rig.backend))
    peer.send(wire.packet(os.urandom(16), [wire.ready(1, [b"work"])]))
    ((id, code, text),) = errors_of(peer)
    assert (id, code) == (0, UNAUTHENTICATED)
    assert "the role 'worker' is needed" in text
    assert rig.stat("workers") == 0


def test_answers_without_the_role_are_nobodys(rig: KeyedRig, open_as: Open, own: Own) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    task = worker.task()
    thief = own(rig.keys.form(Peer, "bob")(rig.frontend))
    session = os.urandom(16)
    thief.send(wire.packet(session, [wire.reply(worker.token(task), [b"stolen"])]))
    rig.wait_stat("answers_unknown", 1)
    worker.answer(task, [b"true"])
    assert client.take()[1] == [b"true"]


# ---- services ----


def test_service_that_the_key_may_not_use(rig: KeyedRig, open_as: Open) -> None:
    rig.ready(open_as(PndWorker, "anvil", service=b"secret"))
    client = open_as(PndClient, "narrow")
    client.welcome()  # which makes it ask again
    for service in (b"secret", b"secret", b"unheard.of", b"imag"):
        code, text = refused(client, service)
        assert code == PERMISSION_DENIED
        assert text.startswith(f"the key of narrow may not use the service '{service.decode()}': ")
    assert rig.stat("services") == 2  # the default one, and the worker's
    assert rig.stat("denied") == 4


def test_services_by_pattern_and_the_default_one(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "narrow", service=b"image.small")
    rig.ready(worker)
    default = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(default)
    client = open_as(PndClient, "narrow")
    for service, by in ((b"image.small", worker), (b"work", default), (b"", default)):
        client.ask([service], service)
        by.answer(by.task(), [b"a"])
        assert client.take()[1] == [b"a"]


@pytest.mark.parametrize("offered", [[b"secret"], [b"work", b"secret"]])
def test_ready_for_a_service_that_the_key_may_not_serve(
    rig: KeyedRig, own: Own, offered: list[bytes]
) -> None:
    peer = own(rig.keys.form(Peer, "narrow")(rig.backend))
    peer.send(wire.packet(os.urandom(16), [wire.ready(1, offered)]))
    assert [(id, code) for id, code, _ in errors_of(peer)] == [(0, PERMISSION_DENIED)]
    assert rig.stat("workers") == 0
    assert rig.stat("services") == 1


def test_a_million_names_that_a_key_may_not_use_leave_nothing(rig: KeyedRig, own: Own) -> None:
    peer = own(rig.keys.form(Peer, "narrow")(rig.frontend))
    session = os.urandom(16)
    ask_for(peer, session, 0)  # what a first packet of this size needs stays
    before = resident_bytes()
    for packet in range(1, 101):
        ask_for(peer, session, packet)
    assert rig.stat("denied") == 101 * NAMES
    assert rig.stat("services") == 1
    rig.wait_stat("held_bytes", 0)
    assert resident_bytes() - before < 32 << 20


def test_the_names_that_a_key_may_use_are_bounded(keys: Keys, own: Own) -> None:
    """A name without workers is kept while a request for it waits: of one client, only so many.

    200,000 names show it as well as a million, in a fifth of the time: what was kept of each
    would take more than the 80 bytes that the bound below leaves.
    """
    with serving(keys, services_max=1000) as rig:
        peer = own(rig.keys.form(Peer, "bob")(rig.frontend))
        session = os.urandom(16)
        names_judged(rig, peer, session, 0)
        before = resident_bytes()
        for packet in range(1, 21):
            names_judged(rig, peer, session, packet)
        assert rig.stat("services") <= 1 + 1000 // 8
        assert rig.stat("waiting") <= 1000 // 8
        assert resident_bytes() - before < 16 << 20


def names_judged(rig: KeyedRig, peer: Peer, session: bytes, packet: int) -> None:
    """Ask for `NAMES` services that nobody has heard of, and wait until each has been judged."""
    peer.send(names_packet(session, packet))
    asked = (packet + 1) * NAMES

    def judged() -> bool:
        while peer.socket.poll(0):  # what is not read would fill up the connection
            peer.recv()
        return rig.stat("accepted") + rig.stat("refused") == asked

    wait_until(judged)


NAMES = 10_000  # in a packet


def ask_for(peer: Peer, session: bytes, packet: int) -> None:
    """Ask for `NAMES` services that nobody has heard of, and wait until all are refused."""
    peer.send(names_packet(session, packet))
    refused = 0
    while refused < NAMES:
        records = wire.HEADER.unpack_from(peer.recv()[0])[1]
        refused += records - (refused == 0 and packet == 0)  # WELCOME comes first


def names_packet(session: bytes, packet: int) -> list[bytes]:
    """Give a packet of `NAMES` requests, each for another service."""
    first = packet * NAMES + 1
    names = range(first, first + NAMES)
    return wire.packet(session, [wire.request(name, [b"q"], b"n.%d" % name) for name in names])


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_mmi_says_nothing_of_other_services(rig: KeyedRig, open_as: Open) -> None:
    for service in (b"work", b"secret"):
        rig.ready(open_as(PndWorker, "anvil", service=service))
    told = {
        (name, service): open_as(PndClient, name, service=b"mmi.service").request([service])
        for name in ("narrow", "alice", "ops")
        for service in (b"work", b"secret")
    }
    assert told == {
        ("narrow", b"work"): [b"200"],
        ("narrow", b"secret"): [b"404"],
        ("alice", b"work"): [b"200"],
        ("alice", b"secret"): [b"200"],
        ("ops", b"work"): [b"200"],
        ("ops", b"secret"): [b"200"],
    }


# ---- sessions and requests of another identity ----


def test_session_of_another_identity(rig: KeyedRig, open_as: Open, own: Own) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    alice = open_as(PndClient, "alice", service=b"work")
    id = alice.ask([b"q"])
    task = worker.task()
    thief = own(rig.keys.form(Peer, "bob")(rig.frontend))
    mine = os.urandom(16)
    thief.send(wire.packet(mine, [wire.hello(b"x")]))
    thief.recv()
    thief.send(wire.packet(alice.session, [Record(wire.CANCEL, id), wire.request(9, [b"q"])]))
    denied = errors_of(thief)
    assert [(id, code) for id, code, _ in denied] == [(0, UNAUTHENTICATED), (9, UNAUTHENTICATED)]
    assert "opened with another key" in denied[0][2]
    worker.answer(task, [b"a"])
    assert alice.take() == (id, [b"a"])
    assert rig.stat("clients") == 2  # the thief's own session goes on, too
    thief.send(wire.packet(mine, [Record(wire.HEARTBEAT)]))
    assert [r.kind for r in wire.unpack(thief.recv())[1]] == [wire.HEARTBEAT]


def test_session_of_a_worker_of_another_identity(rig: KeyedRig, open_as: Open, own: Own) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    task = worker.task()
    thief = own(rig.keys.form(Peer, "forge")(rig.backend))
    thief.send(wire.packet(worker.session, [wire.reply(worker.token(task), [b"stolen"])]))
    assert [(id, code) for id, code, _ in errors_of(thief)] == [(0, UNAUTHENTICATED)]
    worker.answer(task, [b"true"])
    assert client.take()[1] == [b"true"]


def test_a_session_comes_back_by_any_connection_of_its_identity(
    rig: KeyedRig, open_as: Open
) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    id = client.ask([b"q"])
    task = worker.task()
    client.reopen()
    client.retry()
    worker.answer(task, [b"a"])
    assert client.take() == (id, [b"a"])
    assert rig.stat("denied") == 0


def test_request_numbers_of_another_identity(rig: KeyedRig, open_as: Open) -> None:
    """The same numbers in two sessions are two requests: neither fetches or cancels the other."""
    worker = open_as(PndWorker, "anvil", service=b"work", capacity=2)
    rig.ready(worker)
    alice = open_as(PndClient, "alice", service=b"work")
    bob = open_as(PndClient, "bob", service=b"work")
    assert alice.ask([b"alice"]) == 1
    hers = worker.task()
    bob.cancel(1)
    assert bob.ask([b"bob"]) == 1
    his = worker.task()
    assert his.body == [b"bob"]
    worker.answer(hers, [b"for alice"])
    worker.answer(his, [b"for bob"])
    assert alice.take() == (1, [b"for alice"])
    assert bob.take() == (1, [b"for bob"])


@pytest.mark.parametrize("token", ["guessed", "old", "another worker's"])
def test_answers_with_tokens_of_others(rig: KeyedRig, open_as: Open, token: str) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    task = worker.task()
    thief = open_as(PndWorker, "forge", service=b"other")
    rig.ready(thief)
    number = worker.token(task)
    if token == "old":
        worker.answer(task, [b"first"])
        assert client.take()[1] == [b"first"]
    if token == "guessed":
        number = (number + 1) % 2**64
    late = rig.stat("answers_late")
    thief.put(wire.reply(number, [b"stolen"]))
    rig.wait_rise("answers_late", late)
    if token != "old":
        worker.answer(task, [b"true"])
        assert client.take()[1] == [b"true"]
    assert client.strays == []


# ---- routing ids of others ----


def leave(rig: KeyedRig, peer: Peer) -> None:
    """Close a peer; libzmq never listens to one that takes its routing id before that is seen."""
    closed = rig.stat("closed_connections")
    peer.close()
    rig.wait_rise("closed_connections", closed)


def test_guide_client_under_the_id_of_one_that_is_gone(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work", capacity=2)
    rig.ready(worker)
    alice = open_as(DealerClient, "alice", identity=b"victim")
    alice.ask([b"hers"])
    hers = worker.task()
    leave(rig, alice)
    bob = open_as(DealerClient, "bob", identity=b"victim")
    bob.ask([b"his"])
    his = worker.task()
    worker.answer(hers, [b"for alice"])
    worker.answer(his, [b"for bob"])
    assert bob.take() == [b"for bob"]
    assert bob.poll(QUIET) is None


def test_guide_client_under_the_id_of_one_that_is_there(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work", capacity=2)
    rig.ready(worker)
    alice = open_as(DealerClient, "alice", identity=b"victim")
    alice.ask([b"hers"])
    hers = worker.task()
    bob = open_as(DealerClient, "bob", identity=b"victim")
    bob.ask([b"his"])
    assert bob.poll(QUIET) is None
    worker.answer(hers, [b"for alice"])
    assert alice.take() == [b"for alice"]
    alice.ask([b"again"])
    worker.answer(worker.task(), [b"for alice"])
    assert alice.take() == [b"for alice"]


def test_guide_client_that_is_back_gets_its_answer(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work", capacity=2)
    rig.ready(worker)
    alice = open_as(DealerClient, "alice", identity=b"hers")
    alice.ask([b"one"])
    task = worker.task()
    alice.reopen()
    rig.wait_stat("closed_connections", 1)
    alice.ask([b"two"])
    worker.answer(task, [b"1"])
    worker.answer(worker.task(), [b"2"])
    assert [alice.take(), alice.take()] == [[b"1"], [b"2"]]


def test_guide_worker_under_the_id_of_one_that_is_gone(rig: KeyedRig, open_as: Open) -> None:
    victim = open_as(ReqWorker, "anvil", identity=b"victim")
    rig.ready(victim)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    task = victim.task()
    leave(rig, victim)
    thief = open_as(ReqWorker, "forge", identity=b"victim")
    thief.answer(task, [b"stolen"])  # it counts as READY, as a late answer does
    again = thief.task()
    assert again.address != task.address
    thief.answer(again, [b"true"])
    assert client.take()[1] == [b"true"]
    assert rig.stat("answered") == 1


def test_silent_peer_under_the_id_of_a_lost_worker_gets_no_task(
    rig: KeyedRig, open_as: Open
) -> None:
    victim = open_as(ReqWorker, "anvil", identity=b"victim")
    rig.ready(victim)
    leave(rig, victim)
    rig.wait_stat("workers", 0)
    thief = open_as(ReqWorker, "alice", identity=b"victim")
    open_as(PndClient, "bob", service=b"work").ask([b"q"])
    rig.wait_stat("waiting", 1)
    assert thief.poll(3 * QUIET) is None


def test_guide_client_of_a_narrow_key(rig: KeyedRig, open_as: Open) -> None:
    client = open_as(Mdp1AsyncClient, "narrow", service=b"secret")
    client.ask([b"q"])
    rig.wait_stat("denied", 1)
    assert rig.stat("services") == 1


@pytest.mark.parametrize("form", [Mdp1Worker, ReqWorker])
def test_guide_worker_without_the_role(rig: KeyedRig, open_as: Open, form: type[Any]) -> None:
    worker = open_as(form, "alice", service=b"secret")
    worker.ready()
    wait_until(lambda: rig.stat("denied") >= 1)
    assert rig.stat("workers") == 0
    open_as(PndClient, "alice", service=b"").ask([b"q"])
    assert worker.poll(QUIET) is None


# ---- listeners ----


@pytest.fixture
def listening(keys: Keys) -> Iterator[Callable[..., KeyedRig]]:
    """``listening(frontend, backend)``: a rig with a listener for each, of these settings."""
    with contextlib.ExitStack() as rigs:

        def start(frontend: dict[str, Any], backend: dict[str, Any]) -> KeyedRig:
            sides = {"frontend": frontend, "backend": backend}
            listen = [pound.Listener(WILDCARD[0], side=side, **sides[side]) for side in sides]
            return rigs.enter_context(serving(keys, listen=listen))

        yield start


def test_listener_without_keys_has_roles(listening: Any, own: Own) -> None:
    rig = listening(
        {"security": "none", "roles": ("client",)},
        {"security": "none", "roles": ("worker", "operator")},
    )
    worker = own(PndWorker(rig.backend, service=b"work"))
    rig.ready(worker)
    client = own(PndClient(rig.frontend, service=b"work"))
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take()[1] == [b"a"]
    assert refused(client, b"pound.status")[0] == UNAUTHENTICATED
    pages = own(PndClient(rig.backend, service=b"pound.status"))
    assert b"uptime_ms" in pages.request([])[0]
    assert refused(pages, b"work")[0] == UNAUTHENTICATED


def test_key_at_a_listener_without_its_role(listening: Any, own: Own) -> None:
    """`both` is let in for one of its roles, and has no other here."""
    rig = listening({"roles": ("client",)}, {"roles": ("worker",)})
    peer = own(rig.keys.form(Peer, "both")(rig.frontend))
    peer.send(wire.packet(os.urandom(16), [wire.ready(1, [b"work"])]))
    assert [(id, code) for id, code, _ in errors_of(peer)] == [(0, UNAUTHENTICATED)]
    assert rig.stat("workers") == 0


def test_dialect_that_a_listener_does_not_take(listening: Any, own: Own) -> None:
    rig = listening({"dialects": ("plain", "ppp", "mdp")}, {"dialects": ("pnd",)})
    peer = own(rig.keys.form(Peer, "alice")(rig.frontend))
    peer.send(wire.packet(os.urandom(16), [wire.request(3, [b"q"], b"work")]))
    ((id, code, text),) = errors_of(peer)
    assert (id, code) == (3, UNAUTHENTICATED)
    assert "does not allow this dialect" in text
    worker = own(rig.keys.form(ReqWorker, "anvil")(rig.backend))
    worker.ready()
    rig.wait_stat("denied", 2)
    assert rig.stat("workers") == 0
    bare = own(rig.keys.form(BareClient, "alice")(rig.frontend))
    native = own(rig.keys.form(PndWorker, "anvil")(rig.backend, service=b"work"))
    rig.ready(native)
    bare.ask([b"q"])
    native.answer(native.task(), [b"a"])
    assert bare.take() == [b"a"]


def test_inproc_needs_no_key(keys: Keys, own: Own) -> None:
    name = "inproc://rights"
    context: zmq.Context[Any] = zmq.Context.instance()
    with serving(keys, frontend=(name,), context=context) as rig:
        rig.ready(own(rig.keys.form(PndWorker, "anvil")(rig.backend, service=b"work")))
        with pound.Client(name, context=context) as client:
            assert b"uptime_ms" in client.request("pound.status", b"")
        assert rig.stat("denied") == 0


# ---- the log ----


def test_what_is_refused_is_logged_with_the_keys_name(
    rig: KeyedRig, own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    peer = own(rig.keys.form(Peer, "narrow")(rig.frontend))
    session = os.urandom(16)
    for label in (b"\x1b[31m\n2026 INFO worker ready identity=ops", b"another", b"a third"):
        peer.send(wire.packet(session, [wire.hello(label)]))
        peer.send(wire.packet(session, [wire.request(1, [b"q"], b"bad\r\nname\x00")]))
        errors_of(peer)
    # One, whatever it calls itself; those of the broker before may still come.
    (line,) = [line for line in lines_of(caplog, "denied") if "identity=narrow" in line]
    assert line.endswith(" dialect=pnd identity=narrow")
    assert "the key may not use this service" in line
    assert line.isprintable()


def test_worker_that_may_not_serve_is_logged(
    rig: KeyedRig, open_as: Open, caplog: pytest.LogCaptureFixture
) -> None:
    open_as(PndWorker, "narrow", service=b"secret").ready()
    rig.wait_stat("denied", 1)
    assert rig.stat("bad_records") == 0
    (line,) = lines_of(caplog, "worker refused")
    assert "service=secret" in line
    assert "the key may not use this service" in line
    assert line.endswith("identity=narrow")


QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
HOSTILE = b'\x1b[31m\r\n2026 INFO worker ready" identity=ops x="\x00\x9b\xe2\x80\xa8'


def test_ids_are_never_logged_raw(
    rig: KeyedRig, open_as: Open, own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    """Routing ids, labels and services are a peer's own words; the name of its key is not."""
    worker = own(rig.keys.form(Mdp1Worker, "anvil")(rig.backend, service=HOSTILE, identity=HOSTILE))
    rig.ready(worker)
    worker.close()
    rig.wait_stat("workers", 0)
    client = own(rig.keys.form(DealerClient, "anvil")(rig.frontend, identity=HOSTILE))
    client.ask([b"q"])
    rig.wait_stat("denied", 1)
    bad = own(rig.keys.form(Peer, "alice")(rig.frontend, identity=HOSTILE + b"2"))
    bad.send([b"", b"MDPC01"])
    rig.wait_stat("bad_messages", 1)
    peer = own(rig.keys.form(Peer, "narrow")(rig.frontend, identity=HOSTILE + b"3"))
    session = HOSTILE[:16]
    peer.send(wire.packet(session, [wire.hello(HOSTILE)]))
    peer.send(wire.packet(session, [wire.request(1, [b"q"], HOSTILE)]))
    errors_of(peer)
    for event in ("worker gone", "requests refused;", "bad message", "denied"):
        lines_of(caplog, event)
    for line in (record.getMessage() for record in caplog.records):
        assert line.isprintable(), repr(line)
        assert "identity=ops" not in QUOTED.sub("", line)


# ---- authenticated, and hostile ----


def test_message_of_a_key_with_too_many_frames(rig: KeyedRig, open_as: Open, own: Own) -> None:
    hostile = own(rig.keys.form(Peer, "bob")(rig.frontend))
    hostile.send([b"x"] * 200_000)
    assert_served(rig, open_as)
    rig.wait_stat("ignored_routes", 1)
    before = rig.stat("ignored_messages")
    hostile.send([b"", b"work", b"q"])
    rig.wait_stat("ignored_messages", before + 1)


def test_frame_of_a_key_that_is_too_large(rig: KeyedRig, open_as: Open, own: Own) -> None:
    """Its connection is closed before all of it has come, and the broker sees no message."""
    hostile = own(rig.keys.form(Peer, "bob")(rig.frontend))
    closed = rig.stat("closed_connections")
    with hostile.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
        hostile.send([bytes(80 << 20)])
        assert monitor.poll(int(WAIT_S * 1000)), "the connection stays"
        hostile.socket.disable_monitor()
    rig.wait_rise("closed_connections", closed)
    assert_served(rig, open_as)
    assert rig.stat("bytes_in") < 1 << 20
    assert rig.stat("accepted") == 1


def assert_served(rig: KeyedRig, open_as: Open) -> None:
    """Have another client's request answered."""
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert client.take()[1] == [b"a"]
