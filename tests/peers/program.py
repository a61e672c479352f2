"""The command lines of the peers: one for every worker, one for every client.

A worker program prints ``ready`` once it has sent READY, so that a test can wait for it, and
appends one line per task to its journal *before* it answers: what ran is known even after SIGKILL.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.peers.base import Body, Peer, Worker, digest


def worker_main(*classes: type[Worker]) -> None:
    """Serve until killed; the first class is the default form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument(
        "--form", default=classes[0].__name__, choices=[c.__name__ for c in classes]
    )
    parser.add_argument("--service", default="")
    parser.add_argument("--identity", default="")
    parser.add_argument("--heartbeat", type=float)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--work", type=float, default=0.0, help="seconds that a task takes")
    parser.add_argument("--stops", action="store_true", help="itself, with its first task in hand")
    parser.add_argument("--journal", type=Path, help="append process and body of each task")
    given = parser.parse_args()
    form = next(c for c in classes if c.__name__ == given.form)
    more: dict[str, Any] = {"capacity": given.capacity} if given.capacity else {}
    worker = form(
        given.url,
        service=given.service.encode(),
        heartbeat=given.heartbeat,
        identity=given.identity.encode(),
        **more,
    )
    ready = worker.ready

    def tell() -> None:
        ready()
        print("ready", flush=True)

    worker.ready = tell  # type: ignore[method-assign]
    worker.serve(handler(given.work, given.stops, given.journal), threading.Event())


def handler(work: float, stops: bool, journal: Path | None) -> Callable[[Body], Body]:
    """Give a handler that takes `work` seconds, keeps a journal and answers with the digest.

    With `stops`, the first task takes as long as the process is stopped: SIGCONT ends it.
    """
    line = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if journal else -1

    def handle(body: Body) -> Body:
        nonlocal stops
        if line >= 0:
            os.write(line, b"%d %s\n" % (os.getpid(), body[0][:64]))
        if stops:
            stops = False
            os.kill(os.getpid(), signal.SIGSTOP)
        if work:
            time.sleep(work)
        return digest(body)

    return handle


def client_main(form: type[Peer]) -> None:
    """Send one request, print the parts of its answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("part", nargs="+")
    parser.add_argument("--service", default="")
    parser.add_argument("--timeout", type=float, default=10.0)
    given = parser.parse_args()
    more: dict[str, Any] = {"service": given.service.encode()} if given.service else {}
    with form(given.url, **more) as client:
        for part in client.request([part.encode() for part in given.part], given.timeout):  # type: ignore[attr-defined]
            print(repr(part))
