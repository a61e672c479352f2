"""``pound keys`` as a person runs it: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pound.errors import ConfigError
from pound.security.credential import Credential
from pound.security.curve import Pair, new_pair
from pound.security.keyring import KeyDirectory
from tests.support import run_pound

FRONT, BACK = "tcp://broker.example:5555", "tcp://broker.example:5556"
UTC = datetime.timezone.utc

Keys = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """``keys(*arguments)``: ``pound keys`` in an empty directory; it must end well."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[bytes]:
        done = run_pound("keys", *arguments, **environ)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def made(keys: Keys) -> KeyDirectory:
    """The directory of a broker that peers reach at FRONT and BACK."""
    keys("init", "--frontend", FRONT, "--backend", BACK)
    return KeyDirectory("pound-keys")


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def rows(keys: Keys) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(keys("list", "--json").stdout)["peers"]}


def test_two_commands_make_a_file_that_is_all_that_a_machine_needs(keys: Keys) -> None:
    first = keys("init", "--frontend", FRONT, "--backend", BACK).stdout.decode()
    broker = KeyDirectory("pound-keys").pair()
    assert broker.public in first
    assert "pound keys add NAME" in first
    flags = "--frontend tcp://0.0.0.0:5555 --backend tcp://0.0.0.0:5556"
    assert f"pound serve --keys pound-keys {flags}\n" in first
    second = keys("add", "worker-1", "--role", "worker", "--service", "img.*").stdout.decode()
    credential = Credential.load(Path("worker-1.key"))
    assert (credential.name, credential.roles) == ("worker-1", ("worker",))
    assert (credential.broker, credential.frontend, credential.backend) == (
        broker.public,
        (FRONT,),
        (BACK,),
    )
    assert mode("worker-1.key") == 0o600
    peer = KeyDirectory("pound-keys").keyring().peers["worker-1"]
    assert (peer.key, peer.services) == (credential.pair.public, ("img.*",))
    assert "scp -p worker-1.key HOST:" in second
    assert "pound worker MODULE:FUNCTION --key worker-1.key" in second
    for text in (first, second, Path("pound-keys/peers.toml").read_text()):
        assert broker.secret not in text
        assert credential.pair.secret not in text


def test_a_peer_has_what_its_flags_say(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "app", "--role", "client", "--role", "operator", "--service", "a", "--service",
         "b.*", "--expires", "2127-01-31", "--weight", "3", "--open-max", "100", "--bytes-max",
         "64MiB", "--rate", "30/m", "--connections-max", "4")  # fmt: skip
    peer = made.keyring().peers["app"]
    assert (peer.roles, peer.services) == (("client", "operator"), ("a", "b.*"))
    assert peer.expires == datetime.datetime(2127, 1, 31, tzinfo=UTC)
    assert (peer.weight, peer.open_max, peer.bytes_max) == (3, 100, 64 << 20)
    assert (peer.rate_per_second, peer.connections_max) == (0.5, 4)
    shown = json.loads(keys("show", "app", "--json").stdout)
    assert (shown["state"], shown["rate"], shown["expires"]) == ("active", "30/m", "2127-01-31")


def test_where_a_peer_reaches_the_broker_is_given_or_known(keys: Keys) -> None:
    keys("init")
    failed = keys("add", "w", "--role", "worker", code=2).stderr.decode()
    assert "w needs to know where it reaches the broker: --backend URL" in failed
    assert "pound-keys/peers.toml" in failed
    assert not Path("w.key").exists()
    keys("add", "w", "--role", "worker", "--backend", BACK)
    assert Credential.load(Path("w.key")).backend == (BACK,)
    assert Credential.load(Path("w.key")).frontend == ()
    path = Path("pound-keys/peers.toml")
    path.write_text(f'frontend = ["{FRONT}"]\n{path.read_text()}')
    keys("add", "c", "--role", "client")
    assert Credential.load(Path("c.key")).frontend == (FRONT,)
    failed = keys("add", "d", "--role", "client", "--frontend", "tcp://*:5555", code=2).stderr
    assert b"'tcp://*:5555' is what a broker binds" in failed


