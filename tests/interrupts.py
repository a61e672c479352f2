"""Interrupts: a KeyboardInterrupt in any line of Python, as the handler of a signal raises it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from tests.support import ROOT

OURS = f"{ROOT}/pound/"


def interrupted_everywhere(run: Callable[[], object]) -> Iterator[str]:
    """Call `run` again and again, each time interrupted one event later, until it gets through.

    An event is a line of Pound's, its return, or the call of a function that it calls. (Inside, the
    locks of ``threading`` would stay locked for good: ``with`` may be interrupted, too.)

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
        ours = frame.f_code.co_filename.startswith(OURS)
        caller = frame.f_back
        if not ours and not (caller and caller.f_code.co_filename.startswith(OURS)):
            return None
        events += 1
        if events == at:
            where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
            raise KeyboardInterrupt
        return trace if ours else None

    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        assert where
    finally:
        sys.settrace(before)
    return where


def pound_threads() -> list[str]:
    """Return the names of the threads of clients, workers and brokers that run in this process."""
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("pound") and thread.is_alive()
    ]
