"""Log lines: events with fields; nothing that a peer chose breaks a line or reaches a terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pound import _logging
from pound._logging import LOGGER, SPOOL, DescriptorHandler, Repeats, escape, log_event
from tests.support import WAIT_S, wait_until


class Lines(io.StringIO):
    """A stream that is read once the lines on their way have come."""

    def getvalue(self) -> str:
        assert SPOOL.flush(WAIT_S)
        return super().getvalue()


class Broken(logging.Handler):
    """A program's handler, and what it raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    """Have nothing left to tell that a test dropped."""
    yield
    assert SPOOL.flush(WAIT_S)
    SPOOL._told = SPOOL.dropped


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged as text; the logger is as before afterwards."""
    before = (list(LOGGER.handlers), LOGGER.level, LOGGER.propagate)
    stream = Lines()
    _logging.configure("info", "text", stream)
    yield stream
    SPOOL.flush(WAIT_S)
    LOGGER.handlers[:], LOGGER.level, LOGGER.propagate = before


def test_text(lines: Lines) -> None:
    log_event(LOGGER, logging.INFO, "worker gone", worker=4, label=b"box:12", idle_s=1.5, why=None)
    time, rest = lines.getvalue().split(" ", 1)
    assert rest == "INFO worker gone worker=4 label=box:12 idle_s=1.5 why=None\n"
    assert len(time) == len("2026-01-31T12:00:00.123Z")


def test_values_that_could_be_misread_are_quoted(lines: Lines) -> None:
    log_event(LOGGER, logging.INFO, "e", a="", b="x y", c='"', d="k=v")
    assert lines.getvalue().endswith(' e a="" b="x y" c="\\"" d="k=v"\n')


def test_levels_filter(lines: Lines) -> None:
    log_event(LOGGER, logging.DEBUG, "quiet")
    assert lines.getvalue() == ""


def test_json(lines: Lines) -> None:
    _logging.configure("debug", "json", lines)
    log_event(logging.getLogger("pound.x"), logging.DEBUG, "e", n=1, b=b"\xff", t="a\nb", u=None)
    line = json.loads(lines.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "debug",
        "logger": "pound.x",
        "event": "e",
        "n": 1,
        "b": "\\xff",
        "t": "a\nb",
        "u": None,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks(lines: Lines, form: str) -> None:
    _logging.configure("info", form, lines)
    try:
        raise ValueError("odd\n2026-01-01T00:00:00.000Z INFO forged \x1b[31m")
    except ValueError:
        log_event(LOGGER, logging.ERROR, "handler failed", exc_info=True)
    first, *rest = lines.getvalue().splitlines()
    assert "handler failed" in first
    assert "ValueError" in lines.getvalue()
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in lines.getvalue()


def test_foreign_messages_through_the_same_handler_are_escaped(lines: Lines) -> None:
    LOGGER.info("a %s", "b\nc")
    assert lines.getvalue().endswith(" INFO a b\\x0ac\n")


def test_a_host_program_sees_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pound"):
        log_event(LOGGER, logging.INFO, "e", a=1)
    assert caplog.messages == ["e a=1"]


@given(st.binary() | st.text())
def test_escaped_values_are_printable_and_unambiguous(value: bytes | str) -> None:
    escaped = escape(value)
    assert escaped.isprintable()
    if isinstance(value, str):
        assert escape(value + "x") != escaped


@given(st.binary(), st.binary())
def test_different_bytes_look_different(one: bytes, other: bytes) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"plain", "plain"),
        ("über", "über"),
        (b"\x00\n\x1b[2J", "\\x00\\x0a\\x1b[2J"),
        (b"\xff", "\\xff"),
        ("\u202e", "\\u202e"),
        ("\\n", "\\\\n"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_escapes(value: bytes | str, shown: str) -> None:
    assert escape(value) == shown


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr
)
def test_a_handler_that_raises_costs_its_line_only(lines: Lines, error: BaseException) -> None:
    dropped = SPOOL.dropped
    broken = Broken(error)
    LOGGER.handlers.insert(0, broken)
    log_event(LOGGER, logging.INFO, "first")
    assert SPOOL.flush(WAIT_S)
    LOGGER.handlers.remove(broken)
    log_event(LOGGER, logging.INFO, "second")
    assert "first" not in lines.getvalue()
    assert "second" in lines.getvalue()
    assert SPOOL.dropped > dropped


def test_a_record_factory_that_raises_costs_its_line_only(lines: Lines) -> None:
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(lambda *_: 1 // 0)  # type: ignore[arg-type, return-value]
    try:
        log_event(LOGGER, logging.INFO, "first")
    finally:
        logging.setLogRecordFactory(factory)
    log_event(LOGGER, logging.INFO, "second")
    assert "INFO second\n" in lines.getvalue()
    assert "first" not in lines.getvalue()


def test_a_handler_that_blocks_holds_up_nobody_and_what_is_dropped_is_told(lines: Lines) -> None:
    going, blocked = threading.Event(), threading.Event()

    class Blocks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            blocked.set()
            going.wait(WAIT_S)

    blocks = Blocks()
    LOGGER.handlers.insert(0, blocks)
    log_event(LOGGER, logging.INFO, "first")
    assert blocked.wait(WAIT_S)
    for _ in range(_logging.LINES_MAX + 7):
        log_event(LOGGER, logging.INFO, "more")
    assert not SPOOL.flush(0.01)  # which takes a place
    LOGGER.handlers.remove(blocks)
    going.set()
    assert lines.getvalue().count("more") == _logging.LINES_MAX
    assert "log lines dropped lines=7" in lines.getvalue()


def test_the_time_of_a_line_is_that_of_its_event(lines: Lines) -> None:
    records: list[logging.LogRecord] = []
    LOGGER.handlers[0].addFilter(lambda record: not records.append(record))  # type: ignore[func-returns-value]
    log_event(LOGGER, logging.INFO, "e")
    assert SPOOL.flush(WAIT_S)
    assert records[0].threadName == threading.current_thread().name


def test_repeats_pass_once_in_a_window_and_are_counted() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    assert [repeats.pass_one("a") for _ in range(4)] == [0, None, None, None]
    assert repeats.pass_one("b") == 0
    now = _logging.WINDOW_S
    assert repeats.pass_one("a") == 3
    assert repeats.pass_one("a") is None
    assert [repeats.pass_one("c", 2) for _ in range(4)] == [0, 0, None, None]
    assert repeats.held_back() == 3
    assert repeats.held_back() == 0


def test_repeats_of_many_keys_take_bounded_room() -> None:
    repeats = Repeats(lambda: 0.0)
    dropped = SPOOL.dropped
    assert [repeats.pass_one(0) for _ in range(3)] == [0, None, None]
    for key in range(1, _logging.KEYS_MAX + 1):
        assert repeats.pass_one(key) == 0
    assert SPOOL.dropped == dropped + 2
    assert repeats.held_back() == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_descriptor_handler_writes_whole_lines(blocking: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    handler = DescriptorHandler(writer)
    text = "x" * 300_000  # more than a pipe holds
    record = logging.LogRecord("pound", logging.INFO, "", 0, text, (), None)
    thread = threading.Thread(target=handler.handle, args=(record,), daemon=True)
    thread.start()
    got = b""
    while not got.endswith(b"\n"):
        got += os.read(reader, 65536)
    thread.join(WAIT_S)
    assert got == text.encode() + b"\n"
    os.close(reader)
    os.close(writer)


def test_a_descriptor_handler_that_nobody_reads_drops_its_lines() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    dropped = SPOOL.dropped
    DescriptorHandler(writer).handle(logging.LogRecord("pound", 20, "", 0, "x", (), None))
    assert SPOOL.dropped == dropped + 1
    os.close(writer)


def test_the_end_of_a_program_takes_no_lock_that_a_blocked_write_holds() -> None:
    reader, writer = os.pipe()
    handler = DescriptorHandler(writer)
    record = logging.LogRecord("pound", 20, "", 0, "x" * 300_000, (), None)
    thread = threading.Thread(target=handler.handle, args=(record,), daemon=True)
    thread.start()
    wait_until(lambda: handler._writing.locked())
    ends = threading.Thread(target=lambda: (handler.acquire(), handler.flush(), handler.release()))
    ends.start()
    ends.join(WAIT_S)
    assert not ends.is_alive()
    while not os.read(reader, 65536).endswith(b"\n"):
        pass
    thread.join(WAIT_S)
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_was_forked_during_a_write_logs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    handler = DescriptorHandler(writer)
    monkeypatch.setattr(LOGGER, "handlers", [handler])
    parent = logging.LogRecord("pound", 20, "", 0, "x" * 300_000, (), None)
    thread = threading.Thread(target=handler.handle, args=(parent,), daemon=True)
    thread.start()
    wait_until(lambda: handler._writing.locked())
    child = os.fork()
    if child == 0:
        handler.handle(logging.LogRecord("pound", 20, "", 0, "child", (), None))
        os._exit(0)
    try:
        thread_done = threading.Thread(target=os.waitpid, args=(child, 0), daemon=True)
        thread_done.start()
        got = b""
        while got.count(b"\n") < 2 or b"child" not in got:
            assert select.select([reader], [], [], WAIT_S)[0], got[-20:]
            got += os.read(reader, 65536)
        thread_done.join(WAIT_S)
        assert not thread_done.is_alive()
        thread.join(WAIT_S)
    finally:
        if thread_done.is_alive():
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


def test_a_line_on_offer_waits_a_while_and_only_once() -> None:
    reader, writer = os.pipe()
    handler = DescriptorHandler(writer)
    handler.handle(logging.LogRecord("pound", 20, "", 0, "x" * 60_000, (), None))
    record = logging.LogRecord("shop", 20, "", 0, "y" * 8_000, (), None)
    dropped, begun = SPOOL.dropped, time.monotonic()
    handler.offer(record)
    assert time.monotonic() - begun >= _logging.PATIENCE_S
    begun = time.monotonic()
    for _ in range(100):
        handler.offer(record)
    assert time.monotonic() - begun < _logging.PATIENCE_S
    assert SPOOL.dropped == dropped + 101
    os.read(reader, 1 << 20)
    handler.offer(record)
    assert os.read(reader, 1 << 20) == b"y" * 8_000 + b"\n"
    os.close(reader)
    os.close(writer)


def test_a_programs_line_that_cannot_be_formatted_is_told_and_raises_nothing() -> None:
    reader, writer = os.pipe()
    handler = DescriptorHandler(writer)
    handler.setFormatter(_logging.TextFormatter())
    before = LOGGER.handlers[:]
    LOGGER.handlers[:] = [handler]
    try:
        with no_handlers():
            _logging.configure_program("info")
            logging.getLogger("shop").info("resized %d", "x")
    finally:
        LOGGER.handlers[:] = before
    line = os.read(reader, 4096).decode()
    assert "INFO shop a line logged at " in line
    assert "test_logging.py:" in line
    assert "TypeError: %d format" in line
    os.close(reader)
    os.close(writer)


@contextmanager
def no_handlers() -> Iterator[logging.Logger]:
    """The root logger as in a program that did not set up logging."""
    logger = logging.getLogger()
    before = (list(logger.handlers), logger.level)
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], logger.level = before


def test_a_programs_lines_come_with_its_name(lines: Lines) -> None:
    with no_handlers():
        _logging.configure_program("info")
        shop = logging.getLogger("shop.thumbnails")
        shop.info("resized %d\nfiles", 3)
        shop.debug("quiet")
        log_event(LOGGER, logging.INFO, "worker gone")
    first, second = lines.getvalue().splitlines()
    assert first.split(" ", 1)[1] == "INFO shop.thumbnails resized 3\\x0afiles"
    assert second.split(" ", 1)[1] == "INFO worker gone"


def test_a_programs_dict_config_does_not_silence_us(lines: Lines) -> None:
    worker = logging.getLogger("pound.worker")
    worker.disabled = LOGGER.disabled = True  # as dictConfig does by default
    try:
        _logging.configure("info", "text", lines)
        log_event(worker, logging.INFO, "worker draining")
        assert "worker draining" in lines.getvalue()
    finally:
        worker.disabled = LOGGER.disabled = False


def test_a_programs_lines_as_json(lines: Lines) -> None:
    with no_handlers():
        _logging.configure("info", "json", lines)
        _logging.configure_program("info")
        logging.getLogger("shop").warning("odd size", stack_info=True)
    line = json.loads(lines.getvalue())
    assert (line["level"], line["logger"], line["event"]) == ("warning", "shop", "odd size")
    assert "test_logging" in line["stack"]


def test_what_a_program_set_up_is_left_alone(lines: Lines) -> None:
    own = io.StringIO()
    shop = logging.getLogger("shop.own")
    handler = logging.StreamHandler(own)
    shop.addHandler(handler)
    try:
        with no_handlers() as root:
            _logging.configure_program("info")
            shop.warning("mine")
            assert (own.getvalue(), lines.getvalue()) == ("mine\n", "")
            root.handlers[:] = [handler]
            _logging.configure_program("info")
            assert root.handlers == [handler]
    finally:
        shop.removeHandler(handler)
