"""CREDIT through the broker: from a PND client to the worker that has the run.

For a client whose dialect has no CREDIT the broker grants what it could send on, or dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.interop.rig import Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Task
from tests.peers.catalogue import BEAT, SERVICE
from tests.peers.mdp1 import Mdp1Client
from tests.peers.mdp2 import Mdp2Client, Mdp2Worker
from tests.peers.pnd_client import PndClient
from tests.peers.pnd_wire import CREDIT, ERROR, Record, credit, partial_cost
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until

FIRST = 65536


@pytest.fixture
def worker(rig: Rig, own: Own) -> PndWorker:
    worker: PndWorker = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT, capacity=8))
    rig.ready(worker)
    return worker


@pytest.fixture
def client(rig: Rig, own: Own) -> PndClient:
    client: PndClient = own(PndClient(rig.frontend, service=SERVICE))
    client.welcome()
    return client


def hear(worker: PndWorker, holds: Callable[[], bool]) -> int:
    """Let a worker read and beat until `holds()`; return the credits that came, and no task."""
    seen = 0

    def held() -> bool:
        nonlocal seen
        worker.keep_alive()
        frames = worker.poll(BEAT / 4)
        if frames is not None:
            seen += sum(record.kind == CREDIT for record in wire.unpack(frames)[1])
            worker.heard = time.monotonic()
            assert worker.parse(frames) is None
        return holds()

    wait_until(held)
    return seen


def credited(worker: PndWorker, task: Task) -> int | None:
    return worker.credits.get(worker.token(task))


def test_credit_reaches_the_worker_of_the_run(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    ids = [client.ask([b"%d" % n]) for n in range(3)]
    tasks = [worker.task() for _ in ids]
    runs = [worker.token(task) for task in tasks]
    client.put(credit(ids[1], runs[1], 100), credit(ids[2], runs[2], 2**64 - 1))
    hear(worker, lambda: len(worker.credits) == 2)
    assert credited(worker, tasks[0]) is None
    assert credited(worker, tasks[1]) == 100
    assert credited(worker, tasks[2]) == 2**64 - 1


def test_the_run_of_a_partial_is_its_token_whatever_its_worker_says(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    token = worker.token(task)
    said = wire.partial(token, 0, 1, [b"part"])
    said.head = wire.PARTIAL_HEAD.pack(0, 1, 7)
    worker.put(said)
    worker.answer(task, [b"end"])
    assert client.take() == (id, [b"end"])
    assert client.partials == [(1, 0, [b"part"], token)]


def test_what_the_client_has_of_the_stream_is_passed_on(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    """With its credit or alone; neither number falls."""
    id = client.ask([b"q"])
    token = worker.token(worker.task())
    client.put(credit(id, token, 0, sequence=3))
    hear(worker, lambda: worker.wanted.get(token) == 3)
    client.put(credit(id, token, 100, sequence=2))
    hear(worker, lambda: worker.credits[token] == 100)
    assert worker.wanted[token] == 3
    client.put(credit(id, token, 50, sequence=4))
    hear(worker, lambda: worker.wanted[token] == 4)
    assert worker.credits[token] == 100


def test_only_the_last_of_many_credits_is_passed_on(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    """A client that floods costs its worker a record a turn, and takes nothing back."""
    id = client.ask([b"q"])
    task = worker.task()
    said = rig.stat("records_in")
    run = worker.token(task)
    client.put(*(credit(id, run, cost) for cost in range(1, 20_000)), credit(id, run, 5))
    seen = hear(worker, lambda: rig.stat("records_in") >= said + 20_000)
    seen += hear(worker, lambda: credited(worker, task) == 19_999)
    assert seen == 1
    assert rig.stat("control_dropped") == 0


def test_credit_for_nothing_is_counted(rig: Rig, worker: PndWorker, client: PndClient) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    run = worker.token(task)
    client.put(credit(id, run + 1, 7), credit(id, 0, 7), credit(id + 1, run, 7), credit(0, run, 7))
    worker.put(credit(run, run, 7))  # it is no client
    rig.wait_stat("credits_late", 5)
    worker.answer(task, [b"end"])
    assert client.take() == (id, [b"end"])
    client.put(credit(id, run, 7))
    rig.wait_stat("credits_late", 6)
    assert worker.credits == {}
    assert rig.stat("bad_records") == 0


def test_the_next_run_has_credit_of_its_own(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    first = worker.task()
    run = worker.token(first)
    client.put(credit(id, run, 1000))
    hear(worker, lambda: credited(worker, first) == 1000)
    second = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(second)
    worker.close()
    task = second.task()
    assert second.token(task) > run
    client.put(credit(id, run, 2000), credit(id, second.token(task), 500))
    hear(second, lambda: credited(second, task) == 500)
    rig.wait_stat("credits_late", 1)


def test_credit_that_may_be_lost_with_a_connection_is_said_again(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    client.put(credit(id, worker.token(task), 1000))
    hear(worker, lambda: credited(worker, task) == 1000)
    again = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT, capacity=8))
    again.session, again.held = worker.session, worker.held  # the same worker on a new route
    again.ready()
    hear(again, lambda: credited(again, task) == 1000)


def test_a_task_that_is_given_back_is_a_new_run(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    """Of the same attempt. The client sees the run with its first partial, and credits that one."""
    id = client.ask([b"q"])
    task = worker.task()
    run = worker.token(task)
    worker.partial(task, [b"first"])
    client.put(credit(id, run, 1 << 20))
    hear(worker, lambda: credited(worker, task) == 1 << 20)
    second = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(second)
    worker.fail(task, 14, "another one may")
    worker.bye()
    task = second.task()
    token = second.token(task)
    assert task.attempt == 1
    assert token > run
    second.partial(task, [b"second"])
    client.put(credit(id, run, 1 << 21), credit(id, token, 7, sequence=1))
    hear(second, lambda: credited(second, task) == 7)
    second.answer(task, [b"end"])
    assert client.take() == (id, [b"end"])
    assert client.partials == [(1, 0, [b"first"], run), (1, 0, [b"second"], token)]


def stream(worker: PndWorker, task: Task, body: list[bytes], total: int) -> None:
    """Send partials as a worker that keeps to its credit does."""
    sent = 0

    def may_go_on() -> bool:
        return sent < (credited(worker, task) or FIRST)

    while sent < total:
        hear(worker, may_go_on)
        worker.partial(task, body)
        sent += partial_cost(body)


@pytest.mark.parametrize("sizes", [(1000,), (20_000, 0), (0,)], ids=str)
def test_majordomo_clients_are_granted_what_they_were_sent(
    rig: Rig, own: Own, worker: PndWorker, sizes: tuple[int, ...]
) -> None:
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    stream(worker, task, [bytes(size) for size in sizes], 600_000 if sizes[0] else 200_000)
    worker.answer(task, [b"end"])
    assert client.take() == [b"end"]


def test_a_client_without_partials_does_not_hold_its_worker_up(
    rig: Rig, own: Own, worker: PndWorker
) -> None:
    client = own(Mdp1Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    stream(worker, task, [bytes(1000)], 600_000)
    worker.answer(task, [b"end"])
    assert client.take() == [b"end"]


def test_a_partial_that_is_refused_does_not_hold_its_worker_up(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(body_bytes_max=2 * FIRST)
    worker = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    client = own(Mdp1Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    worker.partial(task, [bytes(2 * FIRST + 1)])
    said: list[Record] = []

    def granted() -> bool:
        worker.keep_alive()
        frames = worker.poll(BEAT / 4)
        if frames is not None:
            worker.heard = time.monotonic()
            said.extend(wire.unpack(frames)[1])
        return any(record.kind == CREDIT for record in said)

    wait_until(granted)
    assert any(record.kind == ERROR for record in said)
    worker.answer(task, [b"end"])
    assert client.take() == [b"end"]


def test_a_majordomo_client_is_sent_no_partial_twice(rig: Rig, own: Own, worker: PndWorker) -> None:
    """A worker that was cut off sends again what may be lost; MDP 0.2 has no numbers."""
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    token = worker.token(task)
    worker.put(*(wire.partial(token, n, 1, [b"%d" % n]) for n in (0, 1, 0, 1, 2)))
    worker.answer(task, [b"end"])
    assert client.take() == [b"end"]
    assert client.partials == [[b"0"], [b"1"], [b"2"]]


def test_a_stream_that_a_majordomo_client_gets_from_a_second_worker_is_granted(
    rig: Rig, own: Own, worker: PndWorker
) -> None:
    """What the client had already is passed over, however large it is this time."""
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    for _ in range(10):
        worker.partial(task, [b""])
    second = own(PndWorker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(second)
    worker.fail(task, 14, "another one may")
    worker.bye()
    task = second.task()
    stream(second, task, [bytes(60_000)], 2_000_000)
    second.answer(task, [b"end"])
    assert client.take() == [b"end"]


def test_a_majordomo_stream_with_a_gap_has_no_end(rig: Rig, own: Own, worker: PndWorker) -> None:
    """Its worker is not held up: whatever it sends more is dropped."""
    client = own(Mdp2Client(rig.frontend, service=SERVICE))
    client.ask([b"q"])
    task = worker.task()
    token = worker.token(task)
    worker.put(*(wire.partial(token, n, 1, [b"%d" % n]) for n in (0, 2)))
    hear(worker, lambda: (credited(worker, task) or 0) > 1 << 60)
    worker.answer(task, [b"end"])
    rig.wait_stat("undeliverable", 1)


def test_a_majordomo_worker_is_told_of_no_credit(rig: Rig, own: Own, client: PndClient) -> None:
    worker = own(Mdp2Worker(rig.backend, service=SERVICE, heartbeat=BEAT))
    rig.ready(worker)
    id = client.ask([b"q"])
    task = worker.task()
    client.put(credit(id, 1, 1000))
    rig.wait_stat("credits_late", 1)
    worker.answer(task, [b"end"])
    assert client.take() == (id, [b"end"])
    assert worker.restarts == 0


def test_a_record_of_a_kind_above_the_last_is_unknown(rig: Rig, client: PndClient) -> None:
    client.put(Record(15, 1, b"anything"))
    rig.wait_stat("unknown_records", 1)
