"""Draws a run: how each target was met, and how long requests took. PNG and SVG.

Needs matplotlib (the extra "bench").
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

COLOURS = {"aim met": "#1b7f4d", "met": "#5aa469", "at the bar": "#d9a441", "missed": "#c0504d"}
LATENCY_SHAPES = ("1x1x1x64", "8x64x16x64", "64x64x64x64")
QUANTILE_LAST = 0.9999

Report = Mapping[str, Any]


def draw(report: Report, folder: Path) -> None:
    """Write targets.png, latency.png and their SVGs into a folder."""
    try:
        import matplotlib
    except ImportError:
        print(
            "No plots: they need matplotlib (pip install 'pound-broker[bench]').", file=sys.stderr
        )
        return
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pound"  # the same figures give the same file
    folder.mkdir(parents=True, exist_ok=True)
    if ratios := [row for row in report["targets"] if row["base"] or row["base_shape"]]:
        _save(_draw_targets(ratios), folder / "targets")
    shapes = [shape for shape in LATENCY_SHAPES if shape in report["shapes"]]
    if shapes:
        _save(_draw_latencies(report, shapes), folder / "latency")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path.with_suffix(".png"), dpi=120)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _draw_targets(rows: Sequence[Report]) -> Any:
    """Return bars of all ratios, best on top of a line for the bar and a dotted one for the aim."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.2 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.barh(place, row["seen"], color=COLOURS[row["verdict"]], height=0.6)
        spread = [[row["seen"] - row["low"]], [row["high"] - row["seen"]]]
        axes.errorbar(row["seen"], place, xerr=spread, color="#333333", capsize=2, linewidth=0.8)
        axes.vlines(row["must"], place - 0.4, place + 0.4, color="black", linewidth=2)
        if row["aim"] is not None:
            axes.vlines(row["aim"], place - 0.4, place + 0.4, color="black", linestyle=":")
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("ratio within a round: median, lowest and highest; line = must, dotted = aim")
    axes.set_title("Targets")
    _legend(axes)
    return figure


def _label(row: Report) -> str:
    base = row["base"] or row["base_shape"]
    sign = "" if row["better"] == "more" else "  (less is better)"
    return f"{row['shape']}  {row['contestant']} / {base}{sign}"


def _legend(axes: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=word) for word, colour in COLOURS.items()]
    axes.legend(handles=handles, loc="lower right", fontsize="small")


def _draw_latencies(report: Report, shapes: Sequence[str]) -> Any:
    """Return, for each shape, the time that a share of requests did not exceed."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(shapes), 6), layout="constrained")
    for axes, shape in zip(figure.subplots(1, len(shapes), squeeze=False)[0], shapes, strict=True):
        axes.set_prop_cycle(color=colormaps["tab20"].colors)
        for name, summary in report["shapes"][shape]["summary"].items():
            if distribution := summary.get("distribution_us"):
                axes.plot(*_quantiles(distribution), label=name, linewidth=1.2)
        axes.set_xscale("logit", one_half="50 %")
        axes.set_xlim(0.05, QUANTILE_LAST)
        axes.set_xticks([0.1, 0.5, 0.9, 0.99, 0.999], ["10 %", "50 %", "90 %", "99 %", "99.9 %"])
        axes.minorticks_off()
        axes.set_yscale("log")
        axes.set_title(shape)
        axes.set_xlabel("share of requests")
        axes.set_ylabel("answered within, us")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", ncols=2, loc="upper left")
    return figure


def _quantiles(distribution: Sequence[tuple[float, int]]) -> tuple[list[float], list[float]]:
    """Return shares of all answers, and the time that each did not exceed."""
    total = sum(count for _, count in distribution)
    shares = [seen / total for seen in accumulate(count for _, count in distribution)]
    inside = sum(share <= QUANTILE_LAST for share in shares)
    return shares[:inside], [upper for upper, _ in distribution[:inside]]
