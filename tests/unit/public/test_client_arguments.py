"""A client's arguments: what is wrong is refused at once, by name, value and remedy."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

import pound
import pound.aio
from pound._engine.checks import check_endpoints
from tests.unit.reference_broker import REQUEST


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"priority": 10}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": 2**40}, r"^priority is a whole number, 0\.\.9, not 1099511627776"),
        ({"priority": -(2**70)}, "^priority is a whole number"),
        ({"timeout": -(10**400)}, "^timeout is a positive number of seconds, not -1"),
        ({"service": "s" * 256}, "256 bytes"),
    ],
)
def test_arguments_out_of_range_are_refused(client, arguments, words):
    with pytest.raises(ValueError, match=words):
        client.submit(**{"service": "echo", "body": b"", **arguments})


WRONG_TYPES = [
    (
        {"service": 5},
        r"^service is a str, not 5: the service comes first, as in request\(service, body\)",
    ),
    ({"service": True}, "^service is a str, not True"),
    ({"service": [104, 105]}, r"^service is a str, not \[104, 105\]"),
    ({"service": 10**10}, "^service is a str, not 10000000000"),
    ({"service": bytearray(b"echo")}, "^service is a str, not bytearray"),
    ({"service": b"body"}, r"^service is a str, not b'body': the service comes first"),
    ({"service": None}, "^service is a str, not None"),
    ({"service": list(range(10**6))}, r"^service is a str, not \[0, 1, 2, 3, 4, 5, \.\.\.\]"),
    ({"timeout": "5"}, "^timeout is a positive number of seconds, not '5'"),
    ({"timeout": [5]}, r"^timeout is a positive number of seconds, not \[5\]"),
    ({"priority": "high"}, r"^priority is a whole number, 0\.\.9, not 'high'"),
    ({"priority": 1.5}, r"^priority is a whole number, 0\.\.9, not 1\.5"),
    ({"priority": None}, r"^priority is a whole number, 0\.\.9, not None"),
    ({"meta": ["x"]}, r"^meta maps str to str, .*; not \['x'\]"),
    ({"meta": 5}, "^meta maps str to str, .*; not 5"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG_TYPES)
@pytest.mark.parametrize("method", ["request", "request_full", "submit", "stream"])
def test_arguments_of_the_wrong_type_are_refused_by_name(make_client, method, arguments, words):
    client = make_client(endpoints="tcp://127.0.0.1:1")
    with pytest.raises(TypeError, match=words):
        getattr(client, method)(**{"service": "echo", "body": b"", **arguments})


def test_a_call_with_service_and_body_swapped_is_told_their_order(make_client):
    client = make_client(endpoints="tcp://127.0.0.1:1")
    words = r"^service is a str, not \[b'a'\]: the service .* map\(service, bodies\)"
    with pytest.raises(TypeError, match=words):
        client.map([b"a"], "slow")
    with pytest.raises(
        TypeError, match=r"^service is a str, not b'a': .* request\(service, body\)"
    ):
        client.request(b"a", "slow")
    with pytest.raises(TypeError, match="not str: encode the text"):
        client.request("slow", "a")
    with pytest.raises(TypeError, match="positional"):
        client.request("slow", b"a", 5.0)


class Three:
    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("timeout", "ends"),
    [
        (5, True),
        (5.0, True),
        (Decimal(5), True),
        (Fraction(5), True),
        (None, False),
        (float("inf"), False),
        pytest.param(10**400, False, id="a float can't hold it"),
    ],
)
@pytest.mark.parametrize("priority", [3, Three()])
def test_what_can_stand_for_an_argument_is_taken(client, broker, timeout, ends, priority):
    client.submit("echo", b"", timeout=timeout, priority=priority)
    said = broker.expect(REQUEST)
    assert said.service == b"echo"
    assert (said.head[0] > 0, said.head[1]) == (ends, 3)


# -- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        ([], "no endpoint"),
        ("127.0.0.1:5555", "endpoint '127.0.0.1:5555' is not"),
        ("tcp://host", "endpoint 'tcp://host' is not"),
        ("http://host:1", "endpoint 'http://host:1' is not"),
        ([5], "endpoint 5 is not"),
        (5555, "endpoint 5555 is not a str"),
        (None, "endpoint None is not a str"),
        (b"tcp://host:1", "endpoint b'tcp://host:1' is not a str"),
        ("tcp://host:0", r"endpoint 'tcp://host:0' .* \(PORT 1..65535\)"),
        ("tcp://host:65536", "endpoint 'tcp://host:65536' is not"),
        ("tcp://127.0.0.1:99999", "endpoint 'tcp://127.0.0.1:99999' is not"),
        (f"tcp://host:{'9' * 5000}", "endpoint 'tcp://host:9999"),
        (["tcp://host:1", "tcp://host:٣"], "endpoint 'tcp://host:٣' is not"),
    ],
)
def test_malformed_endpoints_are_refused(endpoints, words):
    with pytest.raises(pound.ConfigError, match=words):
        pound.Client(endpoints)


@pytest.mark.parametrize(
    ("endpoints", "guess"),
    [
        (5555, "tcp://127.0.0.1:5555"),
        ("5555", "tcp://127.0.0.1:5555"),
        ("host:5555", "tcp://host:5555"),
        ("http://host:5555", "tcp://host:5555"),
        ("tcp:/host:5555", "tcp://host:5555"),
        ("tcp://host", "tcp://host:5555"),
        (b"tcp://host:1", "tcp://host:1"),
        ("tcp://::1:5555", r"tcp://\[::1\]:5555"),
        ("fe80::1%eth0:5555", r"tcp://\[fe80::1%eth0\]:5555"),
    ],
)
def test_what_was_meant_by_a_malformed_endpoint_is_guessed(endpoints, guess):
    with pytest.raises(pound.ConfigError, match=f"did you mean '{guess}'"):
        pound.Client(endpoints)


@pytest.mark.parametrize("endpoint", [None, "", True, "/run/pound.sock", "tcp://h:99999", "ipc://"])
def test_nothing_is_guessed_where_nothing_is_likely(endpoint):
    with pytest.raises(pound.ConfigError) as caught:
        pound.Client(endpoint)
    assert "did you mean" not in str(caught.value)


def test_what_only_a_broker_may_give_is_refused():
    for endpoint, words in (("tcp://*:5555", "for a broker to bind"), ("tcp://h:*", "real port")):
        with pytest.raises(pound.ConfigError, match=words):
            pound.Client(endpoint)


def test_a_worker_whose_services_come_first_is_told_the_order():
    with pytest.raises(pound.ConfigError, match="where the broker listens, then"):
        pound.Worker({"echo": bytes})


def test_half_a_character_is_refused_and_bytes_of_a_command_line_are_kept(client, broker):
    with pytest.raises(ValueError, match="no valid Unicode"):
        client.submit("\ud800", b"")
    client.submit(b"\xff".decode(errors="surrogateescape"), b"")
    assert broker.expect(REQUEST).service == b"\xff"


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://host:1",
        "tcp://[::1]:65535",
        "tcp://[fe80::1%eth0]:1",
        "tcp://eth0;10.0.0.1:7",
        "ipc:///a/b:99999",
        "inproc://name:99999",
    ],
)
def test_endpoints_of_any_transport_are_taken(endpoint):
    assert check_endpoints(endpoint) == (endpoint,)


@pytest.mark.parametrize(
    "settings", [{"overflow": "drop"}, {"heartbeat": 0}, {"liveness": 0}, {"label": "x" * 65}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError):  # noqa: PT011 - each message names its own setting
        pound.Client(**settings)


@pytest.mark.parametrize("client", [pound.Client, pound.aio.Client])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heartbeat": "1"}, "^heartbeat is a positive number of seconds, not '1'"),
        ({"heartbeat": None}, "^heartbeat is a positive number of seconds, not None"),
        ({"liveness": 1.5}, "^liveness is a whole number, 1 or more, not 1.5"),
        ({"liveness": "5"}, "^liveness is a whole number, 1 or more, not '5'"),
        ({"label": 5}, "^label is a str or None, not 5"),
        ({"label": b"me"}, "^label is a str or None, not b'me'"),
        ({"context": 5}, "^context is a zmq.Context or None, not 5"),
    ],
)
def test_settings_of_the_wrong_type_are_refused_by_name(client, settings, words):
    with pytest.raises(TypeError, match=words):
        client(**settings)


@pytest.mark.parametrize("settings", [{"heartbeat": 10**400}, {"liveness": 2**70}])
def test_rates_have_no_upper_limit(make_client, settings):
    make_client(endpoints="tcp://127.0.0.1:1", **settings)
