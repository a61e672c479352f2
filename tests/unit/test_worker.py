"""The worker against a scripted broker: READY, tasks, answers, partials, errors, the API.

What happens when the broker is lost or the worker leaves is in test_worker_leaving.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

import pound
from pound import _link, _tasks
from tests.unit.reference_broker import (
    ERROR,
    META,
    PARTIAL,
    READY,
    REPLY,
    WAIT_S,
    ReferenceBroker,
    bye,
    held,
    record,
    task,
    welcome,
)

CANCEL = 2


@pytest.fixture
def broker(context: zmq.Context[Any]) -> Iterator[ReferenceBroker]:
    broker = ReferenceBroker(context)
    yield broker
    broker.close()


@pytest.fixture
def start(broker: ReferenceBroker) -> Iterator[Callable[..., pound.Worker]]:
    """``start(handler, **settings)``: a running worker that offers `echo`."""
    workers: list[pound.Worker] = []

    def start(handler: Any = lambda body: body, **settings: Any) -> pound.Worker:
        services = settings.pop("services", {"echo": handler})
        worker = pound.Worker(settings.pop("endpoint", broker.endpoint), services, **settings)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    broker.close()  # so that no worker waits for an answer to its BYE
    for worker in workers:
        worker.stop()


@pytest.fixture
def serve(start: Any, broker: ReferenceBroker) -> Callable[..., pound.Worker]:
    """``serve(handler, **settings)``: the same, welcomed by the broker."""

    def serve(*arguments: Any, limits: dict[str, int] | None = None, **settings: Any) -> Any:
        worker = start(*arguments, **settings)
        broker.greet(**(limits or {}))
        broker.expect(READY)
        assert worker.wait_connected(WAIT_S)
        return worker

    return serve


def words(said: Any) -> str:
    return said.parts[0].decode()


# -- READY ----------------------------------------------------------------------------------


def test_ready_tells_label_services_and_capacity(start, broker):
    services = {"echo": lambda body: body, "ä": lambda body: body}
    start(services=services, capacity=7, label="host:7")
    ready = broker.expect(READY)
    assert ready.head == (7, ())
    assert ready.parts == [b"host:7", b"echo", "ä".encode()]
    assert ready.id == ready.done == 0
    assert len(ready.session) == 16


def test_ready_is_repeated_until_welcome_and_answers_it_once(start, broker, monkeypatch):
    monkeypatch.setattr(_link, "GREETING_EVERY", 0.05)
    worker = start(heartbeat=60.0)
    for _ in range(3):
        broker.expect(READY)
    broker.say(welcome())
    assert worker.wait_connected(WAIT_S)
    while broker.read(0) is not None:
        continue  # those that crossed the WELCOME
    said = []
    while (ready := broker.read(0.3)) is not None:
        said.append(ready.kind)
    assert said in ([], [READY])  # the answer to WELCOME may be among those read before


def test_ready_after_welcome_lists_the_tasks_held(start, broker):
    release = threading.Event()
    start(lambda body: release.wait(WAIT_S) and body)
    broker.expect(READY)
    broker.say(welcome(), task(70, b"echo", b"a"))
    assert broker.expect(READY).head == (1, (70,))
    release.set()
    assert broker.expect(REPLY).id == 70
    broker.say(welcome())
    assert broker.seek(READY).head == (1, ())


def test_heartbeats_leave_while_a_handler_computes(serve, broker):
    release = threading.Event()
    serve(lambda body: release.wait(WAIT_S) and body, heartbeat=0.05)
    broker.say(task(1))
    broker.heartbeats.clear()
    for _ in range(3):
        broker.heartbeat()
    release.set()
    broker.expect(REPLY)


def test_a_worker_judges_silence_by_the_rates_that_the_broker_told(serve, broker):
    serve(heartbeat=0.02, liveness=2, limits={"heartbeat_ms": 60_000, "liveness": 3})
    for _ in range(10):  # ten of its own heartbeats, and no word from the broker
        broker.heartbeat()
    assert broker.read(0) is None


def test_an_idle_worker_beats_as_often_as_the_broker_asks(serve, broker):
    serve(heartbeat=30.0, limits={"heartbeat_ms": 50})
    for _ in range(3):
        broker.heartbeat()


# -- tasks and answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts", [[b"body"], [b""], [b"a", b"b" * 10_000, b"\0"], [b"a", b"b", b""]]
)
def test_a_task_is_answered_by_its_handler(serve, broker, parts):
    serve()
    broker.say(task(2**64 - 1, b"echo", *parts))
    said = broker.expect(REPLY)
    assert (said.id, said.parts) == (2**64 - 1, parts)


def test_each_service_has_its_handler(serve, broker):
    serve(services={"one": lambda body: b"1" + body, "two": lambda body: b"2" + body})
    broker.say(task(1, b"two", b"x"))
    assert broker.expect(REPLY).parts == [b"2x"]
    broker.say(task(2, b"one", b"x"))
    assert broker.expect(REPLY).parts == [b"1x"]


@pytest.mark.parametrize(
    ("result", "parts"),
    [
        (None, [b""]),
        (bytearray(b"array"), [b"array"]),
        ([b"a", memoryview(b"b")], [b"a", b"b"]),
        ([], []),
    ],
)
def test_what_a_handler_may_return(serve, broker, result, parts):
    serve(lambda body: result)
    broker.say(task(1))
    assert broker.expect(REPLY).parts == parts


@pytest.mark.parametrize("result", ["text", 5, [b"a", 5]])
def test_what_a_handler_may_not_return_is_its_failure(serve, broker, result):
    serve(lambda body: result)
    broker.say(task(1))
    said = broker.expect(ERROR)
    assert said.head[0] == 2
    assert words(said).startswith("TypeError: ")


def test_capacity_tasks_run_at_once(serve, broker):
    together = threading.Barrier(3, timeout=WAIT_S)
    serve(lambda body: b"%d" % (together.wait() >= 0), capacity=3)
    broker.say(*(task(token) for token in (1, 2, 3)))
    assert {broker.expect(REPLY).id for _ in range(3)} == {1, 2, 3}


def test_threads_are_not_more_than_the_capacity(serve, broker):
    names: set[str] = set()

    def handler(body: bytes) -> bytes:
        names.add(threading.current_thread().name)
        return body

    serve(handler, capacity=2)
    for token in range(20):
        broker.say(task(token))
    for _ in range(20):
        broker.expect(REPLY)
    assert 1 <= len(names) <= 2


def test_answers_that_are_ready_together_share_a_packet(serve, broker):
    worker = serve(capacity=3)
    with held(worker):
        for token in (1, 2, 3):
            given = pound.Task(task_record(token), worker._tasks)
            worker._engine.post(worker._tasks._running.__setitem__, token, given)
            worker._work(given)
    assert len({broker.expect(REPLY).packet for _ in range(3)}) == 1


def task_record(token: int) -> Any:
    from pound._wire import Kind, Record

    return Record(kind=Kind.TASK, id=token, service=b"echo", parts=[b""], attempt=1)


def test_a_repeated_task_is_run_once(serve, broker):
    release = threading.Event()
    runs: list[bytes] = []

    def handler(body: bytes) -> bytes:
        runs.append(body)
        release.wait(WAIT_S)
        return body

    serve(handler, capacity=2)
    broker.say(task(1), task(1), task(2))
    broker.expect_silence(0.1)
    release.set()
    assert {broker.expect(REPLY).id for _ in range(2)} == {1, 2}
    assert len(runs) == 2


def test_a_handler_that_wants_the_task_gets_it(serve, broker):
    seen: dict[str, Any] = {}

    def handler(given: pound.Task) -> bytes:
        seen.update(
            body=given.body, parts=given.parts, service=given.service, attempt=given.attempt,
            meta=given.meta, cancelled=given.cancelled, remaining=given.remaining,
            left=(given.deadline or 0) - time.monotonic(),
        )  # fmt: skip
        return b""

    serve(handler)
    meta = b'{"trace":"1"}'
    broker.say(task(1, b"echo", meta, b"a", b"b", attempt=3, remaining_ms=5000, flags=META))
    broker.expect(REPLY)
    assert seen["body"] == seen["parts"] == [b"a", b"b"]
    assert (seen["service"], seen["attempt"], seen["meta"]) == ("echo", 3, {"trace": "1"})
    assert seen["cancelled"] is False
    assert 0 < seen["remaining"] <= 5
    assert 0 < seen["left"] <= 5


def test_a_task_without_a_deadline_has_none(serve, broker):
    def handler(task):
        return repr((task.deadline, task.remaining, task.meta)).encode()

    serve(handler)
    broker.say(task(1))
    assert broker.expect(REPLY).parts == [b"(None, None, {})"]


class Method:
    def __call__(self, task: Any) -> bytes:
        return b"%d" % task.attempt

    def handle(self, given: "pound.Task") -> bytes:  # noqa: UP037 - written as a string on purpose
        return b"%d" % given.attempt


@pytest.mark.parametrize("handler", [Method(), Method().handle, lambda task: b"%d" % task.attempt])
def test_every_kind_of_callable_may_ask_for_the_task(serve, broker, handler):
    serve(handler)
    broker.say(task(1, attempt=4))
    assert broker.expect(REPLY).parts == [b"4"]


def test_a_builtin_gets_the_body(serve, broker):
    serve(bytes)
    broker.say(task(1, b"echo", b"x"))
    assert broker.expect(REPLY).parts == [b"x"]


def test_an_answer_may_carry_meta(serve, broker):
    serve(lambda body: pound.Answer(body, {"type": "text"}))
    broker.say(task(1, b"echo", b"x"))
    said = broker.expect(REPLY)
    assert (said.flags, said.parts) == (META, [b'{"type":"text"}', b"x"])


# -- partials ---------------------------------------------------------------------------------


def test_partials_are_numbered_in_their_attempt_and_come_before_the_answer(serve, broker):
    def handler(task):
        task.partial(b"a")
        task.partial([b"b", b"c"], meta={"k": "v"})
        task.progress(1, 2)
        return b"end"

    serve(handler)
    broker.say(task(9, attempt=2))
    got = [broker.expect(PARTIAL) for _ in range(3)]
    assert [item.head for item in got] == [(0, 2), (1, 2), (2, 2)]
    assert {item.id for item in got} == {9}
    assert got[0].parts == [b"a"]
    assert got[1].parts == [b'{"k":"v"}', b"b", b"c"]
    assert got[2].parts == [b'{"progress":"1/2"}', b""]
    assert broker.expect(REPLY).parts == [b"end"]


def test_partials_wait_for_room_and_go_on_when_there_is(serve, broker, monkeypatch):
    monkeypatch.setattr(_tasks, "UNSENT_BYTES_MAX", 1000)

    def handler(task):
        for _ in range(20):
            task.partial(bytes(400))

    serve(handler)
    broker.say(task(1), bye(0))  # nothing but READY leaves before the next WELCOME
    broker.expect(READY)
    broker.say(welcome())
    sequences = []
    while (said := broker.read()).kind != REPLY:
        sequences += [said.head[0]] if said.kind == PARTIAL else []
    assert sequences == list(range(20))


def test_a_partial_without_room_blocks_its_handler_until_the_task_is_cancelled(monkeypatch):
    monkeypatch.setattr(_tasks, "UNSENT_BYTES_MAX", 1)

    posted: list[Any] = []
    engine = SimpleNamespace(post=lambda *command: posted.append(command))
    tasks = _tasks.Tasks([b"echo"], 1, b"", lambda task: None)
    tasks.bind(engine)  # type: ignore[arg-type]
    given = pound.Task(task_record(1), tasks)
    tasks._running[1] = given
    given.partial(b"first")
    thread = threading.Thread(target=given.partial, args=(b"second",))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    tasks._abandon(given)
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert len(posted) == 1


def test_partials_and_answers_keep_to_the_brokers_limit(serve, broker):
    def handler(task):
        try:
            task.partial(bytes(101))
        except ValueError as error:
            task.partial(str(error).encode()[:100])
        return bytes(102)

    serve(handler, limits={"body_bytes_max": 100})
    broker.say(task(1))
    assert b"101 bytes" in broker.expect(PARTIAL).parts[0]
    said = broker.expect(ERROR)
    assert said.head[0] == 2
    assert "102 bytes exceeds the broker's body_bytes_max of 100" in words(said)


# -- errors and cancelling ------------------------------------------------------------------


def test_an_exception_becomes_the_answer_and_its_traceback_stays_here(serve, broker, caplog):
    def handler(body):
        raise LookupError("no such thing")

    with caplog.at_level(logging.ERROR, "pound.worker"):
        serve(handler)
        broker.say(task(1))
        said = broker.expect(ERROR)
    assert (said.id, said.head[0]) == (1, 2)
    assert words(said) == "LookupError: no such thing"
    assert "Traceback" in caplog.text
    assert {line.name for line in caplog.records} == {"pound.worker"}


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, pound.Busy])
def test_whatever_a_handler_raises_is_answered_and_the_worker_goes_on(serve, broker, kind):
    def handler(body):
        if body == b"bad":
            raise kind("out")
        return body

    serve(handler)
    broker.say(task(1, b"echo", b"bad"))
    said = broker.expect(ERROR)
    assert (said.head[0], words(said)) == (2, f"{kind.__name__}: out")
    broker.say(task(2, b"echo", b"good"))
    assert broker.expect(REPLY).parts == [b"good"]


def test_a_long_sentence_is_cut(serve, broker):
    def handler(body):
        raise ValueError("ä" * 10_000)

    serve(handler)
    broker.say(task(1))
    assert len(words(broker.expect(ERROR)).encode()) <= 4096


def test_release_gives_the_task_back(serve, broker):
    def handler(body):
        raise pound.Release("not me")

    serve(handler)
    broker.say(task(1))
    said = broker.expect(ERROR)
    assert (said.head[0], words(said)) == (14, "not me")


@pytest.mark.parametrize("meta", [b"no json", b"[]", b'{"a":1}'])
def test_malformed_meta_is_an_invalid_argument(serve, broker, meta):
    serve()
    broker.say(task(1, b"echo", meta, b"x", flags=META))
    said = broker.expect(ERROR)
    assert said.head[0] == 3
    assert "META" in words(said)


def test_a_service_that_was_never_offered_is_not_found(serve, broker):
    serve()
    broker.say(task(1, b"other"))
    assert broker.expect(ERROR).head[0] == 5


def test_cancel_is_seen_by_the_handler_which_still_answers(serve, broker):
    started = threading.Event()

    def handler(task):
        started.set()
        deadline = time.monotonic() + WAIT_S
        while not task.cancelled and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        task.partial(b"dropped")
        return b"cancelled" if task.cancelled else b"not told"

    serve(handler)
    broker.say(task(1))
    assert started.wait(WAIT_S)
    broker.say(record(CANCEL, 1), record(CANCEL, 99))
    assert broker.expect(REPLY).parts == [b"cancelled"]


def test_a_task_cancelled_before_it_began_is_not_run(serve, broker):
    release = threading.Event()
    runs: list[bytes] = []

    def handler(body: bytes) -> bytes:
        runs.append(body)
        release.wait(WAIT_S)
        return body

    serve(handler)
    broker.say(task(1, b"echo", b"first"), task(2, b"echo", b"second"))
    broker.say(record(CANCEL, 2), record(25))
    broker.expect_silence(0.1)
    release.set()
    assert broker.expect(REPLY).id == 1
    said = broker.expect(ERROR)
    assert (said.id, said.head[0]) == (2, 1)
    assert runs == [b"first"]


# -- what is refused before anything is sent ------------------------------------------------


def echo(body: bytes) -> bytes:
    return body


async def coroutine(body: bytes) -> bytes:
    return body


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ({}, "1..64 services"),
        ({str(n): echo for n in range(65)}, "1..64 services"),
        ({"mmi.service": echo}, "reserved"),
        ({"pound.status": echo}, "reserved"),
        ({"titanic.request": echo}, "reserved"),
        ({"x" * 256: echo}, "256 bytes"),
        ({"ä" * 128: echo}, "256 bytes"),
        ({"echo": "no function"}, "not callable"),
        ({"echo": coroutine}, "coroutine"),
        ({"echo": lambda: b""}, "no argument"),
    ],
)
def test_services_that_cannot_be_offered_are_refused(services, words):
    with pytest.raises(pound.ConfigError, match=words):
        pound.Worker("tcp://127.0.0.1:1", services)


@pytest.mark.parametrize("service", ["", "mmi", "poundcake", "x" * 255])
def test_names_that_only_look_reserved_are_fine(service):
    pound.Worker("tcp://127.0.0.1:1", {service: echo})


@pytest.mark.parametrize(
    "settings",
    [
        {"capacity": 0},
        {"capacity": 65536},
        {"heartbeat": 0},
        {"liveness": 0},
        {"label": "x" * 65},
        {"endpoint": "localhost"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError):  # noqa: PT011 - each message names its own setting
        pound.Worker(settings.pop("endpoint", "tcp://127.0.0.1:1"), {"echo": echo}, **settings)
