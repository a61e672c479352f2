"""The broker's keys and the peers that it knows: what a file says, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pound.errors import ConfigError
from pound.security.curve import Pair, is_key, new_pair
from pound.security.keyring import KeyDirectory, Keyring
from pound.security.peer import Peer
from tests.unit.security.pairs import pair_of

UTC = datetime.timezone.utc
WHEN = datetime.datetime(2127, 1, 1, tzinfo=UTC)  # commands look at the clock
PAST = datetime.datetime(2001, 1, 1, tzinfo=UTC)
NOW = datetime.datetime.now(UTC)
BROKER, A, B, C = map(pair_of, range(1, 5))


def entry(name: str = "a", key: str = A.public, more: str = "", roles: str = '["worker"]') -> str:
    return f'[peers."{name}"]\nkey = "{key}"\nroles = {roles}\n{more}\n'


def parse(text: str) -> Keyring:
    return Keyring.parse(text, BROKER.public)


def test_a_key_is_40_characters_of_z85() -> None:
    assert is_key(A.public)
    bad = [
        A.public[:-1],
        A.public + "0",
        "~" * 40,
        "#" * 40,
        "0" * 40,
        "é" * 40,
        5,
        A.public.encode(),
    ]
    assert not any(map(is_key, bad))


def test_a_pair_belongs_together_and_shows_no_secret() -> None:
    assert A.secret not in repr(A)
    for public, secret in [(A.public, B.secret), (A.public, "x"), ("x", A.secret)]:
        with pytest.raises(ConfigError) as caught:
            Pair(public, secret)
        assert secret == "x" or secret not in str(caught.value)


def test_a_peer_has_what_its_table_says() -> None:
    more = f"""services = ["img.*", "echo", ""]
