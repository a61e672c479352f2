"""The servers of the peers: which program, which package of Debian's, how it is started.

Each listens on loopback only, on ports of its own, and keeps its state in a folder that it is
given. Nothing is tuned but what would make the comparison unfair: no peer writes to the disk.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
# Where Debian puts servers; most users' PATH has no sbin.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])

RABBITMQ_CONF = """\
listeners.tcp.1 = {host}:{port}
frame_max = 2097152
default_user = guest
default_pass = guest
"""


@dataclass(frozen=True)
class Start:
    """How a server is started: the command, what its environment has more, its helpers."""

    command: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    helpers: tuple[list[str], ...] = ()  # commands that run as long as the server does


@dataclass(frozen=True)
class Server:
    """A peer's server: its program, the Debian package that has it, and how it is started."""

    program: str
    package: str
    start: Callable[[str, int, Path], Start]

    def path(self) -> str | None:
        """Return where the program is; None if it is not installed."""
        return shutil.which(self.program, path=PATH)

    def needs(self) -> tuple[str]:
        """Return the program in the way that a contestant names what it needs."""
        return (self.path() or self.program,)


def _nats(program: str, port: int, state: Path) -> Start:
    return Start([program, "--addr", HOST, "--port", str(port)])


def _gearman(program: str, port: int, state: Path) -> Start:
    return Start([program, "--listen", HOST, "--port", str(port), "--log-file", "stderr"])


def _redis(program: str, port: int, state: Path) -> Start:
    """Without snapshots or a log on disk: the others keep nothing there either."""
    ends = ["--bind", HOST, "--port", str(port)]
    return Start([program, *ends, "--save", "", "--appendonly", "no", "--dir", str(state)])


def _rabbitmq(program: str, port: int, state: Path) -> Start:
    """With the Erlang port mapper as a helper: left to itself it would stay for ever."""
    mapper, distribution = free_port(), free_port()
    config = state / "rabbitmq.conf"
    config.write_text(RABBITMQ_CONF.format(host=HOST, port=port))
    plugins = state / "plugins"
    plugins.write_text("[].\n")
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    environ = {
        "HOME": str(state),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_MNESIA_BASE": str(state / "data"),
        "RABBITMQ_LOG_BASE": str(state / "log"),
        "RABBITMQ_LOGS": "-",
        "RUNNING_UNDER_SYSTEMD": "true",  # its script then becomes the server instead of a parent
    }
    epmd = [shutil.which("epmd", path=PATH) or "epmd", "-address", HOST, "-port", str(mapper)]
    return Start([program], environ, (epmd,))


SERVERS = {
    "nats": Server("nats-server", "nats-server", _nats),
    "gearman": Server("gearmand", "gearman-job-server", _gearman),
    "redis": Server("redis-server", "redis-server", _redis),
    "rabbitmq": Server("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server", _rabbitmq),
}


def free_port() -> int:
    """Return a port that nobody has at this moment: none of these servers can pick its own."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
