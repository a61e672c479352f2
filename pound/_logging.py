"""Log lines: events with fields, as text for people or as JSON lines.

Everything logs through the standard library under the logger ``pound``; a program that embeds
Pound keeps its own handlers and sees ``event key=value`` messages. Only `configure`, which the
command line calls, installs a handler. Whatever a peer chose (labels, names, bytes) is escaped
here and nowhere else, so that it can neither forge a line nor reach a terminal.

No thread of Pound's runs a program's handlers, except those that do nothing else: `log_event` puts
a line in the spool, whose thread writes it. A handler that blocks holds up the log only, and one
that raises costs its line.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import queue
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO

LOGGER = logging.getLogger("pound")
LINES_MAX = 1024  # lines that wait in the spool
FLUSH_S = 1.0  # for the last lines of a program that ends
PATIENCE_S = 1.0  # that a handler of tasks gives a line of its own
WINDOW_S = 30.0  # of one key at most one line in this time
KEYS_MAX = 256


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
    """Log an event with its fields, in the background; they are rendered only if somebody listens.

    It neither waits nor raises. With more lines on their way than the spool holds, this one is
    dropped and counted.

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
    record = _record(logger, level, event, fields)
    if record is not None:
        SPOOL.put(logger, record)


def write_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> bool:
    """Log an event on this thread, which may be held up; return whether no handler failed.

    For a thread that does nothing else.
    """
    record = _record(logger, level, event, fields)
    return record is None or _write(logger, record)


def _record(
    logger: logging.Logger, level: int, event: str, fields: dict[str, object]
) -> logging.LogRecord | None:
    """Return the record of an event, as of now; None if nobody listens, or it can't be made."""
    trace = fields.pop("exc_info", None)
    if trace is True:
        trace = sys.exc_info()
    elif isinstance(trace, BaseException):
        trace = (type(trace), trace, trace.__traceback__)
    try:
        if not logger.isEnabledFor(level):
            return None
        message = Event(event, fields)
        return logger.makeRecord(logger.name, level, __file__, 0, message, (), trace or None)  # type: ignore[arg-type]
    except BaseException:  # a logger class or a record factory of the program's
        SPOOL.dropped += 1
        return None


def _write(logger: logging.Logger, record: logging.LogRecord) -> bool:
    try:
        logger.handle(record)
    except BaseException:  # a handler or a filter of the program's: it costs its line only
        return False
    return True


class Spool:
    """Lines on their way to the program's handlers, by a thread of its own.

    The thread starts with the first line. Lines are kept in order. In a child of a fork the spool
    is empty and starts anew.

    Attributes
    ----------
    dropped : int
        Lines for which there was no room, or whose handler raised.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._told = 0  # of them
        self._reset()

    def _reset(self) -> None:
        # a SimpleQueue: a signal's handler may log while the main thread is inside put
        self._lines: queue.SimpleQueue[
            tuple[logging.Logger, logging.LogRecord] | threading.Event
        ] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Take a line, or count it as dropped."""
        if self._lines.qsize() >= LINES_MAX:
            self.dropped += 1
            return
        self._lines.put((logger, record))
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                self._start()
            finally:
                self._starting.release()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="pound-log", daemon=True)
            with contextlib.suppress(RuntimeError):  # none to be had: the next line tries again
                thread.start()
                self._thread = thread

    def flush(self, timeout: float = FLUSH_S) -> bool:
        """Wait until the lines so far are written; return whether they are."""
        if self._thread is None:
            return self._lines.empty()
        if threading.current_thread() is self._thread:
            return False
        written = threading.Event()
        self._lines.put(written)
        return written.wait(timeout)

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            if not _write(*line):  # which may last: the count is read afterwards
                self.dropped += 1
            untold, self._told = self.dropped - self._told, self.dropped
            if untold:
                write_event(LOGGER, logging.WARNING, "log lines dropped", lines=untold)


SPOOL = Spool()


def _end() -> None:
    """Write the last lines; if that lasts, let the program end without them.

    The spool's thread is inside a handler of the program's then, whose lock logging waits for at
    the end of a program, and inside a stream, whose lock the interpreter waits for.
    """
    if SPOOL.flush():
        return
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        lock = getattr(handler, "lock", None)
        if lock is None or lock.acquire(blocking=False):
            if lock is not None:
                lock.release()
            continue
        logging._handlerList.remove(reference)  # type: ignore[attr-defined]
        for name in ("stderr", "__stderr__", "stdout", "__stdout__"):
            if getattr(sys, name) is getattr(handler, "stream", ()):
                setattr(sys, name, None)


atexit.register(_end)  # before logging's own, which was registered first


