"""`--key` and POUND_KEY: which file counts, and what is said of one that can't be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from pound.security.credential import Credential
from tests.support import run_pound
from tests.unit.security.pairs import pair_of

BROKER, PEER = pair_of(1), pair_of(2)


@pytest.fixture
def endpoint(context: zmq.Context[Any]) -> Iterator[str]:
    """A socket with CURVE at which nobody comes in: it has no handler of ZAP, and needs one."""
    with context.socket(zmq.ROUTER) as router:
        router.curve_server = True
        router.curve_secretkey = BROKER.secret.encode()
        router.setsockopt(zmq.ZAP_DOMAIN, b"pound/0")
        router.setsockopt(93, 1)  # ZMQ_ZAP_ENFORCE_DOMAIN
        router.bind("tcp://127.0.0.1:*")
        yield router.last_endpoint.decode()


def credential(endpoint: str, path: Path) -> str:
    Credential(
        name="alice",
        roles=("client", "worker"),
        frontend=(endpoint,),
        backend=(endpoint,),
        broker=BROKER.public,
        pair=PEER,
    ).write(path)
    return str(path)


def test_a_key_that_no_broker_accepts(endpoint: str, tmp_path: Path) -> None:
    """The endpoint is the credential's."""
    key = credential(endpoint, tmp_path / "alice.key")
    done = run_pound("call", "echo", "--key", key)
    assert (done.returncode, done.stdout) == (5, b"")
    assert f"the broker at {endpoint}" in done.stderr.decode()
    assert "the credential of alice" in done.stderr.decode()
    assert PEER.secret not in done.stderr.decode()


def test_no_key_where_one_is_wanted(endpoint: str) -> None:
    done = run_pound("status", "--connect", endpoint)
    assert done.returncode == 5
    assert "give one (key=, --key FILE or POUND_KEY)" in done.stderr.decode()


def test_a_file_that_is_none_is_named_with_where_it_came_from(tmp_path: Path) -> None:
    missing = tmp_path / "none.key"
    done = run_pound("workers", "--key", str(missing))
    assert done.returncode == 2
    assert f"cannot read {missing}: No such file or directory (flag --key)" in done.stderr.decode()


@pytest.mark.parametrize("other", ["work.py", "peers.toml", "folder"])
def test_a_path_of_something_else(tmp_path: Path, other: str) -> None:
    path = tmp_path / other
    if other == "folder":
        path.mkdir()
    else:
        path.write_text("peers = {}\n")
        path.chmod(0o644)
    done = run_pound("call", "echo", "--key", str(path))
    assert done.returncode == 2
    said = done.stderr.decode()
    assert f"{path} is no credential: what is needed is NAME.key" in said
    assert "chmod" not in said


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "alice.key"
    credential("tcp://127.0.0.1:1", key)
    key.chmod(0o644)
    done = run_pound("worker", "tests.integration.handlers:echo", POUND_KEY=str(key))
    assert done.returncode == 2
    assert "chmod g-w,o-rwx" in done.stderr.decode()
    assert "(environment POUND_KEY)" in done.stderr.decode()
