"""The worker against a scripted broker: READY, tasks, answers, partials, errors.

Arguments are in test_worker_arguments.py; what happens when the broker is lost or the worker leaves
is in engine/test_worker_leaving.py.
"""

from __future__ import annotations

import gc
import json
import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import zmq

import pound
import pound.aio
from pound._engine import worker as worker_engine
from tests.support import wait_until
from tests.unit.reference_broker import (
    ATTACHED,
    ERROR,
    HEARTBEAT,
    META,
    PARTIAL,
    READY,
    REPLY,
    TASK,
    WAIT_S,
    ReferenceBroker,
    bye,
    credit,
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
    with suppress(zmq.ZMQError):  # a test may have closed it
        broker.say(record(HEARTBEAT))  # so that no worker waits to hear that its answers came
    broker.close(linger=1)  # so that none waits for an answer to its BYE
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


def test_ready_is_repeated_until_welcome_and_answers_it_once(start, broker):
    worker = start(heartbeat=60.0)
    for _ in range(2):
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
    serve(lambda task: task.parts)
    broker.say(task(2**64 - 1, b"echo", *parts))
    said = broker.expect(REPLY)
    assert (said.id, said.parts) == (2**64 - 1, parts)


@pytest.mark.parametrize("meta", [{}, {"trace": "1"}])
def test_a_handler_of_one_part_is_not_given_several(serve, broker, meta):
    """Their sender is told so; a body without parts is an empty one."""
    serve()
    before = [json.dumps(meta).encode()] if meta else []
    flags = META if meta else 0
    broker.say(task(1, b"echo", *before, b"a", b"b", flags=flags))
    said = broker.expect(ERROR)
    assert said.head[0] == 3
    assert b"service 'echo' takes a body of one part, not of 2;" in said.parts[0]
    for id, parts in ((2, []), (3, [b"a"])):
        broker.say(task(id, b"echo", *before, *parts, flags=flags))
        said = broker.expect(REPLY)
        assert (said.id, said.parts) == (id, parts or [b""])


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
    release = threading.Event()
    worker = serve(lambda body: release.wait(WAIT_S) and body, capacity=3)
    broker.say(*(task(token) for token in (1, 2, 3)), bye(0))  # answers wait for the next WELCOME
    assert broker.expect(READY).head == (3, (1, 2, 3))
    release.set()
    wait_until(lambda: worker._engine.held == 0)
    broker.say(welcome())
    assert len({broker.expect(REPLY).packet for _ in range(3)}) == 1


def test_many_tasks_at_once_get_their_own_answers(serve, broker):
    """One thread, many tasks: answers are gathered into packets, never exchanged."""
    serve(capacity=1000)
    tokens = list(range(1000))
    broker.say(*(task(token, b"echo", b"%d" % token) for token in tokens))
    answers = [broker.expect(REPLY) for _ in tokens]
    assert {answer.id for answer in answers} == set(tokens)
    assert all(answer.parts == [b"%d" % answer.id] for answer in answers)


def test_an_answer_does_not_wait_for_handlers_that_go_on(serve, broker):
    release = threading.Event()

    def handler(body: bytes) -> bytes:
        if body == b"slow":
            release.wait(WAIT_S)
        return body

    serve(handler, capacity=2, heartbeat=60.0)  # no heartbeat takes the answer along
    slow = [task(token, b"echo", b"slow") for token in (1, 2, 3)]
    broker.say(task(0, b"echo", b"quick"), *slow)
    assert broker.expect(REPLY).id == 0  # while others run and others wait
    release.set()
    assert {broker.expect(REPLY).id for _ in range(3)} == {1, 2, 3}


def test_handlers_that_begin_to_block_spread_over_all_threads(serve, broker):
    """Short ones are run by one thread; those that block are not left to wait behind each other."""
    together = threading.Barrier(16, timeout=WAIT_S)

    def handler(body: bytes) -> bytes:
        if body == b"block":
            together.wait()
        return body

    serve(handler, capacity=16, heartbeat=60.0)
    for kind in (b"block", b"short", b"block"):
        for first in range(0, 160, 16):
            broker.say(*(task(first + n, b"echo", kind) for n in range(16)))
            assert len({broker.expect(REPLY).id for _ in range(16)}) == 16


def test_without_copying_large_parts_are_views_of_what_was_received(serve, broker):
    kept: list[Any] = []

    def handler(task: pound.Task[bytes | memoryview]) -> list[bytes | memoryview]:
        kept.extend(task.parts)
        return task.parts

    serve(handler, copy=False)
    large = bytes(range(256)) * 32
    broker.say(task(1, b"echo", b"small", large))
    assert broker.expect(REPLY).parts == [b"small", large]
    broker.say(attached_task(2, b"small", large), attached=[b"small", large])
    assert broker.expect(REPLY).parts == [b"small", large]
    assert [type(part) for part in kept] == [bytes, bytes, bytes, memoryview]
    assert kept[3].readonly
    assert bytes(kept[3]) == large


def attached_task(token: int, *parts: bytes) -> bytes:
    """A TASK whose parts are the next attached frames."""
    head = struct.pack("<IBBH16s", 0, 0, 1, 4, b"") + b"echo"
    return struct.pack("<IBBHQ", 16 + len(head), TASK, ATTACHED, len(parts), token) + head


def test_a_worker_that_has_ended_leaves_nothing_behind(serve, broker):
    gc.collect()
    before = worker_engine.live()
    release = threading.Event()

    def handler(task: pound.Task) -> bytes:
        if len(task.body) == 5000:
            task.partial(b"part")
            release.wait(WAIT_S)
        return task.body

    worker = serve(handler, capacity=3)
    for token in range(10, 20):
        broker.say(task(token))
        broker.expect(REPLY)
    broker.say(*(task(token, b"echo", b"x" * 5000) for token in range(4)))
    for _ in range(3):
        broker.expect(PARTIAL)
    assert worker_engine.live() >= before + 4
    worker.stop()  # with tasks that run, one that waits, and partials that may not have arrived
    release.set()
    wait_until(lambda: gc.collect() is not None and worker_engine.live() == before)


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
            parts=given.parts, service=given.service, attempt=given.attempt,
            meta=given.meta, cancelled=given.cancelled, remaining=given.remaining,
            left=(given.deadline or 0) - time.monotonic(),
        )  # fmt: skip
        with pytest.raises(pound.MultipartError, match="2 parts") as error:
            given.body  # noqa: B018
        seen["body"] = error.value.parts
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


