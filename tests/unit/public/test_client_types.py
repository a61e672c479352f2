"""A user's program passes a strict type checker without a cast, and what is wrong in it is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, need

TYPED = """
import functools
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future

from typing_extensions import assert_type

import pound
import pound.aio

Shared = bytes | memoryview

# -- clients

def named(client: pound.Client) -> str:
    header, data = client.request_full("parts", [b"a", b"b"], meta={"k": "v"}).parts
    assert_type(data, bytes)
    for answer in client.map("echo", [b"", bytearray(b"x")], window=10, progress=True):
        answer.decode()
    for full in client.map_full("echo", [b""]):
        assert_type(full, pound.Answer)
        full.body.decode()
    for partial in client.stream("echo", b"", timeout=1):
        assert_type(partial, pound.Partial)
        partial.body.decode()
        assert_type(partial.parts, list[bytes])
    assert_type(client.submit_full("echo", b""), Future[pound.Answer[bytes]])
    try:
        return client.request("echo", memoryview(b""), timeout=2.0, priority=9).decode()
    except pound.MultipartError as error:
        return repr(error.parts)

def made(copy: bool) -> None:
    assert_type(pound.Client().request("echo", b""), bytes)
    assert_type(pound.Client(copy=True).submit("echo", b""), Future[bytes])
    assert_type(pound.Client(copy=copy).submit("echo", b""), Future[Shared])
    with pound.Client(["tcp://a:1", "tcp://b:1"], overflow="raise", copy=False) as client:
        assert_type(client, pound.Client[Shared])
        assert_type(client.request("echo", b""), Shared)
        assert_type(client.request_full("echo", b"").parts, list[Shared])
        assert_type(next(client.map("echo", [b""])), Shared)
        assert_type(next(client.stream("echo", b"")).body, Shared)

async def awaited() -> None:
    async with pound.aio.Client(heartbeat=0.5, liveness=3, label="me") as client:
        assert_type(await client.request("echo", b""), bytes)
        assert_type((await client.request_full("echo", b"")).body, bytes)
    async with pound.aio.Client(copy=False) as sharing:
        assert_type(await sharing.request("echo", b""), Shared)
        async for answer in sharing.map("echo", [b""]):
            assert_type(answer, Shared)
        async for full in sharing.map_full("echo", [b""]):
            assert_type(full.body, Shared)
        async for partial in sharing.stream("echo", b""):
            assert_type(partial.body, Shared)

# -- workers

def echo(body: bytes) -> bytes:
    return body

def views(task: pound.Task[Shared]) -> list[Shared]:
    assert_type(task.body, Shared)
    return task.parts

def answers(task: pound.Task) -> pound.Answer:
    task.partial([b"a", bytearray(b"b")], {"k": "v"})
    return pound.Answer(task.body.upper(), {**task.meta, "k": "v"})

def streams(body: bytes) -> Iterator[bytes]:
    yield body

async def coroutine(task: pound.aio.Task) -> bytes:
    await task.partial(task.body)
    return b"".join(task.parts)

async def streams_on_loop(body: bytes) -> AsyncIterator[bytes]:
    yield body

worker = pound.Worker(
    "tcp://a:1",
    {"echo": echo, "views": views, "answers": answers, "streams": streams, "upper": bytes.upper},
    capacity=4, label=None, heartbeat=0.5, liveness=3, drain_timeout=1.0, copy=False,
)
on_loop = pound.aio.Worker(
    endpoints=["tcp://a:1"],
    services={"echo": echo, "coroutine": coroutine, "streams": streams_on_loop},
)

# -- handlers that are kept

handlers: dict[str, pound.Handler] = {"echo": echo, "upper": bytes.upper, "lambda": lambda b: b}
handlers["views"] = views
handlers |= {"streams": streams, "answers": answers}
pound.Worker(services=handlers)
on_loop = pound.aio.Worker(services=handlers)
coroutines: dict[str, pound.aio.Handler] = {"coroutine": coroutine, "echo": echo, **handlers}
coroutines["streams"] = streams_on_loop
pound.aio.Worker("tcp://a:1", coroutines)

class Resize:
    def __call__(self, body: bytes) -> list[bytes]:
        return [body]
    def method(self, task: pound.Task) -> None: ...

def logged(handler: pound.Handler) -> pound.Handler:
    return lambda body: handler(body)

def join(separator: bytes, body: bytes) -> bytes:
    return separator + body

resize: pound.Handler = Resize()
handlers |= {"resize": resize, "method": Resize().method, "logged": logged(echo)}
handlers["partial"] = functools.partial(join, b",")

def send(client: pound.Client, body: pound.Body) -> bytes:
    return client.request("echo", body)

send(pound.Client(), [b"a", memoryview(b"b")])

# -- brokers

config = pound.Config(frontend="tcp://127.0.0.1:*", lease="500ms", body_bytes_max="1MiB")
with pound.Broker(
    config, backend=["tcp://127.0.0.1:*"], heartbeat=0.5, insecure=False, log_level="debug",
    services={"slow": pound.ServiceConfig(lease=5.0), "picky": {"one_part": True}},
) as broker:
    assert_type(broker.config.lease, float)
    assert_type(broker.stats()["accepted"], int)
    pound.Client(broker.frontend_endpoints)

# -- what is wrong is seen, each line for its own reason

def text(body: bytes) -> str:
    return body.decode()

pound.Worker(services={"text": text})  # type: ignore[dict-item]
pound.Worker(services={"coroutine": coroutine})  # type: ignore[dict-item]
handlers["coroutine"] = coroutine  # type: ignore[assignment]
pound.Worker(services=coroutines)  # type: ignore[arg-type]
pound.Worker(endpoint="tcp://a:1")  # type: ignore[call-arg]
pound.Client(endpoint="tcp://a:1")  # type: ignore[call-overload]
pound.Client(heartbeat="1")  # type: ignore[call-overload]
pound.Broker(fronted="tcp://a:1")  # type: ignore[call-arg]
pound.Broker(heartbeat=b"1")  # type: ignore[arg-type]
pound.Config(log_level="loud")  # type: ignore[arg-type]
pound.Client().request(b"body", "service")  # type: ignore[arg-type]
pound.Client().request("service", b"body", 5.0)  # type: ignore[call-arg]
pound.Client().request("service", "body")  # type: ignore[arg-type]
"""


@pytest.mark.timeout(240)
def test_a_program_of_a_user_needs_no_cast(tmp_path: Path) -> None:
    need("module:mypy")
    program = tmp_path / "typed.py"
    program.write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(program)],
        cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
