"""Recognition of the foreign dialects: every form of each, and each malformed one.

Frames are written here as the Guide and RFC 6, 7 and 18 print them, without the routing id.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import probe

dialects = probe.load("dialects")
Bad, Dialect, Said = dialects.Bad, dialects.Dialect, dialects.Said
Side, Head = dialects.Side, dialects.Head
head, read = dialects.head, dialects.read

TOKEN = 0x00DECAFC0FFEE123
HEX = b"00decafc0ffee123"
FRONTEND, BACKEND = Side.FRONTEND, Side.BACKEND
BOTH = (FRONTEND, BACKEND)
BODY = [b"first", b"", b"third"]

MDP1_READY, MDP1_REQUEST, MDP1_REPLY, MDP1_HEARTBEAT, MDP1_DISCONNECT = (
    bytes([n]) for n in range(1, 6)
)
MDP2_READY, MDP2_REQUEST, MDP2_PARTIAL, MDP2_FINAL, MDP2_HEARTBEAT, MDP2_DISCONNECT = (
    bytes([n]) for n in range(1, 7)
)
C1, W1, C2, W2 = b"MDPC01", b"MDPW01", b"MDPC02", b"MDPW02"


def is_said(frames: list[bytes], side: Side, **expected: Any) -> None:
    """The message says what is expected, and nothing else is set."""
    silent = {
        "said": Said.BAD, "dialect": Dialect.NONE, "error": Bad.NONE, "token": None,
        "delimited": False, "text": False, "worker": False, "worker_numbers": False, "service": b"",
        "envelope": 0, "body": 0, "parts": 0,
    }  # fmt: skip
    message = read(frames, side)
    found = {name: getattr(message, name) for name in silent}
    assert found == silent | expected


# --- PND ---


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("frame", [b"PND\x01" + bytes(28), b"PND\x02", b"PND"])
def test_a_packet_is_handed_on(side: Side, frame: bytes) -> None:
    is_said([frame], side, said=Said.PACKET, dialect=Dialect.PND)
    is_said([frame, b"", C1], side, said=Said.PACKET, dialect=Dialect.PND)


# --- plain clients ---


@pytest.mark.parametrize(
    ("envelope", "body"),
    [
        ([b""], [b"one"]),
        ([b""], [b""]),
        ([b""], BODY),
        ([b""], [b"READY"]),
        ([b""], [b"\x01"]),
        ([b"proxy", b""], [b"one"]),
        ([b"a", b"b", b"c", b""], BODY),
        ([HEX, b""], [b"one"]),
        ([b""], [HEX, b"", b"body"]),
        ([b""], [b"PND\x01"]),
        ([b""], [b"MDPCxx", b"x", b"y"]),
        ([b""], [b"MDPC001", b"x", b"y"]),
        ([b""], [b"MDPC0", b"x", b"y"]),
        ([b""], [b"MDPX01", b"x", b"y"]),
        ([b""], [b"", C1, b"echo", b"x"]),
    ],
)
def test_a_plain_client_asks_behind_its_envelope(envelope: list[bytes], body: list[bytes]) -> None:
    is_said(
        envelope + body, FRONTEND, said=Said.REQUEST, dialect=Dialect.PLAIN,
        envelope=len(envelope), body=len(envelope), parts=len(body),
    )  # fmt: skip


@pytest.mark.parametrize("body", [[b"one"], [b"a", b"b"], [b"\x01"], [b"READY"], [b"\x02"], [HEX]])
def test_without_an_empty_frame_all_is_body(body: list[bytes]) -> None:
    is_said(body, FRONTEND, said=Said.REQUEST, dialect=Dialect.BARE, parts=len(body))


@pytest.mark.parametrize("frames", [[b""], [b"a", b""], [b"a", b"b", b""]])
def test_a_plain_request_without_a_body_is_bad(frames: list[bytes]) -> None:
    message = read(frames, FRONTEND)
    assert (message.said, message.error) == (Said.BAD, Bad.FRAMES)
    assert message.dialect == Dialect.PLAIN


@pytest.mark.parametrize("side", BOTH)
def test_no_frame_is_bad(side: Side) -> None:
    is_said([], side, error=Bad.FRAMES)


# --- plain and PPP workers ---


@pytest.mark.parametrize("word", [b"READY", b"\x01"])
def test_a_plain_worker_is_ready(word: bytes) -> None:
    is_said([b"", word], BACKEND, said=Said.READY, dialect=Dialect.PLAIN)


@pytest.mark.parametrize("body", [[b"x"], [b""], BODY, [W1], [W1, b"\x05"], [b"PND"], [b"\x01"]])
def test_a_plain_worker_answers(body: list[bytes]) -> None:
    is_said(
        [b"", HEX, b"", *body], BACKEND, said=Said.ANSWER, dialect=Dialect.PLAIN,
        token=TOKEN, body=3, parts=len(body),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "said", "text"),
    [
        (b"\x01", Said.READY, False),
        (b"READY", Said.READY, True),
        (b"\x02", Said.HEARTBEAT, False),
        (b"HEARTBEAT", Said.HEARTBEAT, True),
    ],
)
def test_a_ppp_worker_signals(frame: bytes, said: Said, text: bool) -> None:
    is_said([frame], BACKEND, said=said, dialect=Dialect.PPP, text=text)


@pytest.mark.parametrize("body", [[b"x"], [b""], BODY, [b"READY"], [b"\x02"]])
def test_a_ppp_worker_answers(body: list[bytes]) -> None:
    is_said(
        [HEX, b"", *body], BACKEND, said=Said.ANSWER, dialect=Dialect.PPP,
        token=TOKEN, body=2, parts=len(body),
    )  # fmt: skip


@pytest.mark.parametrize("name", [C1, W1, C2, W2])
def test_an_echoed_body_is_never_taken_for_mdp(name: bytes) -> None:
    """A client that sends "MDPW01", 5 to an echoing PPP worker must not disconnect it."""
    is_said(
        [HEX, b"", name, b"\x05"], BACKEND, said=Said.ANSWER, dialect=Dialect.PPP,
        token=TOKEN, body=2, parts=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "error", "dialect"),
    [
        ([b""], Bad.FRAMES, Dialect.NONE),
        ([b"\x03"], Bad.COMMAND, Dialect.NONE),
        ([b"\x00"], Bad.COMMAND, Dialect.NONE),
        ([b"ready"], Bad.COMMAND, Dialect.NONE),
        ([b"READY "], Bad.COMMAND, Dialect.NONE),
        ([b"HEARTBEA"], Bad.COMMAND, Dialect.NONE),
        ([b"\x01\x01"], Bad.COMMAND, Dialect.NONE),
        ([b"", b""], Bad.COMMAND, Dialect.PLAIN),
        ([b"", b"\x02"], Bad.COMMAND, Dialect.PLAIN),
        ([b"", b"HEARTBEAT"], Bad.COMMAND, Dialect.PLAIN),
        ([b"", HEX], Bad.FRAMES, Dialect.PLAIN),
        ([b"", HEX, b""], Bad.FRAMES, Dialect.PLAIN),
        ([b"", b"address", b"x"], Bad.EMPTY, Dialect.PLAIN),
        ([b"", b"address", b"x", b"y"], Bad.EMPTY, Dialect.PLAIN),
        ([b"", b"READY", b"x"], Bad.EMPTY, Dialect.PLAIN),
        ([HEX], Bad.FRAMES, Dialect.PPP),
        ([HEX, b""], Bad.FRAMES, Dialect.PPP),
        ([b"address", b"x"], Bad.EMPTY, Dialect.PPP),
        ([b"address", b"x", b""], Bad.EMPTY, Dialect.PPP),
        ([b"\x01", b"x"], Bad.EMPTY, Dialect.PPP),
    ],
)
def test_a_malformed_worker_message_is_bad(
    frames: list[bytes], error: Bad, dialect: Dialect
) -> None:
    message = read(frames, BACKEND)
    assert (message.said, message.error, message.dialect) == (Said.BAD, error, dialect)


@pytest.mark.parametrize("frames", [[b"", HEX], [b"", HEX, b""], [HEX], [HEX, b""]])
def test_a_bad_answer_still_tells_whose_it_is(frames: list[bytes]) -> None:
    message = read(frames, BACKEND)
    assert (message.said, message.error, message.token) == (Said.BAD, Bad.FRAMES, TOKEN)


@pytest.mark.parametrize("body", [[b"x"], BODY, [b"x", b"", C1, b"echo", b"y"], [W1, b"\x05"]])
@pytest.mark.parametrize(
    ("before", "dialect"),
    [
        ([], Dialect.PPP),
        ([b""], Dialect.PLAIN),
        ([b"", W1, MDP1_REPLY], Dialect.MDP1),
        ([W2, MDP2_FINAL], Dialect.MDP2),
        ([b"", W2, MDP2_FINAL], Dialect.MDP2),
    ],
)
def test_an_answer_may_lack_the_empty_frame(
    before: list[bytes], dialect: Dialect, body: list[bytes]
) -> None:
    message = read([*before, HEX, *body], BACKEND)
    assert (message.said, message.dialect, message.token) == (Said.ANSWER, dialect, TOKEN)
    assert (message.body, message.parts) == (len(before) + 1, len(body))


# --- tokens ---

SOUND = [
    (b"0" * 16, 0),
    (b"f" * 16, 2**64 - 1),
    (b"F" * 16, 2**64 - 1),
    (b"0123456789abcdef", 0x0123456789ABCDEF),
    (b"0123456789ABCDEF", 0x0123456789ABCDEF),
    (b"0" * 16 + b"0123456789abcdef", 0x0123456789ABCDEF),
    (b"0" + b"f" * 16, 2**64 - 1),
    (b"0" * 32, 0),
]
UNSOUND = [
    b"0" * 15,
    b"0" * 33,
    b"1" + b"0" * 16,
    b"f" * 32,
    b"0123456789abcdeg",
    b"0123456789abcde/",
    b"0123456789abcde:",
    b"0123456789abcde@",
    b"0123456789abcdeG",
    b"0123456789abcde`",
    b"0123456789abcde\x00",
    b"0x23456789abcdef",
    b" 123456789abcdef",
    b"\xff" * 16,
    b"client",
]
ANSWERS = [
    (Dialect.PLAIN, [b""], [b"", b"x"]),
    (Dialect.PPP, [], [b"", b"x"]),
    (Dialect.MDP1, [b"", W1, MDP1_REPLY], [b"", b"x"]),
    (Dialect.MDP2, [W2, MDP2_FINAL], [b"", b"x"]),
    (Dialect.MDP2, [b"", W2, MDP2_FINAL], [b"", b"x"]),
]


@pytest.mark.parametrize(("dialect", "before", "after"), ANSWERS)
@pytest.mark.parametrize(("address", "token"), SOUND)
def test_a_sound_token_is_read(
    dialect: Dialect, before: list[bytes], after: list[bytes], address: bytes, token: int
) -> None:
    message = read([*before, address, *after], BACKEND)
    assert (message.said, message.dialect, message.token) == (Said.ANSWER, dialect, token)


@pytest.mark.parametrize(("dialect", "before", "after"), ANSWERS)
@pytest.mark.parametrize("address", UNSOUND)
def test_another_address_leaves_an_answer_without_a_token(
    dialect: Dialect, before: list[bytes], after: list[bytes], address: bytes
) -> None:
    message = read([*before, address, *after], BACKEND)
    assert (message.said, message.dialect, message.token) == (Said.ANSWER, dialect, None)
    assert message.parts == 1


def test_an_empty_address_has_no_token() -> None:
    message = read([b"", W1, MDP1_REPLY, b"", b"", b"x"], BACKEND)
    assert (message.said, message.token, message.parts) == (Said.ANSWER, None, 1)


# --- MDP clients, on either socket ---


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("body", [[b"x"], [b""], BODY])
@pytest.mark.parametrize("envelope", [[], [b""], [b"proxy", b""], [b"a", b"b", b""]])
@pytest.mark.parametrize(
    ("dialect", "command"), [(Dialect.MDP1, [C1]), (Dialect.MDP2, [C2, b"\x01"])]
)
def test_an_mdp_client_asks(
    side: Side, dialect: Dialect, command: list[bytes], envelope: list[bytes], body: list[bytes]
) -> None:
    frames = [*envelope, *command, b"echo", *body]
    is_said(
        frames, side, said=Said.REQUEST, dialect=dialect, delimited=bool(envelope),
        service=b"echo", envelope=len(envelope), body=len(frames) - len(body), parts=len(body),
    )  # fmt: skip


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("delimiter", [[], [b""]])
@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([C1], Bad.FRAMES),
        ([C1, b"", b"x"], Bad.SERVICE),
        ([C1, b"s" * 256, b"x"], Bad.SERVICE),
        ([C2], Bad.FRAMES),
        ([C2, b"\x01"], Bad.FRAMES),
        ([C2, b"\x01", b"", b"x"], Bad.SERVICE),
        ([C2, b"\x01", b"s" * 256, b"x"], Bad.SERVICE),
        ([C2, b"\x02"], Bad.FRAMES),
        ([C2, b"\x02", b"", b"x"], Bad.SERVICE),
        ([C2, b"\x03", b"echo", b"x"], Bad.ROLE),
        ([C2, b"\x00", b"echo", b"x"], Bad.COMMAND),
        ([C2, b"\x04", b"echo", b"x"], Bad.COMMAND),
        ([C2, b"\x01\x01", b"echo", b"x"], Bad.COMMAND),
        ([C2, b"", b"echo", b"x"], Bad.COMMAND),
        ([C2, b"echo", b"x"], Bad.COMMAND),
    ],
)
def test_a_malformed_mdp_request_is_bad(
    side: Side, delimiter: list[bytes], frames: list[bytes], error: Bad
) -> None:
    message = read(delimiter + frames, side)
    assert (message.said, message.error) == (Said.BAD, error)
    assert message.dialect == (Dialect.MDP1 if frames[0] == C1 else Dialect.MDP2)
    assert not message.worker


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize(
    ("dialect", "command"), [(Dialect.MDP1, [C1]), (Dialect.MDP2, [C2, b"\x01"])]
)
def test_an_mdp_request_may_lack_a_body(side: Side, dialect: Dialect, command: list[bytes]) -> None:
    """Only the broker's own services take it; which they are is not for this module to know."""
    is_said(
        [b"", *command, b"mmi.service"], side, said=Said.REQUEST, dialect=dialect, delimited=True,
        service=b"mmi.service", envelope=1, body=len(command) + 2,
    )  # fmt: skip


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("envelope", [[], [b""], [b"proxy", b""]])
def test_an_mdp_2_client_may_number_as_workers_are(side: Side, envelope: list[bytes]) -> None:
    """As majortomo's does; it is answered in kind."""
    frames = [*envelope, C2, b"\x02", b"echo", b"x"]
    is_said(
        frames, side, said=Said.REQUEST, dialect=Dialect.MDP2, delimited=bool(envelope),
        worker_numbers=True, service=b"echo", envelope=len(envelope), body=len(frames) - 1, parts=1,
    )  # fmt: skip


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("envelope", [[], [b""], [b"proxy", b""]])
@pytest.mark.parametrize("name", [b"MDPC03", b"MDPW00", b"MDPC10", b"MDPW99"])
def test_another_version_of_mdp_is_bad(side: Side, envelope: list[bytes], name: bytes) -> None:
    message = read([*envelope, name, b"\x01", b"echo", b"x"], side)
    assert (message.said, message.error) == (Said.BAD, Bad.VERSION)
    assert message.service == name


