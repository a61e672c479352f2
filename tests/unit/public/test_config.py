"""The configuration: every source, every kind of value, every refusal; and its documentation."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pound._base.addresses import is_loopback
from pound._config_keys import Key
from pound._settings import Settings
from pound.cli import main
from pound.cli.config import as_text
from pound.config import Config, ServiceConfig, ignored_variables, keys
from pound.errors import ConfigError
from pound.security import listener

SAMPLE = Path(__file__).parents[3] / "examples" / "pound.toml"
DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
QUOTAS = ("client_open_max", "client_bytes_max", "client_rate")


def write(folder: Path, text: str) -> Path:
    path = folder / "pound.toml"
    path.write_text(text)
    return path


def test_defaults_are_the_guides_ports_on_loopback() -> None:
    config = Config()
    assert config.frontend == ("tcp://127.0.0.1:5555",)
    assert config.backend == ("tcp://127.0.0.1:5556",)
    assert not config.insecure
    assert dict(config.services) == {}


def test_the_types_of_settings_are_those_of_the_keys() -> None:
    """What a type checker takes is declared apart from what the values are; this is the link."""
    types = {
        "endpoints": "Endpoints",
        "seconds": "Seconds",
        "count": "Count",
        "size": "Count",
        "flag": "Flag",
        "name": "str",
        "path": "Path",
        "file": "Path",
    }
    told = {
        name: kind.__forward_arg__.replace('"', "'")
        for name, kind in Settings.__annotations__.items()
    }
    assert list(told) == [field.name for field in dataclasses.fields(Config)]
    for name, key in keys().items():
        choices = ", ".join(repr(choice) for choice in key.choices)
        assert told[name] == types.get(key.kind, f"Literal[{choices}]"), name


def test_later_sources_win_and_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "heartbeat = 2\nliveness = 7\nattempts_max = 3\n")
    environ = {"POUND_LIVENESS": "8", "POUND_ATTEMPTS_MAX": "4"}
    config, origins = Config.load(path, environ, {"attempts_max": "6", "lease": None})
    assert (config.heartbeat, config.liveness, config.attempts_max) == (2.0, 8, 6)
    assert origins["heartbeat"] == f"file {path}"
    assert origins["liveness"] == "environment POUND_LIVENESS"
    assert origins["attempts_max"] == "flag --attempts-max"
    assert origins["lease"] == origins["services"] == "default"


def test_every_key_can_be_set_in_the_environment() -> None:
    for name, key in keys().items():
        value = getattr(Config(), name)
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        config, origins = Config.load(None, {key.environment: text})
        assert getattr(config, name) == value
        assert origins[name] == f"environment {key.environment}"


def test_lists_in_the_environment_are_comma_separated() -> None:
    config, _ = Config.load(None, {"POUND_FRONTEND": "tcp://127.0.0.1:1, ipc:///tmp/f"})
    assert config.frontend == ("tcp://127.0.0.1:1", "ipc:///tmp/f")


def test_services(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[services."a.b"]\nlease = 3\n[services.c]\none_part = true\n'
        'client_open_max = 5\nclient_bytes_max = "1k"\nclient_rate = "30/m"\n',
    )
    config, origins = Config.load(path)
    assert config.services == {
        "a.b": ServiceConfig(lease=3.0),
        "c": ServiceConfig(
            one_part=True, client_open_max=5, client_bytes_max=1024, client_rate="30/m"
        ),
    }
    assert origins["services"] == f"file {path}"
    with pytest.raises(TypeError):
        config.services["d"] = ServiceConfig()  # type: ignore[index]


def test_services_as_arguments_are_checked_like_those_of_a_file() -> None:
    assert Config(services={"a": {"lease": 2}}).services["a"] == ServiceConfig(lease=2.0)
    with pytest.raises(ConfigError, match="did you mean 'lease'"):
        Config(services={"a": {"leese": 2}})
    with pytest.raises(ConfigError, match="reserved"):
        Config(services={"mmi.x": ServiceConfig()})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heartbaet = 1", ["heartbaet", "did you mean 'heartbeat'"]),
        ("zzz = 1", ["unknown key 'zzz'"]),
        ("heartbeat = 0", ["heartbeat", "out of range", "file"]),
        ("heartbeat = true", ["heartbeat", "not a number of seconds"]),
        ("heartbeat = nan", ["heartbeat", "finite"]),
        ("liveness = 1.5", ["liveness", "not a whole number"]),
        ("frames_max = 65536", ["frames_max", "at most 65535"]),
        ("insecure = 1", ["insecure", "neither true nor false"]),
        ('log_level = "inof"', ["log_level", "did you mean 'info'"]),
        ("frontend = []", ["frontend", "at least one"]),
        ("frontend = [1]", ["frontend", "at least one endpoint"]),
        ('body_bytes_max = "1 XB"', ["body_bytes_max", "not a size"]),
        ('lease = "5 parsecs"', ["lease", "not a time"]),
        ('default_service = "mmi.x"', ["default_service", "reserved"]),
        (f'default_service = "{"é" * 128}"', ["default_service", "255 bytes"]),
        ("services = 1", ["services", "tables"]),
        ("[services]\na = 1", ["services.'a'", "not a table"]),
        ("[services.a]\nleese = 1", ["services.'a'", "did you mean 'lease'"]),
        ("[services.a]\nlease = -1", ["services.'a'", "lease", "out of range"]),
        ("[services.a]\none_part = 1", ["services.'a'", "one_part"]),
        ("[services.a]\nclient_open_max = -1", ["services.'a'", "client_open_max", "out of range"]),
        ('[services.a]\nclient_bytes_max = "x"', ["services.'a'", "client_bytes_max"]),
        ('[services.a]\nclient_rate = "5"', ["services.'a'", "client_rate: '5' is no rate"]),
        ('[services."pound.x"]\nlease = 1', ["reserved"]),
        ("heartbeat = = 1", ["not TOML"]),
        ('frontend = "tcp://127.0.0.1"', ["frontend: ", "has no port", "(file "]),
        ('backend = "tcp://*:1"', ["backend: ", "--insecure", "(file "]),
        ('backend = "tcp://127.0.0.1:5555"', ["'tcp://127.0.0.1:5555' is given twice"]),
        ("body_bytes_max = 0", ["0 is out of range: at least 1 and at most 4293918719"]),
        ("lease = -0.5", ["-0.5 is out of range: at least 0 and at most 1000000000"]),
    ],
)
def test_bad_files_are_refused_with_the_reason(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(write(tmp_path, text))
    for word in words:
        assert word in str(caught.value)


def test_ports_that_the_system_chooses_may_be_asked_for_twice() -> None:
    Config(frontend="tcp://127.0.0.1:*", backend="tcp://127.0.0.1:*")
    Config(frontend="tcp://127.0.0.1:0", backend="tcp://127.0.0.1:0")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        Config.load(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b'log_level = "\xff"')
    with pytest.raises(ConfigError, match="not TOML"):
        Config.load(tmp_path / "latin.toml")


def test_misspelled_variables_are_errors_and_strangers_are_ignored() -> None:
    with pytest.raises(ConfigError, match="did you mean POUND_HEARTBEAT"):
        Config.load(None, {"POUND_HEARTBAET": "1"})
    kubernetes = {
        "POUND_PORT": "tcp://10.0.0.1:5555",
        "POUND_SERVICE_HOST": "10.0.0.1",
        "POUND_SERVICE_PORT": "5555",
        "POUND_PORT_5555_TCP_ADDR": "10.0.0.1",
        "POUND_TEST_ALL": "1",
        "OTHER": "x",
    }
    assert ignored_variables(kubernetes) == sorted(kubernetes.keys() - {"OTHER"})
    assert Config.load(None, kubernetes)[0] == Config()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("2 KiB", 2048),
        ("3mib", 3 << 20),
        ("1GiB", 1 << 30),
        ("9B", 9),
        ("64k", 1 << 16),
        ("64K", 1 << 16),
        ("1 kb", 1024),
        ("64M", 1 << 26),
        ("64MB", 1 << 26),
        ("1.5GiB", 3 << 29),
        (".5 k", 512),
        ("2T", 2 << 40),
    ],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert Key("k", "size", 0, "").parse(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1 kbit", "1e3", ".", "1,5M", "0x10"])
def test_odd_sizes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Key("k", "size", 0, "").parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2.5", 2.5),
        ("500ms", 0.5),
        ("30 s", 30.0),
        ("2m", 120.0),
        ("2 min", 120.0),
        ("1H", 3600.0),
        ("1d", 86400.0),
        ("250us", 0.00025),
        ("1e3", 1000.0),
    ],
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert Key("k", "seconds", 0, "").parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5 x", "1h30", "nan", "-1s"])
def test_odd_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Key("k", "seconds", 0, "").parse(text)


def test_the_sample_is_what_explain_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Write it anew by ``pound config show --explain``, below its own first lines."""
    for name in keys():
        monkeypatch.delenv(f"POUND_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(main, ["config", "show", "--explain"]).output.strip()
    sample = SAMPLE.read_text()
    assert shown in sample
    values, origins = Config.load(SAMPLE)
    assert values == Config()
    assert {name for name, origin in origins.items() if origin == "default"} == {
        "listen",
        "services",
    }
    last = sample.partition(shown)[2].partition("# [services")
    text = "[services" + re.sub("^# ", "", last[2], flags=re.MULTILINE)
    written = Config.load(write(tmp_path, text))[0]
    assert written.services
    assert written.listen


def test_a_configuration_is_pickled_and_copied_by_its_values() -> None:
    config = Config(liveness=7, services={"a": ServiceConfig(lease=2)})
    for other in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
        assert other == config
        assert other.services["a"].lease == 2


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://*:5555",
        "tcp://0.0.0.0:1",
        "tcp://eth0:1",
        "tcp://10.1.2.3:*",
        "tcp://[::]:1",
        "tcp://128.0.0.1:1",
    ],
)
def test_binds_beyond_loopback_need_permission(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        Config(frontend=(endpoint,))
    with pytest.raises(ConfigError, match="--insecure"):
        Config(backend=("ipc:///tmp/b", endpoint))
    assert Config(frontend=(endpoint,), insecure=True).frontend == (endpoint,)


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://127.0.0.1:*",
        "tcp://127.9.9.9:0",
        "tcp://localhost:5",
        "tcp://[::1]:65535",
        "ipc:///run/pound.sock",
        "ipc://*",
        "inproc://front",
    ],
)
def test_loopback_and_local_transports_need_none(endpoint: str) -> None:
    assert Config(frontend=(endpoint,)).frontend == (endpoint,)


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:5555",
        "udp://127.0.0.1:1",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:x",
        "tcp://127.0.0.1:\u0663",
        "tcp://::1:5555",
        "tcp://[fe80::1%]:5555",
        "ipc://",
    ],
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(endpoint)):
        Config(frontend=(endpoint,), insecure=True)


