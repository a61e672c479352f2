"""Broken input that looks nearly right: changes of sound messages, by a seed.

Random bytes end at the first check. These changes keep most of a message and bend one thing after
another: a number to a value at a border, a cut, a copy, a record from elsewhere.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable

from tests import vectors

Frames = list[bytes]

BORDERS_8 = (0, 1, 2, 4, 7, 8, 9, 12, 13, 15, 16, 127, 128, 255)
BORDERS_16 = (0, 1, 2, 255, 256, 65534, 65535)
BORDERS_32 = (0, 1, 15, 16, 17, 255, 65535, 65536, 2**29, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)

SOUND, BROKEN = (
    [
        [bytes.fromhex(frame) for frame in vector["frames"]]
        for vector in json.loads(vectors.FILE.read_text())[group]
    ]
    for group in ("sound", "broken")
)

_TOKEN = b"00decafc0ffee123"
FOREIGN: list[Frames] = [
    [b"", b"one"],
    [b"proxy", b"", b"one", b"", b"two"],
    [b"all", b"body"],
    [b"", b"READY"],
    [b"\x01"],
    [b"HEARTBEAT"],
    [b"", _TOKEN, b"", b"x"],
    [_TOKEN, b"", b"x", b"y"],
    [b"", b"MDPC01", b"echo", b"x"],
    [b"MDPC02", b"\x01", b"echo", b"x"],
    [b"", b"MDPW01", b"\x01", b"echo"],
    [b"", b"MDPW01", b"\x03", _TOKEN, b"", b"x"],
    [b"", b"MDPW01", b"\x04"],
    [b"MDPW02", b"\x03", _TOKEN, b"", b"x"],
    [b"MDPW02", b"\x06"],
]


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, data: bytearray) -> None:
    code, borders = rng.choice((("<B", BORDERS_8), ("<H", BORDERS_16), ("<I", BORDERS_32)))
    size = struct.calcsize(code)
    if len(data) >= size:
        struct.pack_into(code, data, rng.randrange(len(data) - size + 1), rng.choice(borders))


def _near(rng: random.Random, data: bytearray) -> None:
    """Change a u32 by a little: sizes and lengths that are almost right."""
    if len(data) >= 4:
        offset = rng.randrange(len(data) - 3)
        (value,) = struct.unpack_from("<I", data, offset)
        struct.pack_into("<I", data, offset, (value + rng.choice((-4, -1, 1, 4))) % 2**32)


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 4, 8, 16))]


def _insert(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.choice((1, 2, 4, 8, 16)))


def _records(rng: random.Random, data: bytearray) -> None:
    """Put the records of a second packet behind those of the first and count them."""
    other = rng.choice(SOUND)[0]
    if len(data) >= 32:
        count = struct.unpack_from("<H", data, 4)[0] + struct.unpack_from("<H", other, 4)[0]
        data += other[32:]
        struct.pack_into("<H", data, 4, min(count, 65535))


def records_of(packet: bytes | bytearray) -> list[tuple[int, int]]:
    """Return offset and size of each record, as far as the sizes lead."""
    found, at = [], 32
    while at + 16 <= len(packet):
        size = int.from_bytes(packet[at : at + 4], "little")
        if not 16 <= size <= len(packet) - at:
            break
        found.append((at, size))
        at += size
    return found


def _shrink(rng: random.Random, data: bytearray) -> None:
    """Shorten a record and its size, so that its head or parts no longer fit into it."""
    records = records_of(data)
    if records:
        at, size = rng.choice(records)
        less = rng.randint(0, size - 16)
        del data[at + size - less : at + size]
        struct.pack_into("<I", data, at, size - less)


BYTES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip,
    _number,
    _near,
    _cut,
    _remove,
    _insert,
    _records,
    _shrink,
)


def _frames(rng: random.Random, frames: Frames) -> None:
    """Remove, repeat, swap, split or add a frame."""
    i = rng.randrange(len(frames))
    what = rng.randrange(5)
    if what == 0:
        del frames[i]
    elif what == 1:
        frames.insert(i, frames[i])
    elif what == 2:
        j = rng.randrange(len(frames))
        frames[i], frames[j] = frames[j], frames[i]
    elif what == 3:
        cut = rng.randrange(len(frames[i]) + 1)
        frames[i : i + 1] = [frames[i][:cut], frames[i][cut:]]
    else:
        frames.insert(i, rng.choice((b"", b"\x01", _TOKEN, b"MDPW01", b"MDPC02", b"x")))


def mutated(rng: random.Random, frames: Frames) -> Frames:
    """Return a changed copy, one to four changes away."""
    changed = list(frames)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        if rng.random() < 0.2:
            _frames(rng, changed)
            continue
        i = 0 if rng.random() < 0.8 else rng.randrange(len(changed))
        data = bytearray(changed[i])
        rng.choice(BYTES)(rng, data)
        changed[i] = bytes(data)
    return changed
