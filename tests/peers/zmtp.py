"""ZMTP 3.0 with the NULL mechanism over a plain TCP socket (RFC 23): what libzmq refuses to send.

It can choose any identity, stop anywhere, and write any bytes. It reads no more than it must.
"""

from __future__ import annotations

import socket
import struct
from urllib.parse import urlsplit

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4


def dial(url: str) -> socket.socket:
    """Open a TCP connection to a ``tcp://`` endpoint; reads and writes wait 10 s at most."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)


def frame(body: bytes, flags: int = 0) -> bytes:
    if len(body) > 255:
        return struct.pack(">BQ", flags | LONG, len(body)) + body
    return struct.pack(">BB", flags, len(body)) + body


def message(frames: list[bytes]) -> bytes:
    last = len(frames) - 1
    return b"".join(frame(f, MORE if i < last else 0) for i, f in enumerate(frames))


def prop(name: bytes, value: bytes) -> bytes:
    return struct.pack(">B", len(name)) + name + struct.pack(">I", len(value)) + value


def ready(kind: bytes, identity: bytes) -> bytes:
    properties = prop(b"Socket-Type", kind) + prop(b"Identity", identity)
    return frame(b"\x05READY" + properties, COMMAND)


def exactly(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes; raises EOFError if the other end closes before."""
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise EOFError("the other end closed the connection")
        data += chunk
    return data


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """Read a frame: its flags, and its body."""
    (flags,) = exactly(connection, 1)
    long = flags & LONG
    (size,) = struct.unpack(">Q" if long else ">B", exactly(connection, 8 if long else 1))
    return flags, exactly(connection, size)


class Connection:
    """A handshaken connection as a DEALER (or `kind`) under `identity`."""

    def __init__(self, url: str, *, kind: bytes = b"DEALER", identity: bytes = b"") -> None:
        self.socket = dial(url)
        self.socket.sendall(GREETING)
        exactly(self.socket, len(GREETING))
        self.socket.sendall(ready(kind, identity))
        self.read_frame()

    def read_frame(self) -> tuple[int, bytes]:
        return read_frame(self.socket)

    def recv(self) -> list[bytes]:
        """Give the next message; commands (PING) are skipped."""
        frames: list[bytes] = []
        while True:
            flags, body = self.read_frame()
            if flags & COMMAND:
                continue
            frames.append(body)
            if not flags & MORE:
                return frames

    def send(self, frames: list[bytes]) -> None:
        self.socket.sendall(message(frames))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
