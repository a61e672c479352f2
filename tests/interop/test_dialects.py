"""Foreign dialects: recognition, the address frame, envelopes, parts, both roles on each socket.

The plain and PPP workers' rules are in test_dialects_workers, Majordomo's in test_dialects_mdp,
clients that leave in test_dialects_clients.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.interop.rig import QUIET, Own, Rig
from tests.peers import mdp1, mdp2
from tests.peers.base import Peer, SilenceError, Worker
from tests.peers.catalogue import BEAT, CLIENTS, SERVICE, WORKERS
from tests.peers.dealer_client import BareClient, DealerClient
from tests.peers.mdp1 import Mdp1AsyncClient, Mdp1Worker
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.peers.ppp_worker import PppWorker
from tests.peers.req_client import ReqClient

FOREIGN = [name for name in WORKERS if not name.startswith("pnd")]


def is_quiet(peer: Peer) -> bool:
    return peer.poll(QUIET) is None


# ---- the address frame ----


@pytest.mark.parametrize("name", FOREIGN)
def test_address_is_hex_digits_and_one_empty_frame(rig: Rig, own: Own, name: str) -> None:
    """Whatever the client's envelope is, a worker sees one string without NULs."""
    worker: Worker = own(WORKERS[name](rig.backend))
    client = own(DealerClient(rig.frontend, stack=(b"\0", b"x" * 255, b"\xff\0")))
    rig.ready(worker)
    for body in ([b"a"], [b"", b"b", b""]):
        client.ask(body)
        task = worker.task()
        assert re.fullmatch(rb"[0-9a-fA-F]{16,32}", task.address)
        assert task.body == body
        worker.answer(task, [b"done"])
        assert client.take() == [b"done"]


def test_addresses_never_repeat_and_start_anywhere(rig_of: Callable[..., Rig], own: Own) -> None:
    seen: set[bytes] = set()
    for rig in (rig_of(), rig_of()):
        worker = own(PppWorker(rig.backend, heartbeat=BEAT))
        client = own(DealerClient(rig.frontend))
        rig.ready(worker)
        for _ in range(50):
            client.ask([b"q"])
            task = worker.task()
            worker.answer(task, [b"a"])
            client.take()
            seen.add(task.address)
    assert len(seen) == 100


# ---- envelopes ----


@pytest.mark.parametrize(
    "stack",
    [
        (),
        (b"a",),
        (b"a", b"b", b"c"),
        (b"\0",),
        (b"\0" * 255, b"\xff" * 255),
        (b"READY", b"\x01", b"\x02"),
        tuple(b"%d" % n for n in range(30)),
    ],
    ids=len,
)
def test_envelope_comes_back_exactly(rig: Rig, own: Own, stack: tuple[bytes, ...]) -> None:
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    client = own(DealerClient(rig.frontend, stack=stack))
    rig.ready(worker)
    client.ask([b"q", b"", b"r"])
    task = worker.task()
    assert task.body == [b"q", b"", b"r"]
    worker.answer(task, [b"", b"a"])
    assert client.recv() == [*stack, b"", b"", b"a"]


