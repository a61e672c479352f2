"""Mail, dealer and engine, where the tests of client and worker don't reach.

The engine here has an end that only counts (tests/probe/ends.pyx); what the ends make of records,
silence and lost connections is in the tests of client and worker.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zmq

from pound._engine import handle
from pound.errors import ClosedError, ForkError
from tests import probe
from tests.support import ROOT, WAIT_S, wait_until
from tests.unit.reference_broker import (
    ATTACHED,
    HELLO,
    REPLY,
    REQUEST,
    ReferenceBroker,
    bye,
    record,
    welcome,
)

LARGE = 5000  # bytes; from 4096 on a part is attached
LOGGER = logging.getLogger("pound.probe")


@pytest.fixture(scope="module")
def ends() -> ModuleType:
    return probe.load("ends")


@pytest.fixture(autouse=True)
def nothing_left(ends: Any) -> Iterator[None]:
    """Every mail was freed and every lent buffer given back when a test is over.

    What tests before it left to the garbage collector may go at any moment, so there may be less.
    """
    gc.collect()
    before = ends.live()
    yield
    gc.collect()
    wait_until(lambda: ends.live() <= before)


# ---- bodies ----


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (b"", [b""]),
        (b"one", [b"one"]),
        (bytearray(b"one"), [b"one"]),
        (memoryview(b"strided")[::2], [b"srdd"]),
        ([], []),
        ((b"", bytearray(b"two"), memoryview(b"three")), [b"", b"two", b"three"]),
        (b"x" * LARGE, [b"x" * LARGE]),
        ([b"small", b"x" * LARGE, b""], [b"small", b"x" * LARGE, b""]),
        (memoryview(b"xy" * LARGE)[::2], [b"x" * LARGE]),
        (memoryview(bytes(8 * LARGE)).cast("d"), [bytes(8 * LARGE)]),
    ],
)
def test_a_body_comes_out_as_it_went_in(ends: Any, given: Any, parts: list[bytes]) -> None:
    large = any(len(part) >= 4096 for part in parts)
    assert ends.Body(given).facts() == (large, len(parts), sum(map(len, parts)))
    assert ends.Body(given).parts() == parts
    assert ends.Body(given).value() == (parts[0] if len(parts) == 1 else parts)
    assert [bytes(part) for part in ends.Body(given).parts(share=True)] == parts


@pytest.mark.parametrize("body", [b"body", [b"a", b"b"], b"x" * LARGE])
def test_meta_travels_before_the_body_and_is_taken_off_first(ends: Any, body: Any) -> None:
    filled = ends.Body(body, {"kürzel": "ß"})
    assert filled.meta() == {"kürzel": "ß"}
    assert filled.meta() == {}
    assert filled.value() == body
    assert ends.Body(body, {"a": "b"}).value() == body
    assert ends.Body(body, {"a": "b"}).parts()[0] == b'{"a":"b"}'


def test_what_is_no_body_is_refused(ends: Any) -> None:
    for given in ("text", 5, None, [b"part", "text"], [b"x" * LARGE, 5], {b"set"}):
        with pytest.raises(TypeError, match="bytes-like"):
            ends.Body(given)
    with pytest.raises(TypeError, match="meta maps str to str"):
        ends.Body(b"", {"a": 1})
    with pytest.raises(ValueError, match="65535 parts"):
        ends.Body([b""] * 65535, {"a": "b"})
    assert ends.Body([b""] * 65535).facts() == (False, 65535, 0)


def test_a_read_only_buffer_is_shared_and_given_back(ends: Any) -> None:
    memory = bytearray(LARGE)
    body = ends.Body(memoryview(memory).toreadonly())
    memory[0] = 7
    with pytest.raises(BufferError):
        memory.append(0)
    view = body.value(share=True)
    assert view[0] == 7
    assert view.readonly
    del view
    ends.live()  # looks for buffers that were given back
    memory.append(0)


def test_a_frame_is_shared_and_a_writable_buffer_is_not(ends: Any) -> None:
    frame = zmq.Frame(b"x" * LARGE)
    body = ends.Body(frame)
    memoryview(frame)[:1] = b"y"
    assert body.value()[:1] == b"y"
    memory = bytearray(LARGE)
    body = ends.Body(memory)
    memory[0] = 7
    memory.append(0)
    assert body.value()[0] == 0


def test_only_large_parts_come_back_as_views_and_those_outlive_the_body(ends: Any) -> None:
    small, large = ends.Body([b"small", b"x" * LARGE]).parts(share=True)
    gc.collect()
    assert small == b"small"
    assert isinstance(large, memoryview)
    assert large == b"x" * LARGE


def test_a_body_beyond_a_limit_is_named_with_it(ends: Any) -> None:
    body = ends.Body([b"x" * LARGE, b"y"])
    assert body.excess(LARGE + 1, 3) == b""
    words = b"a body of 5001 bytes exceeds the broker's body_bytes_max of 5000"
    assert body.excess(LARGE, 3) == words
    words = b"a body of 2 attached parts exceeds the broker's frames_max of 2"
    assert body.excess(LARGE + 1, 2) == words
    assert ends.Body([b"x", b"y"]).excess(2, 2) == b""


# ---- mailboxes ----


def test_a_taker_gets_everything_in_order_and_waits_when_there_is_nothing(ends: Any) -> None:
    box = ends.Mailbox()
    box.put([1, 2])
    box.put([3])
    assert box.wait(0) == 1
    assert box.wait() == 1
    assert box.take() == [1, 2, 3]
    assert box.take() == []
    assert box.wait(0) == 0
    before = time.monotonic()
    assert box.wait(0.05) == 0
    assert time.monotonic() - before >= 0.05
    box.put([4])


def test_mail_wakes_the_thread_that_waits(ends: Any) -> None:
    box = ends.Mailbox()
    for number in range(50):
        thread = threading.Thread(target=box.put, args=([number],))
        thread.start()
        assert box.wait(WAIT_S) == 1
        assert box.take() == [number]
        thread.join()


def test_no_mail_is_lost_between_many_putters_and_a_taker_that_waits(ends: Any) -> None:
    box = ends.Mailbox()
    putters = [
        threading.Thread(target=lambda n=n: [box.put([n]) for _ in range(3000)]) for n in range(4)
    ]
    for putter in putters:
        putter.start()
    taken: list[int] = []
    while len(taken) < 12000:
        assert box.wait(WAIT_S) == 1
        taken += box.take()
    for putter in putters:
        putter.join()
    assert sorted(taken) == sorted([*range(4)] * 3000)


def test_a_signal_ends_a_wait(ends: Any) -> None:
    box, seen = ends.Mailbox(), []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert box.wait(WAIT_S) == -1
        assert seen == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_loop_is_rung_once_for_all_that_came_since_the_last_take(ends: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        box = ends.Mailbox(theirs.fileno())
        theirs.close()  # the mailbox has its own
        box.put([1])
        box.put([2, 3])
        assert len(ours.recv(100)) == 8
        assert box.take() == [1, 2, 3]
        assert not select.select([ours], [], [], 0)[0]
        box.put([4])
        assert len(ours.recv(100)) == 8


def test_a_box_may_be_freed_as_soon_as_its_mail_was_taken(ends: Any) -> None:
    ends.put_and_forget(300)


# ---- the engine ----


@pytest.fixture
def broker(context: zmq.Context[Any]) -> Iterator[ReferenceBroker]:
    broker = ReferenceBroker(context)
    yield broker
    broker.close()


Make = Callable[..., Any]


@pytest.fixture
def make(ends: Any, broker: ReferenceBroker) -> Iterator[Make]:
    """``make(...)``: a started engine towards the scripted broker."""
    made: list[Any] = []

    def make(
        *endpoints: str,
        context: zmq.Context[Any] | None = None,
        heartbeat: float = 60.0,
        fd: int = -1,
        **options: Any,
    ) -> Any:
        to = endpoints or (broker.endpoint,)
        engine = ends.Probe(to, context, heartbeat, 5, False, LOGGER, fd, **options)
        made.append(engine)
        engine.start()
        return engine

    yield make
    while made:
        engine = made.pop()
        engine.post(leaves=True)
        assert engine.join(WAIT_S)
        engine.events()


def seen(engine: Any, **facts: int) -> None:
    """Wait until the engine's end has counted so many."""
    wait_until(
        lambda: all(engine.facts()[name] >= count for name, count in facts.items()),
        interval=0.0005,
    )


