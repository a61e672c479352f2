"""``python -m bench.peers.serve NAME``: become the server of a peer, on loopback ports of its own.

This process becomes the server by exec, so that its pid is the one whose CPU time is taken. A
watcher, forked before, prints "NAME: ready frontend=URL backend=URL" once the port answers, and
stays until the server is gone, to remove the folder of its state. Everything that the server
says goes to stderr.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.peers.servers import HOST, SERVERS, Start, free_port

READY_S = 60.0  # RabbitMQ takes several seconds, on a busy machine many
RETRY_S = 0.01


def _answers(port: int, server: int) -> bool:
    """Return whether the port answers, before READY_S are over or the server is."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return True
        if select.select([server], [], [], RETRY_S)[0]:
            return False
    return False


def _watch(name: str, port: int, start: Start, state: Path, server: int) -> None:
    """Say that the server is ready; when it has ended, take away what it leaves."""
    helpers = [subprocess.Popen(command, stdout=2) for command in start.helpers]
    try:
        if _answers(port, server):
            url = f"tcp://{HOST}:{port}"
            print(f"{name}: ready frontend={url} backend={url}", flush=True)
        os.close(1)
        select.select([server], [], [])
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
        shutil.rmtree(state, ignore_errors=True)


def main() -> None:
    """Become the server that the command line names."""
    if len(sys.argv) != 2 or sys.argv[1] not in SERVERS:
        sys.exit(f"usage: python -m bench.peers.serve {'|'.join(SERVERS)}")
    name = sys.argv[1]
    server, port = SERVERS[name], free_port()
    program = server.path()
    if program is None:
        sys.exit(f"{name}: {server.program} is not here (Debian: {server.package})")
    state = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    start = server.start(program, port, state)
    mine = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        os.setsid()
        _watch(name, port, start, state, mine)
        os._exit(0)
    os.dup2(2, 1)
    os.chdir(state)
    os.execve(start.command[0], start.command, {**os.environ, **start.environ})


if __name__ == "__main__":
    main()
