"""`pound.Client` and `pound.Worker` against the real `pound.Broker`."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import pound
from pound._engine import client as client_engine
from tests.chaos.proxy import Proxy
from tests.support import WAIT_S, wait_until


@pytest.fixture
def work() -> Iterator[Callable[..., pound.Worker]]:
    """``work(broker, services, **settings)``: a worker that the broker has welcomed."""
    workers: list[pound.Worker] = []

    def work(broker: Any, services: dict[str, Any], **settings: Any) -> pound.Worker:
        endpoints = settings.pop("endpoints", broker.backend_endpoints)
        worker = pound.Worker(endpoints, services, **settings)
        workers.append(worker)
        worker.start()
        assert worker.wait_connected(WAIT_S)
        return worker

    yield work
    for worker in workers:
        worker.stop()


@pytest.fixture
def ask() -> Iterator[Callable[..., pound.Client]]:
    """``ask(*brokers, **settings)``: a client of these brokers."""
    clients: list[pound.Client] = []

    def ask(*brokers: Any, **settings: Any) -> pound.Client:
        endpoints = [endpoint for broker in brokers for endpoint in broker.frontend_endpoints]
        clients.append(pound.Client(endpoints, **settings))
        return clients[-1]

    yield ask
    for client in clients:
        client.close()


def echo(body: Any) -> Any:
    return body


def result(future: Future[Any]) -> Any:
    return future.result(WAIT_S)


# -- requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"\0\xff" * 100, bytes(1 << 20), [b"a", b""], [b"a", bytes(9000), b"\0"], []],
    ids=["empty", "one", "binary", "1 MiB", "two parts", "attached parts", "no part"],
)
def test_a_body_of_any_shape_comes_back(broker, work, ask, body):
    work(broker, {"echo": lambda task: task.parts})
    answer = ask(broker).request_full("echo", body, timeout=WAIT_S)
    assert answer.parts == ([body] if isinstance(body, bytes) else body)


def test_a_request_may_come_before_its_worker(broker, work, ask):
    future = ask(broker).submit("echo", b"early")
    work(broker, {"echo": echo})
    assert result(future) == b"early"


def test_the_default_service_is_the_empty_name(broker, work, ask):
    work(broker, {"": echo})
    assert ask(broker).request("", b"x", timeout=WAIT_S) == b"x"


def test_meta_goes_to_the_handler_and_comes_back(broker, work, ask):
    def handler(task):
        return pound.Answer(task.body, {**task.meta, "seen": "yes"})

    work(broker, {"meta": handler})
    answer = ask(broker).request_full("meta", b"x", timeout=WAIT_S, meta={"trace": "1"})
    assert answer == pound.Answer(b"x", {"trace": "1", "seen": "yes"})


def test_map_keeps_the_order_over_many_workers(broker, work, ask):
    for _ in range(3):
        work(broker, {"echo": echo}, capacity=4)
    bodies = [b"%d" % n for n in range(500)]
    assert list(ask(broker).map("echo", bodies, window=50, timeout=WAIT_S)) == bodies


def test_many_threads_and_clients_get_their_own_answers(broker, work, ask):
    work(broker, {"echo": echo}, capacity=4)
    clients = [ask(broker) for _ in range(3)]
    wrong: list[Any] = []

    def run(client: pound.Client, name: int) -> None:
        for n in range(50):
            body = b"%d-%d" % (name, n)
            if client.request("echo", body, timeout=WAIT_S) != body:
                wrong.append(body)

    threads = [threading.Thread(target=run, args=(clients[n % 3], n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not wrong
    assert broker.stats()["answered"] == 300


def test_higher_priority_goes_first(broker, work, ask):
    gate = threading.Event()
    order: list[bytes] = []

    def handler(body: bytes) -> bytes:
        gate.wait(WAIT_S)
        order.append(body)
        return body

    work(broker, {"echo": handler})
    client = ask(broker)
    futures = [client.submit("echo", b"first")]
    wait_until(lambda: broker.stats()["running"] == 1)
    futures += [client.submit("echo", b"%d" % n, priority=n) for n in (0, 9, 5)]
    wait_until(lambda: broker.stats()["waiting"] == 3)
    gate.set()
    for future in futures:
        result(future)
    assert order == [b"first", b"9", b"5", b"0"]


def test_inproc_with_a_shared_context(context, start_broker):
    broker = start_broker(context=context, frontend=("inproc://front",), backend=("inproc://back",))
    worker = pound.Worker("inproc://back", {"echo": echo}, context=context)
    with worker, pound.Client("inproc://front", context=context) as client:
        assert client.request("echo", b"near", timeout=WAIT_S) == b"near"
    assert broker.stats()["answered"] == 1


def test_closing_over_inproc_waits_for_nobody_and_loses_nothing(context, start_broker, monkeypatch):
    monkeypatch.setattr(client_engine, "LEAVE_WITHIN", 10 * WAIT_S)
    broker = start_broker(context=context, frontend=("inproc://front",), heartbeat=60.0)
    client = pound.Client("inproc://front", context=context, heartbeat=60.0)
    future = client.submit("nobody", b"")
    wait_until(lambda: broker.stats()["waiting"] == 1)
    client.close()
    assert not client._engine.alive()
    with pytest.raises(pound.ClosedError):
        result(future)
    wait_until(lambda: broker.stats()["waiting"] == 0)


# -- errors, deadlines, limits --------------------------------------------------------------


def test_a_failed_handler_answers_with_its_words(broker, work, ask):
    def handler(body: bytes) -> bytes:
        raise LookupError("no such thing")

    work(broker, {"fail": handler})
    with pytest.raises(pound.TaskFailed, match=r"^LookupError: no such thing$"):
        ask(broker).request("fail", b"", timeout=WAIT_S)


def test_a_service_without_a_worker_ends_in_no_such_service(start_broker, ask):
    broker = start_broker(service_wait=0.1)
    with pytest.raises(pound.NoSuchService):
        ask(broker).request("nobody", b"", timeout=WAIT_S)


def test_the_deadline_ends_the_request_and_tells_the_handler(broker, work, ask):
    told = threading.Event()

    def handler(task):
        wait_until(lambda: task.cancelled)
        told.set()

    work(broker, {"slow": handler})
    with pytest.raises(pound.DeadlineExceeded):
        ask(broker).request("slow", b"", timeout=0.2)
    assert told.wait(WAIT_S)
    assert broker.stats()["expired"] == 1


def test_the_handler_knows_the_deadline(broker, work, ask):
    def handler(task):
        return b"%d" % (0 < task.remaining <= 60)

    work(broker, {"left": handler})
    assert ask(broker).request("left", b"", timeout=60) == b"1"


def test_cancelling_the_future_tells_the_handler(broker, work, ask):
    started, told = threading.Event(), threading.Event()

    def handler(task):
        started.set()
        wait_until(lambda: task.cancelled)
        told.set()

    work(broker, {"slow": handler})
    future = ask(broker).submit("slow", b"")
    assert started.wait(WAIT_S)
    future.cancel()
    assert told.wait(WAIT_S)
    assert wait_until(lambda: broker.stats()["cancelled"]) == 1


def test_closing_the_client_cancels_what_it_asked(broker, work, ask):
    started, told = threading.Event(), threading.Event()

    def handler(task):
        started.set()
        wait_until(lambda: task.cancelled)
        told.set()

    work(broker, {"slow": handler})
    client = ask(broker)
    future = client.submit("slow", b"")
    assert started.wait(WAIT_S)
    client.close()
    with pytest.raises(pound.ClosedError):
        result(future)
    assert told.wait(WAIT_S)


def test_a_full_broker_is_waited_for_or_raises(start_broker, work, ask):
    broker = start_broker(waiting_max=2)
    patient, hasty = ask(broker), ask(broker, overflow="raise")
    waiting = [patient.submit("echo", b"%d" % n) for n in range(2)]
    wait_until(lambda: broker.stats()["waiting"] == 2)
    with pytest.raises(pound.Busy):
        hasty.request("echo", b"", timeout=WAIT_S)
    late = [patient.submit("echo", b"%d" % n) for n in range(2, 10)]
    wait_until(lambda: broker.stats()["refused"] >= 9)
    work(broker, {"echo": echo})
    assert [result(future) for future in waiting + late] == [b"%d" % n for n in range(10)]
    assert broker.stats()["answered"] == 10


def test_calls_for_a_dead_service_hold_up_no_others(start_broker, work, ask):
    broker = start_broker(requests_max=200, service_wait=0)
    work(broker, {"echo": echo})
    client = ask(broker)
    for _ in range(1000):
        client.submit("nobody", b"")
    wait_until(lambda: broker.stats()["waiting"] == 150)
    for n in range(20):
        assert client.request("echo", b"%d" % n, timeout=WAIT_S) == b"%d" % n
        assert client.request("pound.status", b"", timeout=WAIT_S)


def test_the_brokers_limits_reach_the_client(start_broker, work, ask):
    broker = start_broker(body_bytes_max=1000, requests_max=3)
    work(broker, {"echo": echo})
    client = ask(broker)
    assert client.wait_connected(WAIT_S)
    with pytest.raises(pound.InvalidRequest, match=r"1001 bytes .* 1000"):
        client.request("echo", bytes(1001), timeout=WAIT_S)
    futures = [client.submit("echo", b"%d" % n) for n in range(50)]
    assert [result(future) for future in futures] == [b"%d" % n for n in range(50)]
    assert broker.stats()["refused"] == 0


# -- streams --------------------------------------------------------------------------------


def test_a_stream_comes_in_partials(broker, work, ask):
    def handler(task):
        for n in range(5):
            task.partial(b"%d" % n)
        task.progress(5, 5)
        return b"end"

    work(broker, {"count": handler})
    got = list(ask(broker).stream("count", b"", timeout=WAIT_S))
    assert [item.body for item in got] == [b"0", b"1", b"2", b"3", b"4", b"", b"end"]
    assert [item.sequence for item in got] == list(range(7))
    assert [item.final for item in got] == [False] * 6 + [True]
    assert got[5].meta == {"progress": "5/5"}
    assert {item.attempt for item in got} == {1}


def test_a_stream_whose_worker_is_lost_starts_visibly_anew(broker, work, ask):
    hold = threading.Event()

    def stuck(task):
        task.partial(b"from the first")
        hold.wait(WAIT_S)

    def handler(task):
        task.partial(b"from the second")
        return b"end"

    with Proxy(broker.backend_endpoints[0]) as back:
        first = work(broker, {"count": stuck}, endpoints=back.url)
        stream = ask(broker).stream("count", b"", timeout=WAIT_S)
        assert next(stream) == pound.Partial(b"from the first", 1, 0, False)
        work(broker, {"count": handler})
        back.refuse = True  # the first one goes without a goodbye and does not come back
        back.cut()
        rest = list(stream)
        hold.set()
        first.stop()
    assert rest == [
        pound.Partial(b"from the second", 2, 0, False),
        pound.Partial(b"end", 2, 1, True),
    ]


# -- workers and brokers that go ------------------------------------------------------------


def test_a_released_task_goes_to_another_worker(broker, work, ask):
    seen: list[str] = []

    def refuses(task):
        seen.append("refused")
        raise pound.Release("not me")

    def accepts(task):
        seen.append("accepted")
        return b"%d" % task.attempt

    refusing = work(broker, {"echo": refuses})
    future = ask(broker).submit("echo", b"")
    wait_until(lambda: seen)
    work(broker, {"echo": accepts})
    assert refusing.drain()
    assert result(future) == b"1"  # a release does not count
    assert seen[-1] == "accepted"


def test_a_draining_worker_loses_nothing(broker, work, ask):
    counts: Counter[int] = Counter()

    def handler(number: int) -> Callable[[bytes], bytes]:
        def count(body: bytes) -> bytes:
            counts[number] += 1
            return body

        return count

    leaving = work(broker, {"echo": handler(1)}, capacity=8)
    work(broker, {"echo": handler(2)}, capacity=8)
    client = ask(broker)
    futures = [client.submit("echo", b"%d" % n) for n in range(1000)]
    wait_until(lambda: counts[1] > 0)  # the faster one gets more, how many is nobody's promise
    assert leaving.drain(WAIT_S)
    assert [result(future) for future in futures] == [b"%d" % n for n in range(1000)]
    assert sum(counts.values()) == 1000
    stats = broker.stats()
    assert (stats["losses"], stats["answers_late"], stats["answered"]) == (0, 0, 1000)


def test_tasks_that_a_drain_cannot_finish_go_to_another_worker(broker, work, ask):
    hold = threading.Event()
    leaving = work(broker, {"echo": lambda body: hold.wait(WAIT_S) and body})
    future = ask(broker).submit("echo", b"x")
    wait_until(lambda: broker.stats()["running"] == 1)
    work(broker, {"echo": lambda body: b"by the other"})
    assert not leaving.drain(0.1)
    assert result(future) == b"by the other"
    hold.set()
    assert broker.stats()["released"] == 1


def test_a_restarted_broker_gets_everybody_back(start_broker, work, ask):
    broker = start_broker()
    hold = threading.Event()
    runs: list[bytes] = []

    def handler(body: bytes) -> bytes:
        runs.append(body)
        hold.wait(WAIT_S)
        return body

    worker = work(broker, {"echo": handler}, capacity=2)
    client = ask(broker)
    futures = [client.submit("echo", b"%d" % n) for n in range(6)]
    wait_until(lambda: len(runs) == 2)
    broker.stop()
    wait_until(lambda: not client.wait_connected(0))
    again = start_broker(frontend=broker.frontend_endpoints, backend=broker.backend_endpoints)
    wait_until(lambda: again.stats()["workers"] == 1)
    hold.set()
    assert [result(future) for future in futures] == [b"%d" % n for n in range(6)]
    assert worker.wait_connected(0)
    stats = again.stats()
    assert (stats["accepted"], stats["answered"]) == (6, 6)


def test_the_next_broker_takes_over(start_broker, work, ask):
    first, second = start_broker(), start_broker()
    client = ask(first, second, heartbeat=0.1, liveness=3)
    hold = threading.Event()
    work(first, {"echo": lambda body: hold.wait(WAIT_S) and b"first"})
    work(second, {"echo": lambda body: b"second"})
    future = client.submit("echo", b"")
    wait_until(lambda: first.stats()["running"] == 1)
    first.stop()
    assert result(future) == b"second"
    hold.set()


def test_a_draining_broker_sends_its_clients_and_workers_to_the_next(start_broker, ask):
    first, second = start_broker(liveness=1000), start_broker(liveness=1000)  # silence moves nobody
    endpoints = first.backend_endpoints + second.backend_endpoints
    with pound.Worker(endpoints, {"echo": echo}) as worker:
        assert worker.wait_connected(WAIT_S)
        client = ask(first, second, liveness=1000)
        assert client.request("echo", b"1", timeout=WAIT_S) == b"1"
        assert first.drain(WAIT_S)
        assert client.request("echo", b"2", timeout=WAIT_S) == b"2"
        assert second.stats()["answered"] == 1


def test_a_cut_connection_is_mended_on_both_sides(broker, work, ask):
    hold = threading.Event()
    runs: list[bytes] = []

    def handler(body: bytes) -> bytes:
        runs.append(body)
        hold.wait(WAIT_S)
        return body

    with Proxy(broker.frontend_endpoints[0]) as front, Proxy(broker.backend_endpoints[0]) as back:
        worker = pound.Worker(back.url, {"echo": handler}, capacity=4)
        with worker, pound.Client(front.url) as client:
            futures = [client.submit("echo", b"%d" % n) for n in range(20)]
            wait_until(lambda: len(runs) == 4)
            front.cut()
            back.cut()
            wait_until(lambda: broker.stats()["closed_connections"] >= 2)
            hold.set()
            assert [result(future) for future in futures] == [b"%d" % n for n in range(20)]
    stats = broker.stats()
    assert (stats["accepted"], stats["answered"]) == (20, 20)


def test_a_silent_network_is_left_behind(broker, work, ask):
    work(broker, {"echo": echo})
    with Proxy(broker.frontend_endpoints[0]) as front:
        client = pound.Client([front.url, *broker.frontend_endpoints], heartbeat=0.1, liveness=3)
        with client:
            assert client.request("echo", b"1", timeout=WAIT_S) == b"1"
            front.silent = True
            assert client.request("echo", b"2", timeout=WAIT_S) == b"2"
