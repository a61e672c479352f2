"""Fixtures of the chaos tests: a broker process, worker processes, a load, and who is connected."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.chaos.journal import Journal, Load
from tests.peers.catalogue import CLIENTS
from tests.peers.pnd_client import PndClient
from tests.support import WAIT_S, Process, Served, clean_environ, wait_until

# The dialects' programs, and the arguments that choose the form.
PROGRAMS: dict[str, list[str]] = {
    "req": ["req_worker"],
    "req 0x01": ["req_worker", "--form", "SimplePirateWorker"],
    "ppp": ["ppp_worker"],
    "ppp text": ["ppp_worker", "--form", "TextPppWorker"],
    "mdp1": ["mdp1_worker"],
    "mdp2": ["mdp2_worker"],
    "pnd": ["pnd_worker"],
}
LOAD = ["req", "dealer", "bare", "mdp1", "mdp1 async", "mdp2", "pnd"]
ONE_OPEN = frozenset({"req", "mdp1"})


class Status:
    """Asks a broker process for ``pound.status``."""

    def __init__(self, url: str) -> None:
        self._client = PndClient(url, service=b"pound.status")

    def read(self) -> dict[str, Any]:
        (page,) = self._client.request([b""])
        status: dict[str, Any] = json.loads(page)
        return status

    def counter(self, name: str) -> int:
        return int(self.read()["counters"][name])

    def wait(self, holds: Callable[[dict[str, Any]], bool], timeout: float = WAIT_S) -> None:
        def reached() -> bool:
            page = self.read()
            reached.__name__ = f"what is waited for in {page}"
            return holds(page)

        wait_until(reached, timeout, 0.02)

    def wait_workers(self, count: int, timeout: float = WAIT_S) -> None:
        self.wait(lambda status: bool(status["workers"] == count), timeout)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def pound_serve(serve: Callable[..., Served]) -> Callable[..., Served]:
    """``pound_serve(*flags, **settings)``: a broker process whose default service is ``work``."""

    def start(*flags: str, **settings: str) -> Served:
        given = {"default_service": "work", "log_level": "warning", **settings}
        environ = clean_environ(**{f"POUND_{name.upper()}": value for name, value in given.items()})
        return serve(*flags, environ=environ)

    return start


@pytest.fixture
def work(spawn: Callable[..., Process]) -> Callable[..., Process]:
    """``work(dialect, url, *flags)``: a worker process of a dialect that has said READY."""

    def start(dialect: str, url: str, *flags: str) -> Process:
        module, *form = PROGRAMS[dialect]
        command = [sys.executable, "-m", f"tests.peers.{module}", url, "--service", "work"]
        process = spawn([*command, *form, *flags])
        process.wait_line("^ready$")
        return process

    return start


@pytest.fixture
def status_of() -> Iterator[Callable[[str], Status]]:
    """``status_of(frontend)``: a `Status`, closed with the test."""
    made: list[Status] = []

    def make(url: str) -> Status:
        made.append(Status(url))
        return made[-1]

    yield make
    for status in made:
        status.close()


@pytest.fixture
def load_on() -> Iterator[Callable[..., Load]]:
    """``load_on(url, *clients)``: a running `Load` of these dialects; all of them by default."""
    loads: list[Load] = []

    def start(url: str, *clients: str) -> Load:
        makers = {name: partial(CLIENTS[name], url) for name in clients or LOAD}
        load = Load(Journal(), makers, ONE_OPEN)
        loads.append(load)
        return load.__enter__()

    yield start
    for load in loads:
        load.__exit__()