expires = 2127-01-01T02:00:00+02:00
weight = 2
open_max = 1000
bytes_max = "64MiB"
rate = "30/m"
connections_max = 10
next_key = "{B.public}"
next_until = 2127-01-01"""
    peer = parse(entry(more=more)).peers["a"]
    assert peer == Peer(
        name="a", key=A.public, roles=("worker",), services=("img.*", "echo", ""), expires=WHEN,
        weight=2, open_max=1000, bytes_max=64 << 20, rate="30/m", connections_max=10,
        next_key=B.public, next_until=WHEN,
    )  # fmt: skip
    assert peer.keys == (A.public, B.public)
    assert (peer.rate_per_second, peer.burst) == (0.5, 1.0)
    assert Peer.from_table("a", peer.table()) == peer


def test_what_is_left_out_is_all_and_forever() -> None:
    peer = parse(entry()).peers["a"]
    assert (peer.services, peer.expires, peer.weight, peer.open_max) == (None, None, 1, 0)
    assert peer.table() == {"key": A.public, "roles": ["worker"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not TOML"),
        ("peers = 1", "peers is not a table"),
        ("[peer.a]", "unknown key 'peer'; did you mean 'peers'"),
        ("[peers]\na = 1", "'a': is not a table"),
        ('[peers.a]\nroles = ["client"]', "key is missing"),
        (f'[peers.a]\nkey = "{A.public}"', "roles is missing"),
        (entry(key="short"), "key: 'short' is not a key"),
        (entry(key=BROKER.public), "the broker and a have the same key"),
        (entry() + entry("b"), "a and b have the same key"),
        (entry() + f'[revoked]\n"{A.public}" = "z"', "of a is revoked"),
        (f'[revoked]\n"{BROKER.public}" = "z"', "the key of the broker is also a revoked key of z"),
        ('[revoked]\nx = "z"', "revoked: 'x' is not a key"),
        (f'[revoked]\n"{A.public}" = 1', "not a name for a peer"),
        (entry(roles="[]"), "at least one"),
        (entry(roles='["worker", "worker"]'), "each once"),
        (entry(roles='["wroker"]'), "did you mean 'worker'"),
        (entry(roles='"worker"'), "not a list of texts"),
        (entry(more="role = 1"), "unknown key 'role'; did you mean 'roles'"),
        (entry(more='services = ["a*b"]'), "may only stand at the end"),
        (entry(more='services = ["pound.status"]'), "reserved"),
        (entry(more=f"services = {['s'] * 65}"), "65 are given, and a peer may have 64"),
        (entry(more='expires = "2127-01-01"'), "is not a date"),
        (entry(more="expires = 0001-01-01T00:00:00+01:00"), "beyond the calendar"),
        (entry(more="weight = 0"), "weight: 0 is out of range"),
        (entry(more="bytes_max = true"), "bytes_max"),
        (entry(more='rate = "100"'), "no rate"),
        (entry(more='rate = "0/s"'), "no rate"),
        (entry(more="rate = 5"), "no rate"),
        (entry(more=f'next_key = "{B.public}"'), "go together"),
        (entry(more="next_until = 2127-01-01"), "go together"),
        (entry(more=f'next_key = "{A.public}"\nnext_until = 2127-01-01'), "the same as key"),
        (entry(more='next_key = "short"\nnext_until = 2127-01-01'), "next_key: 'short' is not"),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a\\nb", "-a", ".a", "../a", "a" * 65, "ä", "a'"])
def test_a_name_can_mean_nothing_to_a_log_a_shell_or_a_path(name: str) -> None:
    with pytest.raises(ConfigError, match="not a name for a peer"):
        parse(entry(name))


@pytest.fixture
def directory(tmp_path: Path) -> KeyDirectory:
    directory = KeyDirectory(tmp_path / "keys")
    directory.init()
    return directory


def test_a_new_directory_is_for_its_owner(directory: KeyDirectory) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()}
    assert modes == {"broker.toml": 0o600, "peers.toml": 0o640, ".lock": 0o600}
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert directory.keyring() == parse("")
    pair = directory.pair()
    with pytest.raises(ConfigError, match="exists already"):
        directory.init()
    assert directory.pair() == pair


def test_the_secret_of_a_broker_is_its_owners(directory: KeyDirectory) -> None:
    path = directory.path / "broker.toml"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"chmod g-w,o-rwx .*broker\.toml"):
        directory.pair()
    path.chmod(0o600)
    path.write_text(path.read_text() + "more = 1\n")
    with pytest.raises(ConfigError, match=r"broker\.toml: it has public and secret, and nothing"):
        directory.pair()


def test_a_peer_is_added_rotated_expires_and_is_revoked(directory: KeyDirectory) -> None:
    a = Peer(name="a", key=A.public, roles=("worker",), services=("é😀*",), rate="5/s")
    assert directory.add(a).peers == {"a": a} == directory.keyring().peers
    peer = directory.rotate("a", B.public, WHEN).peers["a"]
    assert (peer.keys, peer.next_until) == ((A.public, B.public), WHEN)
    assert directory.expire("a", WHEN).peers["a"].expires == WHEN
    assert directory.expire("a", None).peers["a"].expires is None
    with pytest.raises(ConfigError, match=r"a has a next key already.*--replace"):
        directory.rotate("a", C.public, WHEN)
    replaced = directory.rotate("a", C.public, WHEN, replace=True)
    assert (replaced.peers["a"].keys, dict(replaced.revoked)) == (
        (A.public, C.public),
        {B.public: "a"},
    )
    directory.revoke("a")
    keyring = directory.keyring()
    assert (dict(keyring.peers), dict(keyring.revoked)) == (
        {},
        {A.public: "a", B.public: "a", C.public: "a"},
    )
    assert directory.keyring() == keyring
    text = (directory.path / "peers.toml").read_text()
    assert text.startswith("# The peers that this broker knows.")


def test_an_edit_that_the_broker_would_refuse_is_not_written(directory: KeyDirectory) -> None:
    directory.add(Peer(name="a", key=A.public, roles=("worker",)))
    before = (directory.path / "peers.toml").read_text()
    for edit, words in [
        (
            lambda: directory.add(Peer(name="a", key=B.public, roles=("client",))),
            "enrolled already",
        ),
        (lambda: directory.add(Peer(name="b", key=A.public, roles=("client",))), "a and b have"),
        (lambda: directory.rotate("a", directory.pair().public, WHEN), "the broker and a have"),
        (lambda: directory.rotate("a", A.public, WHEN), "the same as key"),
        (lambda: directory.revoke("A"), "no peer is called 'A'"),
        (lambda: directory.expire("b", WHEN), "no peer is called 'b'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            edit()
        assert (directory.path / "peers.toml").read_text() == before
    directory.revoke("a")
    with pytest.raises(ConfigError, match="of b is revoked"):
        directory.add(Peer(name="b", key=A.public, roles=("client",)))


def test_a_rotation_that_is_over_leaves_the_next_key_alone(directory: KeyDirectory) -> None:
    directory.add(Peer(name="a", key=A.public, roles=("worker",), expires=WHEN))
    keyring = directory.rotate("a", B.public, PAST)
    assert keyring.peers["a"] == Peer(name="a", key=B.public, roles=("worker",), expires=WHEN)
    assert dict(keyring.revoked) == {A.public: "a"}


@pytest.mark.parametrize(
    ("expires", "until", "words"),
    [
        (PAST, WHEN, "a expired on 2001-01-01; a next key ends when"),
        (PAST, PAST - datetime.timedelta(days=1), "a expired on 2001-01-01; a next key ends when"),
        (WHEN, WHEN, "a expires on 2127-01-01, and the old key counts until 2127-01-01; a next"),
    ],
    ids=["expired", "rotated before that", "expires then"],
)
def test_a_next_key_that_would_never_count_alone_is_refused(
    directory: KeyDirectory, expires: datetime.datetime, until: datetime.datetime, words: str
) -> None:
    directory.add(Peer(name="a", key=A.public, roles=("worker",), expires=expires))
    before = (directory.path / "peers.toml").read_text()
    with pytest.raises(ConfigError, match=words):
        directory.rotate("a", B.public, until)
    assert (directory.path / "peers.toml").read_text() == before


def test_commands_at_the_same_time_lose_nothing_of_one_another(directory: KeyDirectory) -> None:
    peers = [Peer(name=f"p{n}", key=new_pair().public, roles=("client",)) for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(directory.add, peers))
    assert sorted(directory.keyring().peers) == sorted(peer.name for peer in peers)


def test_any_later_command_settles_a_rotation_that_is_over(directory: KeyDirectory) -> None:
    path = directory.path / "peers.toml"
    until = f'next_key = "{B.public}"\nnext_until = 2001-01-01  # over\n'
    path.write_text(entry(more=until))
    assert directory.keyring().peers["a"].rotated(NOW)
    keyring = directory.add(Peer(name="c", key=C.public, roles=("client",)))
    assert (keyring.peers["a"].keys, dict(keyring.revoked)) == ((B.public,), {A.public: "a"})
    assert "# over" in path.read_text()


def test_a_rotation_in_a_file_that_no_command_understands_hinders_no_other_peer(
    directory: KeyDirectory,
) -> None:
    path = directory.path / "peers.toml"
    table = f'key = "{A.public}", roles = ["worker"], next_key = "{B.public}"'
    path.write_text(f"[peers]\na = {{{table}, next_until = 2001-01-01}}\n")
    keyring = directory.add(Peer(name="c", key=C.public, roles=("client",)))
    assert sorted(keyring.peers) == ["a", "c"]
    assert keyring.peers["a"].ends == ((A.public, PAST), (B.public, None))


def test_keys_end_with_the_rotation_and_with_the_peer() -> None:
    peer = Peer(name="a", key=A.public, roles=("client",))
    assert peer.ends == ((A.public, None),)
    assert dataclasses.replace(peer, expires=WHEN).ends == ((A.public, WHEN),)
    rotating = dataclasses.replace(peer, next_key=B.public, next_until=WHEN)
    assert rotating.ends == ((A.public, WHEN), (B.public, None))
    assert not rotating.rotated(WHEN - datetime.timedelta(seconds=1))
    assert rotating.rotated(WHEN)
    assert dataclasses.replace(rotating, expires=PAST).ends == ((A.public, PAST), (B.public, PAST))


def test_a_directory_knows_where_peers_reach_its_broker(tmp_path: Path) -> None:
    directory = KeyDirectory(tmp_path)
    with pytest.raises(ConfigError, match=r"frontend: .* is what a broker binds"):
        directory.init(frontend=("tcp://*:1",))
    assert not list(tmp_path.iterdir())
    directory.init(frontend=("tcp://a:1", "tcp://b:1"), backend=("tcp://a:2",))
    directory.add(Peer(name="a", key=A.public, roles=("worker",)))
    keyring = directory.keyring()
    assert (keyring.frontend, keyring.backend) == (("tcp://a:1", "tcp://b:1"), ("tcp://a:2",))
    assert parse('backend = ["ipc:///b"]').backend == ("ipc:///b",)
    with pytest.raises(ConfigError, match="backend: 5 is not a list"):
        parse("backend = 5")


def test_a_directory_without_keys_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no broker's keys: pound keys init --dir '.*a b'"):
        KeyDirectory(tmp_path / "a b").keyring()
