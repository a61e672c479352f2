"""The worker when it loses its broker, and when it leaves: drain, stop, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import pound
from tests.unit.reference_broker import (
    BYE,
    CANCEL,
    ERROR,
    HEARTBEAT,
    PARTIAL,
    READY,
    REPLY,
    WAIT_S,
    ReferenceBroker,
    bye,
    record,
    task,
    welcome,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def listen(context: zmq.Context[Any]) -> Iterator[Callable[..., ReferenceBroker]]:
    brokers: list[ReferenceBroker] = []

    def listen(endpoint: str = "tcp://127.0.0.1:*") -> ReferenceBroker:
        brokers.append(ReferenceBroker(context, endpoint))
        return brokers[-1]

    yield listen
    for broker in brokers:
        broker.close()


@pytest.fixture
def broker(listen: Callable[..., ReferenceBroker]) -> ReferenceBroker:
    return listen()


class Gate:
    """A handler that answers when it is let through; notes each task."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.tasks: list[pound.Task] = []
        self.entered = threading.Semaphore(0)

    def __call__(self, task: pound.Task) -> bytes:
        self.tasks.append(task)
        self.entered.release()
        self.open.wait(WAIT_S)
        return b"done"

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=WAIT_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def serve(gate: Gate, broker: ReferenceBroker) -> Iterator[Callable[..., pound.Worker]]:
    """``serve(*endpoints, **settings)``: a welcomed worker whose handler is the gate."""
    workers: list[pound.Worker] = []

    def serve(*endpoints: str, heartbeat_ms: int = 60_000, **settings: Any) -> pound.Worker:
        worker = pound.Worker(endpoints or broker.endpoint, {"echo": gate}, **settings)
        workers.append(worker)
        worker.start()
        broker.greet(heartbeat_ms=heartbeat_ms, liveness=3)
        broker.expect(READY)
        assert worker.wait_connected(WAIT_S)
        return worker

    yield serve
    broker.close()  # so that no worker waits for an answer to its BYE
    gate.open.set()
    for worker in workers:
        worker.stop()


def draining(worker: pound.Worker, *arguments: float) -> tuple[threading.Thread, list[bool]]:
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(worker.drain(*arguments)))
    thread.start()
    return thread, told


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.005)


# -- the broker is lost ---------------------------------------------------------------------


def test_a_silent_broker_gets_a_new_route_and_the_finished_answer(serve, broker, gate):
    worker = serve(heartbeat_ms=50)
    route = broker.route
    broker.say(task(1), task(2))
    gate.wait_entered()
    ready = broker.seek(READY, lambda said: said.route != route)  # three heartbeats of silence
    assert ready.head == (1, (1, 2))
    gate.open.set()
    wait_for(lambda: worker._engine.held == 0)
    ready = broker.seek(READY, lambda said: 1 in said.head[1])  # kept: no answer before WELCOME
    broker.say(welcome())
    assert {broker.seek(REPLY).id for _ in range(2)} == {1, 2}
    assert broker.expect(READY).head == (1, ())


def test_an_answer_that_nothing_followed_is_sent_again_to_the_same_epoch(serve, broker, gate):
    serve(heartbeat_ms=100)
    gate.open.set()
    broker.say(task(1))
    first = broker.expect(REPLY)
    ready = broker.seek(READY, lambda said: said.route != first.route)
    assert ready.head == (1, (1,))  # it may not have arrived
    assert ready.epoch == broker.epoch
    broker.say(welcome())
    again = broker.expect(REPLY)
    assert (again.id, again.parts) == (first.id, first.parts)
    assert broker.expect(READY).head == (1, ())


def test_an_answer_that_a_sign_of_life_followed_is_not_sent_again(serve, broker, gate):
    serve(heartbeat_ms=100)
    gate.open.set()
    broker.say(task(1))
    route = broker.expect(REPLY).route
    broker.say(record(HEARTBEAT))
    ready = broker.seek(READY, lambda said: said.route != route)
    assert ready.head == (1, ())
    broker.say(welcome())
    assert broker.expect(READY).head == (1, ())