@pytest.mark.parametrize("size", [1, 255])
def test_names_have_1_to_255_bytes(size: int) -> None:
    name = b"\xff" * size
    assert read([b"", C1, name, b"x"], FRONTEND).service == name
    assert read([b"", W1, MDP1_READY, name], FRONTEND).service == name


# --- MDP workers, on either socket ---


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("delimiter", [[], [b""]])
@pytest.mark.parametrize(
    ("frames", "dialect", "said"),
    [
        ([W1, MDP1_HEARTBEAT], Dialect.MDP1, Said.HEARTBEAT),
        ([W1, MDP1_DISCONNECT], Dialect.MDP1, Said.DISCONNECT),
        ([W2, MDP2_HEARTBEAT], Dialect.MDP2, Said.HEARTBEAT),
        ([W2, MDP2_DISCONNECT], Dialect.MDP2, Said.DISCONNECT),
    ],
)
def test_an_mdp_worker_signals(
    side: Side, delimiter: list[bytes], frames: list[bytes], dialect: Dialect, said: Said
) -> None:
    delimited = bool(delimiter)
    is_said(delimiter + frames, side, said=said, dialect=dialect, delimited=delimited, worker=True)


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("delimiter", [[], [b""]])
@pytest.mark.parametrize(("name", "dialect"), [(W1, Dialect.MDP1), (W2, Dialect.MDP2)])
def test_an_mdp_worker_is_ready(
    side: Side, delimiter: list[bytes], name: bytes, dialect: Dialect
) -> None:
    is_said(
        [*delimiter, name, b"\x01", b"echo"], side, said=Said.READY, dialect=dialect,
        delimited=bool(delimiter), worker=True, service=b"echo",
    )  # fmt: skip


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("delimiter", [[], [b""]])
@pytest.mark.parametrize("body", [[], [b"x"], [b""], BODY])
@pytest.mark.parametrize(
    ("command", "dialect", "said"),
    [
        ([W1, MDP1_REPLY], Dialect.MDP1, Said.ANSWER),
        ([W2, MDP2_PARTIAL], Dialect.MDP2, Said.PARTIAL),
        ([W2, MDP2_FINAL], Dialect.MDP2, Said.ANSWER),
    ],
)
def test_an_mdp_worker_answers(
    side: Side,
    delimiter: list[bytes],
    body: list[bytes],
    command: list[bytes],
    dialect: Dialect,
    said: Said,
) -> None:
    start = [*delimiter, *command, HEX, b""]
    is_said(
        start + body, side, said=said, dialect=dialect, delimited=bool(delimiter), worker=True,
        token=TOKEN, body=len(start), parts=len(body),
    )  # fmt: skip


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("delimiter", [[], [b""]])
@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([W1], Bad.FRAMES),
        ([W1, b"\x00"], Bad.COMMAND),
        ([W1, b""], Bad.COMMAND),
        ([W1, b"\x06"], Bad.COMMAND),
        ([W1, b"\xff"], Bad.COMMAND),
        ([W1, b"\x04\x04"], Bad.COMMAND),
        ([W1, b"READY", b"echo"], Bad.COMMAND),
        ([W1, MDP1_REQUEST, HEX, b"", b"x"], Bad.ROLE),
        ([W1, MDP1_READY], Bad.FRAMES),
        ([W1, MDP1_READY, b"a", b"b"], Bad.FRAMES),
        ([W1, MDP1_READY, b""], Bad.SERVICE),
        ([W1, MDP1_READY, b"s" * 256], Bad.SERVICE),
        ([W1, MDP1_HEARTBEAT, b"x"], Bad.FRAMES),
        ([W1, MDP1_DISCONNECT, b"x"], Bad.FRAMES),
        ([W1, MDP1_REPLY], Bad.FRAMES),
        ([W1, MDP1_REPLY, b"address"], Bad.FRAMES),
        ([W1, MDP1_REPLY, b"address", b"x"], Bad.EMPTY),
        ([W1, MDP1_REPLY, b"address", b"x", b""], Bad.EMPTY),
        ([W2], Bad.FRAMES),
        ([W2, b"\x00"], Bad.COMMAND),
        ([W2, b"\x07"], Bad.COMMAND),
        ([W2, MDP2_REQUEST, HEX, b"", b"x"], Bad.ROLE),
        ([W2, MDP2_READY], Bad.FRAMES),
        ([W2, MDP2_READY, b""], Bad.SERVICE),
        ([W2, MDP2_HEARTBEAT, b"x"], Bad.FRAMES),
        ([W2, MDP2_DISCONNECT, b"x"], Bad.FRAMES),
        ([W2, MDP2_PARTIAL], Bad.FRAMES),
        ([W2, MDP2_PARTIAL, b"address"], Bad.FRAMES),
        ([W2, MDP2_PARTIAL, b"address", b"x"], Bad.EMPTY),
        ([W2, MDP2_FINAL], Bad.FRAMES),
        ([W2, MDP2_FINAL, b"address"], Bad.FRAMES),
        ([W2, MDP2_FINAL, b"address", b"x"], Bad.EMPTY),
    ],
)
def test_a_malformed_mdp_worker_message_is_bad(
    side: Side, delimiter: list[bytes], frames: list[bytes], error: Bad
) -> None:
    message = read(delimiter + frames, side)
    assert (message.said, message.error) == (Said.BAD, error)
    assert message.dialect == (Dialect.MDP1 if frames[0] == W1 else Dialect.MDP2)
    assert message.worker


