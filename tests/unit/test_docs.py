"""The documentation is true where a machine can see it: links, commands, counters, words."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from pound._broker import events as broker_events
from pound._broker import kinds, names
from pound._engine import handle
from pound.cli import main
from pound.config import Config, ServiceConfig
from tests.support import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^|(?<=\n\n))(?: {4}.*\n)+", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose_of(page: Path) -> str:
    """Return the page without its blocks of code."""
    return INDENTED.sub("\n", FENCE.sub("", page.read_text()))


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """Return the anchors that a forge makes of the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return frozenset(
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(prose_of(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors_of(linked), f"{name_of(page)}: {target}"


# ---- commands ----


def commands_of(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command line with `pound` in the page's code."""
    text = page.read_text()
    blocks = [body for language, body in FENCE.findall(text) if language in ("", "sh", "ini")]
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    lines = [line for block in [*blocks, *INDENTED.findall(text)] for line in block.splitlines()]
    for line in [*lines, *spans]:
        found = re.search(r"(?:^|[\s/=])pound ((?:-|[a-z]).*)$", line)
        if found and not line.strip().startswith(("pound:", "#")):
            yield shlex.split(found[1], comments=True)


def check_command(words: list[str]) -> None:
    """Fail unless `words` name a command of pound, and flags that it has."""
    command: click.Command = main
    for word in words:
        if word in (";", "|", "&", "&&") or (word.isupper() and not word.startswith("-")):
            continue
        if word.startswith("-"):
            known = {*options_of(command), "--help", "-h"}
            assert word.partition("=")[0] in known, f"{word} in {words}"
        elif isinstance(command, click.Group):
            assert word in command.commands, f"{word} in {words}"
            command = command.commands[word]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_flags_exist(page: Path) -> None:
    for words in commands_of(page):
        check_command([word.rstrip(".,;") for word in words])


def test_the_check_of_commands_sees_what_it_is_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Say\n\n    pound serve --fronted x\n\nor `pound sevre`.\n")
    for words in commands_of(page):
        with pytest.raises(AssertionError):
            check_command(words)
    assert len(list(commands_of(page))) == 2


def test_flags_named_alone_exist() -> None:
    """A flag in the running text is a flag of some command."""
    known = set(flags_of(main)) | {"--help"}
    for page in PAGES:
        for flag in re.findall(r"`(--[a-z][a-z-]*)[^`]*`", prose_of(page)):
            assert flag in known, f"{name_of(page)}: {flag}"


def options_of(command: click.Command) -> list[str]:
    return [option for item in command.params for option in [*item.opts, *item.secondary_opts]]


def flags_of(command: click.Command) -> Iterator[str]:
    yield from options_of(command)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from flags_of(child)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert target in targets, f"{name_of(page)}: make {target}"


# ---- code ----


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_in_the_pages_is_python_and_its_names_are_pounds(page: Path) -> None:
    import pound

    for language, body in FENCE.findall(page.read_text()):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "pound" or hasattr(pound, node.attr), node.attr


def test_toml_in_the_pages_is_a_configuration(tmp_path: Path) -> None:
    for page in PAGES:
        for language, body in FENCE.findall(page.read_text()):
            if language == "toml":
                (tmp_path / "pound.toml").write_text(body)
                Config.load(tmp_path / "pound.toml", {})


def test_the_embedding_of_the_readme_is_the_example() -> None:
    """README's ten lines are those of examples/embedded.py, which a test runs."""
    blocks = [
        body
        for language, body in FENCE.findall((ROOT / "README.md").read_text())
        if language == "python" and "inproc" in body
    ]
    assert len(blocks) == 1
    example = ast.parse((ROOT / "examples" / "embedded.py").read_text())
    function = next(node for node in example.body if isinstance(node, ast.FunctionDef))
    ours = [
        statement(node) for node in ast.parse(blocks[0]).body if not isinstance(node, ast.Import)
    ]
    assert ours == [statement(node) for node in function.body[1:]]


def statement(node: ast.stmt) -> str:
    """Return a statement as text, an annotated assignment as a plain one."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return f"{ast.unparse(node.target)} = {ast.unparse(node.value)}"
    return ast.unparse(node)


# ---- words ----


def rows_of(page: str, heading: str) -> list[str]:
    """Return the first cells of the tables below a heading, up to the next of its level."""
    text = (ROOT / "docs" / page).read_text()
    level = heading.partition(" ")[0]
    section = re.split(rf"^{level} ", text.partition(f"{heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^\| (.+?) \|", section, re.MULTILINE)


def test_every_counter_is_documented_and_no_other() -> None:
    documented = [
        name
        for row in rows_of("architecture.md", "## Counters")
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(documented) == sorted([*names.DISPATCHER_COUNTERS, *names.LOOP_COUNTERS])


def test_the_counters_and_keys_that_other_pages_name_exist() -> None:
    known = {*names.DISPATCHER_COUNTERS, *names.LOOP_COUNTERS}
    settings = {*vars(Config()), *vars(ServiceConfig())}
    for heading in ("## Clients", "## Which answer counts"):
        cells = (ROOT / "docs" / "dialects.md").read_text().partition(heading)[2]
        for row in re.findall(r"^\|.*\|$", cells.partition("\n## ")[0], re.MULTILINE):
            for name in re.findall(r"`([a-z]+_[a-z_]+)`", row):
                assert name in known | settings, name
    for row in rows_of("operations.md", "## Counters to watch")[2:]:
        for name in re.findall(r"`(\w+)`", row):
            assert name in known, name


def test_every_log_event_of_the_broker_is_documented() -> None:
    rows = rows_of("operations.md", "### The broker (logger `pound`)")
    documented = {name.partition(";")[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    for _, event, _ in broker_events.EVENTS.values():
        assert event.partition(";")[0] in documented, event


def test_every_kind_of_event_has_its_words() -> None:
    declared = {number for name, number in vars(kinds).items() if name.startswith("LOG_")}
    assert set(broker_events.EVENTS) == declared


def test_every_log_event_of_the_python_sources_is_documented() -> None:
    """The events that the ends and `pound serve` log are in docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text()
    sources = sorted((ROOT / "pound").rglob("*.py"))
    events = [event for source in sources for event in events_of(source)]
    events += [event for _, event, _, _ in handle.LOGS.values()]
    assert len(events) > 8
    for event in events:
        assert f"`{event}`" in text, event


def events_of(source: Path) -> Iterator[str]:
    """Yield the constant events of the calls of log_event in a source."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "log_event":
            event = node.args[2]
            if isinstance(event, ast.Constant):
                yield str(event.value)


PUBLIC = {"aio", "cli"}  # parts of the public API, which is no room
ROOMS = sorted(
    path.parent for path in (ROOT / "pound").glob("*/__init__.py") if path.parent.name not in PUBLIC
)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_lists_its_modules(room: Path) -> None:
    """Its docstring has a line for each module, in order, and for each header of its own."""
    stems = {path.stem for path in room.iterdir() if path.suffix in (".pyx", ".pxd", ".py")}
    headers = {path.name for path in room.glob("*.h") if path.stem not in stems}
    listed = re.findall(r"^(\w+(?:\.h)?)  +\S", (room / "__init__.py").read_text(), re.MULTILINE)
    assert listed == sorted((stems - {"__init__"}) | headers)


def test_the_house_shows_each_room() -> None:
    house = (ROOT / "docs" / "architecture.md").read_text().partition("## The two walls")[0]
    shown = re.findall(r"^\| \[`(\w+)/`\]", house, re.MULTILINE)
    assert {room.name for room in ROOMS} | {"pound"} == set(shown)
    assert len(ROOMS) == 7


def test_every_exit_code_is_documented() -> None:
    from pound.cli import common

    codes = {value for name, value in vars(common).items() if name.startswith("EXIT_")}
    assert codes | {0} == {
        int(row) for row in rows_of("operations.md", "## Exit codes") if row.isdecimal()
    }
