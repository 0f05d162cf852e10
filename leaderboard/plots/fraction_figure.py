"""The curves of filters as a figure: an attack a column, drop above, then recall, then precision."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.plots.figure_text import name, wrapped
from poisonbench.leaderboard.plots.figures import MARKERS, PAPER, WIDTH, Look, drawing, encode
from poisonbench.leaderboard.plots.fraction import Curves, Removal
from poisonbench.leaderboard.statistics.intervals import described

MOST = 12
"""More attacks than this are no figure that fits a page."""

_ACROSS = 3
_HEIGHT = 4.1
_PARTS = ("recall", "precision")
"""Below the drop: of the poison the part that was removed, of what was removed the part that is poison."""


def draw(curves: Sequence[Curves], format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format; 6.5 inches wide. The same curves give the same bytes.

    Args:
        curves: at least one, at most MOST.
        format_: png, pdf or svg.
        look: where it is read.
    """
    with drawing(look):
        return encode(figure(curves, look), format_, describe(curves), look)


def describe(curves: Sequence[Curves]) -> str:
    """The figure in a sentence."""
    names = sorted({defense for part in curves for defense in part.by_defense})
    titles = "; ".join(" ".join(part.title.split()) for part in curves)
    return (
        f"Drop, clean cost, recall and precision against the rows removed by {', '.join(map(name, names))}: {titles}."
    )


def figure(curves: Sequence[Curves], look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    names = sorted({defense for part in curves for defense in part.by_defense})
    bands = -(-len(curves) // _ACROSS)
    across = min(len(curves), _ACROSS)
    drawn = Figure(figsize=(WIDTH, _HEIGHT * bands + 0.4), layout="constrained")
    rows = 1 + len(_PARTS)
    axes = drawn.subplots(rows * bands, across, squeeze=False, sharex=True, height_ratios=[2, 1, 1] * bands)
    for index in range(bands * across):
        band, column = divmod(index, across)
        above, *below = axes[rows * band : rows * (band + 1), column]
        if index >= len(curves):
            for axis in (above, *below):
                axis.axis("off")
            continue
        _column(above, below, curves[index], names, look)
        if column == 0:
            for axis, label in zip((above, *below), ("points of accuracy", *_PARTS), strict=True):
                axis.set_ylabel(label)
    handles = {line.get_label(): line for row in axes for axis in row for line in axis.get_lines()}
    shown = {label: line for label, line in handles.items() if not str(label).startswith("_")}
    points = [point for part in curves for points in part.by_defense.values() for point in points]
    if random := described(point.drop.random for point in points):
        shown[wrapped(f"bars: 95 % intervals {random}", WIDTH / 2 + 0.2)] = Line2D(
            [], [], color=look.ink, alpha=0.6, linestyle="", marker="|"
        )
    if any(part.mixed_code for part in curves):
        shown[NOTE] = Line2D([], [], linestyle="")
    drawn.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False)
    return drawn


def _column(above: Axes, below: Sequence[Axes], curves: Curves, names: Sequence[str], look: Look) -> None:
    if curves.undefended is not None:
        above.axhline(curves.undefended, color=look.ink, alpha=0.6, linestyle="--", label="drop, no defense")
    above.axhline(0, color=look.ink, alpha=0.3, linewidth=0.6, zorder=0)
    above.plot([], [], color=look.ink, alpha=0.6, linestyle=":", linewidth=1, label="clean cost")
    for defense, points in curves.by_defense.items():
        style: dict[str, Any] = {
            "color": look.palette[names.index(defense) % len(look.palette)],
            "marker": MARKERS[names.index(defense) % len(MARKERS)],
        }
        x = [100 * point.removed for point in points]
        found = [point.drop.summary for point in points]
        halves = [each.interval[1] - each.mean if each.interval else np.nan for each in found]
        above.errorbar(
            x,
            [each.mean for each in found],
            halves,
            label="_",
            linewidth=1,
            markersize=3,
            elinewidth=0.6,
            capsize=1.5,
            **style,
        )
        above.plot([], [], label=name(defense), linewidth=1, markersize=3, **style)
        _line(above, points, "clean_cost", "_", {**style, "linestyle": ":", "marker": ""})
        for axis, part in zip(below, _PARTS, strict=True):
            _line(axis, points, part, "_", style)
    title = textwrap.wrap(name(curves.title).replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"), 34)
    above.set_title("\n".join(title), fontsize=7)
    for axis in below:
        axis.set_ylim(-0.03, 1.03)
    below[-1].tick_params(labelbottom=True)
    below[-1].set_xlabel("rows removed, %")


def _line(axis: Axes, points: Sequence[Removal], field: str, label: str, style: dict[str, Any]) -> None:
    pairs = [(100 * point.removed, getattr(point, field)) for point in points if getattr(point, field) is not None]
    if pairs:
        axis.plot(*zip(*pairs, strict=True), label=label, linewidth=1, markersize=3, **style)