def test_an_engine_greets_until_it_is_welcomed_and_speaks_then(
    make: Make, broker: ReferenceBroker
) -> None:
    engine = make(reply=[b"x" * LARGE, b"y"])
    hello = broker.expect(HELLO)
    assert hello.parts == [b"probe"]
    assert hello.done == 5
    assert not engine.connected.is_set()
    broker.say(welcome())
    request, reply = broker.expect(REQUEST), broker.expect(REPLY)
    assert request.service == b"echo"
    assert request.flags == reply.flags == ATTACHED
    assert request.parts == reply.parts == [b"x" * LARGE, b"y"]
    assert request.packet == reply.packet
    assert engine.connected.wait(WAIT_S)
    assert engine.facts()["welcomes"] == 1


@pytest.mark.parametrize(
    ("limits", "flags", "packets"),
    [
        ({"frames_max": 4}, ATTACHED, 2),  # both bodies have two frames, and there is the packet's
        ({"frames_max": 2}, 0, 1),  # never so many frames in one message: inline
        ({"frames_max": 2, "packet_bytes_max": 6000}, 0, 2),
        ({"packet_bytes_max": 1}, ATTACHED, 2),
    ],
)
def test_packets_keep_to_the_limits_of_the_broker(
    make: Make, broker: ReferenceBroker, limits: dict[str, int], flags: int, packets: int
) -> None:
    make(reply=[b"x" * LARGE, b"y"])
    broker.greet(**limits)
    request, reply = broker.expect(REQUEST), broker.expect(REPLY)
    assert request.flags == reply.flags == flags
    assert request.parts == reply.parts == [b"x" * LARGE, b"y"]
    assert reply.packet - request.packet == packets - 1


