"""What libzmq asks is judged, and what is answered is taken: its own handshakes, no broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import zmq
import zmq.utils.z85
from zmq.utils.monitor import recv_monitor_message

from tests.support import WAIT_S

ENFORCE_DOMAIN = 93  # ZMQ_ZAP_ENFORCE_DOMAIN
SALT, SERIAL = 77, 5
HANDSHAKES = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH

Pair = tuple[bytes, bytes]


class Door:
    """A ROUTER whose listeners ask ZAP; `serve` answers what is asked and reads what comes in."""

    def __init__(self, context: zmq.Context[Any], table: Any) -> None:
        self.table = table
        self.handler, self.router = context.socket(zmq.REP), context.socket(zmq.ROUTER)
        self.handler.bind("inproc://zeromq.zap.01")
        self.poller = zmq.Poller()
        for socket in (self.handler, self.router):
            socket.linger = 0
            self.poller.register(socket, zmq.POLLIN)

    def listen(self, pair: Pair | None, roles: int = 0) -> str:
        number = self.table.listener(pair is not None, roles)
        self.router.curve_server = pair is not None
        if pair is not None:
            self.router.curve_secretkey = pair[1]
        self.router.setsockopt(zmq.ZAP_DOMAIN, b"pound/%d" % number)
        self.router.setsockopt(ENFORCE_DOMAIN, 1)
        self.router.bind("tcp://127.0.0.1:*")
        return self.router.last_endpoint.decode()

    def serve(self, monitor: zmq.Socket[bytes]) -> tuple[int, list[zmq.Frame]]:
        """Serve until the peer's handshake has ended: its number, and its message, if one came."""
        self.poller.register(monitor, zmq.POLLIN)
        ended, message = None, []
        while ended is None or (ended == 0 and not message):
            ready = dict(self.poller.poll(WAIT_S * 1000))
            assert ready, "no handshake"
            if self.handler in ready:
                self.handler.send_multipart(self.table.ask(self.handler.recv_multipart()).frames)
            if self.router in ready:
                message = self.router.recv_multipart(copy=False)
            if monitor in ready:
                ended = recv_monitor_message(monitor)["value"]
        self.poller.unregister(monitor)
        return ended, message


@pytest.fixture
def door(security: Any, context: zmq.Context[Any]) -> Any:
    door = Door(context, security.Table(salt=SALT))
    yield door
    door.router.close()
    door.handler.close()


@pytest.fixture
def handshake(door: Door, context: zmq.Context[Any]) -> Any:
    """``handshake(endpoint, server, pair)``: how it ended, and the User-Id of a message."""

    def shake(endpoint: str, server: bytes = b"", pair: Pair | None = None) -> tuple[int, Any]:
        with (
            context.socket(zmq.DEALER) as peer,
            peer.get_monitor_socket(HANDSHAKES) as monitor,
        ):
            peer.linger = 0
            if pair is not None:
                peer.curve_serverkey = server
                peer.curve_publickey, peer.curve_secretkey = pair
            peer.connect(endpoint)
            peer.send(b"hello")
            ended, message = door.serve(monitor)
            peer.disable_monitor()
            return ended, message[0]["User-Id"] if message else None

    return shake


Shake = Callable[..., tuple[int, Any]]


def test_only_a_key_of_the_table_comes_in(security: Any, door: Door, handshake: Shake) -> None:
    server, good, other = (zmq.curve_keypair() for _ in range(3))
    door.table.grant()
    door.table.identity(0, b"alice", security.Role.CLIENT, 0, 1)
    door.table.key(zmq.utils.z85.decode(good[0]), 0, SERIAL)
    plain = door.listen(None)
    clients = door.listen(server, security.Role.CLIENT)
    workers = door.listen(server, security.Role.WORKER)
    proof = security.write_proof(SALT, 1, SERIAL).decode()
    assert handshake(clients, server[0], good) == (0, proof)
    assert handshake(clients, server[0], other) == (400, None)
    assert handshake(workers, server[0], good) == (400, None)
    assert handshake(plain) == (0, security.write_proof(SALT, 0, 0).decode())
    door.table.connect(0, 1)
    assert handshake(clients, server[0], good) == (500, None)