@given(st.ip_addresses())
def test_loopback_is_what_the_address_blocks_say(address: Any) -> None:
    assert is_loopback(str(address)) == address.is_loopback


@given(st.text())
def test_no_text_breaks_a_key_other_than_by_config_error(text: str) -> None:
    for key in keys().values():
        with suppress(ConfigError):
            key.parse(text)


def test_a_config_is_frozen_and_hashable() -> None:
    config = Config()
    with pytest.raises(AttributeError):
        config.heartbeat = 2.0  # type: ignore[misc]
    assert hash(config) == hash(Config())


def test_the_documentation_lists_every_key_exactly() -> None:
    """docs/configuration.md has one row for each key, made of its declaration."""
    documented = re.findall(r"^\| `(\w+)` \|.*\|$", DOCS.read_text(), re.MULTILINE)
    assert documented == [*keys(), *listener.FIELDS, "lease", "one_part", *QUOTAS]
    for key in keys().values():
        assert documentation_row(key) in DOCS.read_text()


def documentation_row(key: Key) -> str:
    unit = (
        " or ".join(f"`{choice}`" for choice in key.choices)
        or key.unit
        or {
            "count": "count",
            "flag": "`true` or `false`",
            "name": "name",
            "path": "directory",
            "file": "file",
        }[key.kind]
    )
    return f"| `{key.name}` | `{as_text(key)}` | {unit} | {key.meaning} |"


