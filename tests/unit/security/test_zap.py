"""ZAP: who is let in, and that every request is answered in its form."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import probe
from tests.fuzz.guard import Guards

security = probe.load("security")
Reason, Role = security.Reason, security.Role

SALT = 0xDECAFBAD
NOW = 1_000_000
ALICE, RETIRED, EXPIRED, BOB, BUSY, NOBODY, STRANGER = (bytes([n]) * 32 for n in range(1, 8))
SERIALS = {ALICE: 1, EXPIRED: 2, BOB: 3, BUSY: security.SERIALS_MAX - 1, NOBODY: 5}
CURVE, PLAIN_TEXT, WORKERS = range(3)

BUDGET = settings(
    max_examples=int(os.environ.get("POUND_FUZZ_EXAMPLES", "1000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
guards = Guards()


def door() -> Any:
    """Three listeners, and keys of every kind."""
    table = security.Table(salt=SALT)
    table.grant(b"*")
    table.identity(0, b"alice", Role.CLIENT, 0)
    table.identity(1, b"bob", Role.WORKER | Role.CLIENT, 0, 3)
    table.identity(2, b"busy", Role.CLIENT, 0, 2)
    table.identity(3, b"nobody", Role(0), 0)
    table.connect(1, 2)
    table.connect(2, 2)
    table.key(ALICE, 0, SERIALS[ALICE])
    table.revoked(RETIRED, 0)
    table.key(EXPIRED, 0, SERIALS[EXPIRED], NOW)
    table.key(BOB, 1, SERIALS[BOB], NOW + 1)
    table.key(BUSY, 2, SERIALS[BUSY])
    table.key(NOBODY, 3, SERIALS[NOBODY])
    assert table.listener(curve=True, roles=Role.CLIENT | Role.WORKER) == CURVE
    assert table.listener(curve=False) == PLAIN_TEXT
    assert table.listener(curve=True, roles=Role.WORKER) == WORKERS
    return table


DOOR = door()


def request(listener: int, key: bytes | None = None) -> list[bytes]:
    """What libzmq asks."""
    mechanism = [b"NULL"] if key is None else [b"CURVE", key]
    return [b"1.0", b"1", b"pound/%d" % listener, b"127.0.0.1", b"", *mechanism]


def replaced(frames: list[bytes], at: int, frame: bytes) -> list[bytes]:
    return [*frames[:at], frame, *frames[at + 1 :]]


def judged(frames: list[bytes], now: int = NOW, table: Any = DOOR) -> tuple[int, Any]:
    """Return the verdict on a request, once its reply is known to be sound."""
    answer = table.ask(frames, now)
    check_reply(answer, frames)
    return answer.status, answer.reason


def check_reply(answer: Any, frames: list[bytes]) -> None:
    version, number, status, text, user, metadata = answer.frames
    assert version == b"1.0"
    sent_back = len(frames) > 1 and len(frames[1]) <= 255
    assert number == (bytes(frames[1]) if sent_back else b"")
    assert status == b"%d" % answer.status
    assert answer.status in (200, 400, 500)
    assert (answer.status == 200) == (answer.reason == Reason.GRANTED)
    assert text.decode() == security.reason_text(answer.reason)
    assert metadata == b""
    serial = SERIALS.get(answer.public, 0)
    proof = security.write_proof(SALT, answer.listener or 0, serial)
    assert user == (proof if answer.status == 200 else b"")


@pytest.mark.parametrize(
    ("listener", "key", "status", "reason"),
    [
        (CURVE, ALICE, 200, Reason.GRANTED),
        (CURVE, BOB, 200, Reason.GRANTED),
        (WORKERS, BOB, 200, Reason.GRANTED),
        (PLAIN_TEXT, None, 200, Reason.GRANTED),
        (CURVE, STRANGER, 400, Reason.KEY_UNKNOWN),
        (CURVE, RETIRED, 400, Reason.KEY_REVOKED),
        (CURVE, EXPIRED, 400, Reason.KEY_EXPIRED),
        (WORKERS, ALICE, 400, Reason.NO_ROLE),
        (CURVE, NOBODY, 400, Reason.NO_ROLE),
        (CURVE, BUSY, 500, Reason.CONNECTIONS),
        (CURVE, None, 400, Reason.BAD_MECHANISM),
        (PLAIN_TEXT, ALICE, 400, Reason.BAD_MECHANISM),
    ],
)
def test_who_is_let_in(listener: int, key: bytes | None, status: int, reason: Any) -> None:
    assert judged(request(listener, key)) == (status, reason)


def test_a_verdict_says_which_key_and_listener_it_is_about() -> None:
    answer = DOOR.ask(request(WORKERS, ALICE), NOW)
    assert (answer.listener, answer.public) == (WORKERS, ALICE)
    answer = DOOR.ask(request(CURVE, STRANGER), NOW)
    assert (answer.listener, answer.public) == (CURVE, None)
    assert DOOR.ask([], NOW).listener is None


def test_a_key_counts_until_its_end() -> None:
    assert judged(request(CURVE, BOB), NOW) == (200, Reason.GRANTED)
    assert judged(request(CURVE, BOB), NOW + 1) == (400, Reason.KEY_EXPIRED)
    assert judged(request(CURVE, EXPIRED), NOW - 1) == (200, Reason.GRANTED)


def test_an_identity_is_let_in_up_to_its_connections() -> None:
    table = door()
    for count, status in ((1, 200), (2, 500), (3, 500), (0, 200)):
        table.connect(2, count)
        assert judged(request(CURVE, BUSY), table=table)[0] == status
    table.connect(0, 2**32 - 1)
    assert judged(request(CURVE, ALICE), table=table)[0] == 200, "no limit"


def test_every_byte_of_a_key_counts() -> None:
    for at in range(32):
        for bit in range(8):
            bent = replaced_byte(ALICE, at, ALICE[at] ^ 1 << bit)
            assert judged(request(CURVE, bent)) == (400, Reason.KEY_UNKNOWN)


def replaced_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize("size", [0, 1, 31, 33, 40, 64, 1000])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    key = (ALICE * 40)[:size]
    assert judged(request(CURVE, key)) == (400, Reason.BAD_KEY)


@pytest.mark.parametrize(
    "domain",
    [
        *(b"", b"pound", b"pound/", b"pound/3", b"pound/00", b"pound/01", b"pound/0\0", b"Pound/0"),
        *(b"pound/x", b"pound/-1", b"pound/256", b"pound/4294967296", b"pound/0 ", b"xound/0"),
        *(b"global", b"pound/:", b"pound//", b"pound/99", b"pound/1x"),
    ],
)
def test_a_domain_that_is_none_of_ours_lets_nobody_in(domain: bytes) -> None:
    for frames in (request(CURVE, ALICE), request(PLAIN_TEXT)):
        assert judged(replaced(frames, 2, domain)) == (400, Reason.BAD_DOMAIN)


def test_listeners_of_two_digits_are_found() -> None:
    table = security.Table(salt=SALT)
    for _ in range(security.LISTENERS_MAX):
        table.listener(curve=False)
    for number in range(security.LISTENERS_MAX):
        answer = table.ask(request(number))
        assert (answer.status, answer.listener) == (200, number)
        assert security.read_proof(answer.frames[4]) == (SALT, number, 0)
    assert table.ask(request(security.LISTENERS_MAX)).reason == Reason.BAD_DOMAIN


@pytest.mark.parametrize("mechanism", [b"", b"CURV", b"curve", b"CURVE\0", b"PLAIN", b"GSSAPI"])
def test_a_mechanism_that_is_not_the_listeners_is_refused(mechanism: bytes) -> None:
    for frames in (request(CURVE, ALICE), request(PLAIN_TEXT)):
        assert judged(replaced(frames, 5, mechanism)) == (400, Reason.BAD_MECHANISM)


@pytest.mark.parametrize("version", [b"", b"1", b"1.1", b"1.00", b"2.0", b"1.0\0"])
def test_another_version_is_answered_and_refused(version: bytes) -> None:
    for frames in (request(CURVE, ALICE), request(PLAIN_TEXT)):
        assert judged(replaced(frames, 0, version)) == (500, Reason.BAD_FORM)


@pytest.mark.parametrize("count", range(41))
def test_a_request_of_another_number_of_frames_is_answered_and_refused(count: int) -> None:
    for frames in (request(CURVE, ALICE), request(PLAIN_TEXT)):
        if count != len(frames):
            other = (frames + [b"more"] * 40)[:count]
            assert judged(other) == (500, Reason.BAD_FORM)


@pytest.mark.parametrize("frames", [request(CURVE, ALICE), request(PLAIN_TEXT)])
def test_no_frame_may_be_missing(frames: list[bytes]) -> None:
    for at in range(len(frames)):
        assert judged(frames[:at] + frames[at + 1 :])[0] != 200


@pytest.mark.parametrize("size", [0, 1, 255, 256, 100_000])
def test_a_request_id_comes_back_unless_it_is_large(size: int) -> None:
    assert judged(replaced(request(CURVE, ALICE), 1, b"i" * size)) == (200, Reason.GRANTED)


def test_each_reason_has_a_text_of_its_own() -> None:
    texts = {security.reason_text(reason) for reason in Reason}
    assert len(texts) == len(Reason)
    assert all(texts)


# --- proofs


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, security.LISTENERS_MAX - 1),
    st.integers(0, security.SERIALS_MAX - 1),
)
@BUDGET
def test_a_proof_is_read_as_it_was_written(salt: int, listener: int, serial: int) -> None:
    text = security.write_proof(salt, listener, serial)
    assert text == b"%08x%08x" % (salt, listener << 27 | serial)
    assert security.read_proof(text) == (salt, listener, serial)


@pytest.mark.parametrize(
    "text",
    [b"", b"0" * 15, b"0" * 17, b"0" * 15 + b"A", b"0" * 15 + b"g", b"0x" + b"0" * 14, b" " * 16],
)
def test_what_is_no_proof_is_not_read(text: bytes) -> None:
    assert security.read_proof(text) is None


# --- any frames

LARGE = st.integers(0, 70_000).map(bytes)
ANY = st.one_of(
    st.binary(max_size=80),
    st.sampled_from([*request(CURVE, ALICE), *request(WORKERS, BOB), *request(PLAIN_TEXT)]),
    LARGE,
)
KEYS = st.one_of(
    st.sampled_from([*SERIALS, RETIRED, STRANGER]), st.binary(min_size=32, max_size=32)
)


@st.composite
def near(draw: Any) -> list[bytes]:
    """A request of libzmq with up to three frames changed, removed or added."""
    frames = request(draw(st.integers(0, 3)), draw(st.one_of(st.none(), KEYS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(frames)))
        how = draw(st.sampled_from(["change", "remove", "add"]))
        frames[at : at + (how != "add")] = [] if how == "remove" else [draw(ANY)]
    return frames


def allowed(frames: list[bytes], now: int) -> bool:
    """Whether a request may be granted, told as simply as possible."""
    if frames[0:1] != [b"1.0"]:
        return False
    if len(frames) == 6:
        return frames[2] == b"pound/1" and frames[5] == b"NULL"
    if len(frames) != 7 or frames[5] != b"CURVE":
        return False
    expires = {BOB: NOW + 1, EXPIRED: NOW}
    doors = {b"pound/0": (ALICE, BOB, EXPIRED), b"pound/2": (BOB,)}
    key = frames[6]
    return key in doors.get(frames[2], ()) and now < expires.get(key, 2**63)


@given(
    st.one_of(near(), st.lists(ANY, max_size=40)),
    st.sampled_from([NOW - 1, NOW, NOW + 1, 2**62]),
    st.booleans(),
)
@BUDGET
def test_any_frames_get_a_sound_reply_and_only_a_good_key_is_let_in(
    frames: list[bytes], now: int, at_end: bool
) -> None:
    answer = DOOR.ask(guards.copy(frames, at_end=at_end), now)
    check_reply(answer, frames)
    assert (answer.status == 200) == allowed(frames, now)


@pytest.mark.slow
def test_the_requests_that_are_drawn_reach_every_verdict() -> None:
    """A fuzzer whose input is always refused, or never, proves nothing."""
    seen = set()

    @given(near())
    @settings(max_examples=700, database=None, derandomize=True, deadline=None)
    def draw(frames: list[bytes]) -> None:
        seen.add(DOOR.ask(frames, NOW).reason)

    draw()
    assert seen == set(Reason)
