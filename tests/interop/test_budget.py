"""What the broker holds is bounded in bytes, whoever has it: waiting, running, unread."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest
import zmq

from tests.interop.rig import Own, Rig
from tests.interop.test_status import status
from tests.peers import pnd_wire as wire
from tests.peers.dealer_client import DealerClient
from tests.peers.pnd_client import FailedError, PndClient
from tests.peers.pnd_worker import PndWorker
from tests.support import wait_until

BEAT = 5.0  # of all here: nobody's silence is to count, however slow the machine is
NARROW: dict[int, int] = {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}  # takes in next to nothing unread

BODY_BYTES = 8192
OPEN = 4  # bodies that fit the bound of these tests
BOUND_BYTES = OPEN * (BODY_BYTES + 64)


@pytest.fixture
def rig_of(rig_of: Callable[..., Rig]) -> Callable[..., Rig]:
    return partial(rig_of, heartbeat=BEAT)


def test_bodies_of_running_requests_count(rig_of: Callable[..., Rig], own: Own) -> None:
    """A worker of a large capacity that keeps its tasks must not fill the broker with bodies."""
    rig = rig_of(waiting_bytes_max=BOUND_BYTES)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    client = own(PndClient(rig.frontend))
    client.welcome()
    rig.ready(worker)
    for _ in range(OPEN + 1):
        client.ask([os.urandom(BODY_BYTES)])
    with pytest.raises(FailedError, match="waiting_bytes_max") as failed:
        client.take()
    assert (failed.value.id, failed.value.code) == (OPEN + 1, 8)
    assert failed.value.retry_after_ms > 0
    tasks = [worker.task() for _ in range(OPEN)]
    assert rig.stat("waiting") == 0
    assert OPEN * BODY_BYTES <= rig.stat("running_bytes") <= BOUND_BYTES
    worker.answer(tasks[0], [b"done"])
    assert client.take() == (1, [b"done"])
    client.ask([os.urandom(BODY_BYTES)])
    assert len(worker.task().body[0]) == BODY_BYTES


def test_one_body_comes_in_whatever_its_size(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(waiting_bytes_max=BODY_BYTES)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    client = own(PndClient(rig.frontend))
    client.welcome()
    rig.ready(worker)
    client.ask([os.urandom(3 * BODY_BYTES)])
    worker.answer(worker.task(), [b"done"])
    assert client.take() == (1, [b"done"])
    wait_until(lambda: rig.stat("running_bytes") == 0)


def test_a_frontend_is_left_unread_while_running_bodies_fill_it(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    rig = rig_of(waiting_bytes_max=BOUND_BYTES, foreign_overflow="block")
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    rig.ready(worker)
    client = own(DealerClient(rig.frontend))
    for number in range(3 * OPEN):
        client.ask([b"%02d" % number + bytes(BODY_BYTES)])
    tasks = [worker.task() for _ in range(OPEN)]
    assert rig.stat("accepted") <= OPEN + 1
    for number in range(3 * OPEN):
        task = tasks.pop(0) if tasks else worker.task()
        worker.answer(task, [task.body[0][:2]])
        assert client.take() == [b"%02d" % number]
    assert rig.stat("refused_foreign") == 0


class NarrowPnd(PndClient):
    options = NARROW


class NarrowDealer(DealerClient):
    options = NARROW


class NarrowWorker(PndWorker):
    options = NARROW


# ---- what clients leave unread ----

UNREAD_BYTES = 1 << 20  # undelivered_bytes_max of these tests
ANSWER_BYTES = 1 << 19
READING_TIMES = 6  # as in _broker/delivery.pyx


@pytest.mark.parametrize("kind", [NarrowPnd, NarrowDealer])
def test_answers_that_nobody_reads_are_bounded_in_bytes(
    rig_of: Callable[..., Rig], own: Own, kind: type[PndClient] | type[DealerClient]
) -> None:
    """libzmq would take a thousand of any size; and other clients are served meanwhile."""
    rig = rig_of(undelivered_bytes_max=UNREAD_BYTES, answers_bytes_max=0)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    rig.ready(worker)
    client = own(kind(rig.frontend))
    if isinstance(client, PndClient):
        client.welcome()
    for _ in range(100):
        client.ask([b"q"])
    most = 0
    for number in range(100):
        worker.answer(worker.task(), [bytes(ANSWER_BYTES)])
        rig.wait_stat("answered", number + 1)
        most = max(most, rig.stat("held_bytes"))
    assert rig.stat("undeliverable") > 0, "all answers were kept"
    assert most <= (READING_TIMES + 2) * UNREAD_BYTES + 2 * ANSWER_BYTES
    held = rig.stat("pipe_bytes") + rig.stat("undelivered_bytes")
    assert UNREAD_BYTES < held <= most
    other = own(PndClient(rig.frontend))
    other.ask([b"q"])
    worker.answer(worker.task(), [b"a"])
    assert other.take() == (1, [b"a"])
    client.close()
    wait_until(lambda: rig.stat("pipe_bytes") == 0)


def test_clients_that_do_not_read_share_what_one_that_may_read_can_have(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """A client that has not read its bound yet may read or not: many such can't each have more."""
    clients, each, bound, size = 4, 20, 12 << 20, 3 << 20  # a bound above the system's own buffers
    rig = rig_of(undelivered_bytes_max=bound, answers_bytes_max=0)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    rig.ready(worker)
    for _ in range(clients):
        client = own(NarrowDealer(rig.frontend))
        for _ in range(each):
            client.ask([b"q"])
    for number in range(clients * each):
        worker.answer(worker.task(), [bytes(size)])
        if number % each == each - 1:
            rig.wait_stat("answered", number + 1)
    held = rig.stat("pipe_bytes") + rig.stat("undelivered_bytes")
    most = clients * (bound + 2 * size) + READING_TIMES * bound
    assert clients * bound < held <= most