def test_a_new_epoch_gets_ready_and_nothing_of_the_old_one(serve, broker, gate):
    serve(capacity=2)
    broker.say(task(1))
    gate.wait_entered()
    broker.epoch = bytes(16)
    broker.say(record(HEARTBEAT))
    broker.expect(READY)
    broker.say(welcome())
    assert broker.expect(READY).head == (1, ())  # one of two threads is still busy
    assert gate.tasks[0].cancelled
    with pytest.raises(pound.Cancelled):
        gate.tasks[0].partial(b"dropped")
    gate.open.set()
    assert broker.expect(READY).head == (2, ())  # free again
    broker.say(task(1))  # the token's number means another task now
    assert broker.expect(REPLY).id == 1
    broker.expect_silence(0.1)


def test_kept_answers_are_dropped_when_the_epoch_has_changed(serve, broker, gate):
    worker = serve(heartbeat_ms=50)
    broker.say(task(1))
    gate.wait_entered()
    route = broker.route
    broker.seek(READY, lambda said: said.route != route)
    gate.open.set()
    wait_for(lambda: worker._engine.held == 0)
    broker.epoch = bytes(16)
    broker.say(welcome())
    while broker.expect(READY).head != (1, ()):
        continue  # those that crossed the WELCOME; an answer among them would fail `expect`
    broker.expect_silence(0.1)


def test_bye_unknown_to_me_is_answered_by_ready_with_what_it_holds(serve, broker, gate):
    serve()
    broker.say(task(5))
    gate.wait_entered()
    broker.say(bye(0))
    assert broker.expect(READY).head == (1, (5,))


def test_bye_going_away_leads_to_the_next_endpoint(serve, listen, broker):
    other = listen()
    serve(broker.endpoint, other.endpoint)
    broker.say(bye(1))
    other.greet()
    other.expect(READY)


def moved(serve: Any, listen: Any, broker: ReferenceBroker, **settings: Any) -> ReferenceBroker:
    """The second broker of a worker's list, which it serves since the first one has gone."""
    other: ReferenceBroker = listen()
    serve(broker.endpoint, other.endpoint, **settings)
    broker.say(bye(1))
    other.greet()
    other.expect(READY)
    return other


def test_a_worker_goes_home_when_all_is_answered_and_agreed(serve, listen, broker, gate):
    other = moved(serve, listen, broker)
    other.say(task(1))
    gate.wait_entered()
    assert other.expect(BYE).head[0] == 1
    other.say(task(2), bye(2))  # it crossed our BYE
    other.expect_silence(2.5)  # the broker agreed: nothing to repeat
    gate.open.set()
    assert [other.expect(REPLY).id for _ in range(2)] == [1, 2]
    assert other.expect(BYE).head[0] == 1
    broker.expect_silence(0.1)
    other.say(bye(2))
    ready = broker.seek(READY)
    assert ready.head == (1, ())
    broker.say(welcome())
    broker.say(task(1))
    assert broker.seek(REPLY).id == 1


def test_a_worker_whose_home_has_gone_again_serves_on(serve, listen, broker, gate):
    other = moved(serve, listen, broker)
    other.say(task(1))
    gate.wait_entered()
    other.expect(BYE)
    other.say(bye(2))
    broker.close()
    assert other.expect(READY).head == (1, (1,))
    gate.open.set()
    assert other.seek(REPLY).id == 1
    other.say(task(2))
    assert other.seek(REPLY).id == 2


def test_a_worker_on_its_way_home_still_drains(serve, listen, broker, gate):
    other = listen()
    worker = serve(broker.endpoint, other.endpoint)
    broker.say(bye(1))
    other.greet()
    other.expect(READY)
    other.say(task(1))
    gate.wait_entered()
    other.expect(BYE)
    other.say(bye(2))
    thread, told = draining(worker)
    other.expect(BYE)
    other.say(bye(2))
    gate.open.set()
    assert other.seek(REPLY).id == 1
    other.seek(BYE)
    other.say(bye(2))
    thread.join(WAIT_S)
    assert told == [True]


