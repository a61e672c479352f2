"""Why an endpoint is not reached, for each transport and each way to fail."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pound._engine.reach import addresses_of, troubles_of


def reason_of(endpoint: str, answers: bool = False, own_context: bool = False) -> str:
    (trouble,) = troubles_of([endpoint], answers, own_context)
    assert trouble.sentence == f"{trouble.reason} ({endpoint})"
    return trouble.reason


def test_a_name_that_does_not_resolve() -> None:
    assert "the name 'nowhere.invalid' does not resolve" in reason_of("tcp://nowhere.invalid:1")


def test_nobody_listens() -> None:
    with socket.socket() as reserved:  # bound and not listening
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"localhost:{port}", f"127.0.0.1:0;127.0.0.1:{port}"):
            assert "connection refused" in reason_of(f"tcp://{address}")


def test_files(tmp_path: Path) -> None:
    assert "no such socket file" in reason_of(f"ipc://{tmp_path}/nobody")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "left"))
        assert "connection refused" in reason_of(f"ipc://{tmp_path}/left")
        listener.listen()
        assert "nobody speaks ZeroMQ" in reason_of(f"ipc://{tmp_path}/left")
    assert "path too long" in reason_of(f"ipc://{tmp_path}/{'x' * 200}")
    assert "connection refused" in reason_of("ipc://@pound-test-nobody")


def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", late)
    assert "did not answer within 2 s" in reason_of("tcp://127.0.0.1:1")


def test_whatever_listens_is_uncertain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        for answers, words in ((False, "nobody speaks ZeroMQ"), (True, "no broker of Pound")):
            (trouble,) = troubles_of([endpoint], answers, False)
            assert words in trouble.reason
            assert not trouble.certain


def test_addresses_of_a_name_that_has_several_of_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    four, six = (socket.AF_INET, ("10.0.0.1", 7)), (socket.AF_INET6, ("fe80::1", 7, 0, 0))
    other = (socket.AF_INET, ("10.0.0.2", 7))
    told = [four, six]

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert (host, port) == ("many", 7)
        return [(family, 1, 6, "", end) for family, end in told]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert addresses_of("tcp://many:7") == []  # libzmq tries both
    told.append(other)
    assert addresses_of("tcp://many:7") == [
        "tcp://10.0.0.1:7",
        "tcp://[fe80::1]:7",
        "tcp://10.0.0.2:7",
    ]
    assert addresses_of("tcp://eth0;many:7")[2] == "tcp://eth0;10.0.0.2:7"
    assert addresses_of("ipc://many:7") == addresses_of("inproc://many") == []


@pytest.mark.parametrize(
    "address", ["10.0.0.1:7", "[fe80::1]:7", "[fe80::1%eth0]:7", "eth0;10.0.0.1:7", "*:7"]
)
def test_an_address_is_not_resolved(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: asked.append(given) or [])
    assert addresses_of(f"tcp://{address}") == asked == []
    assert addresses_of("tcp://name:7") == []
    assert len(asked) == 1


def test_inproc() -> None:
    assert "give it as context" in reason_of("inproc://x", own_context=True)
    assert "no broker of this zmq.Context" in reason_of("inproc://x")