def flood(told: list[int], count: int = 12) -> Callable[[pound.Task], bytes]:
    """A handler whose partials of 2 MiB fill the room of 16 MiB; `told` has those it got rid of."""

    def handler(task: pound.Task) -> bytes:
        for n in range(count):
            task.partial(bytes(2 << 20))
            told.append(n)
        return b"end"

    return handler


def test_partials_wait_for_room_and_go_on_when_there_is(serve, broker):
    told: list[int] = []
    serve(flood(told))
    broker.say(task(1), credit(1, 1 << 30), bye(0))  # nothing but READY leaves before WELCOME
    broker.expect(READY)
    wait_until(lambda: len(told) == 8)
    broker.expect_silence(0.05)
    assert len(told) == 8
    broker.say(welcome())
    sequences = []
    while (said := broker.read()).kind != REPLY:
        sequences += [said.head[0]] if said.kind == PARTIAL else []
    assert sequences == list(range(12))


def test_a_partial_without_room_blocks_its_handler_until_the_task_is_cancelled(serve, broker):
    told: list[int] = []
    worker = serve(flood(told))
    broker.say(task(1), credit(1, 1 << 30), bye(0))
    broker.expect(READY)
    wait_until(lambda: len(told) == 8)
    broker.say(record(CANCEL, 1))
    wait_until(lambda: worker._engine.held == 0)
    assert len(told) == 8, "a handler was told that nobody waits"


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
    assert (said.head, words(said)) == ((14, 0), "not me")


@pytest.mark.parametrize(("after", "told_ms"), [(0.25, 250), (1e-9, 1), (1e12, 0xFFFFFFFF)])
def test_release_tells_for_how_long(serve, broker, after, told_ms):
    def handler(body):
        raise pound.Release("the database is away", after=after)

    serve(handler)
    broker.say(task(1))
    said = broker.expect(ERROR)
    assert (said.head, words(said)) == ((14, told_ms), "the database is away")


def test_releases_are_logged_once_for_a_service(serve, broker, caplog):
    def handler(body):
        raise pound.Release("not now")

    serve(handler)
    for token in range(1, 6):
        broker.say(task(token))
        broker.expect(ERROR)

    def lines():
        return [r.getMessage() for r in caplog.records if "task released" in r.getMessage()]

    wait_until(lines)
    assert lines() == ['task released service=echo reason="not now" tasks=1']


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
        with pytest.raises(pound.Cancelled):
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
