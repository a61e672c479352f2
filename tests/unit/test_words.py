"""The pages use the words of the field: the list in HACKING.md says which not to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.unit.test_docs import PAGES, name_of, prose_of

SPAN = re.compile(r"`[^`]*`")


def private_words() -> list[str]:
    """Return the words of the list's right column."""
    section = (ROOT / "HACKING.md").read_text().partition("### English\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", section, re.MULTILINE)[1:]
    return [word.strip() for _, words in rows for word in words.split(",")]


def found(text: str) -> list[str]:
    """Return the private words of a text, code left out."""
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, private_words()))})\b", re.IGNORECASE)
    return pattern.findall(re.sub(r"\s+", " ", SPAN.sub("", text)))


def test_the_list_is_read() -> None:
    assert len(private_words()) > 15
    text = "It tells nobody.\n\nIt waits for\never; `strike` is code, tellers are people."
    assert found(text) == ["tells", "for ever"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_has_no_private_words(page: Path) -> None:
    prose = prose_of(page)
    if page.name == "HACKING.md":
        prose = re.sub(r"### English\n.*?\n## ", "", prose, flags=re.DOTALL)
    assert found(prose) == []
