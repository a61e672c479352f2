"""Rights that end while their peers are there: revoked keys, lost roles and services, expiry."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.keyed import KeyedRig, Keys, lines_of, serving
from tests.interop.rig import DISCONNECTS, MDP_FORMS, Own
from tests.peers import pnd_wire as wire
from tests.peers.base import Peer
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_wire import Record
from tests.peers.pnd_worker import PndWorker
from tests.peers.req_worker import ReqWorker
from tests.support import wait_until

UNAUTHENTICATED, PERMISSION_DENIED = 16, 7
GOING = 1


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "keys")
    keys.add("alice", "client")
    keys.add("bob", "client")
    keys.add("anvil", "worker")
    keys.add("forge", "worker")
    keys.add("both", "client", "worker", "operator")
    return keys


@pytest.fixture
def rig(keys: Keys) -> Iterator[KeyedRig]:
    with serving(keys) as rig:
        yield rig


Open = Callable[..., Any]


def said(peer: Peer, kind: int) -> Record:
    """Read until a record of a kind comes; give it."""
    while True:
        for record in wire.unpack(peer.recv())[1]:
            if record.kind == kind:
                return record


def refusal(peer: Peer) -> tuple[int, int, str]:
    """Read until an ERROR; give its id, code and text."""
    record = said(peer, wire.ERROR)
    return record.id, wire.ERROR_HEAD.unpack(record.head)[0], record.parts[0].decode()


def revoke(rig: KeyedRig, name: str) -> None:
    rig.keys.directory.revoke(name)
    rig.broker.reload_keys()


def test_client_whose_key_is_revoked(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work", capacity=2)
    rig.ready(worker)
    alice, bob = (open_as(PndClient, name, service=b"work") for name in ("alice", "bob"))
    id = alice.ask([b"hers"])
    hers = worker.task()
    bob.ask([b"his"])
    his = worker.task()
    closed = rig.stat("closed_connections")
    revoke(rig, "alice")
    assert refusal(alice)[:2] == (0, UNAUTHENTICATED)
    rig.wait_stat("clients", 1)
    alice.put(wire.request(id + 1, [b"more"], b"work"))
    code = (id + 1, UNAUTHENTICATED)
    answer = refusal(alice)
    assert answer[:2] == code
    assert "revoked" in answer[2]
    rig.wait_rise("closed_connections", closed)
    assert rig.stat("cancelled") == 1
    worker.answer(his, [b"a"])
    assert bob.take()[1] == [b"a"]
    worker.answer(hers, [b"for nobody"])
    rig.wait_stat("answers_dropped", 1)

    def cancelled() -> bool:
        frames = worker.poll(0.05)
        if frames is not None:
            worker.parse(frames)
        return bool(worker.cancelled == [worker.token(hers)])

    wait_until(cancelled)


def test_it_gets_bye(rig: KeyedRig, open_as: Open) -> None:
    alice = open_as(PndClient, "alice", service=b"work")
    alice.welcome()
    revoke(rig, "alice")
    bye = said(alice, wire.BYE)
    assert wire.ERROR_HEAD.unpack(bye.head)[0] == GOING


def test_session_that_neither_asks_nor_serves_hears_it_once(
    rig: KeyedRig, own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    peer = own(rig.keys.form(Peer, "alice")(rig.frontend))
    peer.send(wire.packet(os.urandom(16), [Record(wire.HEARTBEAT)]))
    said(peer, wire.WELCOME)
    revoke(rig, "alice")
    assert refusal(peer)[:2] == (0, UNAUTHENTICATED)
    revoke(rig, "bob")  # while the connection is still there
    rig.wait_stat("closed_connections", 1)
    assert len(lines_of(caplog, "rights lost")) == 1
    later = []
    while (frames := peer.poll(0.1)) is not None:
        later += [record.kind for record in wire.unpack(frames)[1]]
    assert wire.ERROR not in later


def test_worker_whose_key_is_revoked(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    task = worker.task()
    other = open_as(PndWorker, "forge", service=b"work")
    rig.ready(other)
    begun = time.monotonic()
    revoke(rig, "anvil")
    again = other.task()
    assert time.monotonic() - begun < 1.0
    said(worker, wire.BYE)  # the last record of the revocation: what is read next is not its ERROR
    worker.put(wire.reply(worker.token(task), [b"late"]))
    assert refusal(worker)[:2] == (0, UNAUTHENTICATED)
    other.answer(again, [b"true"])
    assert client.take()[1] == [b"true"]
    assert rig.stat("workers") == 1


@pytest.mark.parametrize("form", MDP_FORMS)
def test_mdp_worker_whose_key_is_revoked(rig: KeyedRig, open_as: Open, form: type[Any]) -> None:
    worker = open_as(form, "anvil", service=b"work")
    rig.ready(worker)
    revoke(rig, "anvil")
    rig.wait_stat("workers", 0)
    wait_until(lambda: worker.recv() == DISCONNECTS[form])


def test_req_worker_whose_key_is_revoked(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(ReqWorker, "anvil")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    task = worker.task()
    revoke(rig, "anvil")
    rig.wait_stat("workers", 0)
    worker.answer(task, [b"late"])
    other = open_as(ReqWorker, "forge")
    rig.ready(other)
    other.answer(other.task(), [b"true"])
    assert client.take()[1] == [b"true"]


def test_session_in_its_grace_ends_with_its_key(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    alice = open_as(PndClient, "alice", service=b"work")
    alice.ask([b"q"])
    worker.task()
    alice.close()
    rig.wait_stat("closed_connections", 1)
    assert rig.stat("clients") == 1
    revoke(rig, "alice")
    rig.wait_stat("clients", 0)
    assert rig.stat("cancelled") == 1


def test_role_that_a_worker_loses(rig: KeyedRig, open_as: Open) -> None:
    """What it is besides goes on, by the same connection."""
    both = open_as(PndWorker, "both", service=b"work")
    rig.ready(both)
    rig.keys.edit("both", roles=["client"])
    rig.broker.reload_keys()
    id, code, text = refusal(both)
    assert (id, code) == (0, UNAUTHENTICATED)
    assert "the role 'worker' is needed" in text
    rig.wait_stat("workers", 0)
    other = open_as(PndWorker, "forge", service=b"work")
    rig.ready(other)
    both.put(wire.request(1, [b"q"], b"work"))
    other.answer(other.task(), [b"a"])
    assert said(both, wire.REPLY).parts == [b"a"]


def test_role_that_a_client_loses(rig: KeyedRig, open_as: Open) -> None:
    both = open_as(PndClient, "both", service=b"work")
    both.ask([b"q"])
    rig.wait_stat("waiting", 1)
    rig.keys.edit("both", roles=["worker", "operator"])
    rig.broker.reload_keys()
    assert refusal(both)[:2] == (0, UNAUTHENTICATED)
    rig.wait_stat("cancelled", 1)
    assert rig.stat("waiting") == 0
    both.put(wire.request(2, [], b"pound.status"))
    assert said(both, wire.REPLY).id == 2
    both.put(wire.request(3, [b"q"], b"work"))
    assert refusal(both)[:2] == (3, UNAUTHENTICATED)


def test_service_that_a_worker_loses(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    rig.keys.edit("anvil", services=["image.*"])
    rig.broker.reload_keys()
    assert refusal(worker)[:2] == (0, PERMISSION_DENIED)
    rig.wait_stat("workers", 0)
    worker.service = b"image.small"
    worker.ready()
    rig.wait_stat("workers", 1)


@pytest.mark.parametrize(
    "values", [{"roles": ["client"]}, {"services": ["image.*"]}], ids=["role", "service"]
)
def test_late_answer_of_a_worker_that_lost_a_right(
    rig: KeyedRig, open_as: Open, values: dict[str, list[str]]
) -> None:
    """Nobody else can take its task, which waits: what it sends for it counts for nothing."""
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "alice", service=b"work")
    client.ask([b"q"])
    token = worker.token(worker.task())
    rig.keys.edit("anvil", **values)
    rig.broker.reload_keys()
    rig.wait_stat("waiting", 1)
    seen = rig.stat("records_in")
    worker.put(wire.reply(token, [b"late"]))
    rig.wait_rise("records_in", seen)
    assert rig.stat("answered") == 0
    other = open_as(PndWorker, "forge", service=b"work")
    rig.ready(other)
    other.answer(other.task(), [b"true"])
    assert client.take()[1] == [b"true"]


def test_service_that_a_client_loses(rig: KeyedRig, open_as: Open) -> None:
    """The set of its services has the number that the former one had in the table before."""
    rig.keys.edit("both", services=["work"])
    rig.broker.reload_keys()
    worker = open_as(PndWorker, "anvil", service=b"work", capacity=4)
    rig.ready(worker)
    client = open_as(PndClient, "both", service=b"work")
    client.welcome()
    client.ask([b"before"])
    task = worker.task()
    rig.keys.edit("both", services=["image.*"])
    rig.broker.reload_keys()
    before = rig.stat("denied")

    def denied() -> bool:
        client.ask([b"after"])
        return rig.stat("denied") > before

    wait_until(denied)
    worker.answer(task, [b"a"])
    taken: list[Any] = []

    def take() -> bool:
        try:
            taken.append(client.take())
        except FailedError as failed:
            taken.append(failed.code)
        return PERMISSION_DENIED in taken and (1, [b"a"]) in taken

    wait_until(take)


def test_others_do_not_notice_a_reload(rig: KeyedRig, open_as: Open) -> None:
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    client = open_as(PndClient, "bob", service=b"work")
    id = client.ask([b"q"])
    task = worker.task()
    rig.keys.add("carol", "client")
    rig.broker.reload_keys()
    carol = open_as(PndClient, "carol", service=b"work")
    carol.welcome()
    revoke(rig, "alice")
    worker.answer(task, [b"a"])
    assert client.take() == (id, [b"a"])
    carol.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert carol.take()[1] == [b"a"]
    assert rig.stat("denied") == 0


def test_key_that_expires(rig: KeyedRig, open_as: Open) -> None:
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1.5)
    rig.keys.edit("alice", expires=soon)
    rig.broker.reload_keys()
    alice = open_as(PndClient, "alice", service=b"work")
    alice.ask([b"q"])
    rig.wait_stat("waiting", 1)
    id, code, text = refusal(alice)
    assert (id, code) == (0, UNAUTHENTICATED)
    assert "expired" in text
    assert datetime.datetime.now(datetime.timezone.utc) - soon < datetime.timedelta(seconds=1)
    rig.wait_stat("waiting", 0)


def test_rotated_key_keeps_the_session(rig: KeyedRig, open_as: Open, own: Own) -> None:
    from pound.security.curve import new_pair

    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    alice = open_as(PndClient, "alice", service=b"work")
    id = alice.ask([b"q"])
    task = worker.task()
    pair, until = new_pair(), datetime.datetime(2999, 1, 1, tzinfo=datetime.timezone.utc)
    rig.keys.directory.rotate("alice", pair.public, until)
    rig.broker.reload_keys()
    rig.keys.pairs["alice"] = pair
    moved = rig.keys.form(PndClient, "alice")
    type(alice).options = moved.options

    def welcomed() -> bool:
        alice.reopen()
        alice.retry()
        return alice.poll(0.5) is not None

    wait_until(welcomed)
    worker.answer(task, [b"a"])
    assert alice.take() == (id, [b"a"])


@pytest.mark.parametrize("last", ["old", "new", "old, closed"])
def test_session_of_two_keys_goes_on_by_the_one_that_stays(
    rig: KeyedRig, open_as: Open, own: Own, last: str
) -> None:
    """While a peer rotates, connections of both its keys may speak for one session."""
    from pound.security.curve import new_pair

    session, new = os.urandom(16), new_pair()
    until = datetime.datetime(2999, 1, 1, tzinfo=datetime.timezone.utc)
    rig.keys.directory.rotate("alice", new.public, until)
    rig.broker.reload_keys()
    forms = {"old": rig.keys.form(Peer, "alice")}
    rig.keys.pairs["alice"] = new
    forms["new"] = rig.keys.form(Peer, "alice")
    routes: dict[str, Peer] = {}
    for key in ("old", "new") if last == "new" else ("new", "old"):
        routes[key] = own(forms[key](rig.frontend))
        routes[key].send(wire.packet(session, [wire.hello(b"x")]))
        said(routes[key], wire.WELCOME)
    routes["old"].send(wire.packet(session, [wire.request(1, [b"q"], b"work")]))
    rig.wait_stat("waiting", 1)
    closed = rig.stat("closed_connections")
    if last == "old, closed":
        routes["old"].close()
        rig.wait_rise("closed_connections", closed)
    rig.keys.edit("alice", key=new.public, next_key=None, next_until=None)
    rig.broker.reload_keys()
    rig.wait_rise("closed_connections", closed)
    worker = open_as(PndWorker, "anvil", service=b"work")
    rig.ready(worker)
    worker.answer(worker.task(), [b"a"])
    assert said(routes["new"], wire.REPLY).parts == [b"a"]
    routes["new"].send(wire.packet(session, [wire.request(2, [b"q"], b"work")]))
    worker.answer(worker.task(), [b"b"])
    assert said(routes["new"], wire.REPLY).parts == [b"b"]
    assert rig.stat("cancelled") == rig.stat("denied") == 0


def test_connections_of_an_identity_are_counted(rig: KeyedRig, open_as: Open) -> None:
    rig.keys.edit("alice", connections_max=2)
    rig.broker.reload_keys()
    first, second = (open_as(PndClient, "alice") for _ in range(2))
    first.welcome()
    second.welcome()
    assert not welcomed(open_as(PndClient, "alice"))
    rig.keys.add("carol", "client")
    rig.broker.reload_keys()  # the new table has the count of the old one
    open_as(PndClient, "carol").welcome()
    assert not welcomed(open_as(PndClient, "alice"))
    second.close()
    wait_until(lambda: welcomed(open_as(PndClient, "alice")))


def test_connections_count_once_when_a_key_of_the_same_table_expires(
    rig: KeyedRig, open_as: Open
) -> None:
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1.5)
    rig.keys.edit("alice", connections_max=2)
    rig.keys.edit("bob", expires=soon)
    rig.broker.reload_keys()
    bob = open_as(PndClient, "bob")
    bob.welcome()
    open_as(PndClient, "alice").welcome()
    said(bob, wire.BYE)
    open_as(PndClient, "alice").welcome()
    assert not welcomed(open_as(PndClient, "alice"))


def welcomed(client: PndClient) -> bool:
    """Tell whether a broker answers a client; libzmq gives up a connection that is refused."""
    answered = client.poll(0.5) is not None
    if not answered:
        client.close()
    return answered


def test_raw_session_of_a_revoked_key_hears_it_once_for_its_other_records(
    rig: KeyedRig, own: Own
) -> None:
    peer = own(rig.keys.form(Peer, "alice")(rig.frontend))
    session = os.urandom(16)
    peer.send(wire.packet(session, [wire.hello(b"x")]))
    said(peer, wire.WELCOME)
    revoke(rig, "alice")
    said(peer, wire.BYE)
    peer.send(
        wire.packet(
            session,
            [Record(wire.HEARTBEAT), Record(wire.CANCEL, 4), wire.request(5, [b"q"], b"work")],
        )
    )
    records = wire.unpack(peer.recv())[1]
    assert [(r.kind, r.id) for r in records] == [(wire.ERROR, 0), (wire.ERROR, 5)]


def test_rights_that_end_are_logged(
    rig: KeyedRig, open_as: Open, caplog: pytest.LogCaptureFixture
) -> None:
    rig.ready(open_as(PndWorker, "anvil", service=b"work"))
    revoke(rig, "anvil")
    rig.wait_stat("workers", 0)
    (line,) = lines_of(caplog, "rights lost")
    assert line.startswith('rights lost peer=tests:0 why="the key was revoked')
    assert line.endswith("dialect=pnd identity=anvil")


def test_who_was_removed_by_hand_is_logged_by_name(
    rig: KeyedRig, open_as: Open, caplog: pytest.LogCaptureFixture
) -> None:
    rig.ready(open_as(PndWorker, "anvil", service=b"work"))
    (Path(rig.keys.path) / "peers.toml").write_text("# nobody\n")
    rig.broker.reload_keys()
    rig.wait_stat("workers", 0)
    (line,) = lines_of(caplog, "rights lost")
    assert line.endswith("dialect=pnd identity=anvil")
