"""Commands that ask a broker with keys: what they say, and what the broker counts and logs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pound
from pound.security.credential import Credential
from tests.interop.keyed import KeyedRig, Keys, lines_of, serving
from tests.support import WAIT_S, pound_command, run_pound, wait_until


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[KeyedRig]:
    """A broker that knows peers by their roles."""
    keys = Keys(tmp_path / "keys")
    keys.add("asker", "client")
    keys.add("owner", "client", "operator")
    keys.add("anvil", "worker")
    with serving(keys) as rig:
        yield rig


@pytest.fixture
def credential(rig: KeyedRig, tmp_path: Path) -> Callable[..., str]:
    """``credential(name)``: the path of its credential."""

    def made(name: str) -> str:
        path = tmp_path / f"{name}.key"
        Credential(
            name=name,
            roles=rig.keys.directory.keyring().peers[name].roles,
            frontend=rig.broker.frontend_endpoints,
            backend=rig.broker.backend_endpoints,
            broker=rig.keys.server,
            pair=rig.keys.pairs[name],
        ).write(path)
        return str(path)

    return made


@pytest.fixture
def slow(credential: Any) -> Iterator[Callable[[], None]]:
    """A worker offers ``slow``; its task ends when this is called."""
    go_on = threading.Event()

    def handler(body: bytes) -> bytes:
        go_on.wait(WAIT_S)
        return body

    with pound.Worker(services={"slow": handler}, key=credential("anvil")) as worker:
        assert worker.wait_connected(WAIT_S)
        yield go_on.set
        go_on.set()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("asker", "pound: waiting: a worker offers 'slow': it is at work, or others come first"),
        ("owner", "pound: waiting: 1 worker offers 'slow'; it has 1 running and 0 waiting"),
    ],
)
def test_a_call_says_what_it_waits_for_and_is_denied_nothing(
    rig: KeyedRig, credential: Any, slow: Callable[[], None], spawn: Any, name: str, words: str
) -> None:
    call = spawn(pound_command("call", "slow", "hello", "--key", credential(name)))
    wait_until(lambda: words in call.stderr)
    slow()
    wait_until(lambda: call.stdout.strip() == "hello")
    assert rig.stat("denied") == 0


def test_a_call_of_a_client_for_what_nobody_offers(rig: KeyedRig, credential: Any) -> None:
    done = run_pound("call", "other", "--timeout", "2", "--key", credential("asker"))
    assert b"pound: waiting: no worker offers 'other'\n" in done.stderr
    assert rig.stat("denied") == 0


@pytest.mark.parametrize("name", ["anvil", "asker"])
def test_status_names_the_role_that_it_needs_once(
    rig: KeyedRig, credential: Any, name: str
) -> None:
    done = run_pound("status", "--key", credential(name))
    assert done.returncode == 5
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith(
        f"pound: the role 'operator' is needed for this, and the credential of {name}"
    )


def test_a_worker_that_is_denied_sends_nothing_malformed(
    rig: KeyedRig, credential: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pound.Worker(services={"slow": bytes}, key=credential("asker")):
        lines_of(caplog, "worker refused")
    assert rig.stat("denied") > 0
    assert rig.stat("bad_records") == 0
