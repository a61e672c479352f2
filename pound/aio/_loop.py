"""An engine and the one event loop that it belongs to.

The engine rings: it writes a byte into a pipe when its mailbox was empty. The loop hears: it reads
the byte and takes everything there is. So a loop is woken once for a batch, however large.
Invariant: the pipe stays open until the engine's thread has ended, because that thread writes.
A forked child touches neither loop nor engine: it shares the loop's epoll set with its parent.
Cost: a ring is two system calls and one turn of the loop.
Owner of memory: the loop holds the binding while it listens; requests and their futures hold the
engine only, so that a loop which is closed with requests open frees them all.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pound._engine.handle import Engine
from pound.errors import ClosedError

E = TypeVar("E", bound=Engine)

CLOSE_WITHIN = 5.0  # seconds for the end of an engine whose loop is gone
JOIN_EVERY = 0.001  # seconds between looks at a thread that ends
LOOK_UP_EVERY = 1.0  # seconds between looks at a loop that may be closed
DRAIN_BYTES = 4096


class Binding(Generic[E]):
    """A started engine, heard by the running loop.

    Parameters
    ----------
    make : callable
        Makes the engine; called with the descriptor that it is to ring.
    leave : callable
        Makes the engine end; called with it when nobody closed it in time.
    on_events : callable
        Called on the loop with what the engine's mailbox held.

    Raises
    ------
    RuntimeError
        No event loop runs in this thread.
    """

    def __init__(
        self,
        make: Callable[[int], E],
        leave: Callable[[E], None],
        on_events: Callable[[list[Any]], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._on_events = on_events
        self._connecting: list[asyncio.Future[None]] = []
        self._ended: asyncio.Future[None] = self.loop.create_future()
        self._out, ring = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(ring, False)
        try:
            self.engine = make(ring)
        except BaseException:
            os.close(self._out)
            os.close(ring)
            raise
        # Before the start: an interrupt may come right after it.
        self._release = weakref.finalize(self, _release, self.engine, leave, self._out, ring)
        try:
            self.engine.start()
        except BaseException:
            self._release()
            raise
        self._heard: threading.Event | None = None  # of a loop without readers
        self._listen()

    def check(self, what: str) -> None:
        """Raise unless the caller runs on the loop of this binding.

        Raises
        ------
        ForkError
            This is a child process of the one that it was made in.
        RuntimeError
            Another loop runs here, or none.
        """
        if asyncio.get_running_loop() is not self.loop:
            self.engine.check_fork()
            raise RuntimeError(
                f"this {what} belongs to another event loop, the one that it was first used on"
            )

    async def connected(self, timeout: float | None) -> bool:
        """Wait until a broker has welcomed the engine; True when it has.

        Raises
        ------
        Unauthenticated, PermissionDenied
            No broker lets the engine in.
        ClosedError
            The engine has ended, or did meanwhile.
        """
        waiter: asyncio.Future[None] = self.loop.create_future()
        if self._is_settled() or self._ended.done():
            waiter.set_result(None)
        self._connecting.append(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._connecting.remove(waiter)
        if self._ended.done():
            raise self.engine.closed_error()
        self.engine.check_settled()
        return waiter.done()

    def _is_settled(self) -> bool:
        return self.engine.connected.is_set() or self.engine.denied is not None

    async def ended(self, timeout: float | None = None) -> bool:
        """Wait until the engine and its thread have ended; True when they have."""
        await asyncio.wait((self._ended,), timeout=timeout)
        while self._ended.done() and not self.engine.join(0.0):
            await asyncio.sleep(JOIN_EVERY)  # the thread has said its last word already
        if self._ended.done():
            self._release()
        return self._ended.done()

    # -- the loop's side of the pipe --------------------------------------------------------

    def _listen(self) -> None:
        try:
            self.loop.add_reader(self._out, self._wake)
        except NotImplementedError:
            self._heard = threading.Event()
            threading.Thread(target=self._watch, name="pound-wake", daemon=True).start()

    def _watch(self) -> None:
        """Stand in for `add_reader`: one call into the loop for each ring, until the last one."""
        assert self._heard is not None
        self._heard.set()
        with suppress(RuntimeError, OSError):  # the loop was closed, or the pipe
            while not (self._ended.done() or self.loop.is_closed()):
                heard = self._heard.wait(LOOK_UP_EVERY)
                if heard and select.select([self._out], [], [], LOOK_UP_EVERY)[0]:
                    self._heard.clear()
                    self.loop.call_soon_threadsafe(self._wake)
        if self.loop.is_closed():
            self._release()

    def _wake(self) -> None:
        if not self._ended.done():
            with suppress(BlockingIOError):
                os.read(self._out, DRAIN_BYTES)
            try:
                self._on_events(self.engine.events())
            finally:
                self._note()

    def _note(self) -> None:
        """Wake who waits for a change of the engine's state."""
        ended = self.engine.ended
        if ended or self._is_settled():
            for waiter in self._connecting:
                if not waiter.done():
                    waiter.set_result(None)
        if ended:
            with suppress(NotImplementedError):
                self.loop.remove_reader(self._out)
            if not self._ended.done():
                self._ended.set_result(None)
        if self._heard is not None:
            self._heard.set()


def _release(engine: E, leave: Callable[[E], None], out: int, ring: int) -> None:
    """End the engine if it still runs, drop what nobody will hear, close the pipe."""
    if not engine.forked():
        if not engine.ended:
            with suppress(ClosedError):
                leave(engine)
        if not engine.join(CLOSE_WITHIN):
            return  # a descriptor that a thread writes to is better leaked than reused
        engine.events()
    os.close(out)
    os.close(ring)