@pytest.mark.parametrize("side", BOTH)
@pytest.mark.parametrize("name", [W1, W2])
def test_an_mdp_worker_has_no_envelope(side: Side, name: bytes) -> None:
    for envelope in ([b"proxy", b""], [b"a", b"b", b""]):
        message = read([*envelope, name, b"\x01", b"echo"], side)
        assert (message.said, message.error) == (Said.BAD, Bad.ADDRESS)


def test_an_mdp_2_body_may_hold_an_empty_frame_and_a_protocol_name() -> None:
    message = read([C2, b"\x01", b"echo", b"", W1, b"\x05"], FRONTEND)
    assert (message.said, message.dialect, message.parts) == (Said.REQUEST, Dialect.MDP2, 3)


# --- heads ---

HEADS: list[tuple[Dialect, Head, dict[str, Any], list[bytes]]] = [
    (Dialect.PLAIN, Head.TASK, {}, [b"", HEX, b""]),
    (Dialect.PPP, Head.TASK, {}, [HEX, b""]),
    (Dialect.PPP, Head.HEARTBEAT, {}, [b"\x02"]),
    (Dialect.PPP, Head.HEARTBEAT, {"text": True}, [b"HEARTBEAT"]),
    (Dialect.MDP1, Head.TASK, {"delimited": True}, [b"", W1, b"\x02", HEX, b""]),
    (Dialect.MDP1, Head.TASK, {}, [W1, b"\x02", HEX, b""]),
    (Dialect.MDP1, Head.HEARTBEAT, {"delimited": True}, [b"", W1, b"\x04"]),
    (Dialect.MDP1, Head.DISCONNECT, {"delimited": True}, [b"", W1, b"\x05"]),
    (Dialect.MDP1, Head.DISCONNECT, {}, [W1, b"\x05"]),
    (Dialect.MDP1, Head.ANSWER, {"delimited": True}, [C1, b"echo"]),
    (Dialect.MDP1, Head.ANSWER, {}, [C1, b"echo"]),
    (Dialect.MDP2, Head.TASK, {}, [W2, b"\x02", HEX, b""]),
    (Dialect.MDP2, Head.TASK, {"delimited": True}, [b"", W2, b"\x02", HEX, b""]),
    (Dialect.MDP2, Head.HEARTBEAT, {}, [W2, b"\x05"]),
    (Dialect.MDP2, Head.DISCONNECT, {}, [W2, b"\x06"]),
    (Dialect.MDP2, Head.DISCONNECT, {"delimited": True}, [b"", W2, b"\x06"]),
    (Dialect.MDP2, Head.ANSWER, {}, [C2, b"\x03", b"echo"]),
    (Dialect.MDP2, Head.PARTIAL, {}, [C2, b"\x02", b"echo"]),
    (Dialect.MDP2, Head.ANSWER, {"worker_numbers": True}, [C2, b"\x04"]),
    (Dialect.MDP2, Head.PARTIAL, {"worker_numbers": True}, [C2, b"\x03"]),
]


