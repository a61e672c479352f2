"""One rule for endpoints: what a broker may bind, clients and workers may connect to."""

from __future__ import annotations

import pytest

from pound import Config, ConfigError
from pound._base.addresses import split_endpoint
from pound._engine.checks import check_endpoints


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("tcp://127.0.0.1:5555", ("tcp", "127.0.0.1", "5555")),
        ("tcp://*:*", ("tcp", "*", "*")),
        ("tcp://[::1]:0", ("tcp", "::1", "0")),
        ("tcp://[fe80::1%eth0]:65535", ("tcp", "fe80::1%eth0", "65535")),
        ("tcp://eth0;host:7", ("tcp", "host", "7")),
        ("tcp://[::2]:0;[::1]:7", ("tcp", "::1", "7")),
        ("ipc:///run/a:b", ("ipc", "/run/a:b", "")),
        ("inproc://a", ("inproc", "a", "")),
    ],
)
def test_an_endpoint_has_parts(endpoint: str, parts: tuple[str, str, str]) -> None:
    assert split_endpoint(endpoint) == parts


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("tcp:127.0.0.1:1", "is no endpoint"),
        ("udp://127.0.0.1:1", "is no endpoint"),
        ("ipc://", "is no endpoint"),
        ("tcp://:1", "has no port"),
        ("tcp://host", "has no port"),
        ("tcp://host:65536", "has no port"),
        ("tcp://host:-1", "has no port"),
        ("tcp://[::1]", "has no port"),
        ("tcp://::1:5555", "is ambiguous"),
        ("tcp://[]:1", "in its brackets"),
        ("tcp://[::1:1", "in its brackets"),
        ("tcp://[127.0.0.1]:1", "in its brackets"),
        ("tcp://[fe80::1%]:1", "in its brackets"),
        ("tcp://[fe80::g]:1", "in its brackets"),
        ("tcp://a\x1b[2J:1", "control character"),
        ("ipc:///a\0b", "control character"),
        ("ipc:///a\x9bb", "control character"),
    ],
)
def test_what_is_none_is_refused_by_broker_and_client_alike(endpoint: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        split_endpoint(endpoint)
    with pytest.raises(ConfigError, match=words):
        Config(frontend=(endpoint,), insecure=True)
    with pytest.raises(ConfigError, match="is not a str of the form"):
        check_endpoints(endpoint)
