"""The broker: sockets and their options, the loop's thread, and the loop's events as log lines.

What is decided here happens once in a broker's life. All traffic is the compiled core's, which
runs in a thread of its own and takes no GIL until it ends. A second thread logs its events: it may
be held up by the reader of the log, or by a handler of the host's, and nothing else is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import reprlib
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

import zmq

from pound._base.libc_random import unpredictable
from pound._base.threads import check_threads
from pound._base.unpicklable import Unpicklable
from pound._broker import door
from pound._broker.binding import bind
from pound._broker.events import write
from pound._broker.key_watch import KeyWatch
from pound._broker.self_test import self_test
from pound._core import Core
from pound._engine.checks import check_context, check_descriptors
from pound._logging import LOGGER, log_event, write_event
from pound._version import __version__
from pound.config import Config, check_names
from pound.errors import BindError, ClosedError, ConfigError, ForkError
from pound.security.curve import Pair
from pound.security.keyring import KeyDirectory
from pound.security.keytable import Keytable
from pound.security.listener import Listener
from pound.security.names import SIDES

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pound._settings import Settings

# Of a frame above the largest body or packet, before libzmq cuts the peer: the sizes of 65,535
# inline parts, which do not count as body, and what else a packet has.
SLACK_BYTES = 4 * 65535 + 4096
UNREAD_MESSAGES = 1000  # libzmq's own default
KEEPALIVE_S = 1  # a probe each second on a silent connection, so that TCP's own limit can act
KEEPALIVE_PROBES = 5
MAXRT_BACKEND_MS = 5000  # a worker whose host is gone is found after this
MAXRT_FRONTEND_MS = 30000  # how long a client may refuse to read
LINGER_MS = 1000  # for the last words of a drained broker, at least
JOIN_S = 5.0  # a loop that is to stop ends within a turn
DESCRIPTORS_GUARDED = 16  # beside these: the self-test
DESCRIPTORS_MIN = 20  # of a broker with two endpoints and one I/O thread, and of its first peers
LOG_JOIN_S = 1.0  # for the last lines; the reader of the log may have stopped for good


class Broker(Unpicklable):
    """A load-balancing broker that runs in a thread of its own.

    Parameters
    ----------
    config : Config, optional
        The settings; by default those of `Config()`.
    context : zmq.Context, optional
        The context of a program that embeds the broker, so that its clients and workers may use
        ``inproc://`` endpoints. By default the broker has one of its own. With keys the broker is
        the context's ZAP handler, of which there is one: CURVE servers of the program's own in
        that context would be refused all their peers.
    **settings
        The keyword arguments of `Config`, in place of the values of `config`.

    Raises
    ------
    ConfigError
        A setting is wrong.
    TypeError
        `context` is no `zmq.Context`, or a setting is unknown.
    PatchedError
        gevent or eventlet has replaced this program's threads.

    Notes
    -----
    As a context manager it starts on entry and drains on exit. It is not usable after ``fork``:
    ZeroMQ's threads and sockets don't survive it.

    Examples
    --------
    >>> with Broker(frontend=["tcp://127.0.0.1:*"], backend=["tcp://127.0.0.1:*"]) as broker:
    ...     print(broker.frontend_endpoints)  # doctest: +SKIP
    """

    _noun = "a pound.Broker"
    _remedy = "its sockets and threads belong to this process; pass its config, make one there"

    def __init__(
        self,
        config: Config | None = None,
        *,
        context: zmq.Context[Any] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        check_threads("broker")
        self.config = configured(config, settings)
        if self.config.standby_of:
            raise ConfigError("standby_of: a Broker serves at once; pound.Standby waits for that")
        self._given_context = check_context(context)
        self._pid = os.getpid()
        self._core: Core | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._logged = threading.Event()
        self._sockets: list[zmq.Socket[Any]] = []
        self._monitors: list[zmq.Socket[Any]] = []
        self._zap: zmq.Socket[Any] | None = None
        self._watch: KeyWatch | None = None
        self._endpoints: list[tuple[str, ...]] = [(), ()]
        self._lock = threading.Lock()
        self._last_stats: dict[str, int] = {}
        self._drained = False

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind the endpoints and start the loop.

        Raises
        ------
        BindError
            An endpoint can't be bound.
        ForkError
            The broker was made in the parent of this process.
        ClosedError
            It was started before.
        """
        self._check_process()
        if self._thread is not None:
            raise ClosedError("this broker was started before; make a new one")
        self._start_threads(*self._opened())

    def _try(self) -> None:
        """Bind the endpoints and let them go: raise what `start` would. Not to be started then."""
        _, context = self._opened()
        self._core = None
        self._close(0, context)

    def _opened(self) -> tuple[Core, zmq.Context[Any]]:
        """Return the core with its sockets bound, and their context."""
        listeners = self.config.listeners()
        more = 2 * max(0, self.config.io_threads + len(listeners) - 3)
        if door.needs_guard(listeners):
            more += DESCRIPTORS_GUARDED
        try:
            check_descriptors(DESCRIPTORS_MIN + more, "broker")
        except OSError as error:
            raise BindError(error.strerror) from error
        if self._given_context is None:
            context = zmq.Context(io_threads=self.config.io_threads)
        else:  # its destroy() would close on another thread the sockets that it knows of
            context = zmq.Context.shadow(self._given_context)
            context.sockopts.update(self._given_context.sockopts)  # what it sets on new sockets
        try:
            core = self._core = self._open(context)
        except BaseException:
            self._close(0, context)
            raise
        return core, context

    def drain(self, timeout: float | None = None) -> bool:
        """Take no more requests, finish what can be finished, notify the peers and end.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default the configuration's ``drain_timeout``.

        Returns
        -------
        bool
            Whether nothing was left undone: no request that runs, that a worker had, or that
            one could do, no answer that was not handed over, and no request of a client that
            can't be notified (docs/operations.md).
        """
        core, thread = self._running_parts()
        if core is None or thread is None:
            return True
        limit = self.config.drain_timeout if timeout is None else timeout
        core.drain(limit)
        self.wait(limit + JOIN_S)
        return self._drained

    def stop(self) -> None:
        """End at once; peers are not notified, and their requests stay theirs to retry."""
        core, thread = self._running_parts()
        if core is None or thread is None:
            return
        core.stop()
        thread.join(JOIN_S)

    def reload_keys(self) -> None:
        """Read the peers of the broker's keys again, at once; it does so by itself within a second.

        Raises
        ------
        ConfigError
            The file can't be read or is wrong, and those before still count; or the broker has no
            keys.
        ClosedError
            It does not run.
        """
        core, _ = self._running_parts()
        if core is None:
            raise ClosedError("this broker does not run: it reads its keys when it starts")
        if self._watch is None:
            raise ConfigError('this broker has no keys: start it with keys = "DIR"')
        self._watch.reload()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the loop has ended.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default there is no limit.

        Returns
        -------
        bool
            Whether it has.
        """
        self._check_process()
        return self._ended.wait(timeout)

    def __enter__(self) -> Broker:
        """Start the broker."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain the broker."""
        self.drain()
        self.stop()

    # -- what it reports ---------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the loop runs."""
        return self._thread is not None and not self._ended.is_set()

    @property
    def frontend_endpoints(self) -> tuple[str, ...]:
        """The endpoints for clients as they are bound, wildcard ports made real."""
        return self._endpoints[0]

    @property
    def backend_endpoints(self) -> tuple[str, ...]:
        """The endpoints for workers as they are bound, wildcard ports made real."""
        return self._endpoints[1]

    def stats(self) -> dict[str, int]:
        """Return the counters as they were after the loop's last turn.

        Returns
        -------
        dict of str to int
            ``accepted == waiting + running + answered + failed + cancelled + expired`` at any
            moment; docs/architecture.md lists all names.
        """
        self._check_process()
        with self._lock:
            return dict(self._core.stats()) if self._core is not None else dict(self._last_stats)

    # -- the loop's thread --------------------------------------------------------------------

    def _start_threads(self, core: Core, context: zmq.Context[Any]) -> None:
        owner = threading.Lock()  # who gets it owns the sockets: the loop's thread, or this one
        loop = threading.Thread(
            target=self._run, args=(core, context, owner), name="pound-broker", daemon=True
        )
        logs = threading.Thread(
            target=self._log, args=(core,), name="pound-broker-log", daemon=True
        )
        try:
            if self._watch is not None:
                self._watch.start(core.take_table)
            logs.start()
            loop.start()
        except BaseException:  # an interrupt, or the machine has no more threads
            if not owner.acquire(blocking=False):
                self._thread = loop
                core.stop()
                self._ended.wait(JOIN_S)
                raise
            core.close_logs()
            self._end_watch()
            self._core = None
            self._close(0, context)
            raise
        self._thread = loop

    def _run(self, core: Core, context: zmq.Context[Any], owner: threading.Lock) -> None:
        if not owner.acquire(blocking=False):
            return  # the start was interrupted before this thread ran
        linger = 0
        try:
            core.run()
            if core.draining:
                # Answers that libzmq has still to send get the rest of the time.
                linger = max(LINGER_MS, int(core.drain_left * 1000))
                core.farewell()
        except BaseException:
            log_event(LOGGER, logging.ERROR, "the broker's loop failed", exc_info=True)
        finally:
            core.close_logs()
            self._end_watch()
            with self._lock:
                self._last_stats = core.stats()
                self._core = None
            try:
                self._close(linger, context)
                self._drained = core.drained
            finally:
                self._logged.wait(LOG_JOIN_S)
                self._ended.set()

    def _log(self, core: Core) -> None:
        """Write the loop's events until it has ended: the body of the logging thread."""
        told = 0
        try:
            while (events := core.events()) is not None:
                for event in events:
                    core.lost(not write(*event))
                told, before = core.logs_dropped, told
                if told != before:
                    write_event(LOGGER, logging.WARNING, "log lines dropped", lines=told - before)
        finally:
            self._logged.set()

    # -- sockets ------------------------------------------------------------------------------

    def _open(self, context: zmq.Context[Any]) -> Core:
        core = Core(self.config, __version__)
        listeners = self.config.listeners()
        guarded = door.needs_guard(listeners)
        pair = self._guard(core, context, listeners) if guarded else None
        tried: list[str] = []
        for side, name in enumerate(SIDES):
            with unpredictable():
                socket = self._make_router(context, side)
            self._sockets.append(socket)
            self._monitors.append(self._monitor(context, socket))
            bound: list[str] = []
            for number, listener in enumerate(listeners):
                if listener.side != name:
                    continue
                if guarded:
                    door.secure(socket, number, listener, pair)
                bound.append(bind(socket, name, listener))
                tried += bound[-1:] if listener.security == "curve" else []
            self._endpoints[side] = tuple(bound)
        core.attach(
            self._sockets[0],
            self._monitors[0],
            self._sockets[1],
            self._monitors[1],
            json.dumps({"frontend": self._endpoints[0], "backend": self._endpoints[1]}),
        )
        if pair is not None and tried:
            self_test(core, tried, pair.public)
        return core

    def _guard(
        self, core: Core, context: zmq.Context[Any], listeners: tuple[Listener, ...]
    ) -> Pair | None:
        """Have the loop judge who comes in; return the broker's keys, if it has any."""
        pair, table = None, Keytable()
        if self.config.keys:
            pair = KeyDirectory(self.config.keys).pair()
            self._watch = KeyWatch(self.config.keys, pair.public)
            table = self._watch.table()
        core.guard(table, door.rows(listeners), door.salt())
        self._zap = door.bind_zap(context)
        core.attach_zap(self._zap)
        return pair

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    def _make_router(self, context: zmq.Context[Any], side: int) -> zmq.Socket[Any]:
        socket: zmq.Socket[Any] = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if side == 0 and self.config.foreign_overflow == "block":
            # While it is left unread, libzmq reads on, up to so many messages of each connection.
            bodies = self.config.waiting_bytes_max // self.config.body_bytes_max
            socket.setsockopt(zmq.RCVHWM, min(max(1, bodies), UNREAD_MESSAGES))
        largest = max(self.config.body_bytes_max, self.config.packet_bytes_max)
        socket.setsockopt(zmq.MAXMSGSIZE, largest + SLACK_BYTES)
        socket.setsockopt(zmq.HANDSHAKE_IVL, round(self.config.handshake_timeout * 1000))
        # Half-open connections: something must be sent for TCP to notice. The kernel does it.
        # libzmq's own heartbeats (ZMQ_HEARTBEAT_IVL) abort the whole process when their timer
        # fires for a peer that filled its pipe and is gone.
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S)
        socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_S)
        socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES)
        socket.setsockopt(zmq.TCP_MAXRT, MAXRT_BACKEND_MS if side else MAXRT_FRONTEND_MS)
        return socket

    def _monitor(self, context: zmq.Context[Any], socket: zmq.Socket[Any]) -> zmq.Socket[Any]:
        address = f"inproc://pound-monitor-{id(self):x}-{socket.underlying:x}"
        events = (
            zmq.EVENT_ACCEPTED
            | zmq.EVENT_ACCEPT_FAILED
            | zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_DISCONNECTED
        )
        socket.monitor(address, events)
        monitor: zmq.Socket[Any] = context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.LINGER, 0)
        monitor.setsockopt(zmq.RCVHWM, 0)  # an event that is dropped is a death unseen
        monitor.connect(address)
        return monitor

    def _close(self, linger: int, context: zmq.Context[Any]) -> None:
        for socket in self._sockets:
            # An event for a monitor that is gone would block libzmq's I/O thread, a host's, too.
            with contextlib.suppress(zmq.ZMQError):
                socket.disable_monitor()
            socket.close(linger)
        for monitor in self._monitors:
            monitor.close(0)
        if self._zap is not None:
            self._zap.close(0)
        self._sockets.clear()
        self._monitors.clear()
        if self._given_context is None:
            context.term()

    # -- other threads ------------------------------------------------------------------------

    def _running_parts(self) -> tuple[Core | None, threading.Thread | None]:
        self._check_process()
        with self._lock:
            return self._core, self._thread

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkError(
                f"this broker was made in process {self._pid} and cannot be used in process "
                f"{os.getpid()}: ZeroMQ does not survive fork; make a Broker in the child"
            )


def configured(config: Config | None, settings: Settings) -> Config:
    """Return the configuration of a broker from the arguments of its constructor."""
    if config is not None and not isinstance(config, Config):
        raise TypeError(
            f"the first argument is a pound.Config, not {reprlib.repr(config)}; give settings by"
            " name: Broker(frontend='tcp://127.0.0.1:5555', backend='tcp://127.0.0.1:5556')"
        )
    check_names(settings)
    return dataclasses.replace(config or Config(), **settings)  # type: ignore[arg-type]