def test_partials_given_while_the_broker_is_away_follow_in_order(listen, broker):
    away, back = threading.Event(), threading.Event()

    def handler(task: pound.Task) -> bytes:
        task.partial(b"0")
        assert away.wait(WAIT_S)
        task.partial(b"1")
        back.set()
        return b"end"

    worker = pound.Worker(broker.endpoint, {"echo": handler})
    worker.start()
    broker.greet()
    broker.expect(READY)
    broker.say(task(1))
    broker.expect(PARTIAL)
    broker.say(bye(0))
    assert broker.expect(READY).head == (1, (1,))
    away.set()
    assert back.wait(WAIT_S)
    broker.expect_silence(0.1)
    broker.say(welcome())
    assert [broker.expect(PARTIAL).head[0], broker.expect(REPLY).parts] == [1, [b"end"]]
    worker.stop()


def test_answers_that_libzmq_still_refuses_are_kept(context, listen):
    """A sign of life does not confirm what never left: a full pipe holds most of the answers."""
    count = 600
    context.setsockopt(zmq.RCVHWM, 1)
    broker = listen("inproc://full")
    done: list[bytes] = []
    worker = pound.Worker(broker.endpoint, {"echo": done.append}, capacity=count, context=context)
    worker.start()
    broker.greet(heartbeat_ms=100, liveness=3, packet_bytes_max=1)  # an answer fills a packet
    broker.expect(READY)
    tokens = set(range(1, count + 1))
    broker.say(*map(task, tokens))

    def answered() -> bool:
        broker.say(record(HEARTBEAT))  # the last one when all are: the worker gives this route up
        return len(done) == count and worker._engine.held == 0

    wait_for(answered)
    wait_for(lambda: not worker.wait_connected(0))
    route = broker.route
    ready = broker.seek(READY, lambda said: said.route != route)
    assert set(ready.head[1]) == tokens
    broker.close()
    worker.stop()


def test_waiting_for_a_broker_ends_with_the_worker(gate):
    worker = pound.Worker("tcp://127.0.0.1:1", {"echo": gate})
    told: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(pound.ClosedError) as raised:
            worker.wait_connected()
        told.append(raised.value)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()  # before the worker: whoever waits may come first
    worker.start()
    worker.stop()
    thread.join(WAIT_S)
    assert told, "it waits on"


# -- the worker leaves ----------------------------------------------------------------------


def test_a_worker_that_was_never_started_has_nothing_to_drain(broker, gate):
    worker = pound.Worker(broker.endpoint, {"echo": gate})
    assert worker.drain()
    worker.start()
    broker.greet()
    assert worker.wait_connected(WAIT_S)
    worker.stop()


def test_drain_says_bye_finishes_what_it_holds_and_waits_for_consent(serve, broker, gate):
    worker = serve()
    broker.say(task(1))
    gate.wait_entered()
    thread, told = draining(worker)
    assert broker.expect(BYE).head[0] == 1
    gate.open.set()
    assert broker.expect(REPLY).id == 1
    broker.say(task(2))  # it crossed our BYE
    assert broker.seek(REPLY).id == 2
    broker.say(bye(2))
    thread.join(WAIT_S)
    assert told == [True]
    assert not worker._engine.alive()


@pytest.mark.parametrize("crossing", [True, False])
def test_consent_counts_only_behind_the_last_answer(serve, broker, gate, crossing):
    worker = serve()
    broker.say(task(1))
    gate.wait_entered()
    thread, told = draining(worker)
    broker.expect(BYE)
    if not crossing:
        broker.say(bye(2), record(CANCEL, 1))
        wait_for(lambda: gate.tasks[0].cancelled)
    gate.open.set()
    answer, again = broker.expect(REPLY), broker.expect(BYE)
    assert answer.packet == again.packet
    if crossing:
        broker.say(bye(2))  # the answer to the first BYE
    broker.expect_silence(0.1)
    assert worker._engine.alive()
    broker.say(bye(2))
    thread.join(WAIT_S)
    assert told == [True]


