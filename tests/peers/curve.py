"""ZMTP 3.1 with CURVE (RFC 26) over a plain TCP socket: what libzmq refuses to send, with a key.

The cryptography is that of the libsodium which pyzmq brings along.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from pound.security.curve import Pair
from tests.peers.zmtp import COMMAND, MORE, dial, exactly, frame, prop, read_frame

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
MAC = 16


def _sodium() -> Any:
    """Return libsodium; skip the test where there is none."""
    folder = Path(zmq.__file__).parent.parent / "pyzmq.libs"
    found = [str(path) for path in folder.glob("libsodium*")]
    path = found[0] if found else ctypes.util.find_library("sodium")
    if path is None:
        pytest.skip("there is no libsodium")
    return ctypes.CDLL(path)


class CurveConnection:
    """A connection whose peer has a key; it stops wherever the test wants it to.

    Parameters
    ----------
    url : str
    pair : Pair
    broker : str
        The broker's public key.
    """

    def __init__(self, url: str, pair: Pair, broker: str) -> None:
        self._sodium = _sodium()
        self._public, self._secret = z85.decode(pair.public), z85.decode(pair.secret)
        self._broker = z85.decode(broker)
        self._nonce = 0
        short, own = zmq.curve_keypair()
        self._short, self._short_secret = z85.decode(short), z85.decode(own)
        self.socket = dial(url)
        self.socket.sendall(GREETING)
        exactly(self.socket, len(GREETING))

    def hello(self) -> None:
        """Say HELLO, and read WELCOME: the handshake's first half, without a key of one's own."""
        box = self._box(bytes(64), b"CurveZMQHELLO---" + self._next(), self._broker)
        body = b"\x05HELLO\x01\x00" + bytes(72) + self._short + self._last() + box
        self.socket.sendall(frame(body, COMMAND))
        _, welcome = read_frame(self.socket)
        nonce, box = welcome[8:24], welcome[24:]
        opened = self._open(box, b"WELCOME-" + nonce, self._broker)
        self._server, self._cookie = opened[:32], opened[32:]

    def initiate(self, kind: bytes = b"DEALER") -> None:
        """Prove the key, and read READY, or raise EOFError."""
        vouch_nonce = os.urandom(16)
        vouch = self._box(
            self._short + self._broker, b"VOUCH---" + vouch_nonce, self._server, self._secret
        )
        content = self._public + vouch_nonce + vouch
        content += prop(b"Socket-Type", kind) + prop(b"Identity", b"")
        box = self._box(content, b"CurveZMQINITIATE" + self._next(), self._server)
        self.socket.sendall(frame(b"\x08INITIATE" + self._cookie + self._last() + box, COMMAND))
        self._shared = ctypes.create_string_buffer(32)
        self._sodium.crypto_box_beforenm(self._shared, self._server, self._short_secret)
        _, answer = read_frame(self.socket)
        if not answer.startswith(b"\x05READY"):
            raise EOFError(f"the broker says {answer!r}")

    def send(self, frames: Sequence[bytes], *, ends: bool = True) -> None:
        """Send frames; unless the message `ends`, more of it are announced."""
        last = len(frames) - 1 if ends else -1
        self.socket.sendall(
            b"".join(self._message(part, number != last) for number, part in enumerate(frames))
        )

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> CurveConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _message(self, part: bytes, more: bool) -> bytes:
        flags = struct.pack(">B", MORE if more else 0)
        sealed = ctypes.create_string_buffer(len(part) + 1 + MAC)
        nonce = b"CurveZMQMESSAGEC" + self._next()
        size = ctypes.c_ulonglong(len(part) + 1)
        assert not self._sodium.crypto_box_easy_afternm(
            sealed, flags + part, size, nonce, self._shared
        )
        return frame(b"\x07MESSAGE" + self._last() + sealed.raw)

    def _next(self) -> bytes:
        self._nonce += 1
        return self._last()

    def _last(self) -> bytes:
        return struct.pack(">Q", self._nonce)

    def _box(self, content: bytes, nonce: bytes, to: bytes, secret: bytes | None = None) -> bytes:
        sealed = ctypes.create_string_buffer(len(content) + MAC)
        secret = secret or self._short_secret
        size = ctypes.c_ulonglong(len(content))
        assert not self._sodium.crypto_box_easy(sealed, content, size, nonce, to, secret)
        return sealed.raw

    def _open(self, box: bytes, nonce: bytes, sender: bytes) -> bytes:
        content = ctypes.create_string_buffer(len(box) - MAC)
        size = ctypes.c_ulonglong(len(box))
        secret = self._short_secret
        assert not self._sodium.crypto_box_open_easy(content, box, size, nonce, sender, secret)
        return content.raw
