"""``python -m bench.python.page RESULTS.json``: put a run into docs/benchmarks.md.

Replaces what stands between the two markers of Python clients and workers; the rest is left alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.python.tables import table
from bench.runner.subjects import ROOT
from bench.runner.targets import Outcome, Target, rows

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- python results -->\n", "<!-- end of python results -->\n"
SEEN = ("seen", "low", "high", "verdict")

Report = Mapping[str, Any]


def main(arguments: list[str]) -> None:
    """Write the page from the one file named."""
    if len(arguments) != 1:
        sys.exit("usage: python -m bench.python.page build/bench/python.json")
    report = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"{PAGE} has no place for these results")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + results(report) + END + after, encoding="utf-8")


def results(report: Report) -> str:
    """Return the part of the page that a run decides."""
    lines = ["", *_where(report), "", *_table(rows(_outcomes(report))), ""]
    for about, rounds in report["tasks"].items():
        if found := table(rounds):
            lines += [about, "", *_table(found), ""]
    return "\n".join([*lines, ""])


def _where(report: Report) -> Iterator[str]:
    """Give the lines that say where, with what and how it was measured."""
    machine = report["machine"]
    versions: dict[str, str] = {
        package: machine["peers"][package]
        for package in ("nats-server", "redis-server")
        if package in machine["peers"]
    }
    for found in report["versions"].values():
        versions |= found
    yield (
        f"{machine['date']}, {machine['cores']} cores of {machine['cpu']}, Linux"
        f" {machine['kernel']}, Python {machine['python']}, Pound {machine['pound']}."
    )
    yield ", ".join(f"{package} {version}" for package, version in versions.items()) + "."
    yield f"`{report['command']}`: {report['rounds']} rounds of {report['seconds']:g} s a task."


def _outcomes(report: Report) -> list[Outcome]:
    """Return what `Outcome.as_dict` was made from."""
    found = []
    for row in report["targets"]:
        target = Target(**{key: value for key, value in row.items() if key not in SEEN})
        found.append(Outcome(target, *(row[key] for key in SEEN)))
    return found


def _table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    heading, *rest = lines
    for line in (heading, ["---"] * len(heading), *rest):
        yield "| " + " | ".join(line) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
