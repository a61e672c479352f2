"""``python -m bench.runner.page RESULTS.json``: put a run into docs/benchmarks.md, with its plots.

Replaces what stands between the two markers of the page; the rest of it is written by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.runner.figures import HEADINGS, cells
from bench.runner.subjects import ROOT
from bench.runner.targets import HEADINGS as TARGET_HEADINGS
from bench.runner.targets import Outcome, Target, target_cells

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
PLOTS = ("targets", "latency")

Report = Mapping[str, Any]


def main(arguments: list[str]) -> None:
    """Write the page from the one file named."""
    if len(arguments) != 1:
        sys.exit("usage: python -m bench.runner.page build/bench/results.json")
    source = Path(arguments[0])
    report = json.loads(source.read_text())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + results(report) + END + after)
    for plot in PLOTS:
        shutil.copy(source.with_name(f"{plot}.png"), PAGE.with_name(f"benchmarks-{plot}.png"))


def results(report: Report) -> str:
    """Return the part of the page that a run decides."""
    lines = ["", *_where(report), "", "### Targets", "", *_targets(report), ""]
    lines += [f"![The targets and what was seen](benchmarks-{PLOTS[0]}.png)", ""]
    lines += ["### All figures", ""]
    for shape, found in report["shapes"].items():
        lines += [f"{shape}", "", *_table(HEADINGS, _contestants(found)), ""]
    lines += [f"![How long requests took](benchmarks-{PLOTS[1]}.png)", ""]
    return "\n".join(lines)


def _where(report: Report) -> Iterator[str]:
    """Give the lines that say where, with what and how it was measured."""
    machine = report["machine"]
    yield (
        f"{machine['date']}, {machine['cores']} cores of {machine['cpu']},"
        f" {machine['memory_mib'] / 1024:.0f} GiB, Linux {machine['kernel']}."
    )
    yield (
        f"Pound {machine['pound']}, Python {machine['python']}, pyzmq {machine['pyzmq']} with"
        f" libzmq {machine['libzmq']}; {_peers(machine['peers'])}."
    )
    yield f"`{report['command']}`: {report['rounds']} rounds of {report['seconds']:g} s."


def _peers(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "no peers"


def _targets(report: Report) -> Iterator[str]:
    outcomes = [_outcome(row) for row in report["targets"]]
    yield from _table(TARGET_HEADINGS, [target_cells(outcome) for outcome in outcomes])


def _outcome(row: Mapping[str, Any]) -> Outcome:
    """Return what `Outcome.as_dict` was made from."""
    seen = {key: row[key] for key in ("seen", "low", "high", "verdict")}
    rest = {key: value for key, value in row.items() if key not in seen}
    return Outcome(Target(**rest), **seen)


def _contestants(found: Report) -> list[tuple[str, ...]]:
    return [cells(name, summary) for name, summary in found["summary"].items()]


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heading, ["---"] * len(heading), *rows):
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
