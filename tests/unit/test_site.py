"""The documentation site: every page and every public name is on it, and Sphinx has no warning."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import pound
import pound.aio
from docs import site
from tests.support import ROOT, need

DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(?:class|exception|data|module):: (\S+)$", re.MULTILINE)
# Named in the page's text: the same classes as in pound.
SAME = {"pound.aio.Answer", "pound.aio.Partial"}


def test_the_api_page_has_every_public_name_once() -> None:
    page = (ROOT / "docs" / "api.rst").read_text()
    public = {f"pound.{name}" for name in pound.__all__}
    public |= {f"pound.aio.{name}" for name in pound.aio.__all__}
    assert sorted(DIRECTIVE.findall(page)) == sorted(public - SAME)
    for name in SAME:
        assert f"``{name}``" in page
        last = name.rpartition(".")[2]
        assert getattr(pound.aio, last) is getattr(pound, last)


def test_every_page_of_the_repository_is_on_the_site() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.md")}
    pages |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.[mr][ds]*")}
    assert pages <= set(site.pages())
    assert len(set(site.pages().values())) == len(site.pages())


def test_links_lead_to_the_site() -> None:
    files: set[str] = set()
    text = (
        "[a](docs/protocol.md#errors) [docs/dialects.md](docs/dialects.md) [c](examples/) "
        "[d](docs/protocol-vectors.json) [e](#here) [f](https://zeromq.org) [g](tests)\n"
        "```\n[h](HACKING.md)\n```\n"
    )
    assert site.relinked("README.md", text, files) == (
        "[a](protocol.md#errors) [](dialects.md) [c](examples.md) "
        "[d](files/docs/protocol-vectors.json) [e](#here) [f](https://zeromq.org) g\n"
        "```\n[h](HACKING.md)\n```\n"
    )
    assert files == {"docs/protocol-vectors.json"}
    assert site.relinked("docs/a.md", "[i](../HACKING.md)", files) == "[i](hacking.md)"


@pytest.mark.ahead("docs.site", "build/docs")
@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Sphinx has left this Python behind")
def test_the_site_is_built_without_a_warning(ahead: subprocess.CompletedProcess[str]) -> None:
    need("module:furo")
    assert ahead.returncode == 0, ahead.stdout


@pytest.mark.ahead("docs.site", "build/docs")
@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Sphinx has left this Python behind")
def test_the_api_page_shows_each_signature_once(ahead: subprocess.CompletedProcess[str]) -> None:
    need("module:furo")
    assert ahead.returncode == 0, ahead.stdout
    page = (ROOT / "build" / "docs" / "html" / "api.html").read_text()
    found = re.findall(
        r'<dt class="sig sig-object py"(?: id="([^"]*)")?>(.*?)</dt>', page, re.DOTALL
    )
    shown = {name: " ".join(re.sub(r"<[^>]+>", "", text).split()) for name, text in found}
    assert len(found) == len(shown), "a second signature has no name of its own"
    for name in ("pound.Client", "pound.aio.Client"):
        assert "overflow: Literal[" in shown[name]
        assert "self" not in shown[name]
    for name in ("pound.Worker", "pound.aio.Worker"):
        assert "drain_timeout: float = 25.0" in shown[name]
    for name in ("pound.Stream", "pound.Task", "pound.aio.Stream", "pound.aio.Task"):
        assert "(" not in shown[name]
    assert not [name for name in shown if name.endswith(("__init__", "__new__"))]
