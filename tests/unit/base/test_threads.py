"""Programs whose threads gevent or eventlet has replaced get an error, and don't hang."""

from __future__ import annotations

import _thread
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest

import pound
import pound.aio
from tests.support import need

MAKERS: dict[str, Any] = {
    "Client": pound.Client,
    "Worker": lambda: pound.Worker(services={"s": bytes}),
    "Broker": pound.Broker,
    "aio.Client": pound.aio.Client,
    "aio.Worker": lambda: pound.aio.Worker(services={"s": bytes}),
}


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("maker", MAKERS)
def test_replaced_threads_are_refused(
    monkeypatch: pytest.MonkeyPatch, library: str, maker: str
) -> None:
    def start_new_thread(*args: Any) -> None:
        raise AssertionError("a greenlet is no thread")

    start_new_thread.__module__ = f"{library}.green.thread"
    monkeypatch.setattr(_thread, "start_new_thread", start_new_thread)
    with pytest.raises(pound.PatchedError) as refused:
        MAKERS[maker]()
    words = str(refused.value)
    assert words.startswith(f"{library} has replaced threads in this program")
    assert "_thread.start_new_thread" in words
    assert "thread=False" in words


def test_a_debuggers_threads_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    real = _thread.start_new_thread
    monkeypatch.setattr(_thread, "start_new_thread", SimpleNamespace(__call__=real))
    pound.Broker()


PATCHED = """
    from gevent import monkey
    monkey.patch_all({arguments})
    import sys
    import pound
    try:
        with pound.Client(sys.argv[1]) as client:
            print(client.request("pound.status", b"", timeout=10)[:1].decode())
    except pound.PatchedError as error:
        print(error)
    """


@pytest.mark.parametrize(
    ("arguments", "printed"), [("", "gevent has replaced threads"), ("thread=False", "{")]
)
def test_gevent(start_broker: Any, arguments: str, printed: str) -> None:
    need("module:gevent")
    frontend = start_broker().frontend_endpoints[0]
    program = textwrap.dedent(PATCHED.format(arguments=arguments))
    command = [sys.executable, "-c", program, frontend]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout.startswith(printed)