class Repeats:
    """Lines of one key, some in `WINDOW_S`; the others are counted, and a later line says how many.

    Parameters
    ----------
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # key → end of its window, lines written in it, lines held back
        self._keys: dict[object, tuple[float, int, int]] = {}

    def pass_one(self, key: object, lines: int = 1) -> int | None:
        """Return how many lines of `key` were held back before this one; None: hold this back.

        Parameters
        ----------
        key : hashable
        lines : int
            So many may pass in a window.
        """
        now = self._clock()
        until, passed, repeated = self._keys.pop(key, (now, 0, 0))
        if now >= until:
            until, passed = now + WINDOW_S, 0
        if len(self._keys) >= KEYS_MAX:
            SPOOL.dropped += self._keys.pop(next(iter(self._keys)))[2]
        if passed >= lines:
            self._keys[key] = (until, passed, repeated + 1)
            return None
        self._keys[key] = (until, passed + 1, 0)
        return repeated

    def held_back(self) -> int:
        """Take the number of lines that were held back and that no later line counted."""
        untold = sum(repeated for _, _, repeated in self._keys.values())
        self._keys.clear()
        return untold


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
    """``2026-01-31T12:00:00.123Z INFO worker gone worker=4 reason=closed``.

    A line of a program's own logger has its name: ``… INFO shop.thumbnails resized``.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time in UTC with milliseconds."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line; a message that is no event is escaped here."""
        message = record.message if isinstance(record.msg, Event) else escape(record.message)
        if not _is_ours(record):
            message = f"{escape(record.name)} {message}"
        return f"{self.formatTime(record)} {record.levelname} {message}"

    def format(self, record: logging.LogRecord) -> str:
        """Format `record`; a traceback follows on indented lines, which no event begins with."""
        record.message = record.getMessage()
        line = self.formatMessage(record)
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        stack = record.stack_info or ""
        below = [*trace.splitlines(), *stack.splitlines()]
        return "\n    ".join([line, *(_printable(part) for part in below)])


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
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else _escape_character(c) for c in line)


class DescriptorHandler(logging.Handler):
    """Write lines to a descriptor.

    No lock that logging takes when the program ends is held during a write: the reader may have
    stopped for good. What can't be written (nobody reads any more, the disk is full) is dropped.

    Parameters
    ----------
    fd : int
        It may be blocking or not.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._writing = threading.Lock()
        self._stuck = False

    def renew(self) -> None:
        """Be usable in a child of a fork: a thread of the parent's may have been writing."""
        self._writing = threading.Lock()

    def acquire(self) -> None:
        """Take no lock: `emit` has its own."""

    def release(self) -> None:
        """Release none."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record that passes the filters."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, however long that takes."""
        self._put(record, math.inf)

    def offer(self, record: logging.LogRecord) -> None:
        """Write a line if that takes less than `PATIENCE_S`, else drop it and count it.

        While the reader has stopped, later lines are dropped at once.
        """
        if self.filter(record):
            self._put(record, 0.0 if self._stuck else PATIENCE_S)

    def _put(self, record: logging.LogRecord, patience: float) -> None:
        line = (_formatted(self, record) + "\n").encode(errors="backslashreplace")
        end = time.monotonic() + patience
        if not self._writing.acquire(timeout=-1 if patience == math.inf else patience):
            self._stuck = True
            SPOOL.dropped += 1
            return
        try:
            while line:
                line = line[self._write(line, end) :]
            self._stuck = False
        except TimeoutError:
            self._stuck = True
            SPOOL.dropped += 1
        except OSError:
            SPOOL.dropped += 1
        finally:
            self._writing.release()

    def _write(self, line: bytes, end: float) -> int:
        """Write what can be written by `end`, but not more than fits into a pipe at once."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if not poll.poll(None if end == math.inf else max(0.0, end - time.monotonic()) * 1000):
            raise TimeoutError
        with contextlib.suppress(BlockingIOError):
            return os.write(self._fd, line[: select.PIPE_BUF])
        return 0


def _formatted(handler: logging.Handler, record: logging.LogRecord) -> str:
    """Return a record as text; one of the program's that can't be formatted is named as such."""
    try:
        return handler.format(record)
    except Exception as error:
        words = traceback.format_exception_only(error)[-1].strip()
        message = f"a line logged at {record.pathname}:{record.lineno} can't be formatted: {words}"
        told = logging.LogRecord(
            record.name, record.levelno, record.pathname, record.lineno, "%s", (message,), None
        )
        return handler.format(told)


def _stderr_handler() -> logging.Handler:
    try:
        return DescriptorHandler(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # none, or one without a descriptor
        return logging.StreamHandler()


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
    handler = logging.StreamHandler(stream) if stream else _stderr_handler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level.upper())
    LOGGER.propagate = False
    for name in list(logging.root.manager.loggerDict):  # dictConfig disables loggers that were made
        if name.partition(".")[0] == LOGGER.name:
            logging.getLogger(name).disabled = False


def configure_program(level: str) -> None:
    """Send the program's other log lines where Pound's go, unless it has handlers of its own.

    Parameters
    ----------
    level : str
        As that of `configure`, which is to be called first.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(_ProgramHandler(LOGGER.handlers[0]))
    root.setLevel(level.upper())


class _ProgramHandler(logging.Handler):
    """Pass lines on to another handler, but those for which the program has one of its own.

    They are written by the thread that logs, so that none is lost with a process or in a burst. It
    is held up for `PATIENCE_S` at most if the reader has stopped.
    """

    def __init__(self, to: logging.Handler) -> None:
        super().__init__()
        self._to = to

    def createLock(self) -> None:  # noqa: N802
        """Have no lock: the other handler does what is needed."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass on a line that passes the filters; logging's own needs a lock from 3.13 on."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger.parent is not None:
            if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
                return
            logger = logger.parent
        if isinstance(self._to, DescriptorHandler):
            self._to.offer(record)
        else:
            self._to.handle(record)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == LOGGER.name


def _after_fork_in_child() -> None:
    SPOOL._reset()
    for handler in LOGGER.handlers:
        if isinstance(handler, DescriptorHandler):
            handler.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