@pytest.mark.parametrize(("dialect", "what", "how", "frames"), HEADS)
def test_a_head_is_as_the_dialect_writes_it(
    dialect: Dialect, what: Head, how: dict[str, Any], frames: list[bytes]
) -> None:
    assert head(dialect, what, token=TOKEN, service=b"echo", **how) == frames


def test_nothing_else_has_a_head() -> None:
    spoken = {(dialect, what) for dialect, what, _, _ in HEADS}
    for dialect in Dialect:
        for what in Head:
            if (dialect, what) not in spoken:
                assert head(dialect, what, token=TOKEN, service=b"echo") == []


@pytest.mark.parametrize("token", [0, 1, TOKEN, 2**63, 2**64 - 1])
@pytest.mark.parametrize(("before", "side"), [([b""], BACKEND), ([], BACKEND)])
def test_a_token_comes_back_as_it_went(token: int, before: list[bytes], side: Side) -> None:
    address = head(Dialect.PPP, Head.TASK, token=token)[0]
    assert address == b"%016x" % token
    assert read([*before, address, b"", b"x"], side).token == token


def test_the_words_are_numbered_as_the_stub_says() -> None:
    """The compiled enumerations and their stub are two lists; both are checked by name here."""
    assert [side.name for side in Side] == ["FRONTEND", "BACKEND"]
    assert len(Bad) == 8
    assert len(Said) == 8
    assert dialects.Message.__doc__