def test_every_command_runs_or_is_refused_when_the_engine_closes_meanwhile(
    make: Make, broker: ReferenceBroker
) -> None:
    engine = make()
    posted = [0] * 4
    go = threading.Event()

    def post(n: int) -> None:
        go.wait(WAIT_S)
        while engine.post():
            posted[n] += 1

    threads = [threading.Thread(target=post, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    go.set()
    wait_until(lambda: engine.facts()["commands"] > 1000)
    engine.post(leaves=True)
    for thread in threads:
        thread.join(WAIT_S)
    assert engine.join(WAIT_S)
    assert engine.facts()["commands"] == sum(posted) + 1
    assert engine.facts()["closes"] == 1
    assert engine.facts()["why"] == "the client was closed before the answer came"
    with pytest.raises(ClosedError):
        engine.checked()


def test_an_idle_engine_sleeps(make: Make, broker: ReferenceBroker) -> None:
    engine = make(reply=b"said", beat=30.0)
    broker.greet()
    broker.expect(REQUEST)
    broker.expect(REPLY)
    broker.say(record(HELLO, head=bytes(4)))
    seen(engine, takes=1)
    before = engine.facts()["collects"]
    time.sleep(0.3)
    assert engine.facts()["collects"] - before <= 2


def test_a_sleeping_engine_hears_every_packet_and_every_command(
    make: Make, broker: ReferenceBroker
) -> None:
    """Each alone, so that the next one has to wake the thread again."""
    engine = make()
    broker.greet()
    seen(engine, welcomes=1)
    for n in range(1, 500):
        broker.say(record(HELLO, head=bytes(4)))
        seen(engine, takes=n)
        engine.post()
        seen(engine, commands=n)


def test_what_comes_while_the_engine_sends_is_heard(make: Make, broker: ReferenceBroker) -> None:
    """The socket's descriptor is edge-triggered, and a send may take its news."""
    engine = make(beat=0.0005)
    broker.greet()
    seen(engine, welcomes=1)
    for n in range(1, 400):
        broker.say(record(HELLO, head=bytes(4)))
        seen(engine, takes=n)


def test_a_burst_is_heard_to_its_end(make: Make, broker: ReferenceBroker) -> None:
    """A turn reads a bounded number of packets; no news follows of those that stay."""
    engine = make()
    broker.greet()
    seen(engine, welcomes=1)
    with probe.load("engines").Held(engine):
        for _ in range(1000):
            broker.say(record(HELLO, head=bytes(4)))
    seen(engine, takes=1000)


def test_what_a_broker_says_of_the_peer_is_logged(
    make: Make, broker: ReferenceBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, LOGGER.name):
        engine = make()
        broker.expect(HELLO)
        for frame in (b"PND\x02", b"PND\x01short", b"PND\x01short too"):
            broker._router.send_multipart([broker.route, frame])
        broker.say(record(5, 0, b"\x03\0\0\0\0\0\0\0", [b"no\nentry"]))
        broker.say(welcome())
        broker.say(bye(0))
        broker.expect(HELLO)
        broker.epoch = os.urandom(16)
        broker.say(welcome())
        seen(engine, epochs=1, welcomes=2)
        wait_until(lambda: len(caplog.messages) == 7)
    assert [str(entry.msg) for entry in caplog.records] == [
        'malformed packet dropped error="version at byte 0"',
        'malformed packet dropped error="short at byte 0"',
        r"refused code=3 words=no\x0aentry error=InvalidRequest",
        f"broker found endpoint={broker.endpoint}",
        f'broker lost endpoint={broker.endpoint} reason="unknown to it"',
        "epoch changed kept=1 stale=0",
        f"broker found endpoint={broker.endpoint}",
    ]


def test_every_event_of_an_engine_is_in_the_handbook() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for _, event, numbers, texts in handle.LOGS.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{event}`"))
        for field in [*(name for name, _ in numbers), *texts]:
            assert f"`{field}`" in row, (event, field)


def test_an_endpoint_that_cannot_be_is_logged_and_left(
    make: Make, broker: ReferenceBroker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, LOGGER.name):
        make("tcp://?:1", broker.endpoint, heartbeat=0.05)
        broker.greet()
    assert "cannot connect endpoint=tcp://?:1" in str(caplog.records[0].msg)


@pytest.mark.parametrize("ended", [False, True])
def test_the_end_of_the_hosts_context_ends_the_engine(
    make: Make, broker: ReferenceBroker, ended: bool, caplog: pytest.LogCaptureFixture
) -> None:
    host: zmq.Context[Any] = zmq.Context()
    if ended:
        host.term()
    engine = make(context=host)
    if not ended:
        broker.greet()
        assert engine.connected.wait(WAIT_S)
        host.term()
    assert engine.join(WAIT_S)
    assert engine.facts()["why"] == "its context was terminated"
    assert engine.ended
    assert not engine.connected.is_set()
    assert not engine.post()
    assert not [entry for entry in caplog.records if entry.levelno >= logging.ERROR]


def test_an_event_loop_takes_the_news_by_itself(make: Make, broker: ReferenceBroker) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(WAIT_S)
        engine = make(fd=theirs.fileno())
        broker.greet()
        ours.recv(100)
        assert not engine.connected.is_set()
        engine.events()
        wait_until(lambda: engine.events() or engine.connected.is_set())
        engine.mail("tag")
        engine.events()
        assert engine.taken() == ["tag"]
        engine.post(leaves=True)
        assert engine.join(WAIT_S)
        assert not engine.ended
        engine.events()
        assert engine.ended


def test_the_news_thread_may_wait_for_the_other_one(make: Make, broker: ReferenceBroker) -> None:
    engine = make()
    joined: list[bool] = []

    def close() -> None:
        engine.post(leaves=True)
        joined.append(engine.join(WAIT_S) and engine.on_events_thread())

    engine.mail(close)
    assert engine.join(WAIT_S)
    wait_until(lambda: joined == [True])
    assert not engine.on_events_thread()


class Thing:
    """Something that a weak reference can watch."""


def test_mail_that_nobody_took_goes_with_its_engine(ends: Any, broker: ReferenceBroker) -> None:
    engine = ends.Probe((broker.endpoint,), None, 1.0, 5, False, LOGGER)
    thing = Thing()
    gone = weakref.ref(thing)
    engine.mail(thing)
    del thing
    assert gone() is not None
    assert engine.join()
    assert not engine.alive()
    del engine
    gc.collect()
    assert gone() is None


def test_an_engine_is_started_once_and_leaves_no_descriptor(
    make: Make, broker: ReferenceBroker
) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    engine = make()
    with pytest.raises(RuntimeError, match="this probe was started before; make a new one"):
        engine.start()
    assert engine.alive()
    broker.greet()
    engine.post(leaves=True)
    assert engine.join(WAIT_S)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # the wake pair goes with the handle


def test_signals_are_left_to_the_main_thread(make: Make) -> None:
    make()
    thread = next(thread for thread in threading.enumerate() if thread.name == "pound-probe")
    try:
        status = Path(f"/proc/self/task/{thread.native_id}/status")
        # A thread that is being started has all of them blocked.
        wait_until(lambda: blocks(status, signal.SIGINT) and not blocks(status, signal.SIGSEGV))
    except FileNotFoundError:
        pytest.skip("a system without /proc")


def blocks(status: Path, number: signal.Signals) -> bool:
    mask = int(status.read_text().partition("SigBlk:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def test_a_child_of_a_fork_is_told_and_can_let_go(make: Make, broker: ReferenceBroker) -> None:
    engine = make()
    broker.greet()
    assert engine.connected.wait(WAIT_S)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for call in (engine.checked, engine.start, engine.check_fork):
                with pytest.raises(ForkError):
                    call()
            assert engine.forked()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not engine.forked()
    assert engine.checked()


def test_the_clock_is_that_of_time_monotonic(ends: Any) -> None:
    before = time.monotonic()
    assert before <= ends.now() / 1e9 <= time.monotonic()


def test_jitter_is_a_quarter_more_or_less(ends: Any) -> None:
    drawn = [ends.jittered(1000) for _ in range(2000)]
    assert 750 <= min(drawn) < 760
    assert 1240 < max(drawn) <= 1250
