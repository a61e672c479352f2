"""The threads that run a worker's handlers, and how a handler is called.

Threads are made when a task finds none idle, at most `capacity` of them, and are daemons: a
handler that never returns must not keep a process alive that has given its task back. A handler
sees the body, or the `Task` if its first parameter asks for it; what it returns or raises becomes
one record.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, TypeAlias

from pound._body import Answer, excess, to_parts
from pound._link import Limits
from pound._logging import log_event
from pound._tasks import LOGGER, Task, error_record
from pound._wire import Code, Kind, Record
from pound.errors import ConfigError, Release

Handler: TypeAlias = Callable[[Any], Any]


class Threads:
    """At most `capacity` daemon threads that run `work` on what is put in.

    Parameters
    ----------
    work : callable
        Called with one task at a time on each thread; must not raise.
    capacity : int
    """

    def __init__(self, work: Callable[[Task], None], capacity: int) -> None:
        self._work = work
        self._capacity = capacity
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0

    def put(self, task: Task) -> None:
        """Run `task` on an idle thread, a new one, or the first that becomes idle."""
        with self._lock:
            self._unfinished += 1
            if len(self._threads) < min(self._unfinished, self._capacity):
                name = f"pound-handler-{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put(task)

    def stop(self) -> None:
        """Let each thread end after the task that it runs."""
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            self._work(task)
            with self._lock:
                self._unfinished -= 1


def check_handler(name: str, handler: object) -> Callable[[Task], object]:
    """Return a function that calls `handler` with a Task, whichever argument it wants.

    Raises
    ------
    ConfigError
        It is not callable with one argument, or is a coroutine function.
    """
    if not callable(handler):
        raise ConfigError(f"the handler of service {name!r} is not callable: {handler!r}")
    if inspect.iscoroutinefunction(handler):
        raise ConfigError(
            f"the handler of service {name!r} is a coroutine function; give a plain one"
        )
    if _wants_task(name, handler):
        return handler
    return lambda task: handler(task.body)


def outcome(handlers: Mapping[str, Callable[[Task], object]], task: Task, limits: Limits) -> Record:
    """Run the task's handler and return the record that answers: REPLY or ERROR."""
    if task.cancelled:
        return error_record(task.token, Code.CANCELLED, "cancelled before it began")
    handler = handlers.get(task.service)
    if handler is None:
        return error_record(task.token, Code.NOT_FOUND, f"no handler for {task.service!r} here")
    try:
        return _reply(task, handler(task), limits)
    except Release as release:
        return error_record(task.token, Code.UNAVAILABLE, str(release) or "given back")
    except BaseException as error:  # SystemExit too: the answer is owed whatever happened
        log_event(
            LOGGER,
            logging.ERROR,
            "handler failed",
            service=task.service,
            attempt=task.attempt,
            exc_info=True,
        )
        return error_record(task.token, Code.UNKNOWN, f"{type(error).__name__}: {error}")


def _reply(task: Task, result: object, limits: Limits) -> Record:
    body, meta = result if isinstance(result, Answer) else (result, None)
    parts, flags = to_parts(b"" if body is None else body, meta)  # type: ignore[arg-type]
    error = excess(parts, limits.body_bytes_max, limits.frames_max)
    if error is not None:
        raise ValueError(error)
    return Record(kind=Kind.REPLY, id=task.token, flags=flags, parts=parts)


def _wants_task(name: str, handler: Callable[..., object]) -> bool:
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except ValueError:  # a builtin that does not tell its signature
        return False
    if not parameters:
        raise ConfigError(f"the handler of service {name!r} takes no argument")
    first = parameters[0]
    annotation = first.annotation
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return written.strip("'\"").rpartition(".")[2] == "Task" or first.name == "task"
