"""Log lines: events with fields, as text for people or as JSON lines.

Everything logs through the standard library under the logger ``pound``; a program that embeds
Pound keeps its own handlers and sees ``event key=value`` messages. Only `configure`, which the
command line calls, installs a handler. Whatever a peer chose (labels, names, bytes) is escaped
here and nowhere else, so that it can neither forge a line nor reach a terminal.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import IO

LOGGER = logging.getLogger("pound")


def escape(value: bytes | str) -> str:
    r"""Return `value` as printable text on one line.

    Bytes that are not UTF-8 become ``\xNN``; control, format (bidirectional too) and separator
    characters become escapes; a backslash is doubled, so that the result is unambiguous.
    """
    text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
    return "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte that surrogateescape carried
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Event:
    """An event and its fields; as text ``event key=value ...``.

    Parameters
    ----------
    name : str
        Two or three words of the project's vocabulary: ``worker gone``.
    fields : dict
        Numbers, booleans, None, text or bytes.
    """

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: dict[str, object]) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        """Render the event on one line."""
        return " ".join([self.name, *(f"{k}={_as_text(v)}" for k, v in self.fields.items())])


def log_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Log an event with its fields; they are rendered only if somebody listens.

    Parameters
    ----------
    logger : logging.Logger
    level : int
        ``logging.INFO`` and so on.
    event : str
        What happened.
    **fields : object
        To whom and how; ``exc_info`` is passed on to logging.
    """
    if logger.isEnabledFor(level):
        trace = fields.pop("exc_info", None)
        logger.log(level, Event(event, fields), exc_info=trace)  # type: ignore[arg-type]


def _as_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, (bytes, str)):
        return escape(str(value))
    text = escape(value)
    plain = text and not any(character in ' "=' for character in text)
    return text if plain else '"' + text.replace('"', '\\"') + '"'


def _as_json(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return escape(value if isinstance(value, bytes) else str(value))


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO worker gone worker=4 reason=closed``."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time in UTC with milliseconds."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line; a message that is no event is escaped here."""
        message = record.message if isinstance(record.msg, Event) else escape(record.message)
        return f"{self.formatTime(record)} {record.levelname} {message}"

    def format(self, record: logging.LogRecord) -> str:
        """Format `record`; a traceback follows on indented lines, which no event begins with."""
        record.message = record.getMessage()
        line = self.formatMessage(record)
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        return "\n    ".join([line, *(_printable(part) for part in trace.splitlines())])


class JsonFormatter(TextFormatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``event`` and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as one line of ASCII JSON."""
        event = record.msg if isinstance(record.msg, Event) else Event(record.getMessage(), {})
        line: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event.name,
        }
        line.update((name, _as_json(value)) for name, value in event.fields.items())
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else _escape_character(c) for c in line)


def configure(level: str, form: str, stream: IO[str] | None = None) -> None:
    """Send Pound's log lines to `stream`; a second call replaces the first one's handler.

    Parameters
    ----------
    level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    form : str
        ``text`` or ``json``.
    stream : file, optional
        Standard error if not given.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