@pytest.mark.parametrize("name", ["mdp1 async", "mdp2 delimited"])
def test_majordomo_client_behind_a_hop(rig: Rig, own: Own, name: str) -> None:
    """An address of a hop in front of the empty frame is part of the envelope."""
    worker = own(Mdp1Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    raw = own(Peer(rig.frontend))
    word = [mdp1.CLIENT] if name == "mdp1 async" else [mdp2.CLIENT, mdp2.C_REQUEST]
    raw.send([b"hop", b"", *word, SERVICE, b"q"])
    worker.answer(worker.task(), [b"a"])
    back = [mdp1.CLIENT] if name == "mdp1 async" else [mdp2.CLIENT, mdp2.C_FINAL]
    assert raw.recv() == [b"hop", b"", *back, SERVICE, b"a"]


def test_no_empty_frame_is_all_body(rig: Rig, own: Own) -> None:
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    client = own(BareClient(rig.frontend))
    rig.ready(worker)
    client.ask([b"a", b"b"])
    task = worker.task()
    assert task.body == [b"a", b"b"]
    worker.answer(task, [b"", b"c"])
    assert client.recv() == [b"", b"c"]


# ---- recognition ----


def test_a_client_may_change_its_dialect_with_each_message(rig: Rig, own: Own) -> None:
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    raw = own(Peer(rig.frontend))
    rig.ready(worker)
    pairs = [
        ([b"", b"plain"], [b"", b"a"]),
        ([b"", mdp1.CLIENT, SERVICE, b"q"], [b"", mdp1.CLIENT, SERVICE, b"a"]),
        ([b"bare"], [b"a"]),
        (
            [mdp2.CLIENT, mdp2.C_REQUEST, SERVICE, b"q"],
            [mdp2.CLIENT, mdp2.C_FINAL, SERVICE, b"a"],
        ),
        ([b"hop", b"", b"plain"], [b"hop", b"", b"a"]),
    ]
    for sent, wanted in pairs * 3:
        raw.send(sent)
        worker.answer(worker.task(), [b"a"])
        assert raw.recv() == wanted


@pytest.mark.parametrize("worker_side", ["frontend", "backend"])
@pytest.mark.parametrize("client_side", ["frontend", "backend"])
@pytest.mark.parametrize("name", ["mdp1", "mdp2", "mdp2 delimited", "pnd"])
def test_both_roles_on_either_socket(
    rig: Rig, own: Own, name: str, client_side: str, worker_side: str
) -> None:
    """MDP allows one socket for all, and so does PND."""
    worker = own(WORKERS[name](getattr(rig, worker_side)))
    client = own(CLIENTS[name](getattr(rig, client_side)))
    rig.ready(worker)
    for number in range(5):
        client.ask([b"%d" % number, b"", b"\0"])
        task = worker.task()
        assert task.body == [b"%d" % number, b"", b"\0"]
        worker.answer(task, [b"a", b""])
        answer = client.take()
        assert (answer[1] if name == "pnd" else answer) == [b"a", b""]


def test_services_are_apart(rig: Rig, own: Own) -> None:
    """A name is compared as bytes; a request reaches only workers of its service."""
    names = [b"work", b"Work", b"work ", b"\xc3\xa9", b"\xff\0\xfe", b"n" * 255]
    workers = [own(Mdp1Worker(rig.backend, service=name, heartbeat=2.5)) for name in names]
    client = own(Mdp1AsyncClient(rig.frontend, service=b""))
    native = own(PndClient(rig.frontend))
    rig.ready(*workers)
    for name, worker in zip(names, workers, strict=True):
        client.ask([b"q"], name)
        worker.answer(worker.task(), [b"from", name])
        assert client.take(service=name) == [b"from", name]
        id = native.ask([b"q"], name)
        worker.answer(worker.task(), [b"from", name])
        assert native.take() == (id, [b"from", name])


# ---- parts ----


def test_no_part_at_all_becomes_one_empty_part_for_foreign_workers(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    for name in FOREIGN:
        rig = rig_of()
        worker = own(WORKERS[name](rig.backend))
        client = own(PndClient(rig.frontend))
        rig.ready(worker)
        id = client.ask([])
        task = worker.task()
        assert task.body == [b""]
        worker.answer(task, [b"a"])
        assert client.take() == (id, [b"a"])


@pytest.mark.parametrize("name", [n for n in CLIENTS if not n.startswith("pnd")])
def test_no_part_at_all_becomes_one_empty_part_for_foreign_clients(
    rig: Rig, own: Own, name: str
) -> None:
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    client = own(CLIENTS[name](rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    worker.answer(worker.task(), [])
    assert client.take() == [b""]


@pytest.mark.parametrize("form", [Mdp1Worker, Mdp2Worker])
def test_majordomo_worker_may_answer_without_a_body_frame(
    rig: Rig, own: Own, form: type[Worker]
) -> None:
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    for name in ("req", "mdp1", "mdp2"):
        client = own(CLIENTS[name](rig.frontend))
        client.ask([b"q"])
        worker.answer(worker.task(), [])
        assert client.take() == [b""]
    native = own(PndClient(rig.frontend))
    id = native.ask([b"q"])
    worker.answer(worker.task(), [])
    got, body = native.take()
    assert got == id
    assert body in ([], [b""])
    assert rig.stat("bad_messages") == 0


def test_pnd_peers_keep_a_body_without_parts(rig: Rig, own: Own) -> None:
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    client = own(PndClient(rig.frontend))
    rig.ready(worker)
    id = client.ask([])
    task = worker.task()
    assert task.body == []
    worker.answer(task, [])
    assert client.take() == (id, [])


def test_one_part_refuses_other_bodies(rig_of: Callable[..., Rig], own: Own) -> None:
    """The Guide's own ppworkers break on anything but a body of one part."""
    from pound.config import ServiceConfig

    rig = rig_of(services={"work": ServiceConfig(one_part=True)})
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    native, plain = own(PndClient(rig.frontend)), own(DealerClient(rig.frontend))
    rig.ready(worker)
    for body in ([b"a", b"b"], [b"x" * 5000, b""]):
        native.ask(body)
        with pytest.raises(FailedError) as failed:
            native.take()
        assert failed.value.code == 3
        plain.ask(body)
    plain.ask([b"one"])
    task = worker.task()
    assert task.body == [b"one"]
    worker.answer(task, [b"a", b"b"])
    assert plain.take() == [b"a", b"b"]
    assert rig.stat("one_part_refused") >= 2
    assert rig.stat("accepted") == 1


# ---- partial answers ----


@pytest.mark.parametrize("form", [Mdp2Worker, PndWorker])
@pytest.mark.parametrize("delimited", [False, True])
def test_partials_reach_majordomo_02(
    rig: Rig, own: Own, form: type[Worker], delimited: bool
) -> None:
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp2Client(rig.frontend, service=SERVICE, delimited=delimited))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    parts = [[b"%d" % n, b"", b"\0" * n] for n in range(20)]
    for body in parts:
        worker.partial(task, body)
    worker.answer(task, [b"end"])
    assert client.take() == [b"end"]
    assert client.partials == parts


@pytest.mark.parametrize("form", [Mdp2Worker, PndWorker])
def test_partials_reach_pnd_numbered(rig: Rig, own: Own, form: type[Worker]) -> None:
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(PndClient(rig.frontend))
    rig.ready(worker)
    id = client.ask([b"q"])
    task = worker.task()
    for number in range(20):
        worker.partial(task, [b"%d" % number, b"x" * 5000])
    worker.answer(task, [b"end"])
    assert client.take() == (id, [b"end"])
    assert [(p.attempt, p.sequence) for p in client.partials] == [(1, n) for n in range(20)]
    assert [p.body for p in client.partials] == [[b"%d" % n, b"x" * 5000] for n in range(20)]


@pytest.mark.parametrize("form", [Mdp2Worker, PndWorker])
@pytest.mark.parametrize("name", ["req", "dealer stack", "bare", "mdp1", "mdp1 async"])
def test_clients_without_partials_get_the_final_answer_only(
    rig: Rig, own: Own, name: str, form: type[Worker]
) -> None:
    worker = own(form(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(CLIENTS[name](rig.frontend))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    for _ in range(3):
        worker.partial(task, [b"half"])
    worker.answer(task, [b"all"])
    assert client.take() == [b"all"]
    assert is_quiet(client)
    assert rig.stat("partials_dropped") == 3


def test_partial_without_a_body_frame(rig: Rig, own: Own) -> None:
    """RFC 18 demands a body; an implementation that leaves it out is met with an empty part."""
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    worker.partial(task, [])
    worker.answer(task, [b"end"])
    assert client.take() == [b"end"]
    assert client.partials == [[b""]]


# ---- limits of foreign peers ----


def test_foreign_window(rig_of: Callable[..., Rig], own: Own) -> None:
    """A DEALER has at most `foreign_window` requests; more are dropped and counted."""
    rig = rig_of(foreign_window=5)
    client = own(DealerClient(rig.frontend))
    for number in range(8):
        client.ask([b"%d" % number])
    rig.wait_stat("refused", 3)
    worker = own(PppWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    for number in range(5):
        task = worker.task()
        assert task.body == [b"%d" % number]
        worker.answer(task, task.body)
        assert client.take() == [b"%d" % number]
    client.ask([b"again"])
    assert worker.task().body == [b"again"]
    assert rig.stat("refused") == 3


def test_no_worker_in_time_is_silence_for_foreign_clients(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """What failed for good is counted; only PND has an error answer."""
    rig = rig_of(service_wait=0.2)
    plain, majordomo = own(ReqClient(rig.frontend)), own(CLIENTS["mdp1"](rig.frontend))
    native = own(PndClient(rig.frontend))
    plain.ask([b"q"])
    majordomo.ask([b"q"])
    native.ask([b"q"])
    with pytest.raises(FailedError) as failed:
        native.take()
    assert failed.value.code == 5
    rig.wait_stat("failed", 3)
    with pytest.raises(SilenceError):
        plain.take(QUIET)
    assert is_quiet(majordomo)
