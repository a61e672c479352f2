"""Interrupts: a KeyboardInterrupt in any line of Python, as the handler of a signal raises it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


def interrupted_everywhere(run: Callable[[], object]) -> Iterator[str]:
    """Call `run` again and again, each time interrupted one event later, until it gets through.

    An event is a call of a Python function, one of its lines, or its return. Whatever `run` raises
    of an interrupt is passed over: ``threading`` may put an error of its own in its place.

    Yields
    ------
    str
        Where `run` was interrupted, after each call.
    """
    at, where = 1, _run_interrupted(run, 1)
    while where:
        yield where
        at += 1
        where = _run_interrupted(run, at)


def _run_interrupted(run: Callable[[], object], at: int) -> str:
    """Interrupt the event with this number; return where that was, or nothing if it has fewer."""
    events, where = 0, ""
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal events, where
        events += 1
        if events == at:
            where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        run()
    except (KeyboardInterrupt, RuntimeError):
        assert where
    finally:
        sys.settrace(before)
    return where


def pound_threads() -> list[str]:
    """Return the names of the threads of clients, workers and brokers that run in this process."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pound")]
