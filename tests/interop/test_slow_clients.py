"""Clients that read slowly or not at all: what is dropped for them, and who is never meant.

The bound `undelivered_bytes_max` is for a client that can't be sent to. A client that reads is
given whatever a turn brings, however large; one that can't hear of a loss is never given the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.interop.rig import QUIET, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Task
from tests.peers.catalogue import BEAT, SERVICE
from tests.peers.mdp2 import C_FINAL, Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_wire import ATTACHED, Record
from tests.peers.pnd_worker import PndWorker

BOUND_BYTES = 1 << 16  # undelivered_bytes_max of these tests
LARGE = BOUND_BYTES + 1
PIECE = 4000  # bytes of one partial


@pytest.fixture
def rig(rig_of: Callable[..., Rig]) -> Rig:
    return rig_of(undelivered_bytes_max=BOUND_BYTES)


def asked(rig: Rig, own: Own, count: int) -> tuple[PndClient, PndWorker, list[Task]]:
    """Give a client, a worker, and the worker's tasks of the client's requests 1 to `count`."""
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=count))
    client = own(PndClient(rig.frontend))
    client.welcome()
    rig.ready(worker)
    for number in range(1, count + 1):
        client.ask([b"%d" % number])
    return client, worker, [worker.task() for _ in range(count)]


def leave(rig: Rig, client: PndClient | Mdp2Client) -> None:
    """Close a client's connection and wait until the broker has seen it."""
    closed = rig.stat("closed_connections")
    client.close()
    rig.wait_stat("closed_connections", closed + 1)


def test_answers_of_one_turn_may_exceed_the_bound(rig: Rig, own: Own) -> None:
    """Two answers in one packet, each as large as the bound: nobody refused to read them."""
    client, worker, tasks = asked(rig, own, 2)
    bodies = [[os.urandom(LARGE)] for _ in tasks]
    worker.put(*(wire.reply(worker.token(t), b) for t, b in zip(tasks, bodies, strict=True)))
    assert sorted(client.take() for _ in tasks) == [(1, bodies[0]), (2, bodies[1])]
    assert rig.stat("undeliverable") == 0


def test_partials_of_one_turn_may_exceed_the_bound(rig: Rig, own: Own) -> None:
    client, worker, [task] = asked(rig, own, 1)
    pieces = [os.urandom(PIECE) for _ in range(2 * BOUND_BYTES // PIECE)]
    token = worker.token(task)
    partials = [wire.partial(token, n, task.attempt, [piece]) for n, piece in enumerate(pieces)]
    worker.put(*partials, wire.reply(token, [b"end"]))
    assert client.take() == (1, [b"end"])
    assert [partial.body for partial in client.partials] == [[piece] for piece in pieces]
    assert rig.stat("partials_dropped") == 0


def test_one_answer_waits_for_an_absent_client_whatever_its_size(rig: Rig, own: Own) -> None:
    client, worker, [task] = asked(rig, own, 1)
    leave(rig, client)
    body = [os.urandom(2 * LARGE)]
    worker.answer(task, body)
    rig.wait_stat("answered", 1)
    client.reopen()
    client.hello()
    assert client.take() == (1, body)


def test_absent_pnd_client_is_told_which_answers_were_dropped(rig: Rig, own: Own) -> None:
    """A request must not run twice because its answer found no room: it ends with ERROR 15."""
    client, worker, tasks = asked(rig, own, 2)
    leave(rig, client)
    for task in tasks:
        worker.answer(task, [b"x" * LARGE])
    rig.wait_stat("answered", 2)
    assert rig.stat("undeliverable") == 1
    client.reopen()
    client.hello()
    assert client.take() == (1, [b"x" * LARGE])
    with pytest.raises(FailedError) as failed:
        client.take()
    assert (failed.value.id, failed.value.code) == (2, 15)
    assert "undelivered_bytes_max" in str(failed.value)
    assert rig.stat("accepted") == 2


def test_majordomo_stream_with_holes_has_no_end(rig: Rig, own: Own) -> None:
    """A FINAL behind dropped partials would pass off a piece of the stream as the whole."""
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    client = own(Mdp2Client(rig.frontend, service=SERVICE, identity=b"client-1"))
    rig.ready(worker)
    client.ask([b"q"])
    task = worker.task()
    leave(rig, client)
    count = 2 * BOUND_BYTES // PIECE
    for number in range(count):
        worker.partial(task, [b"%d" % number, bytes(PIECE)])
    worker.answer(task, [b"end"])
    rig.wait_stat("answered", 1)
    assert rig.stat("undeliverable") == 1
    client.reopen()
    client.ask([b"again"])
    worker.answer(worker.task(), [b"whole"])
    seen = [client.recv()]
    while seen[-1][1] != C_FINAL:
        seen.append(client.recv())
    assert seen[-1][3:] == [b"whole"], "the end of a stream with holes"
    numbers = [int(frames[3]) for frames in seen[:-1]]
    assert numbers == list(range(len(numbers))), "a hole within what was delivered"
    assert client.poll(QUIET) is None


def test_partial_above_the_limit_of_a_body(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(body_bytes_max=BOUND_BYTES)
    client, worker, [task] = asked(rig, own, 1)
    token = worker.token(task)
    head = wire.PARTIAL_HEAD.pack(0, task.attempt, token)
    halves = [b"x" * (LARGE // 2 + 1)] * 2
    worker.put(Record(wire.PARTIAL, token, head, halves, ATTACHED))
    worker.put(wire.reply(token, [b"end"]))
    with pytest.raises(FailedError, match="body_bytes_max") as failed:
        client.take()
    assert failed.value.code == 13
    assert client.partials == []
    assert rig.stat("bad_records") == 1
