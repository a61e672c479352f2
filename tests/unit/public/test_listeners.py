"""Listeners: where a broker listens, for whom, and how that is written in its configuration."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

import pound
from pound._config_keys import ENVIRONMENT_PREFIX
from pound.cli import main
from pound.config import Config, ignored_variables
from pound.errors import ConfigError
from pound.security.listener import Listener
from pound.security.names import DIALECTS, LISTENERS_MAX, ROLES

ANY = "tcp://0.0.0.0:7000"
FRONT, BACK = Config().frontend[0], Config().backend[0]


def bound(config: Config) -> list[tuple[str, str, str | None]]:
    return [(one.endpoint, one.side, one.security) for one in config.listeners()]


def load(folder: Path, text: str) -> Config:
    (folder / "pound.toml").write_text(text)
    return Config.load(folder / "pound.toml")[0]


def test_without_tables_the_keys_of_both_sides_are_the_listeners() -> None:
    assert bound(Config()) == [(FRONT, "frontend", "none"), (BACK, "backend", "none")]
    assert [one.roles for one in Config().listeners()] == [ROLES, ROLES]
    assert [one.dialects for one in Config().listeners()] == [DIALECTS, DIALECTS]


def test_with_keys_every_listener_is_encrypted_but_inproc() -> None:
    config = Config(keys="k", frontend=[FRONT, "inproc://a"], backend="ipc:///tmp/b")
    assert bound(config) == [
        (FRONT, "frontend", "curve"),
        ("inproc://a", "frontend", "none"),
        ("ipc:///tmp/b", "backend", "curve"),
    ]


def test_a_directory_of_keys_is_text_or_a_path() -> None:
    assert Config(keys=Path("a/b")).keys == Config(keys="a/b").keys == "a/b"
    for wrong in (b"a", 3, "a\0b"):
        with pytest.raises(ConfigError, match=r"keys: .* is not a path"):
            Config(keys=wrong)  # type: ignore[arg-type]


def test_tables_come_after_the_keys_of_their_side(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        'keys = "k"\nfrontend = ["tcp://127.0.0.1:1"]\n'
        '[[listen]]\nendpoint = "tcp://127.0.0.1:2"\nside = "backend"\nroles = ["worker"]\n'
        '[[listen]]\nendpoint = "tcp://127.0.0.1:3"\nsecurity = "none"\n'
        'dialects = ["mdp", "pnd"]\n',
    )
    assert bound(config) == [
        ("tcp://127.0.0.1:1", "frontend", "curve"),
        ("tcp://127.0.0.1:3", "frontend", "none"),
        ("tcp://127.0.0.1:2", "backend", "curve"),
    ]
    assert config.listeners()[1].dialects == ("mdp", "pnd")
    assert config.listeners()[2].roles == ("worker",)


def test_a_side_with_tables_has_no_default_endpoint() -> None:
    tables = [{"endpoint": "ipc:///tmp/w", "side": "backend"}]
    config = Config(listen=tables)
    assert bound(config) == [(FRONT, "frontend", "none"), ("ipc:///tmp/w", "backend", "none")]
    assert config.backend == ()
    for same in (
        dataclasses.replace(Config(), listen=tables),
        dataclasses.replace(Config(liveness=7), listen=tables),
        pickle.loads(pickle.dumps(Config(listen=tables))),
        copy.deepcopy(config),
        dataclasses.replace(config, liveness=5),
        dataclasses.replace(pickle.loads(pickle.dumps(Config())), listen=tables),
    ):
        assert bound(same) == bound(config)


def test_an_endpoint_that_was_given_stays_beside_tables_even_if_it_is_the_default() -> None:
    config = Config(backend=BACK, listen=[{"endpoint": "ipc:///tmp/w", "side": "backend"}])
    assert [one.endpoint for one in config.listeners()] == [FRONT, BACK, "ipc:///tmp/w"]


def test_a_side_without_any_endpoint_is_refused() -> None:
    with pytest.raises(ConfigError, match="backend: needs at least one endpoint"):
        Config(backend=(), listen=[{"endpoint": "ipc:///tmp/w"}])


def test_an_endpoint_beyond_loopback_is_encrypted_or_allowed() -> None:
    assert Config(keys="k", frontend=ANY, listen=[Listener("tcp://*:7001", side="backend")]).listen
    for endpoint in (ANY, "tcp://192.0.2.1:7000", "tcp://[2001:db8::1]:7000"):
        open_to_all = Listener(endpoint, security="none")
        for keys in ("", "k"):
            with pytest.raises(ConfigError, match=r"\[\[listen\]\] 1: .*keys init.*--insecure"):
                Config(keys=keys, listen=[open_to_all])
            assert Config(keys=keys, listen=[open_to_all], insecure=True).listen


def test_an_endpoint_beyond_loopback_is_allowed_by_keys_in_another_source(tmp_path: Path) -> None:
    (tmp_path / "pound.toml").write_text(f'frontend = "{ANY}"\n')
    with pytest.raises(ConfigError, match=r"frontend: .*\(file .*pound.toml\)"):
        Config.load(tmp_path / "pound.toml", {})
    config, origins = Config.load(tmp_path / "pound.toml", {"POUND_KEYS": "k"})
    assert bound(config)[0] == (ANY, "frontend", "curve")
    assert origins["keys"] == "environment POUND_KEYS"
    assert Config.load(tmp_path / "pound.toml", {}, {"keys": "k"})[1]["keys"] == "flag --keys"


def test_curve_needs_keys() -> None:
    with pytest.raises(
        ConfigError, match="security curve needs the broker's keys: pound keys init"
    ):
        Config(listen=[Listener(FRONT, security="curve")])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "endpoint is missing"),
        ("endpoint = 1", "endpoint: 1 is not text"),
        ('endpoint = "tcp://127.0.0.1"', "has no port"),
        ('endpont = "ipc:///a"', "unknown key 'endpont'; did you mean 'endpoint'"),
        ('endpoint = "ipc:///a"\nside = "front"', "side: 'front' is not one of frontend, backend"),
        ('endpoint = "ipc:///a"\nsecurity = "cruve"', "did you mean 'curve'"),
        ('endpoint = "ipc:///a"\nsecurity = true', "security: True is not one of curve, none"),
        ('endpoint = "ipc:///a"\nroles = "client"', "roles: 'client' is not a list"),
        ('endpoint = "ipc:///a"\nroles = []', "roles: name at least one"),
        ('endpoint = "ipc:///a"\nroles = ["client", "client"]', "each once"),
        ('endpoint = "ipc:///a"\nroles = ["admin"]', "'admin' is not one of client, worker, op"),
        ('endpoint = "ipc:///a"\ndialects = ["mdp1"]', "did you mean 'mdp'"),
        ('endpoint = "ipc:///a"\nmode = 660', "mode: 660 is not octal text"),
        ('endpoint = "ipc:///a"\nmode = "0o660"', "mode: '0o660' is not octal text"),
        ('endpoint = "ipc:///a"\nmode = "0888"', "mode: '0888' is not"),
        ('endpoint = "ipc:///a"\nowner = "a:b:c"', "owner: 'a:b:c' is not text such as"),
        ('endpoint = "ipc:///a"\nowner = ":"', "owner: ':' is not"),
        ('endpoint = "ipc://*"\nmode = "0600"', "are of ipc://PATH"),
        ('endpoint = "tcp://127.0.0.1:1"\nowner = "a"', "are of ipc://PATH"),
        ('endpoint = "inproc://a"\nsecurity = "curve"', "inproc stays inside a process"),
        ('endpoint = "inproc://a"\nroles = ["client"]', "peers of inproc are this program itself"),
        ('endpoint = "inproc://a"\ndialects = ["pnd"]', "bind tcp:// or ipc:// where less"),
    ],
)
def test_bad_tables_are_refused_with_number_reason_and_file(
    tmp_path: Path, table: str, words: str
) -> None:
    good = '[[listen]]\nendpoint = "ipc:///good"\n'
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{good}[[listen]]\n{table}\n")
    assert words in str(caught.value)
    assert "[[listen]] 2: " in str(caught.value)
    assert f"(file {tmp_path / 'pound.toml'})" in str(caught.value)


@pytest.mark.parametrize("value", ['"ipc:///a"', "3", '{endpoint = "ipc:///a"}', '["ipc:///a"]'])
def test_listeners_that_are_no_tables_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="listen"):
        load(tmp_path, f"listen = {value}")


def test_an_endpoint_is_bound_once() -> None:
    with pytest.raises(ConfigError, match=f"'{FRONT}' is given twice"):
        Config(frontend=FRONT, listen=[Listener(FRONT)])
    assert Config(listen=[Listener("ipc://*"), Listener("ipc://*", side="backend")]).listen


def test_a_broker_has_a_limited_number_of_listeners() -> None:
    def config(count: int) -> Config:
        return Config(listen=[Listener(f"tcp://127.0.0.1:{port}") for port in range(1, count + 1)])

    assert len(config(LISTENERS_MAX - 1).listeners()) == LISTENERS_MAX  # and one of the backend
    with pytest.raises(ConfigError, match="33 endpoints are more than a broker binds: at most 32"):
        config(LISTENERS_MAX)


def test_permissions_are_octal() -> None:
    assert Listener("ipc:///a", mode="0660").permissions == 0o660
    assert Listener("ipc:///a", mode="777").permissions == 0o777
    assert Listener("ipc:///a").permissions is None


@pytest.mark.parametrize("owner", ["pound", "pound:www-data", ":www-data", "1000:1000", "0"])
def test_owners_are_as_chown_takes_them(owner: str) -> None:
    assert Listener("ipc:///a", owner=owner).owner == owner


def test_the_variable_of_a_credential_is_no_misspelled_key() -> None:
    assert ignored_variables({f"{ENVIRONMENT_PREFIX}KEY": "peer.key"}) == []


def test_show_prints_tables_that_mean_the_same(tmp_path: Path) -> None:
    text = (
        '[[listen]]\nendpoint = "ipc:///a"\nmode = "0660"\nowner = ":staff"\nroles = ["client"]\n'
        '[[listen]]\nendpoint = "ipc:///b"\nside = "backend"\n'
    )
    before = load(tmp_path, text)
    arguments = ["config", "show", "--origin", "-c", str(tmp_path / "pound.toml")]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert f"\n[[listen]]  # file {tmp_path / 'pound.toml'}\n" in shown.output
    assert load(tmp_path, shown.output).listeners() == before.listeners()


def test_a_broker_takes_tables_and_binds_them() -> None:
    tables = [Listener("tcp://127.0.0.1:*"), Listener("inproc://test-listeners", side="backend")]
    with pound.Broker(listen=[*tables, Listener("tcp://127.0.0.1:*")]) as broker:
        assert len(broker.frontend_endpoints) == 2
        assert broker.backend_endpoints == ("inproc://test-listeners",)


def test_inproc_in_a_table_is_refused_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "pound.toml").write_text('[[listen]]\nendpoint = "inproc://a"\n')
    done = CliRunner().invoke(main, ["serve", "-c", str(tmp_path / "pound.toml")])
    assert done.exit_code == 2
    assert "listen: 'inproc://a' is for a program that embeds" in done.output
