"""Fuzzing of the codec and of the recognition of dialects, bounded for every push.

For minutes on demand: ``python -m tests.fuzz --minutes 5``, or ``POUND_FUZZ_EXAMPLES=100000``.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import checks, mutations

EXAMPLES = int(os.environ.get("POUND_FUZZ_EXAMPLES", "1000"))  # of each test
BUDGET = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
SEEDS = st.integers(0, 2**64 - 1).map(random.Random)


def test_the_vectors_are_read_inside_their_frames() -> None:
    for frames in mutations.SOUND:
        assert checks.check_packet(frames) is not None
    for frames in mutations.BROKEN:
        assert checks.check_packet(frames) is None


@pytest.mark.parametrize("frames", mutations.SOUND)
def test_a_record_shortened_to_any_size_is_read_inside_its_frame(frames: list[bytes]) -> None:
    packet, *attached = frames
    at, size = mutations.records_of(packet)[-1]
    for smaller in range(16, size):
        shortened = bytearray(packet[: at + smaller])
        struct.pack_into("<I", shortened, at, smaller)
        checks.check_packet([bytes(shortened), *attached])


@given(SEEDS, st.sampled_from(mutations.SOUND))
@BUDGET
def test_a_bent_packet_is_read_inside_its_frames(rng: random.Random, frames: list[bytes]) -> None:
    checks.check_packet(mutations.mutated(rng, frames))


@given(st.binary(max_size=200), st.lists(st.binary(max_size=8), max_size=3))
@BUDGET
def test_any_bytes_after_the_magic_are_read_inside(data: bytes, attached: list[bytes]) -> None:
    checks.check_packet([b"PND\x01" + data, *attached])
    checks.check_packet([data, *attached])


@given(SEEDS, st.sampled_from(mutations.FOREIGN + mutations.SOUND))
@BUDGET
def test_a_bent_foreign_message_is_recognised_inside(
    rng: random.Random, frames: list[bytes]
) -> None:
    checks.check_dialect(mutations.mutated(rng, frames))


@given(st.lists(st.binary(max_size=40), max_size=8))
@BUDGET
def test_any_frames_are_recognised_inside(frames: list[bytes]) -> None:
    checks.check_dialect(frames)


def test_the_mutations_reach_past_the_first_check() -> None:
    """A fuzzer whose input is always refused, or never, proves nothing."""
    rng = random.Random(1)
    verdicts = [
        checks.check_packet(mutations.mutated(rng, rng.choice(mutations.SOUND))) is None
        for _ in range(2000)
    ]
    assert 200 < sum(verdicts) < 1800


def test_a_read_outside_a_frame_ends_the_process() -> None:
    """The guard pages are real: one byte further in either direction is fatal."""
    for place, step in (("end", "+ 4"), ("start", "- 1")):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import ctypes, faulthandler\n"
                "from tests.fuzz.guard import Guarded\n"
                f"view = Guarded().{place}(b'four')\n"
                "at = ctypes.addressof(ctypes.c_char.from_buffer(view))\n"
                "assert ctypes.string_at(at, 4) == b'four'\n"
                f"ctypes.string_at(at {step}, 1)\n",
            ],
            capture_output=True,
            check=False,
            timeout=60,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},  # its report is no finding
        )
        assert done.returncode < 0 or b"AddressSanitizer: SEGV" in done.stderr, done
