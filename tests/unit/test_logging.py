"""Log lines: events with fields; nothing that a peer chose breaks a line or reaches a terminal."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pound import _logging
from pound._logging import LOGGER, escape, log_event


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged as text; the logger is as before afterwards."""
    before = (list(LOGGER.handlers), LOGGER.level, LOGGER.propagate)
    stream = io.StringIO()
    _logging.configure("info", "text", stream)
    yield stream
    LOGGER.handlers[:], LOGGER.level, LOGGER.propagate = before


def test_text(lines: io.StringIO) -> None:
    log_event(LOGGER, logging.INFO, "worker gone", worker=4, label=b"box:12", idle_s=1.5, why=None)
    time, rest = lines.getvalue().split(" ", 1)
    assert rest == "INFO worker gone worker=4 label=box:12 idle_s=1.5 why=None\n"
    assert len(time) == len("2026-01-31T12:00:00.123Z")


def test_values_that_could_be_misread_are_quoted(lines: io.StringIO) -> None:
    log_event(LOGGER, logging.INFO, "e", a="", b="x y", c='"', d="k=v")
    assert lines.getvalue().endswith(' e a="" b="x y" c="\\"" d="k=v"\n')


def test_levels_filter(lines: io.StringIO) -> None:
    log_event(LOGGER, logging.DEBUG, "quiet")
    assert lines.getvalue() == ""


def test_json(lines: io.StringIO) -> None:
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
def test_tracebacks(lines: io.StringIO, form: str) -> None:
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


def test_foreign_messages_through_the_same_handler_are_escaped(lines: io.StringIO) -> None:
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