def test_no_secret_travels_if_the_peer_makes_the_pair(keys: Keys, made: KeyDirectory) -> None:
    done = keys("pair", "w", "--out", "own.key")
    public = done.stdout.decode().strip()
    assert mode("own.key") == 0o600
    assert f"--public '{public}'" in done.stderr.decode()
    with pytest.raises(ConfigError, match=r"roles is missing.*--public"):
        Credential.load(Path("own.key"))
    rest = keys("add", "w", "--role", "worker", "--public", public)
    with Path("own.key").open("ab") as file:
        file.write(rest.stdout)
    credential = Credential.load(Path("own.key"))
    assert (credential.pair.public, credential.broker) == (public, made.pair().public)
    assert (credential.roles, credential.backend) == (("worker",), (BACK,))
    assert made.keyring().peers["w"].key == public
    assert not Path("w.key").exists()


def test_a_key_made_elsewhere_needs_no_endpoints_here(keys: Keys) -> None:
    keys("init")
    rest = keys("add", "c", "--role", "client", "--public", new_pair().public).stdout.decode()
    assert KeyDirectory("pound-keys").pair().public in rest
    failed = keys("add", "d", "--role", "client", "--public", "short", code=2).stderr.decode()
    assert "--public: 'short' is not a key: 40 characters" in failed
    failed = keys("add", "d", "--role", "client", "--public", new_pair().public, "--out", "x",
                  code=2).stderr.decode()  # fmt: skip
    assert "no file is written" in failed


def test_a_list_says_who_counts(keys: Keys, made: KeyDirectory) -> None:
    for name in ("active", "ended", "gone", "turning"):
        keys("add", name, "--role", "client")
    keys("expire", "ended", "2001-01-01")
    keys("revoke", "gone")
    keys("rotate", "turning", "--out", "next.key", "--until", "2127-01-01")
    states = {name: row["state"] for name, row in rows(keys).items()}
    assert states == {
        "active": "active",
        "ended": "expired",
        "gone": "revoked",
        "turning": "rotating until 2127-01-01",
    }
    listed = keys("list").stdout.decode().splitlines()
    assert listed[0].split() == ["name", "roles", "services", "expires", "state"]
    assert len(listed) == 5
    assert max(map(len, listed)) <= 80


def test_show_says_what_a_person_asks_for(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "a", "--role", "client")
    shown = keys("show").stdout.decode()
    assert re.search(rf"^broker +{re.escape(made.pair().public)}$", shown, re.M)
    assert re.search(rf"^frontend +{re.escape(FRONT)}$", shown, re.M)
    shown = keys("show", "a").stdout.decode()
    assert re.search(r"^expires +never$", shown, re.M)
    assert made.keyring().peers["a"].key in shown
    assert b"did you mean 'a'" in keys("show", "aa", code=2).stderr


def test_a_rotation_gives_a_second_file_and_both_keys_count(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "w", "--role", "worker")
    old = Credential.load(Path("w.key"))
    failed = keys("rotate", "w", code=2).stderr
    assert b"w.key exists already, and is left as it is; w stays enrolled as it was" in failed
    assert b"--out FILE" in failed
    assert made.keyring().peers["w"].keys == (old.pair.public,)
    said = keys("rotate", "w", "--out", "next.key", "--until", "3d").stderr.decode()
    new = Credential.load(Path("next.key"))
    peer = made.keyring().peers["w"]
    assert (peer.keys, new.roles) == ((old.pair.public, new.pair.public), ("worker",))
    assert peer.next_until is not None
    left = peer.next_until - datetime.datetime.now(UTC)
    assert datetime.timedelta(days=2.99) < left <= datetime.timedelta(days=3)
    assert "then the new one alone" in said