def test_bye_is_repeated_until_the_broker_agrees(serve, broker, gate):
    worker = serve()
    broker.say(task(1))
    gate.wait_entered()
    thread, _ = draining(worker)
    for _ in range(2):
        broker.expect(BYE)
    gate.open.set()
    broker.seek(REPLY)
    broker.say(bye(2))
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_what_the_drain_leaves_unfinished_is_given_back(serve, broker, gate):
    worker = serve(capacity=2)
    broker.say(task(1), task(2))
    gate.wait_entered()
    gate.wait_entered()
    thread, told = draining(worker, 0.1)
    broker.expect(BYE)
    given_back = [broker.seek(ERROR), broker.seek(ERROR)]
    assert {(said.id, said.head[0]) for said in given_back} == {(1, 14), (2, 14)}
    thread.join(WAIT_S)
    assert told == [False]
    assert all(task.cancelled for task in gate.tasks)


def test_stop_gives_back_at_once(serve, broker, gate):
    worker = serve(drain_timeout=60.0)
    broker.say(task(1))
    gate.wait_entered()
    worker.stop()
    assert not worker._engine.alive()
    said = {broker.read().kind, broker.read().kind}
    assert said == {ERROR, BYE}


def test_an_answer_that_nothing_followed_outlives_a_lost_connection_while_draining(
    serve, broker, gate
):
    worker = serve(heartbeat_ms=100)
    broker.say(task(1))
    gate.wait_entered()
    thread, told = draining(worker)
    broker.expect(BYE)
    gate.open.set()
    route = broker.expect(REPLY).route
    ready = broker.seek(READY, lambda said: said.route != route)
    assert ready.head == (1, (1,))
    broker.say(welcome())
    again = broker.seek(REPLY)
    assert (again.id, again.parts) == (1, [b"done"])
    while not told:
        said = broker.read(0.05)
        if said is not None and said.kind == BYE:
            broker.say(bye(2))
        thread.join(0)
    assert told == [True]


def test_an_answer_that_nothing_followed_is_given_up_at_the_drains_end(serve, broker, gate):
    worker = serve()
    broker.say(task(1))
    gate.wait_entered()
    thread, told = draining(worker, 0.3)
    gate.open.set()
    broker.seek(REPLY)
    broker.close()
    thread.join(WAIT_S)
    assert told == [True]


def test_an_answer_that_no_broker_takes_is_said(serve, broker, gate, caplog):
    """Its task was finished, and whoever asked will not hear of it: that is no success."""
    worker = serve()
    broker.say(task(1))
    gate.wait_entered()
    broker.close()
    wait_for(lambda: "broker lost" in caplog.text)
    thread, told = draining(worker, 0.3)
    gate.open.set()
    thread.join(WAIT_S)
    assert told == [False]
    assert "answers not delivered answers=1" in caplog.messages


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="needs a thread's clock")
@pytest.mark.parametrize("lost", [False, True], ids=["task held", "answer not confirmed"])
def test_a_leaving_worker_sleeps(serve, broker, gate, lost):
    before = set(threading.enumerate())
    worker = serve()
    (engine,) = (
        thread for thread in set(threading.enumerate()) - before if thread.name == "pound-worker"
    )
    broker.say(task(1))
    gate.wait_entered()
    draining(worker)
    broker.expect(BYE)
    if lost:
        gate.open.set()
        broker.seek(REPLY)
        broker.close()
        wait_for(lambda: not worker.wait_connected(0))
    clock = time.pthread_getcpuclockid(engine.ident)
    began = time.clock_gettime(clock)
    engine.join(1.3 if lost else 0.3)  # past the second that a broker has to agree within
    assert engine.is_alive()
    assert time.clock_gettime(clock) - began < 0.1