def test_a_client_that_reads_is_given_all(rig_of: Callable[..., Rig], own: Own) -> None:
    """More than its bound is on its way to a client that reads as fast as it can."""
    count = 64
    rig = rig_of(undelivered_bytes_max=1 << 16)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=count))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.welcome()
    for _ in range(count):
        client.ask([b"q"])
    tasks = [worker.task() for _ in range(count)]
    body = os.urandom(1 << 15)
    for task in tasks:
        worker.answer(task, [body])
        client.pump(0.001)
    taken = sorted(client.take()[0] for _ in range(count))
    assert taken == list(range(1, count + 1))
    assert rig.stat("undeliverable") == 0


def test_a_worker_is_sent_no_more_than_its_pipe_may_hold(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """Tasks for a worker that does not read go to the next one."""
    rig = rig_of(undelivered_bytes_max=UNREAD_BYTES)
    deaf = own(NarrowWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    rig.ready(deaf)
    client = own(PndClient(rig.frontend))
    client.welcome()
    for _ in range(30):
        client.ask([bytes(ANSWER_BYTES)])
    wait_until(lambda: rig.stat("sends_blocked"))
    assert rig.stat("pipe_bytes") <= UNREAD_BYTES + ANSWER_BYTES + 4096
    ready = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=4))
    rig.ready(ready)
    task = ready.task()
    ready.answer(task, [b"a"])
    assert client.take()[1] == [b"a"]


# ---- one budget for all ----

MEMORY = {"body_bytes_max": 1 << 16, "memory_max": 1 << 18, "packet_bytes_max": 1 << 16}
LARGE = 1 << 15


def test_from_three_quarters_of_the_memory_on_requests_are_refused(
    rig_of: Callable[..., Rig], own: Own
) -> None:
    """Not so their answers, and when those have left there is room again."""
    rig = rig_of(**MEMORY, answers_bytes_max=0)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT, capacity=1000))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.welcome()
    asked = 0
    while not rig.stat("refused"):
        client.ask([bytes(LARGE)])
        asked += 1
        wait_until(lambda: rig.stat("accepted") + rig.stat("refused") == asked)  # noqa: B023
    with pytest.raises(FailedError, match="memory_max") as refused:
        client.take()
    assert refused.value.code == 8
    running = rig.stat("running")
    assert running == asked - 1 >= 3
    for _ in range(running):
        worker.answer(worker.task(), [bytes(LARGE)])
    for _ in range(running):
        assert client.take()[1] == [bytes(LARGE)]
    rig.wait_stat("held_bytes", 0)
    client.ask([bytes(LARGE)])
    worker.answer(worker.task(), [b"again"])
    assert client.take()[1] == [b"again"]


def test_kept_answers_make_room(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of(**MEMORY)
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.welcome()
    client.open[0] = wire.Record(wire.HEARTBEAT)  # so it never says that it is done with any
    for _ in range(20):
        client.ask([b"q"])
        worker.answer(worker.task(), [bytes(LARGE)])
        assert client.take()[1] == [bytes(LARGE)]
    assert rig.stat("answers_evicted") > 0
    assert rig.stat("refused") == 0


def test_status_shows_what_the_memory_is_for(rig_of: Callable[..., Rig], own: Own) -> None:
    rig = rig_of()
    worker = own(PndWorker(rig.backend, heartbeat=BEAT))
    rig.ready(worker)
    client = own(PndClient(rig.frontend))
    client.welcome()
    client.ask([bytes(BODY_BYTES)])
    client.ask([bytes(BODY_BYTES)])
    rig.wait_stat("waiting", 1)
    memory = status(own(PndClient(rig.frontend)))["memory"]
    parts = ("waiting", "running", "undelivered", "kept", "pipes", "control")
    assert set(memory) == {*parts, "total", "max"}
    assert memory["waiting"] >= BODY_BYTES <= memory["running"]
    assert memory["max"] == 2 << 30 == rig.stat("memory_max")


# ---- pages ----


def test_a_client_is_written_one_page_with_rows_a_turn(rig: Rig, own: Own) -> None:
    """It is told to come again for the others, and then it gets them."""
    client = own(PndClient(rig.frontend))
    client.welcome()
    count = 50
    pages = [wire.request(number + 1, [b""], b"pound.services") for number in range(count)]
    client.highest = count
    client.open.update((number + 1, page) for number, page in enumerate(pages))
    client.put(*pages)
    while len(client.answers) < count:
        client.pump(0.1)
    refused = [answer for _, answer in client.answers if isinstance(answer, FailedError)]
    client.answers.clear()
    assert len(refused) == count - 1
    assert all(failed.code == 8 and failed.retry_after_ms > 0 for failed in refused)
    for number in [failed.id for failed in refused[:3]]:
        client.open[number] = pages[number - 1]
        client.put(pages[number - 1])
        assert client.take()[0] == number