def test_a_second_rotation_replaces_only_on_demand(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "w", "--role", "worker")
    keys("rotate", "w", "--out", "1.key")
    failed = keys("rotate", "w", "--out", "2.key", code=2).stderr.decode()
    assert "w has a next key already" in failed
    assert "--replace" in failed
    assert not Path("2.key").exists()
    said = keys("rotate", "w", "--out", "3.key", "--replace").stderr
    assert b"The next key that w was given before is revoked" in said
    lost, new = (Credential.load(Path(name)).pair.public for name in ("1.key", "3.key"))
    keyring = made.keyring()
    assert keyring.peers["w"].next_key == new
    assert dict(keyring.revoked) == {lost: "w"}


def test_a_rotation_until_now_ends_the_old_key(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "w", "--role", "worker")
    old = made.keyring().peers["w"].key
    public = new_pair().public
    rest = keys("rotate", "w", "--until", "now", "--public", public).stdout.decode()
    assert 'roles = ["worker"]' in rest
    keyring = made.keyring()
    assert (keyring.peers["w"].keys, dict(keyring.revoked)) == ((public,), {old: "w"})
    assert rows(keys)["w"]["state"] == "active"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a"], "--role"),
        (["a", "--role", "admin"], "'admin' is not one of"),
        (["a b", "--role", "client"], "'a b' is not a name for a peer"),
        (["../a", "--role", "client"], "not a name for a peer"),
        (["a", "--role", "client", "--role", "client"], "each once"),
        (["a", "--role", "client", "--service", "a*b"], "a * may only stand at the end"),
        (["a", "--role", "client", "--service", "pound.status"], "reserved"),
        (["a", "--role", "client", "--service", "b "], "'b ': a name has no blanks at its ends"),
        (["a", "--role", "client", "--expires", "soon"], "'soon' is not a time: a date"),
        (["a", "--role", "client", "--expires", "30"], "'30' is not a time"),
        (["a", "--role", "client", "--expires", "2001-01-01"], "is in the past"),
        (["a", "--role", "client", "--expires", "9999999999d"], "is not a time"),
        (["a", "--role", "client", "--rate", "5"], "rate: '5' is no rate"),
        (["a", "--role", "client", "--weight", "0"], "weight: 0 is out of range"),
        (["a", "--role", "client", "--bytes-max", "x"], "bytes_max: 'x' is not a size"),
        (["a", "--role", "client", "--out", "no/such/file"], "cannot write no/such/file"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_left(
    keys: Keys, made: KeyDirectory, arguments: list[str], words: str
) -> None:
    before = Path("pound-keys/peers.toml").read_text()
    assert words in keys("add", *arguments, code=2).stderr.decode()
    assert Path("pound-keys/peers.toml").read_text() == before
    assert [path.name for path in Path().iterdir()] == ["pound-keys"]


def test_a_name_that_is_taken_leaves_no_file(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "a", "--role", "client", "--out", "1.key")
    failed = keys("add", "a", "--role", "client", "--out", "2.key", code=2).stderr
    assert b"a is enrolled already" in failed
    assert not Path("2.key").exists()
    keys("revoke", "a")
    assert b"a is revoked already" in keys("revoke", "a", code=2).stderr
    assert b"a is revoked already" in keys("expire", "a", "1d", code=2).stderr
    assert b"no peer is called 'b'" in keys("revoke", "b", code=2).stderr
    keys("add", "a", "--role", "client", "--out", "2.key")


def test_a_name_or_a_file_that_is_taken_is_told_apart(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "a", "--role", "client")
    before = Path("pound-keys/peers.toml").read_text()
    failed = keys("add", "a", "--role", "client", code=2).stderr.decode()
    assert "a is enrolled already, and stays as it is: pound keys rotate a --out FILE" in failed
    assert Path("pound-keys/peers.toml").read_text() == before
    keys("revoke", "a")
    failed = keys("add", "a", "--role", "client", code=2).stderr.decode()
    assert "a.key exists already, and is left as it is; a is not enrolled" in failed
    assert "(--out FILE)" in failed


@pytest.mark.parametrize("end", ["2001-01-01", "3d"])
def test_a_rotation_that_would_leave_no_key_is_refused(
    keys: Keys, made: KeyDirectory, end: str
) -> None:
    keys("add", "a", "--role", "client")
    keys("expire", "a", end)
    before = Path("pound-keys/peers.toml").read_text()
    failed = keys("rotate", "a", "--out", "new.key", code=2).stderr.decode()
    assert "pound keys expire a 365d, or never" in failed
    assert re.search(r"a expire[ds] on \d{4}-\d\d-\d\d(T[\d:]+Z)?[;,] ", failed)
    assert Path("pound-keys/peers.toml").read_text() == before
    assert not Path("new.key").exists()
    keys("expire", "a", "30d")
    keys("rotate", "a", "--out", "new.key")
    failed = keys("rotate", "a", "--out", "next.key", code=2).stderr.decode()
    assert re.search(r"counts alone from \d{4}-\d\d-\d\d(T[\d:]+Z)?: wait", failed)


@pytest.mark.parametrize(
    ("reached", "bound"),
    [
        ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000"),
        ("tcp://localhost:7000", "tcp://127.0.0.1:7000"),
        ("tcp://[2001:db8::1]:7000", "tcp://[::]:7000"),
        ("ipc:///run/pound", "ipc:///run/pound"),
    ],
)
def test_the_command_to_serve_binds_what_peers_reach(keys: Keys, reached: str, bound: str) -> None:
    said = keys("init", "--frontend", reached).stdout.decode()
    (command,) = [line for line in said.splitlines() if "pound serve" in line]
    assert [*shlex.split(command)][-2:] == ["--frontend", bound]


def test_one_endpoint_for_both_sides_is_refused(keys: Keys) -> None:
    failed = keys("init", "--frontend", FRONT, "--backend", FRONT, code=2).stderr.decode()
    assert f"backend: '{FRONT}' is the frontend, too" in failed
    assert not Path("pound-keys").exists()
    keys("init")
    failed = keys("add", "a", "--role", "client", "--frontend", BACK, "--backend", BACK, code=2)
    assert b"is the frontend, too" in failed.stderr
    assert b"broker.example:5556" in keys("init", "--help").stdout


def test_services_are_shown_in_quotes(keys: Keys, made: KeyDirectory) -> None:
    said = keys("add", "a", "--role", "client", "--service", "b c", "--service", "d.*").stderr
    assert b"services 'b c', 'd.*'." in said


def test_a_file_in_the_place_of_the_directory(keys: Keys, made: KeyDirectory) -> None:
    keys("add", "a", "--role", "client")
    for path in ("a.key", "pound-keys/broker.toml"):
        failed = keys("list", "--dir", path, code=2).stderr.decode()
        assert f"{path} is a file: give the directory" in failed


def test_a_directory_is_made_once(keys: Keys, made: KeyDirectory) -> None:
    pair = made.pair()
    assert b"exists already, and is left as it is" in keys("init", code=2).stderr
    assert made.pair() == pair


def test_a_directory_without_keys_is_named_with_the_remedy(keys: Keys) -> None:
    for arguments in (["add", "a", "--role", "client"], ["list"], ["show"], ["revoke", "a"]):
        failed = keys(*arguments, "--dir", "other", code=2).stderr.decode()
        assert "other has no broker's keys: pound keys init --dir other" in failed


def test_the_directory_is_that_of_the_broker(keys: Keys) -> None:
    keys("init", POUND_KEYS="of-broker")
    keys("init", "--dir", "of-flag", POUND_KEYS="of-broker")
    assert sorted(path.name for path in Path().iterdir()) == ["of-broker", "of-flag"]


def test_peers_that_people_write_are_listed(keys: Keys, made: KeyDirectory) -> None:
    with Path("pound-keys/peers.toml").open("a") as file:
        file.write(f'\n[peers.hand]  # mine\nkey = "{new_pair().public}"\nroles = ["client"]\n')
    assert rows(keys)["hand"]["services"] == ["*"]
    keys("expire", "hand", "never")
    keys("expire", "hand", "2127-01-01T12:30Z")
    assert rows(keys)["hand"]["expires"] == "2127-01-01T12:30Z"
    assert "[peers.hand]  # mine" in Path("pound-keys/peers.toml").read_text()
    with Path("pound-keys/peers.toml").open("a") as file:
        file.write("rolls = 3\n")
    failed = keys("list", code=2).stderr.decode()
    assert (
        "pound-keys/peers.toml: peers.'hand': unknown key 'rolls'; did you mean 'roles'" in failed
    )


def test_a_secret_that_others_can_read_is_refused(keys: Keys, made: KeyDirectory) -> None:
    Path("pound-keys/broker.toml").chmod(0o644)
    failed = keys("add", "a", "--role", "client", code=2).stderr.decode()
    assert "others may read or write it: chmod g-w,o-rwx pound-keys/broker.toml" in failed


def test_the_configuration_is_checked_with_its_keys(keys: Keys, made: KeyDirectory) -> None:
    assert run_pound("config", "check", POUND_KEYS="pound-keys").returncode == 0
    Path("pound-keys/peers.toml").write_text("[peers.a]\n")
    failed = run_pound("config", "check", POUND_KEYS="pound-keys")
    assert failed.returncode == 2
    assert b"peers.toml: peers.'a': key is missing" in failed.stderr


def test_a_path_that_a_shell_would_split_is_quoted(keys: Keys) -> None:
    said = keys("init", "--dir", "my keys", "--frontend", FRONT).stdout.decode()
    assert "pound serve --keys 'my keys'" in said
    shutil.copytree("my keys", "other")
    assert isinstance(KeyDirectory("other").pair(), Pair)


ESC = "\x1b[2J"


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "--dir", f"other{ESC}"),
        ("init", "--dir", "other", "--frontend", f"tcp://a{ESC}:1"),
        ("add", "x", "--role", "worker", "--backend", f"ipc:///a{ESC}"),
        ("add", "x", "--role", "worker", "--out", f"x{ESC}.key"),
        ("add", f"x{ESC}", "--role", "worker"),
        ("add", "x", "--role", "worker", "--service", f"a{ESC}"),
        ("add", "x", "--role", "worker", "--rate", f"1/s{ESC}"),
        ("add", "x", "--role", "worker", "--weight", f"1{ESC}"),
        ("add", "x", "--role", "worker", "--expires", f"2030-01-01{ESC}"),
        ("add", "x", "--role", "worker", "--public", f"x{ESC}"),
        ("add", "x", "--role", f"worker{ESC}"),
        ("rotate", f"x{ESC}"),
        ("rotate", "x", "--until", f"7d{ESC}"),
        ("revoke", f"x{ESC}"),
        ("expire", f"x{ESC}", "never"),
        ("expire", "x", f"never{ESC}"),
        ("show", f"x{ESC}"),
        ("pair", f"x{ESC}"),
        ("pair", "x", "--out", f"x{ESC}.key"),
        ("list", "--dir", f"other{ESC}"),
    ],
    ids=lambda arguments: "-".join(arguments).replace(ESC, "ESC").replace("/", ""),
)
def test_a_control_character_is_refused_and_shown_as_what_it_is(
    keys: Keys, made: KeyDirectory, arguments: tuple[str, ...]
) -> None:
    before = sorted(Path().rglob("*"))
    done = keys(*arguments, code=2)
    assert b"\x1b" not in done.stderr + done.stdout
    assert b"\\x1b[2J" in done.stderr
    assert sorted(Path().rglob("*")) == before
