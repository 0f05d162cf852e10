"""Lines of means over x, a panel each setting: 95 % intervals, every seed, and what a paper prints, where it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from poisonbench.counted import counted
from poisonbench.leaderboard.plots.figure_text import CHARACTER, TEXT, lines, number, wrapped
from poisonbench.leaderboard.plots.figures import PAPER, WIDTH, Look, drawing, encode
from poisonbench.leaderboard.plots.legend import legend_below
from poisonbench.leaderboard.plots.lines import Chart, Point

_LINE: dict[str, Any] = {"linewidth": 1, "markersize": 3.5}
_BAR: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.5}
_SEED: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 3.5, "markeredgewidth": 0}
_PRINTED: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 6, "markerfacecolor": "none"}

MOST_PANELS = 12
MOST_LINES = 14
"""More do not fit a page, or are not told apart."""

_FEW = 5
"""Lines up to which every seed is a dot; more stand side by side instead, so that their intervals do not coincide."""

_ASIDE = 2.0
"""How far from each other, points."""

_ACROSS = 3
_HEIGHT = 1.75
_ALONE = 2.5
"""Height of a figure's only panel without its texts; lengths are in inches."""


def draw(chart: Chart, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same chart gives the same bytes."""
    with drawing(look):
        return encode(figure(chart, look), format_, describe(chart), look)


def describe(chart: Chart) -> str:
    """The figure in a sentence."""
    means = [
        (summary.mean, label, point.x, panel)
        for panel, lines_of in chart.panels.items()
        for label, points in lines_of.items()
        for point in points
        if (summary := point.summary)
    ]
    if not means:
        return f"{chart.title}: not run."
    largest, label, x, panel = max(means)
    count = f"{counted(len(chart.labels), 'line')} on {', '.join(chart.panels)}"
    return f"{chart.title}: {count}; the largest mean is {number(largest)}, {label} at {x:g} ({panel})."


def figure(chart: Chart, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    across = min(len(chart.panels), _ACROSS if len(chart.labels) <= _FEW else _ACROSS - 1)
    bands, wide = math.ceil(len(chart.panels) / across), WIDTH / across - 0.5
    title = "\n".join(wrapped(part, WIDTH - 0.8) for part in (chart.title, chart.note) if part)
    titles, x_label = [wrapped(panel, wide) for panel in chart.panels], wrapped(chart.x_label, wide)
    drawn = Figure(layout="constrained")
    drawn.suptitle(title, fontsize=8)
    axes = drawn.subplots(bands, across, squeeze=False).flatten()
    for axis in axes[len(titles) :]:
        axis.axis("off")
    for index, (axis, panel) in enumerate(zip(axes, chart.panels.values(), strict=False)):
        _x_axis(axis, [point.x for point in chart.points], wide, abs(_aside(0, len(chart.labels))) / 72)
        axis.set_xlabel(x_label)
        _panel(axis, panel, chart.labels, look)
        axis.set_title(titles[index], fontsize=7)
        if index % across == 0:
            axis.set_ylabel(chart.y_label)
    legend = legend_below(drawn, _handles(chart, look))
    texts = lines(title) + legend + bands * (max(map(lines, titles)) + lines(x_label))
    drawn.set_size_inches(WIDTH, bands * (_HEIGHT if len(titles) > 1 else _ALONE) + texts * TEXT)
    return drawn


def _panel(axis: Axes, panel: dict[str, tuple[Point, ...]], labels: Sequence[str], look: Look) -> None:
    axis.axhline(0, color=look.ink, alpha=0.4, linewidth=0.6, zorder=0)
    for index, label in enumerate(labels):
        own = sorted(panel.get(label, ()), key=lambda point: point.x)
        found = [point.summary for point in own]
        means = [np.nan if each is None else each.mean for each in found]
        halves = [each.interval[1] - each.mean if each and each.interval else np.nan for each in found]
        line, aside = look.line(index), _moved(axis, _aside(index, len(labels)))
        axis.errorbar([point.x for point in own], means, halves, **line, **_LINE, **_BAR, transform=aside)
        for point in own:
            if len(point.seeds) > 1 and len(labels) <= _FEW:
                seeds = [point.x] * len(point.seeds), point.seeds
                axis.plot(*seeds, color=line["color"], **_SEED, transform=_moved(axis, 3.5))
            if point.printed is not None:
                axis.plot(point.x, point.printed, color=line["color"], **_PRINTED, zorder=3)
    points = [point for line in panel.values() for point in line]
    axis.update_datalim([(point.x, y) for point in points for y in _reach(point)])  # what was moved does not count
    if not any(point.seeds for point in points):
        axis.margins(y=0.3)  # room for the words above what the paper prints
        axis.text(0.5, 0.93, "not run", transform=axis.transAxes, ha="center", va="top", alpha=0.6)
        if all(point.printed is None for point in points):
            axis.set_yticks([0])


def _reach(point: Point) -> tuple[float, ...]:
    """Everything that is drawn at a point."""
    found = point.summary
    return (*point.seeds, *(found.interval if found and found.interval else ()))


def _aside(index: int, count: int) -> float:
    """How far a line is moved to the right, points."""
    return (index - (count - 1) / 2) * _ASIDE if count > _FEW else 0.0


def _moved(axis: Axes, points: float) -> Transform:
    """The coordinates of data, that many points to the right."""
    return axis.transData + ScaledTranslation(points / 72, 0, axis.figure.dpi_scale_trans)


def _handles(chart: Chart, look: Look) -> list[Line2D]:
    faint: dict[str, Any] = {"color": look.ink, "alpha": 0.6}
    handles = [Line2D([], [], label=label, **look.line(index), **_LINE) for index, label in enumerate(chart.labels)]
    if any(point.summary and point.summary.interval for point in chart.points):
        handles.append(Line2D([], [], label="95 % interval", **faint, linestyle="", marker="|", markersize=9))
    if any(len(point.seeds) > 1 for point in chart.points) and len(chart.labels) <= _FEW:
        handles.append(Line2D([], [], label="one seed", **faint, **_SEED))
    if any(point.printed is not None for point in chart.points):
        handles.append(Line2D([], [], label="paper, as printed", **faint, **_PRINTED))
    return handles


def _x_axis(axis: Axes, values: Sequence[float], wide: float, room: float) -> None:
    """Set an x axis that is the same for every panel: logarithmic if it spans more than a decade, its ticks at the
    points' own values.

    Args:
        axis: of a panel.
        values: x of all points.
        wide: the panel, inches.
        room: for lines that were moved aside, on either side, inches.
    """
    low, high = min(values), max(values)
    if low > 0 and high > 10 * low:
        axis.set_xscale("log")
    to_scale, from_scale = axis.xaxis.get_transform(), axis.xaxis.get_transform().inverted()
    left, right = to_scale.transform([low, high])
    length = right - left or 1.0
    margin = 0.05 + room / wide
    axis.set_xlim(*from_scale.transform([left - margin * length, right + margin * length]))
    named, end = [], -math.inf
    for x in sorted(set(values)):
        middle = wide * (to_scale.transform([x])[0] - left) / ((1 + 2 * margin) * length)
        half = CHARACTER * (len(f"{x:g}") + 1) / 2
        if middle - half >= end:
            named.append(x)
            end = middle + half
    axis.set_xticks(named, [f"{x:g}" for x in named])
    axis.set_xticks(sorted(set(values)), minor=True)
    axis.xaxis.set_minor_formatter(NullFormatter())
