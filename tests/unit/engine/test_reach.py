"""Why an endpoint is not reached, for each transport and each way to fail."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

from pound._engine.reach import addresses_of, troubles_of


def reason_of(endpoint: str, answers: bool = False, own_context: bool = False) -> str:
    (trouble,) = troubles_of([endpoint], answers, own_context, False)
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
            (trouble,) = troubles_of([endpoint], answers, False, False)
            assert words in trouble.reason
            assert not trouble.certain


@pytest.mark.parametrize("has_key", [False, True])
@pytest.mark.parametrize("curve", [False, True])
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_greeting_says_whether_keys_are_wanted(
    context: zmq.Context[Any], tmp_path: Path, transport: str, curve: bool, has_key: bool
) -> None:
    with context.socket(zmq.ROUTER) as router:
        router.curve_server = curve
        if curve:
            router.curve_secretkey = zmq.curve_keypair()[1]
        router.bind("tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/it")
        endpoint = router.last_endpoint.decode()
        (trouble,) = troubles_of([endpoint], False, False, has_key)
    assert trouble.foreign == (curve != has_key)
    if trouble.foreign:
        assert ("without a key" if curve else "without keys") in trouble.reason
    else:
        assert "no broker of Pound" in trouble.reason  # it does speak ZeroMQ


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 400 Bad Request\r\n" * 9, b"\xff" + bytes(8) + b"\x7f\x01" + bytes(53)],
    ids=["nothing", "HTTP", "an old version"],
)
def test_what_is_no_greeting_says_nothing(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(said)

        answering = threading.Thread(target=answer)
        answering.start()
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        (trouble,) = troubles_of([endpoint], False, False, False)
        answering.join()
    assert not trouble.foreign
    assert trouble.has_room is (None if said else False)
    assert ("nobody speaks ZeroMQ" if said else "without room for more") in trouble.reason


@pytest.mark.parametrize("has_key", [False, True])
def test_who_stays_while_it_says_nothing_was_given_room(
    context: zmq.Context[Any], has_key: bool
) -> None:
    with context.socket(zmq.ROUTER) as router:
        router.curve_server = has_key
        if has_key:
            router.curve_secretkey = zmq.curve_keypair()[1]
        router.bind("tcp://127.0.0.1:*")
        (trouble,) = troubles_of([router.last_endpoint.decode()], False, False, has_key)
    assert trouble.has_room
    assert "no broker of Pound" in trouble.reason


@pytest.mark.parametrize("greets", [False, True])
@pytest.mark.parametrize("resets", [False, True])
def test_who_is_cut_was_given_no_room(greets: bool, resets: bool) -> None:
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE".ljust(55, b"\0")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                if greets:
                    peer.sendall(greeting)
                    peer.recv(64)
                if resets:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + bytes(4))

        answering = threading.Thread(target=answer)
        answering.start()
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        (trouble,) = troubles_of([endpoint], False, False, True)
        answering.join()
    assert trouble.has_room is False
    assert "without room for more" in trouble.reason


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
