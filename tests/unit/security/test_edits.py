"""Changes of the peers' file as text: it then says what was meant, or nothing is changed."""

from __future__ import annotations

import copy
import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pound.errors import ConfigError
from pound.security import edits

UTC = datetime.timezone.utc
WHEN = datetime.datetime(2027, 1, 1, tzinfo=UTC)
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
NAMES = ("a", "worker-1", "b.c", "peers")
EXPIRIES = ("", "# ~", "expires = 2026-05-05 # ~", "expires=2026-05-05 01:02:03Z#~")
KEY_A, KEY_B = "[#" + "a" * 38, "]=" + "b" * 38

keys = st.text(Z85, min_size=40, max_size=40)
# Where a text has ~, which is no character of a key, a comment is put.
comments = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="~"), max_size=12
)
moments = st.datetimes(timezones=st.just(UTC))


@st.composite
def tables(draw: st.DrawFn, name: str) -> list[str]:
    """Draw the lines of a peer's table as a person may write them."""
    quote = draw(st.sampled_from(['"', "'"]))
    header = draw(st.sampled_from([f'[peers."{name}"]', f"[ peers . '{name}' ] # ~"]))
    lines = [
        f"key = {quote}{draw(keys)}{quote}{draw(st.sampled_from(['', ' # ~', '  #[~]']))}",
        draw(
            st.sampled_from(
                ['roles = ["worker"]', 'roles = [\n  "client", # ~\n  "worker",\n]  # ~']
            )
        ),
        draw(st.sampled_from(EXPIRIES)),
        draw(st.sampled_from(["", "note = '''\n[peers.x]\n'''", 'services = ["["]', "\t# [~]"])),
    ]
    return [header, *draw(st.permutations(lines)), *draw(st.sampled_from([[], [""], ["# ~", ""]]))]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[str], list[str]]:
    """Draw a file, its names and the comments between the tables."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    blocks = [draw(tables(name)) for name in names]
    if draw(st.booleans()):
        blocks.insert(
            draw(st.integers(0, len(blocks))), ["[revoked] # ~", f'"{draw(keys)}" = "x"', "# ~"]
        )
    lines, outside = [], []
    for number, block in enumerate(blocks):
        outside.append(f"#outside {number} {draw(comments)}")
        lines += [outside[-1], *block]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = re.sub("~", lambda _: draw(comments), "\n".join(lines)).replace("\n", end)
    return text + draw(st.sampled_from(["", end])), names, outside


def outcome(edit: Callable[[], str]) -> str | None:
    try:
        return edit()
    except ConfigError as error:
        if "edit it by hand" not in str(error):
            raise
        return None


def is_subsequence(lines: list[str], of: list[str]) -> bool:
    rest = iter(of)
    return all(line in rest for line in lines)


def stripped(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "#outside" in line]


@given(document=documents(), table=st.fixed_dictionaries(
    {"key": keys, "roles": st.just(["client"])},
    optional={"services": st.lists(st.text(st.characters(codec="utf-8"))), "expires": moments,
              "weight": st.integers(1, 9)},
))  # fmt: skip
def test_a_peer_is_added_and_every_line_stays(
    document: tuple[str, list[str], list[str]], table: dict[str, Any]
) -> None:
    text, _, outside = document
    expected = edits.parsed(text)
    after = edits.add(text, "new", table)
    expected.setdefault("peers", {})["new"] = table
    assert edits.parsed(after) == expected
    assert after.startswith(text.rstrip("\n"))
    assert stripped(after) == [line.strip() for line in outside]


@given(document=documents(), data=st.data())
def test_a_peer_is_revoked_and_what_stands_outside_its_table_stays(
    document: tuple[str, list[str], list[str]], data: st.DataObject
) -> None:
    text, names, outside = document
    if not names:
        return
    name = data.draw(st.sampled_from(names))
    before = edits.parsed(text)
    revoked = (before["peers"][name]["key"],)
    assume(revoked[0] not in before.get("revoked", {}))  # a keyring refuses such a file
    after = outcome(lambda: edits.revoke(text, name, revoked))
    if after is None:
        assert "'''" in text  # what looks like a table and is text
        return
    expected = copy.deepcopy(before)
    del expected["peers"][name]
    expected.setdefault("revoked", {})[revoked[0]] = name
    assert {"peers": {}} | edits.parsed(after) == expected
    assert stripped(after) == [line.strip() for line in outside]


@given(document=documents(), data=st.data(), key=keys, when=st.none() | moments)
def test_values_are_changed_and_every_comment_stays(
    document: tuple[str, list[str], list[str]],
    data: st.DataObject,
    key: str,
    when: datetime.datetime | None,
) -> None:
    text, names, _ = document
    if not names:
        return
    name = data.draw(st.sampled_from(names))
    expected = edits.parsed(text)
    values = {"key": key, "next_key": key, "expires": when}
    after = outcome(lambda: edits.change(text, name, values))
    if after is None:
        assert "'''" in text
        return
    peer = expected["peers"][name]
    peer.update({k: v for k, v in values.items() if v is not None})
    if when is None:
        peer.pop("expires", None)
    assert edits.parsed(after) == expected
    untouched = [line for line in text.split("\n") if not re.match(r"(key|expires) ?=", line)]
    assert is_subsequence(untouched[:-1], after.split("\n"))
    assert after.count("#") >= text.count("#") - sum(
        line.count("#") for line in text.split("\n") if re.match(r"key ?=", line)
    )


@example("[peers.a]\nkey = 'x' # one\n", "a")
@given(st.text("[]persa.\"'#=\n1 {}"), st.sampled_from(NAMES))
def test_no_text_is_changed_into_something_else(text: str, name: str) -> None:
    """Whatever a file looks like, it is edited rightly or refused."""
    try:
        before = edits.parsed(text)
        after = edits.change(text, name, {"key": "new"})
    except ConfigError:
        return
    before["peers"][name]["key"] = "new"
    assert edits.parsed(after) == before


@pytest.mark.parametrize(
    "text",
    [
        f'peers.a.key = "{KEY_A}"\n',
        f'[peers]\na = {{ key = "{KEY_A}" }}\n',
        f'[peers]\na.key = "{KEY_A}"\n',
        f'[peers."\\u0061"]\nkey = "{KEY_A}"\n',
        f"[peers.a]\nkey = '''{KEY_A}'''\n",
        f"x = '''\n[peers.a]\nkey = \"{KEY_A}\"\n'''\n[peers . 'a' ]\nkey = \"{KEY_A}\"\n",
    ],
)
def test_a_form_that_is_not_understood_is_left_alone(text: str) -> None:
    assert edits.parsed(text)["peers"]["a"]["key"] == KEY_A
    with pytest.raises(ConfigError, match="edit it by hand"):
        edits.change(text, "a", {"key": KEY_B})


def test_an_edit_reads_as_a_person_would_have_written_it() -> None:
    text = f'# ours\n\n[peers."a"]  # Ann\nkey = "{KEY_A}" # old\nroles = ["client"]\n\n# end\n'
    text = edits.add(text, "b", {"key": KEY_B, "roles": ["worker"], "expires": WHEN})
    text = edits.change(text, "a", {"key": KEY_A[::-1], "expires": WHEN})
    text = edits.change(text, "b", {"expires": None})
    assert text == (
        f'# ours\n\n[peers."a"]  # Ann\nkey = "{KEY_A[::-1]}" # old\nroles = ["client"]\n'
        "expires = 2027-01-01T00:00:00Z\n\n# end\n\n"
        f'[peers."b"]\nkey = "{KEY_B}"\nroles = ["worker"]\n'
    )
    text = edits.revoke(text, "a", (KEY_A,))
    text = edits.revoke(text, "b", (KEY_B,))
    assert text == f'# ours\n\n\n# end\n\n\n[revoked]\n"{KEY_A}" = "a"\n"{KEY_B}" = "b"\n'


def test_who_is_unknown_or_enrolled_already_is_refused() -> None:
    text = edits.add("", "a", {"key": KEY_A})
    with pytest.raises(ConfigError, match="enrolled already"):
        edits.add(text, "a", {"key": KEY_B})
    for edit in (
        lambda: edits.revoke(text, "b", (KEY_B,)),
        lambda: edits.change(text, "b", {"key": KEY_B}),
    ):
        with pytest.raises(ConfigError, match="no peer is called 'b'"):
            edit()
    with pytest.raises(ConfigError, match="not TOML"):
        edits.add("[", "a", {})


def test_the_last_peer_of_a_file_without_a_last_line_end_is_revoked() -> None:
    lines = ["[revoked]", f'"{KEY_A}" = "a"', "# b", '[peers."b"]', f'key = "{KEY_B}"']
    after = edits.revoke("\r\n".join(lines), "b", (KEY_B,))
    assert edits.parsed(after) == {"revoked": {KEY_A: "a", KEY_B: "b"}}