def test_show_prints_a_file_that_means_the_same(tmp_path: Path) -> None:
    service = '[services."a\\u0007\\""]\nlease = 1\n'
    path = write(tmp_path, 'lease = 2\nfrontend = ["ipc://*"]\n' + service)
    shown = CliRunner().invoke(main, ["config", "show", "-c", str(path)], catch_exceptions=False)
    assert shown.exit_code == 0
    again = write(tmp_path, shown.output)
    assert Config.load(again)[0] == Config.load(path)[0]
    assert Config.load(again)[0].services['a\x07"'].lease == 1.0


def test_show_origin(tmp_path: Path) -> None:
    path = write(tmp_path, "lease = 2\n")
    shown = CliRunner().invoke(
        main, ["config", "show", "--origin", "-c", str(path)], env={"POUND_LIVENESS": "9"}
    )
    assert f"lease = 2.0  # file {path}" in shown.output
    assert "liveness = 9  # environment POUND_LIVENESS" in shown.output
    assert "attempts_max = 5  # default" in shown.output


def test_check_says_valid_or_exits_with_2(tmp_path: Path) -> None:
    good, bad = write(tmp_path, "lease = 2\n"), tmp_path / "bad.toml"
    bad.write_text("leese = 2")
    runner = CliRunner()
    checked = runner.invoke(main, ["config", "check", "-c", str(good)], env={"POUND_ODD": "1"})
    assert checked.exit_code == 0
    assert "POUND_ODD is no key" in checked.output
    checked = runner.invoke(main, ["config", "check", "-c", str(bad)])
    assert checked.exit_code == 2
    assert "did you mean 'lease'" in checked.output


def test_the_memory_has_room_for_four_bodies() -> None:
    assert Config().memory_bytes() == 2 << 30
    assert Config(waiting_bytes_max=1000).memory_bytes() == 4 * Config().body_bytes_max
    assert Config(memory_max="256MiB").memory_bytes() == 256 << 20
    assert Config(memory_max=4000, body_bytes_max=1000).memory_bytes() == 4000
    with pytest.raises(ConfigError, match=r"memory_max: 3999 .* raise memory_max to 4000 or lower"):
        Config(memory_max=3999, body_bytes_max=1000)
