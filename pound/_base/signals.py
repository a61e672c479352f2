"""Signals act in the process that installed their handlers, and in no child of it.

A fork copies handlers, and the descriptor that an event loop has signals written to: one for the
child would reach the loop of its parent. So while handlers of Pound's are installed, a child gets
back what there was before them, and no descriptor. A signal that comes while a process forks waits
until that is done.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

SIGNALS = (signal.SIGTERM, signal.SIGINT)
IGNORED = ("SIGHUP", "SIGUSR1", "SIGUSR2")  # each would end the process; none means that to us
LOOPS = ("asyncio", "uvloop")

Handlers: TypeAlias = Mapping[int, Any]  # by number; None: one that is not Python's

_found: list[Handlers] = []  # what each installation found, the first one first
_mask = threading.local()  # .before: of the thread that forks


def installed() -> Handlers:
    """Return the present handlers of SIGTERM and SIGINT."""
    return {number: signal.getsignal(number) for number in SIGNALS}


def restore(handlers: Handlers) -> None:
    """Install handlers as `installed` returned them."""
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)


@contextmanager
def not_inherited(found: Handlers) -> Iterator[None]:
    """Give children that are forked meanwhile the handlers that were found.

    Parameters
    ----------
    found : dict
        What `installed` returned before others were installed.
    """
    _found.append(found)
    try:
        yield
    finally:
        if found in _found:  # in a child it is not
            _found.remove(found)


def install(act: Callable[[], None]) -> Handlers:
    """Have `act` called at each SIGTERM and SIGINT of this process, and return what was there.

    For the main thread only.
    """
    found, process = installed(), os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            act()
        else:  # of a fork that Python does not know of
            _forget()
            os.kill(os.getpid(), number)

    _found.append(found)
    for number in SIGNALS:
        signal.signal(number, handle)
    return found


@contextmanager
def handled(act: Callable[[], None]) -> Iterator[None]:
    """Have `act` called at each SIGTERM and SIGINT meanwhile; for the main thread only."""
    found = install(act)
    try:
        yield
    finally:
        restore(found)
        if found in _found:  # in a child it is not
            _found.remove(found)


@contextmanager
def ignored(notify: Callable[[str], None]) -> Iterator[None]:
    """Call `notify` with the name of each of IGNORED that arrives meanwhile; none ends the process.

    Those that the program handles, or ignores, are left to it. For the main thread only.
    """
    process, caught = os.getpid(), _caught()

    def note(number: int, _: FrameType | None) -> None:
        if os.getpid() == process:
            notify(signal.Signals(number).name)
        else:  # of a fork that Python does not know of
            _forget()
            os.kill(os.getpid(), number)

    numbers = [getattr(signal, name) for name in IGNORED if hasattr(signal, name)]
    found: Handlers = {
        number: signal.SIG_DFL
        for number in numbers
        if signal.getsignal(number) == signal.SIG_DFL and not caught >> (number - 1) & 1
    }
    with not_inherited(found):
        for number in found:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number in found:
                if signal.getsignal(number) is note:
                    signal.signal(number, signal.SIG_DFL)


def _caught() -> int:
    """Return the signals that this process has handlers for as bits, those of C as faulthandler's.

    Python knows only its own; where the system does not list them, neither do we.
    """
    try:
        with open("/proc/self/status") as status:
            lines = [line.split()[1] for line in status if line.startswith("SigCgt:")]
    except OSError:
        return 0
    return int(lines[0], 16) if lines else 0


def _before_fork() -> None:
    if _found and hasattr(signal, "pthread_sigmask"):
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_fork() -> None:
    before = _mask.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _after_fork_in_child() -> None:
    if _found:
        _forget()
    _after_fork()


def _forget() -> None:
    """Make this process as if Pound had installed nothing, and it ran no event loop."""
    for found in reversed(_found):
        for number, handler in found.items():
            signal.signal(number, _default(number) if _of_a_loop(handler) else handler)
    _found.clear()
    signal.set_wakeup_fd(-1)


def _of_a_loop(handler: Any) -> bool:
    """Return whether a handler is an event loop's (asyncio.run has one), or not Python's."""
    if handler is None:
        return True
    owner = getattr(getattr(handler, "func", handler), "__self__", handler)
    modules = (getattr(owner, "__module__", None), type(owner).__module__)
    return any(str(module).partition(".")[0] in LOOPS for module in modules)


def _default(number: int) -> Any:
    return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
