"""A standby: a broker that serves only while another one, the preferred, is not there.

Peers list both endpoints. The standby watches the preferred broker as a client of its own. While
that one is there, the standby does not listen: a peer that tries it is refused by the kernel and
turns to the next endpoint of its list, so that all meet at one broker.

One thread decides and acts, by what the watch reports (rules: `_broker.takeover`). Each time that
the standby serves, it is a new `Broker`: a new epoch. A host and its signals call from other
threads: they end that thread first, and then the broker, if there is one.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from pound._base.threads import check_threads
from pound._base.unpicklable import Unpicklable
from pound._broker.key_watch import KeyWatch
from pound._broker.takeover import Takeover
from pound._engine.checks import check_key
from pound._engine.watch import Watch
from pound._logging import LOGGER, Repeats, log_event
from pound.broker import JOIN_S, Broker, configured
from pound.config import Config
from pound.errors import BindError, ClosedError, ConfigError, ForkError, RequestError, error_for
from pound.security.keyring import KeyDirectory

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pound._settings import Settings

AGAIN_S = 1.0  # from a failure to serve to the next attempt
LABEL_BYTES = 48  # of the host's name: with the words and a pid of 7 digits these are 64


class Standby(Unpicklable):
    """A broker that serves only while the preferred broker, `standby_of`, is not there.

    It binds its endpoints once at the start, so that what is wrong is found then. Later it listens
    only while it serves: from half a second after the preferred broker's connection has ended (or
    after `heartbeat` x `liveness` of its silence), until that one has been back for a second.

    Parameters
    ----------
    config : Config, optional
        The settings, `standby_of` among them.
    on_change : callable, optional
        Called with True when it begins to serve and with False when it stands by, the first time
        before `start` returns; by the thread that decides, which it must not hold up.
    **settings
        The keyword arguments of `Config`, in place of the values of `config`.

    Raises
    ------
    ConfigError
        A setting is wrong, or `standby_of` is not given.
    TypeError
        A setting is unknown.
    PatchedError
        gevent or eventlet has replaced this program's threads.

    Notes
    -----
    As a context manager it starts on entry and drains on exit. It is not usable after ``fork``.

    Examples
    --------
    >>> with Standby(
    ...     standby_of="tcp://first.example:5555",
    ...     frontend="tcp://10.0.0.2:5555",
    ...     backend="tcp://10.0.0.2:5556",
    ...     keys="/etc/pound/keys",
    ...     standby_key="/etc/pound/standby.key",
    ... ) as standby:
    ...     standby.wait()  # doctest: +SKIP
    """

    _noun = "a pound.Standby"
    _remedy = "its sockets and threads belong to this process; pass its config, make one there"

    def __init__(
        self,
        config: Config | None = None,
        *,
        on_change: Callable[[bool], object] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        check_threads("standby")
        self.config = configured(config, settings)
        if not self.config.standby_of:
            raise ConfigError(
                "standby_of: a Standby needs the frontend of the preferred broker, such as "
                "tcp://first.example:5555; pound.Broker serves without one"
            )
        self._served = dataclasses.replace(self.config, standby_of=(), standby_key="")
        self._preferred = ",".join(self.config.standby_of)
        self._on_change = on_change
        self._pid = os.getpid()
        self._credential = check_key(self.config.standby_key or None)
        self._watch: Watch | None = None
        self._public_key = ""
        self._announced: bool | None = None
        self._denied: RequestError | None = None
        self._failed: BaseException | None = None
        self._takeover = Takeover(0.0)
        self._again_at = 0.0
        self._repeats = Repeats()
        self._thread: threading.Thread | None = None
        self._broker: Broker | None = None
        self._keys: KeyWatch | None = None  # of the one that stands by; a broker has its own
        self._settled = threading.Event()  # whether it serves or stands by is known
        self._ending = threading.Event()
        self._ended = threading.Event()

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Bind the endpoints once, and find out whether to serve: within two seconds or so.

        Raises
        ------
        BindError
            An endpoint can't be bound.
        ConfigError
            The broker's keys can't be used.
        Unauthenticated, PermissionDenied
            The preferred broker does not let this standby watch it.
        ForkError
            It was made in the parent of this process.
        ClosedError
            It was started before.
        OSError, RuntimeError
            The process has too few descriptors or threads left to watch the preferred broker.
        """
        self._check_process()
        if self._thread is not None or self._ending.is_set():
            raise ClosedError("this standby was started before; make a new one")
        Broker(self._served)._try()
        if self.config.keys:
            self._public_key = KeyDirectory(self.config.keys).pair().public
        self._takeover = Takeover(time.monotonic(), len(self.config.standby_of) > 1)
        watch = self._watch = self._new_watch()
        self._thread = threading.Thread(
            target=self._run, args=(watch,), name="pound-standby", daemon=True
        )
        try:
            self._thread.start()
            self._settled.wait()
        except BaseException:  # an interrupt, or the machine has no more threads
            self.stop()
            raise
        if self._failed is not None:
            raise self._failed
        if self._denied is not None:
            self.stop()
            raise error_for(self._denied.code, self._denied.message)

    def _new_watch(self) -> Watch:
        """Return a watch of the preferred broker, and drop the key: it is the watch's now."""
        try:
            return Watch(
                self.config.standby_of,
                heartbeat=self.config.heartbeat,
                liveness=self.config.liveness,
                label=_label(),
                key=self._credential,
            )
        except OSError as error:
            raise BindError(error.strerror or str(error)) from error
        finally:
            self._credential = None

    def drain(self, timeout: float | None = None) -> bool:
        """End: at once while it stands by, as `Broker.drain` does while it serves.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default the configuration's ``drain_timeout``.

        Returns
        -------
        bool
            Whether nothing was left undone.
        """
        broker = self._end()
        drained = broker is None or broker.drain(timeout)
        self._ended.set()
        return drained

    def stop(self) -> None:
        """End at once; peers are not notified, and their requests stay theirs to retry."""
        broker = self._end()
        if broker is not None:
            broker.stop()
        self._ended.set()

    def _end(self) -> Broker | None:
        """End the thread that decides; return the broker that serves."""
        self._check_process()
        self._ending.set()
        if self._watch is not None:
            self._watch.wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(2 * JOIN_S)
        return self._broker

    def reload_keys(self) -> None:
        """Read the peers of the broker's keys again, at once; it does so by itself within a second.

        Raises
        ------
        ConfigError
            The file can't be read or is wrong; or there are no keys.
        ClosedError
            It does not run.
        """
        self._check_process()
        broker, keys = self._broker, self._keys
        if broker is not None:
            broker.reload_keys()
        elif keys is not None:
            keys.reload()
        elif self.config.keys:
            raise ClosedError("this standby does not run: it reads its keys when it starts")
        else:
            raise ConfigError('this standby has no keys: start it with keys = "DIR"')

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended.

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

    def __enter__(self) -> Standby:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain it."""
        self.drain()

    @property
    def broker(self) -> Broker | None:
        """The broker that serves now; None while it stands by."""
        return self._broker

    @property
    def serving(self) -> bool:
        """Whether it serves."""
        return self._broker is not None

    # -- the thread that decides --------------------------------------------------------------

    def _run(self, watch: Watch) -> None:
        try:
            watch.start()
            while not self._ending.is_set():
                watch.wait(self._wait_s())
                self._turn(watch)
        except BaseException as error:
            self._failed = error
            log_event(LOGGER, logging.ERROR, "the standby failed", exc_info=True)
            if self._broker is not None:
                self._broker.stop()
            self._ended.set()
        finally:
            self._stop_keys()
            watch.close()
            self._settled.set()

    def _turn(self, watch: Watch) -> None:
        now = time.monotonic()
        self._takeover.note(watch.there, now)
        self._denied = watch.denied
        if self._denied is not None and not self._settled.is_set():
            self._ending.set()
            return
        if self._broker is not None and not self._broker.running:
            log_event(LOGGER, logging.ERROR, "broker ended by itself")
            self._broker, self._again_at = None, now + AGAIN_S
        if self._takeover.decide(now):
            if self._broker is None and now >= self._again_at:
                self._serve(watch)
        elif self._broker is not None:
            self._hand_back(self._broker)
        elif watch.there and self._announced is not False:
            self._stand_by()

    def _wait_s(self) -> float | None:
        """Return for how long there is nothing to do unless something comes."""
        due = self._takeover.due()
        if self._takeover.serves and self._broker is None:
            due = min(due, self._again_at)
        return None if due == float("inf") else max(0.0, due - time.monotonic())

    def _serve(self, watch: Watch) -> None:
        broker = Broker(self._served)
        try:
            broker.start()
        except Exception as error:
            self._again_at = time.monotonic() + AGAIN_S
            self._report(str(error) or type(error).__name__)
            self._settled.set()
            return
        self._stop_keys()
        self._broker = broker
        threading.Thread(target=_wake_at_end, args=(broker, watch), daemon=True).start()
        log_event(
            LOGGER,
            logging.WARNING,
            "preferred broker not there, serving",
            preferred=self._preferred,
            frontend=",".join(broker.frontend_endpoints),
            backend=",".join(broker.backend_endpoints),
        )
        self._changed(True)

    def _hand_back(self, broker: Broker) -> None:
        """End the epoch: answers that are ready leave, and all peers are sent to the other one."""
        log_event(
            LOGGER, logging.INFO, "preferred broker is back, handing over",
            preferred=self._preferred,
        )  # fmt: skip
        broker.drain(0.0)
        self._broker = None
        self._stand_by()

    def _stand_by(self) -> None:
        if self._public_key:
            self._keys = KeyWatch(self.config.keys, self._public_key)
            self._keys.start(lambda table: None)  # only to say at once what is wrong with them
        log_event(LOGGER, logging.INFO, "standing by", preferred=self._preferred)
        self._changed(False)

    def _stop_keys(self) -> None:
        if self._keys is not None:
            self._keys.stop()
        self._keys = None

    def _changed(self, serves: bool) -> None:
        self._announced = serves
        if self._on_change is not None:
            try:
                self._on_change(serves)
            except Exception:
                log_event(LOGGER, logging.ERROR, "on_change failed", exc_info=True)
        self._settled.set()

    def _report(self, error: str) -> None:
        """Log why it can't serve: once in 30 s for each reason, since it tries each second."""
        repeated = self._repeats.pass_one(error)
        if repeated is not None:
            more = {"repeated": repeated} if repeated else {}
            log_event(LOGGER, logging.ERROR, "standby can't serve", error=error, **more)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkError(
                f"this standby was made in process {self._pid} and cannot be used in process "
                f"{os.getpid()}: ZeroMQ does not survive fork; make a Standby in the child"
            )


def _wake_at_end(broker: Broker, watch: Watch) -> None:
    broker.wait()
    watch.wake()


def _label() -> str:
    """Return what the listings of the preferred broker show."""
    host = socket.gethostname().encode()[:LABEL_BYTES].decode(errors="ignore")
    return f"standby {host}:{os.getpid()}"
