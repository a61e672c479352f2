"""PND/1 over real sockets: sessions and routes, retries, tasks, failures, goodbyes.

The peers pack their records themselves; the numbered rules are those of docs/protocol.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.rig import QUICK, Own, Rig
from tests.peers import pnd_wire as wire
from tests.peers.base import Body, Peer, Task
from tests.peers.catalogue import BEAT
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_wire import Record
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until


def kinds(frames: Body) -> list[int]:
    return [record.kind for record in wire.unpack(frames)[1]]


def attend(worker: PndWorker, holds: Callable[[], bool]) -> None:
    """Let a worker read and beat until `holds()`; it must get no task meanwhile."""

    def held() -> bool:
        worker.keep_alive()
        frames = worker.poll(BEAT / 4)
        if frames is not None:
            assert worker.parse(frames) is None
        return holds()

    wait_until(held)


def code_of(client: PndClient) -> tuple[int, int]:
    """Give (request, code) of the next final answer, which must be a failure."""
    with pytest.raises(FailedError) as failed:
        client.take()
    assert failed.value.text
    return failed.value.id, failed.value.code


@pytest.fixture
def worker(rig: Rig, own: Own) -> Any:
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    return worker


@pytest.fixture
def client(rig: Rig, own: Own) -> Any:
    """A client that was welcomed: no WELCOME makes it ask again in the middle of a test."""
    client = own(PndClient(rig.frontend))
    client.welcome()
    return client


# ---- sessions and routes ----


@pytest.mark.parametrize(
    "first", [wire.hello(b"x:1"), Record(wire.HEARTBEAT), wire.request(1, [b"q"])]
)
def test_first_packet_of_a_route_is_welcomed(rig: Rig, own: Own, first: Record) -> None:
    raw = own(Peer(rig.frontend))
    raw.send(wire.packet(os.urandom(16), [first]))
    epoch, records = wire.unpack(raw.recv())
    assert records[0].kind == wire.WELCOME
    assert records[0].id == 0
    assert any(epoch)
    limits = wire.WELCOME_HEAD.unpack(records[0].head)
    assert limits == (200, 5, 1 << 26, 1 << 20, 1024, 65536, wire.ADOPTION)


def test_epoch_is_the_same_for_all_and_new_with_each_start(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    epochs = []
    for rig in (rig_of(), rig_of()):
        peers = [own(PndClient(rig.frontend)) for _ in range(3)]
        for peer in peers:
            peer.welcome()
        assert len({peer.epoch for peer in peers}) == 1
        epochs.append(peers[0].epoch)
    assert epochs[0] != epochs[1]


def test_heartbeat_is_answered(client: PndClient) -> None:
    client.welcome()
    client.put(Record(wire.HEARTBEAT))
    assert wire.HEARTBEAT in kinds(client.recv())


def test_many_requests_in_one_packet(rig: Rig, own: Own, client: PndClient) -> None:
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=100))
    rig.ready(worker)
    requests = [wire.request(n, [b"%d" % n, b"x" * (5000 * (n % 2))]) for n in range(1, 101)]
    client.open = {record.id: record for record in requests}
    client.highest = 100
    client.put(*requests)
    for _ in range(100):
        task = worker.task()
        worker.answer(task, [b"a", task.body[0]])
    answers = dict(client.take() for _ in range(100))
    assert answers == {n: [b"a", b"%d" % n] for n in range(1, 101)}


def test_same_session_on_a_second_route_gets_the_answers(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    """The newest route is current; a packet from the older one never makes it so."""
    id = client.ask([b"q"])
    task = worker.task()
    second = own(Peer(rig.frontend))
    second.send(wire.packet(client.session, [wire.hello(b"x")]))
    assert kinds(second.recv())[0] == wire.WELCOME
    client.put(Record(wire.HEARTBEAT))
    worker.answer(task, [b"a"])

    def final() -> list[Record]:
        _, records = wire.unpack(second.recv())
        return [record for record in records if record.kind == wire.REPLY]

    (answer,) = wait_until(final)
    assert (answer.id, answer.parts) == (id, [b"a"])


def test_sessions_are_apart(rig: Rig, own: Own, worker: PndWorker) -> None:
    """The same request numbers of two sessions are two requests."""
    clients = [own(PndClient(rig.frontend)) for _ in range(3)]
    for number, client in enumerate(clients):
        assert client.ask([b"%d" % number]) == 1
    for _ in clients:
        task = worker.task()
        worker.answer(task, [b"for", *task.body])
    for number, client in enumerate(clients):
        assert client.take() == (1, [b"for", b"%d" % number])


# ---- retries ----


def test_retry_of_a_held_request_is_accepted_once(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    for _ in range(3):
        client.retry()
    wait_until(lambda: client.pump(0.05) and len(client.accepted) >= 3)
    assert set(client.accepted) == {id}
    worker.answer(task, [b"a"])
    assert client.take() == (id, [b"a"])
    assert rig.stat("accepted") == 1


@pytest.mark.parametrize("flags", [0, wire.RETRY])
@pytest.mark.parametrize("failure", [False, True])
def test_answered_request_is_answered_alike_again(
    rig: Rig, worker: PndWorker, client: PndClient, flags: int, failure: bool
) -> None:
    id = client.ask([b"q"])
    record = client.open[id]
    if failure:
        worker.fail(worker.task(), 2, "no")
        assert code_of(client) == (id, 2)
    else:
        worker.answer(worker.task(), [b"a", b"x" * 9000])
        assert client.take() == (id, [b"a", b"x" * 9000])
    client.open[id] = record
    record.flags |= flags
    client.put(record)
    if failure:
        assert code_of(client) == (id, 2)
    else:
        assert client.take() == (id, [b"a", b"x" * 9000])
    assert rig.stat("accepted") == 1


def test_done_frees_kept_answers(rig: Rig, worker: PndWorker, client: PndClient) -> None:
    for number in range(1, 6):
        client.ask([b"q"])
        worker.answer(worker.task(), [b"a"])
        assert client.take() == (number, [b"a"])
    rig.wait_stat("kept", 1)
    client.put(Record(wire.HEARTBEAT))
    rig.wait_stat("kept", 0)


# ---- tasks ----


def test_task_carries_what_the_request_said(rig: Rig, own: Own, client: PndClient) -> None:
    worker = own(PndWorker(rig.backend, service=b"named", heartbeat=BEAT))
    rig.ready(worker)
    key = bytes(range(16))
    client.ask([b"q"], b"named", timeout_ms=60_000, priority=7, key=key)
    task = worker.task()
    assert task.service == b"named"
    assert task.attempt == 1
    assert 50_000 < task.remaining_ms <= 60_000
    _, records = wire.unpack(task.frames)
    (record,) = [r for r in records if r.kind == wire.TASK]
    _, priority, _, _, said = wire.REQUEST_HEAD.unpack_from(record.head)
    assert (priority, said) == (7, key)
    assert record.flags == 0


def test_meta_is_passed_along_unread(worker: PndWorker, client: PndClient) -> None:
    client.highest = 1
    client.open[1] = wire.request(1, [b"\xff not json", b"q"], flags=wire.META)
    client.put(client.open[1])
    task = worker.task()
    _, records = wire.unpack(task.frames)
    assert [r.flags for r in records if r.kind == wire.TASK] == [wire.META]
    assert task.body == [b"\xff not json", b"q"]
    answer = wire.reply(worker.token(task), [b"meta", b"a"])
    answer.flags |= wire.META
    worker.put(answer)
    assert client.take() == (1, [b"meta", b"a"])


def test_capacity_is_never_exceeded(rig: Rig, own: Own, client: PndClient) -> None:
    """The peer refuses a task above its capacity."""
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=3))
    rig.ready(worker)
    for _ in range(10):
        client.ask([b"q"])
    held = [worker.task() for _ in range(3)]
    for waiting in (7, 6, 5, 4, 3, 2, 1, 0):
        rig.wait_stat("waiting", waiting)
        assert rig.stat("running") == 3
        worker.answer(held.pop(0), [b"a"])
        client.take()
        if waiting:
            held.append(worker.task())


def test_least_recently_used(rig: Rig, own: Own, client: PndClient) -> None:
    workers = [own(PndWorker(rig.backend)) for _ in range(4)]
    rig.ready(*workers)
    for _ in range(3):
        for worker in workers:
            client.ask([b"q"])
            worker.answer(worker.task(), [b"a"])
            client.take()


def test_priority_is_strict(rig: Rig, own: Own, client: PndClient) -> None:
    for priority in (0, 5, 9, 5, 0):
        client.ask([b"%d" % priority], priority=priority)
    rig.wait_stat("waiting", 5)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    order = []
    for _ in range(5):
        task = worker.task()
        order.append(task.body[0])
        worker.answer(task, [b"a"])
    assert order == [b"9", b"5", b"5", b"0", b"0"]


def test_release_gives_a_task_back_uncounted(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    for _ in range(12):
        task = worker.task()
        assert task.attempt == 1
        worker.fail(task, 14, "not now", retry_after_ms=1)
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (id, [b"a"])
    assert rig.stat("released") == 12
    assert rig.stat("losses") == 0


@pytest.mark.parametrize("code", [2, 3, 13])
def test_failure_is_an_answer(rig: Rig, worker: PndWorker, client: PndClient, code: int) -> None:
    id = client.ask([b"q"])
    worker.fail(worker.task(), code, "the handler's words")
    with pytest.raises(FailedError, match="the handler's words") as failed:
        client.take()
    assert (failed.value.id, failed.value.code) == (id, code)
    assert rig.stat("answered") == 1


def test_attempts_end(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(attempts_max=3)
    client = own(PndClient(rig.frontend))
    id = client.ask([b"poison"])
    for attempt in (1, 2, 3):
        worker = own(PndWorker(rig.backend, heartbeat=BEAT))
        worker.ready()
        assert worker.task().attempt == attempt
        worker.close()
    assert code_of(client) == (id, 10)
    assert rig.stat("losses") == 3
    assert rig.stat("failed") == 1


def test_partials_of_the_next_attempt_start_anew(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    run = worker.token(task)
    worker.partial(task, [b"1.0"])
    worker.partial(task, [b"1.1"])
    wait_until(lambda: client.pump(0.05) and len(client.partials) == 2)
    worker.close()
    second = own(PndWorker(rig.backend, heartbeat=BEAT))
    second.ready()
    task = second.task()
    next_run = second.token(task)
    assert next_run > run
    second.partial(task, [b"2.0"])
    second.answer(task, [b"end"])
    assert client.take() == (id, [b"end"])
    assert client.partials == [
        (1, 0, [b"1.0"], run),
        (1, 1, [b"1.1"], run),
        (2, 0, [b"2.0"], next_run),
    ]


# ---- cancel, deadline ----


def test_cancel_of_a_running_request_reaches_its_worker(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    client.cancel(id)
    assert code_of(client) == (id, 1)
    attend(worker, lambda: worker.cancelled == [worker.token(task)])
    again = client.ask([b"r"])
    rig.wait_stat("waiting", 1)
    worker.fail(task, 1, "cancelled")
    worker.answer(worker.task(), [b"a"])
    assert client.take() == (again, [b"a"])
    assert client.strays == []


def test_deadline_of_a_waiting_request(rig: Rig, own: Own, client: PndClient) -> None:
    id = client.ask([b"q"], timeout_ms=50)
    assert code_of(client) == (id, 4)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    again = client.ask([b"r"])
    task = worker.task()
    assert task.body == [b"r"]
    worker.answer(task, [b"a"])
    assert client.take() == (again, [b"a"])


@pytest.mark.parametrize("offered", [False, True])
def test_a_deadline_tells_whether_anybody_offers_the_service(
    rig: Rig, own: Own, client: PndClient, offered: bool
) -> None:
    if offered:
        busy = own(PndWorker(rig.backend, heartbeat=BEAT))
        rig.ready(busy)
        client.ask([b"keeps it busy"])
        busy.task()
    client.ask([b"q"], timeout_ms=50)
    with pytest.raises(FailedError) as failed:
        client.take()
    told = "no worker was free in time" if offered else "no worker offers this service"
    assert told in str(failed.value)


# ---- workers that come back, leave, hold ----


def test_ready_lists_what_a_worker_holds(rig: Rig, own: Own, client: PndClient) -> None:
    """On a new route: listed tokens stay, the others return uncounted, foreign ones get CANCEL."""
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=3))
    rig.ready(worker)
    client.ask([b"kept"])
    client.ask([b"lost"])
    kept, lost = worker.task(), worker.task()
    del worker.held[worker.token(lost)]
    worker.held[42] = 0
    worker.reopen()
    worker.ready()
    again = worker.task()
    assert again.body == [b"lost"]
    assert again.attempt == 1
    assert worker.cancelled == [42]
    del worker.held[42]
    worker.answer(kept, [b"a"])
    worker.answer(again, [b"b"])
    assert dict(client.take() for _ in range(2)) == {1: [b"a"], 2: [b"b"]}


def test_ready_on_the_same_route_replaces_services(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    client.ask([b"q"])
    task = worker.task()
    worker.service = b"other"
    worker.ready()
    worker.answer(task, [b"a"])
    assert client.take()[1] == [b"a"]
    client.ask([b"no longer"])
    id = client.ask([b"r"], b"other")
    task = worker.task()
    assert (task.body, task.service) == ([b"r"], b"other")
    worker.answer(task, [b"b"])
    assert client.take() == (id, [b"b"])
    assert rig.stat("waiting") == 1


def test_bye_of_a_worker_is_agreed_and_its_task_finished(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    worker.bye()
    attend(worker, lambda: worker.byes == [2])
    client.ask([b"r"])
    rig.wait_stat("waiting", 1)
    worker.answer(task, [b"a"])
    assert client.take() == (id, [b"a"])
    assert rig.stat("losses") == 0


def test_bye_of_a_client_ends_its_session(rig: Rig, client: PndClient) -> None:
    client.ask([b"q"])
    rig.wait_stat("waiting", 1)
    client.put(wire.bye(1))
    rig.wait_stat("cancelled", 1)


def test_silent_busy_worker_loses_its_task(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    """A PND worker beats while it computes; one that does not is gone."""
    id = client.ask([b"q"])
    task = worker.task()
    rig.wait_stat("expired_workers", 1)
    second = own(PndWorker(rig.backend, heartbeat=BEAT))
    second.ready()
    second.answer(second.task(), [b"a"])
    assert client.take() == (id, [b"a"])
    worker.answer(task, [b"late"])
    rig.wait_stat("answers_late", 1)


def test_token_of_a_lost_task_counts_until_it_is_sent_again(
    rig: Rig, own: Own, worker: PndWorker, client: PndClient
) -> None:
    id = client.ask([b"q"])
    task = worker.task()
    rig.wait_stat("expired_workers", 1)
    rig.wait_stat("waiting", 1)
    worker.answer(Task(task.address, [], []), [b"late, and nobody else has it"])
    assert client.take() == (id, [b"late, and nobody else has it"])


# ---- limits ----


def test_requests_above_the_limit_get_busy(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(waiting_max=3)
    client = own(PndClient(rig.frontend))
    for _ in range(4):
        client.ask([b"q"])
    with pytest.raises(FailedError) as failed:
        client.take()
    assert (failed.value.id, failed.value.code) == (4, 8)
    assert failed.value.retry_after_ms > 0
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    for number in (1, 2, 3):
        worker.answer(worker.task(), [b"a"])
        assert client.take() == (number, [b"a"])


def test_unknown_service_may_be_refused_at_once(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(unknown_service="reject")
    client = own(PndClient(rig.frontend))
    id = client.ask([b"q"], b"nobody")
    assert code_of(client) == (id, 5)


# ---- heartbeats ----


def heartbeats(worker: PndWorker, seconds: float, act: Callable[[], None]) -> int:
    """Count the broker's heartbeats while `act` is called each quarter of BEAT."""
    end = time.monotonic() + seconds
    beats = 0
    while time.monotonic() < end:
        act()
        worker.keep_alive()
        while (frames := worker.poll(BEAT / 4)) is not None:
            beats += kinds(frames).count(wire.HEARTBEAT)
            task = worker.parse(frames)
            if task is not None:
                worker.answer(task, [b"a"])
    return beats


def test_a_worker_that_is_sent_nothing_else_gets_heartbeats(rig: Rig, worker: PndWorker) -> None:
    interval = float(QUICK["heartbeat"])
    assert 3 <= heartbeats(worker, 5 * interval, lambda: None) <= 6


def test_a_worker_that_is_sent_tasks_needs_none(
    rig: Rig, worker: PndWorker, client: PndClient
) -> None:
    """A task is a sign of life; a task that is late on a busy machine lets one slip in."""
    interval = float(QUICK["heartbeat"])
    asked: list[int] = []
    beats = heartbeats(worker, 10 * interval, lambda: asked.append(client.ask([b"q"])))
    assert len(asked) > 10
    assert beats <= 3
