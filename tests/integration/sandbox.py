"""Runs a command under a part of what a unit's sandbox forbids: ``sandbox.py UNIT COMMAND...``.

Sockets of families that ``RestrictAddressFamilies`` does not list fail with EAFNOSUPPORT, as they
do under systemd, and calls of chown with EPERM unless ``SystemCallFilter`` allows ``@chown`` after
it has forbidden ``@privileged``. By seccomp, of x86-64 Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import struct
import sys
from pathlib import Path

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # a word at an offset; jump if it is; the verdict
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in seccomp_data
ALLOW, FAIL = 0x7FFF0000, 0x00050000  # with an errno
SOCKET, CHOWN = 41, (92, 93, 94, 260)  # numbers of the calls
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2


def step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("HBBI", code, true, false, value)


def fail_unless(call: int, allowed: list[int], error: int) -> list[bytes]:
    """A call fails unless its first argument is one of those."""
    steps = [step(LOAD, FIRST_ARGUMENT)]
    for i, value in enumerate(allowed):
        steps.append(step(EQUAL, value, true=len(allowed) - i))
    steps.append(step(RETURN, FAIL | error))
    return [step(LOAD, NUMBER), step(EQUAL, call, false=len(steps)), *steps]


def filters(unit: str) -> list[bytes]:
    """The program of a unit's settings."""
    names = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.MULTILINE)[-1].split()
    # SOCK_* is another argument: the family stands alone in this one.
    program = fail_unless(SOCKET, [getattr(socket, name) for name in names], errno.EAFNOSUPPORT)
    calls = " ".join(re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE))
    if "@chown" not in calls.partition("~@privileged")[2]:
        for call in CHOWN:
            program += [step(LOAD, NUMBER), step(EQUAL, call, false=1)]
            program += [step(RETURN, FAIL | errno.EPERM)]
    return [*program, step(RETURN, ALLOW)]


def main() -> None:
    steps = filters(Path(sys.argv[1]).read_text())
    program = ctypes.create_string_buffer(b"".join(steps))
    fprog = struct.pack("HP", len(steps), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_SECCOMP, FILTER, fprog, 0, 0)):
        if libc.prctl(*words):
            raise OSError(ctypes.get_errno(), "prctl")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
