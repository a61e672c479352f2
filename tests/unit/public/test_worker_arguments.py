"""What a worker refuses before anything is sent: services, handlers, settings."""

from __future__ import annotations

import functools
import zlib

import pytest

import pound
import pound.aio
from tests.unit.reference_broker import (
    WAIT_S,
)


def echo(body: bytes) -> bytes:
    return body


async def coroutine(body: bytes) -> bytes:
    return body


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ({}, "1..64 services"),
        ({str(n): echo for n in range(65)}, "1..64 services"),
        ({"mmi.service": echo}, "reserved"),
        ({"pound.status": echo}, "reserved"),
        ({"x" * 256: echo}, "256 bytes"),
        ({"ä" * 128: echo}, "256 bytes"),
        ({"echo": "no function"}, "not callable"),
        ({"echo": coroutine}, "coroutine"),
        ({"echo": lambda: b""}, r"one argument.*signature is \(\)"),
        ({"echo": lambda body, other: b""}, r"'echo' is to take one argument.*\(body, other\)"),
        ({"echo": lambda body, *, key: b""}, r"one argument.*\(body, \*, key\)"),
        ({"echo": lambda *, body: b""}, r"one argument.*\(\*, body\)"),
    ],
)
def test_services_that_cannot_be_offered_are_refused(services, words):
    with pytest.raises(pound.ConfigError, match=words):
        pound.Worker("tcp://127.0.0.1:1", services)


@pytest.mark.parametrize("worker", [pound.Worker, pound.aio.Worker])
@pytest.mark.parametrize(
    ("services", "words"),
    [
        (["slow"], r"^services maps names to handlers, .*; not \['slow'\]"),
        (echo, "^services maps names to handlers, .*; not <function"),
        ({5: echo}, "^the name of a service is a str, not 5"),
        ({b"echo": echo}, "^the name of a service is a str, not b'echo'"),
    ],
)
def test_services_of_the_wrong_type_are_refused_by_name(worker, services, words):
    with pytest.raises(TypeError, match=words):
        worker("tcp://127.0.0.1:1", services)


class NoSignature:
    """Callable, as far as can be told."""

    __signature__ = "nonsense"

    def __call__(self, body: bytes) -> bytes:
        return body


@pytest.mark.parametrize(
    "handler",
    [
        lambda *parts: b"",
        lambda body, other=b"", *rest, key=1, **others: b"",
        functools.partial(lambda first, body: b"", b""),
        bytes,
        zlib.compress,
        getattr,
        NoSignature(),
    ],
)
def test_handlers_that_may_take_one_argument_are_fine(handler):
    pound.Worker("tcp://127.0.0.1:1", {"echo": handler})


@pytest.mark.parametrize("service", ["", "mmi", "poundcake", "x" * 255])
def test_names_that_only_look_reserved_are_fine(service):
    pound.Worker("tcp://127.0.0.1:1", {service: echo})


@pytest.mark.parametrize(
    "settings",
    [
        {"capacity": 0},
        {"capacity": 65536},
        {"heartbeat": 0},
        {"liveness": 0},
        {"label": "x" * 65},
        {"drain_timeout": -5},
        {"drain_timeout": float("nan")},
        {"endpoints": "localhost"},
        {"endpoints": "tcp://127.0.0.1:99999"},
    ],
)
@pytest.mark.parametrize("worker", [pound.Worker, pound.aio.Worker])
def test_settings_out_of_range_are_refused(worker, settings):
    given = {"endpoints": "tcp://127.0.0.1:1", "services": {"echo": echo}, **settings}
    with pytest.raises(ValueError, match=next(iter(settings)).removesuffix("s")):
        worker(**given)


@pytest.mark.parametrize("worker", [pound.Worker, pound.aio.Worker])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"capacity": "4"}, r"^capacity is a whole number, 1\.\.65535, not '4'"),
        ({"capacity": 1.5}, r"^capacity is a whole number, 1\.\.65535, not 1\.5"),
        ({"heartbeat": "1"}, "^heartbeat is a positive number of seconds, not '1'"),
        ({"liveness": 1.5}, "^liveness is a whole number, 1 or more, not 1.5"),
        ({"drain_timeout": "5"}, "^drain_timeout is a non-negative number of seconds, not '5'"),
        ({"drain_timeout": None}, "^drain_timeout is a non-negative number of seconds, not None"),
        ({"label": 5}, "^label is a str or None, not 5"),
        ({"context": 5}, "^context is a zmq.Context or None, not 5"),
    ],
)
def test_settings_of_the_wrong_type_are_refused_by_name(worker, settings, words):
    with pytest.raises(TypeError, match=words):
        worker("tcp://127.0.0.1:1", {"echo": echo}, **settings)


@pytest.mark.parametrize("drain_timeout", [0, 0.5, float("inf")])
def test_a_worker_drains_within_any_time(drain_timeout):
    worker = pound.Worker("tcp://127.0.0.1:1", {"echo": echo}, drain_timeout=drain_timeout)
    with worker, pytest.raises(RuntimeError, match="this worker was started before; make a new"):
        worker.start()
    with pytest.raises(pound.ClosedError, match="this worker is closed; make a new one"):
        worker.wait_connected(WAIT_S)
