"""A credential: what a peer needs, in one file that is its owner's."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import pytest

from pound.errors import ConfigError
from pound.security.credential import Credential
from tests.unit.security.pairs import pair_of

BROKER, OWN = pair_of(1), pair_of(2)
CREDENTIAL = Credential(
    name="worker-1",
    roles=("worker",),
    frontend=("tcp://broker.example:5555",),
    backend=("tcp://broker.example:5556", "ipc:///tmp/b"),
    broker=BROKER.public,
    pair=OWN,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.key"
    CREDENTIAL.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Credential.load(path) == CREDENTIAL
    with pytest.raises(ConfigError, match="exists already"):
        CREDENTIAL.write(path)
    path.chmod(0o604)
    with pytest.raises(ConfigError, match="chmod g-w,o-rwx"):
        Credential.load(path)


def test_no_repr_shows_the_secret() -> None:
    assert OWN.secret not in repr(CREDENTIAL)


@pytest.mark.parametrize(
    ("role", "side"), [("client", "frontend"), ("operator", "frontend"), ("worker", "backend")]
)
def test_a_role_needs_the_endpoints_of_its_side_only(role: str, side: str) -> None:
    here: dict[str, Any] = {side: ("tcp://broker.example:1",)}
    sides: dict[str, Any] = {"frontend": (), "backend": (), **here}
    lone = dataclasses.replace(CREDENTIAL, roles=(role,), **sides)
    assert Credential.parse(lone.text()) == lone
    with pytest.raises(ConfigError, match=f"{side} has no endpoint, and {role} needs one"):
        dataclasses.replace(lone, **{side: ()})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name =", "nam =", "unknown key 'nam'; did you mean 'name'"),
        ('name = "worker-1"\n', "", "name is missing"),
        ('"worker-1"', '"worker 1"', "not a name for a peer"),
        ('["worker"]', '["root"]', "not one of client, worker, operator"),
        ('["tcp://broker.example:5555"]', '"x"', "frontend: 'x' is not a list of endpoints"),
        ('["tcp://broker.example:5555"]', "[5]", "frontend: 5 is no endpoint"),
        ("tcp://broker.example:5555", "broker:5555", "frontend: 'broker:5555' is no endpoint"),
        ("broker.example:5555", "*:5555", "'tcp://\\*:5555' is what a broker binds"),
        ("broker.example:5555", "0.0.0.0:5555", "is what a broker binds"),
        ("broker.example:5555", "[::]:5555", "is what a broker binds"),
        ("broker.example:5555", "broker:*", "is what a broker binds"),
        ("tcp://broker.example:5555", "inproc://b", "reaches no other process"),
        ('["tcp://broker.example:5556", "ipc:///tmp/b"]', "[]", "backend has no endpoint, and wor"),
        (BROKER.public, "x", "broker: 'x' is not a key"),
        (BROKER.public, OWN.public, "broker and public are the same"),
        (OWN.public, BROKER.public, "public is not the public key of secret"),
        (OWN.secret, OWN.secret[:-1], "secret is not a key"),
        ("secret =", "secret", "not TOML"),
    ],
)
def test_what_is_wrong_is_refused_without_the_secret(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = tmp_path / "x.key"
    path.touch(0o600)
    path.write_text(CREDENTIAL.text().replace(old, new))
    with pytest.raises(ConfigError, match=rf"x\.key: .*{words}") as caught:
        Credential.load(path)
    assert OWN.secret[:-1] not in str(caught.value)