def test_a_broker_that_never_agrees_does_not_hold_the_worker(serve, broker, gate):
    worker = serve()
    thread, told = draining(worker)
    broker.expect(BYE)
    thread.join(WAIT_S)
    assert told == [True]


@pytest.mark.parametrize("leave", ["drain", "stop"])
def test_a_handler_that_ends_its_worker_does_not_wait_for_itself(broker, leave):
    told = []

    def last(body):
        told.append(getattr(worker, leave)())
        return b"last"

    worker = pound.Worker(broker.endpoint, {"echo": last}, drain_timeout=60.0)
    worker.start()
    broker.greet(heartbeat_ms=60_000, liveness=3)
    broker.expect(READY)
    broker.say(task(1))
    if leave == "drain":
        assert broker.seek(REPLY).id == 1
        broker.say(bye(2))
    wait_for(lambda: told and not worker._engine.alive())
    assert told == [False if leave == "drain" else None]


def test_a_worker_without_a_broker_leaves_at_once(gate):
    worker = pound.Worker("tcp://127.0.0.1:1", {"echo": gate}, drain_timeout=60.0)
    with worker:
        pass
    assert not worker._engine.alive()
    assert worker.drain()


def test_a_worker_serves_once(gate):
    worker = pound.Worker("tcp://127.0.0.1:1", {"echo": gate})
    worker.start()
    with pytest.raises(RuntimeError):
        worker.start()
    worker.stop()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_refused(serve):
    worker = serve()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"used"
        try:
            worker.drain()
        except pound.ForkError:
            said = b"refused"
        finally:
            os.write(writing, said)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"refused"
    os.close(reading)
    os.close(writing)
    assert worker.wait_connected(0)


# -- signals --------------------------------------------------------------------------------

PROGRAM = """
import sys, threading, time
import pound

def handler(task):
    if task.body == b"hang":
        time.sleep(600)
    print("begun", flush=True)
    sys.stdin.readline()
    return b"done"

pound.Worker(sys.argv[1], {"echo": handler}, drain_timeout=float(sys.argv[2])).run()
print("returned", flush=True)
"""


@pytest.fixture
def program(broker: ReferenceBroker) -> Iterator[Callable[[float], subprocess.Popen[bytes]]]:
    """``program(drain_timeout)``: a process whose main thread is in `Worker.run`, welcomed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(drain_timeout: float) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, broker.endpoint, str(drain_timeout)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        started.append(process)
        broker.greet()
        broker.expect(READY)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=WAIT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_run_returns(program, broker, number):
    process = program(60.0)
    broker.say(task(1, b"echo", b"x"))
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    broker.expect(BYE)
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert broker.seek(REPLY).parts == [b"done"]
    broker.say(bye(2))
    assert process.stdout.readline() == b"returned\n"
    assert process.wait(WAIT_S) == 0


def test_a_second_signal_gives_back_and_a_hung_handler_keeps_no_process_alive(program, broker):
    process = program(60.0)
    broker.say(task(1, b"echo", b"hang"))
    process.send_signal(signal.SIGTERM)
    broker.expect(BYE)
    process.send_signal(signal.SIGTERM)
    assert broker.seek(ERROR).head[0] == 14
    assert process.wait(WAIT_S) == 0


def test_a_signal_that_comes_while_the_worker_starts_is_not_lost(broker):
    early = "os.kill(os.getpid(), signal.SIGTERM)"
    text = f"""
import os, signal, pound

class Early(pound.Worker):
    def start(self):
        {early}
        super().start()

Early({broker.endpoint!r}, {{"echo": lambda body: body}}).run()
"""
    process = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT)
    try:
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_the_drains_end_gives_back(program, broker):
    process = program(0.2)
    broker.say(task(1, b"echo", b"hang"))
    process.send_signal(signal.SIGTERM)
    assert broker.seek(ERROR).head[0] == 14
    assert process.wait(WAIT_S) == 0
