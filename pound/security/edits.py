"""Changes of `peers.toml` as text, so that its comments stay.

Each edit knows what the file must then say. Its text is parsed and compared before anything is
written: a file whose form is not understood (dotted keys, inline tables) is refused, never damaged.
"""

from __future__ import annotations

import copy
import datetime
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from pound.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEADER = re.compile(r"\s*\[")
BLANK = re.compile(r"\s*(#.*)?")
# A value of one line, and the comment after it. Keys of Z85 hold # and brackets, and no quote.
VALUE = r"""("[^"\\]*"|'[^']*'|[^#"'\[{\s][^#"'\[{]*?)"""


def add(text: str, name: str, table: Mapping[str, Any]) -> str:
    """Return `text` with a peer more, at the end."""
    expected = parsed(text)
    peers = expected.setdefault("peers", {})
    if not isinstance(peers, dict) or name in peers:
        raise taken(name)
    peers[name] = dict(table)
    lines = [f"{key} = {literal(value)}" for key, value in table.items()]
    return _checked(_with_table(text, f'[peers."{name}"]', lines), expected)


def taken(name: str) -> ConfigError:
    """Return the error for a name that a peer has."""
    return ConfigError(
        f"{name} is enrolled already, and stays as it is: pound keys rotate {name} --out FILE "
        "gives it a new key"
    )


def revoke(text: str, name: str, keys: tuple[str, ...]) -> str:
    """Return `text` without a peer; its keys are noted under ``[revoked]``."""
    expected = parsed(text)
    del _peer(expected, name)["peers"][name]
    if not text.endswith("\n"):  # else a CR would be left alone at the end
        text += "\n"
    lines = text.split("\n")
    first, end = _table(lines, _peer_header(name))
    return _noted("\n".join(lines[:first] + lines[end:]), name, keys, expected)


def note_revoked(text: str, name: str, keys: tuple[str, ...]) -> str:
    """Return `text` with keys noted under ``[revoked]``, and the peer as it is."""
    return _noted(text, name, keys, parsed(text))


def _noted(text: str, name: str, keys: tuple[str, ...], expected: dict[str, Any]) -> str:
    expected.setdefault("revoked", {}).update(dict.fromkeys(keys, name))
    noted = [f"{literal(key)} = {literal(name)}" for key in keys]
    lines = text.split("\n")
    _, end = _table(lines, re.compile(r"""\s*\[\s*(revoked|"revoked"|'revoked')\s*\]\s*(#.*)?"""))
    if end:
        return _checked("\n".join(lines[:end] + noted + lines[end:]), expected)
    return _checked(_with_table(text, "[revoked]", noted), expected)


def change(text: str, name: str, values: Mapping[str, Any]) -> str:
    """Return `text` with values of a peer set, or removed where they are None."""
    expected = parsed(text)
    peer = _peer(expected, name)["peers"][name]
    lines = text.split("\n")
    first, end = _table(lines, _peer_header(name))
    for key, value in values.items():
        at = _line_of(lines, key, first + 1, end)
        if value is not None:
            peer[key] = value
            written = f"{key} = {literal(value)}"
            if at is None:
                lines.insert(end, written)
                end += 1
            else:
                lines[at] = written + _comment(lines[at], key)
        elif peer.pop(key, None) is not None and at is not None:
            lines[at : at + 1] = _kept(_comment(lines[at], key))
            end = _table(lines, _peer_header(name))[1]
    return _checked("\n".join(lines), expected)


def parsed(text: str) -> dict[str, Any]:
    """Return what a file says; raise ConfigError if it is no TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for an integer of thousands of digits
        raise ConfigError(f"is not TOML: {error}") from None


def literal(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, int):
        return str(value)
    raise TypeError(f"{value!r} has no form in peers.toml")


def _peer(expected: dict[str, Any], name: str) -> dict[str, Any]:
    """Return `expected` if it has this peer."""
    peers = expected.get("peers")
    if not isinstance(peers, dict) or not isinstance(peers.get(name), dict):
        raise ConfigError(f"no peer is called {name!r}")
    return expected


def _peer_header(name: str) -> re.Pattern[str]:
    quoted = re.escape(name)
    bare = f"|{quoted}" if re.fullmatch(r"[\w-]+", name) else ""
    return re.compile(rf"""\s*\[\s*peers\s*\.\s*("{quoted}"|'{quoted}'{bare})\s*\]\s*(#.*)?""")


def _table(lines: list[str], header: re.Pattern[str]) -> tuple[int, int]:
    """Return the first line of a table and the one after its last value; (0, 0): it is not found.

    What follows its last value, blank lines and comments, belongs to the next table.
    """
    first = next((at for at, line in enumerate(lines) if header.fullmatch(line)), None)
    if first is None:
        return 0, 0
    end = first + 1
    for at in range(first + 1, len(lines)):
        if HEADER.match(lines[at]):
            break
        if not BLANK.fullmatch(lines[at]):
            end = at + 1
    return first, end


def _line_of(lines: list[str], key: str, first: int, end: int) -> int | None:
    start = re.compile(rf"""\s*({key}|"{key}"|'{key}')\s*=""")
    return next((at for at in range(first, end) if start.match(lines[at])), None)


def _comment(line: str, key: str) -> str:
    """Return the comment after a value, with the space before it."""
    match = re.fullmatch(rf"""\s*["']?{key}["']?\s*=\s*{VALUE}(\s*(#.*)?)""", line)
    if match is None:
        raise _not_understood()
    return match[2].rstrip()


def _kept(comment: str) -> list[str]:
    return [comment.strip()] if comment.strip() else []


def _with_table(text: str, header: str, lines: list[str]) -> str:
    before = text.rstrip("\n") + "\n\n" if text.strip() else text
    return before + "\n".join([header, *lines, ""])


def _checked(text: str, expected: dict[str, Any]) -> str:
    """Return an edited text; raise ConfigError unless it says what it must."""
    try:
        good = _alike(parsed(text), expected)
    except ConfigError:
        good = False
    if not good:
        raise _not_understood()
    return text


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare what two files say; a table of no peers is as good as none."""
    one, other = copy.copy(one), copy.copy(other)
    for values in (one, other):
        if values.get("peers") == {}:
            del values["peers"]
    return one == other


def _not_understood() -> ConfigError:
    return ConfigError("its form is not understood, and nothing was changed: edit it by hand")
