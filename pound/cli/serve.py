"""``pound serve``: the broker as a process of its own.

The main thread only waits: for signals, or for the loop's end, whichever comes first. Both arrive
as words in one queue, which a signal handler may write to at any instruction.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import click

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

import pound
from pound._base.signals import IGNORED, install
from pound._logging import LOGGER, configure, log_event
from pound.cli.common import EXIT_FAILED, EXIT_UNFINISHED, note_ignored
from pound.cli.config import file_option, load, setting_options

SIGNALLED = "signalled"
RELOAD = "reload"
ENDED = "ended"
SIGNAL_POLL_S = 0.5  # Python runs a signal's handler only between two steps of the main thread


@click.command(short_help="Run a broker.")
@file_option
@setting_options
@click.pass_context
def serve(ctx: click.Context, /, path: Path | None, **flags: object) -> None:
    """Run a broker until SIGTERM or SIGINT.

    Prints one line when it is ready: "pound: ready frontend=URL backend=URL", with real ports
    in place of wildcards and commas between several. The first signal drains: no new requests,
    what was taken in is finished within the drain timeout, exit code 0, or 4 if something is left.
    A second one stops at once, exit code 1. Exits with 3 if an endpoint cannot be bound.
    With keys, SIGHUP has the file of the peers read again at once.

    With --standby-of it serves only while the preferred broker is not there, and prints "pound:
    standby of URL" when that one is, at the start and later; a signal then ends it at once.
    """
    config, origins = load(path, flags)
    check_reachable(config, origins)
    raise_limit()
    configure(config.log_level, config.log_format)
    seed_libc()
    events = watch_signals(reloads=bool(config.keys))
    broker = _standby(config) if config.standby_of else pound.Broker(config)
    broker.start()
    threading.Thread(target=_report_end, args=(broker, events), daemon=True).start()
    if isinstance(broker, pound.Broker):
        _say_ready(broker)
    notify("READY=1")
    ctx.exit(_wait(broker, events, config.drain_timeout))


def _say_ready(broker: pound.Broker) -> None:
    ends = (",".join(broker.frontend_endpoints), ",".join(broker.backend_endpoints))
    click.echo("pound: ready frontend={} backend={}".format(*ends))


def _standby(config: pound.Config) -> pound.Standby:
    """Return a standby that says each time whether it serves."""
    preferred = ",".join(config.standby_of)

    def say(serves: bool) -> None:
        broker = standby.broker
        if serves and broker is not None:
            notify(f"STATUS=serving in place of {preferred}")
            _say_ready(broker)
        else:
            notify(f"STATUS=standby of {preferred}")
            click.echo(f"pound: standby of {preferred}")

    standby = pound.Standby(config, on_change=say)
    return standby


def check_reachable(config: pound.Config, origins: Mapping[str, str]) -> None:
    """Raise ConfigError for an endpoint that no other process can reach."""
    for listener in config.listeners():
        if listener.endpoint.startswith("inproc:"):
            key = listener.side if listener.endpoint in getattr(config, listener.side) else "listen"
            raise pound.ConfigError(
                f"{key}: {listener.endpoint!r} is for a program that embeds pound.Broker, no other"
                f" process can reach it: use tcp:// or ipc:// ({origins[key]})"
            )


def _wait(
    broker: pound.Broker | pound.Standby, events: queue.SimpleQueue[str], drain_timeout: float
) -> int:
    """Return the exit code once the broker has ended or a signal came."""
    while (word := next_word(events)) == RELOAD:
        with contextlib.suppress(Exception):  # it was logged, and the peers stay as they are
            broker.reload_keys()
    if word == ENDED:
        log_event(LOGGER, logging.ERROR, "broker ended by itself")
        return EXIT_FAILED
    notify("STOPPING=1")
    drained: list[bool] = []

    def drains() -> None:
        drained.append(broker.drain(drain_timeout))

    drain = threading.Thread(target=drains, daemon=True)
    drain.start()
    while (word := next_word(events)) == RELOAD:
        note_ignored(LOGGER, "SIGHUP")
    if word == SIGNALLED:
        log_event(LOGGER, logging.WARNING, "second signal, stopping at once")
        broker.stop()
        return EXIT_FAILED
    drain.join()
    return 0 if all(drained) else EXIT_UNFINISHED


def next_word(events: queue.SimpleQueue[str]) -> str:
    """Wait for the next word; a signal just before the wait must not be slept through."""
    while True:
        with contextlib.suppress(queue.Empty):
            return events.get(timeout=SIGNAL_POLL_S)


def _report_end(broker: pound.Broker | pound.Standby, events: queue.SimpleQueue[str]) -> None:
    broker.wait()
    events.put(ENDED)


def watch_signals(reloads: bool = False) -> queue.SimpleQueue[str]:
    """Return the queue that has a word for each SIGTERM and SIGINT from now on.

    Parameters
    ----------
    reloads : bool
        Whether SIGHUP has one, too.
    """
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    install(lambda: events.put(SIGNALLED))
    for name in IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _note_ignored)
    if reloads:
        signal.signal(signal.SIGHUP, lambda *_: events.put(RELOAD))
    return events


def _note_ignored(number: int, _: object) -> None:
    note_ignored(LOGGER, signal.Signals(number).name)


def raise_limit() -> None:
    """Allow as many descriptors as the system lets this process have: each peer takes one."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def seed_libc() -> None:
    """Seed libc's random numbers: libzmq draws its first routing id from them and never seeds.

    Unseeded, they are the same after each start, and a client that comes back would meet the
    routing id of another. Only for a process of our own, and before its first socket. With glibc
    the broker's sockets don't depend on it (`_base.libc_random`); with another libc they do.
    """
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))


def notify(state: str) -> bool:
    """Notify systemd of a state, if it asked for that; return whether that was sent.

    The protocol of sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names, where a
    leading @ stands for the abstract namespace.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        try:
            datagram.sendto(state.encode(), address)
        except OSError as error:
            why = str(error)
            log_event(LOGGER, logging.WARNING, "systemd not notified", state=state, error=why)
            return False
    return True
