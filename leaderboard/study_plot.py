"""A study's curves as a figure: a panel each row, a line each column, the paper's own numbers beside them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation

from poisonbench.leaderboard.figures import STYLE, WIDTH, encode
from poisonbench.leaderboard.study_results import Entry, StudyResults
from poisonbench.leaderboard.values import VALUES

PALETTE = ("#0072B2", "#E69F00", "#000000", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
"""Okabe and Ito's colours, which stay apart for colour-blind readers, those first that are far apart in greyscale too.
Their yellow is too faint for lines on white."""

_MARKERS = "os^DvP*X"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))

_LINE: dict[str, Any] = {"linewidth": 1, "markersize": 3.5}
_BAR: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.5}
_SEED: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 3.5, "markeredgewidth": 0}
_PAPER: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 6, "markerfacecolor": "none"}

_ACROSS = 3
_HEIGHT = 1.75
_ALONE = 2.5
"""Height of a figure's only panel without its texts; lengths are in inches."""

_TEXT = 0.15
"""Height of a line of text, space included."""

_CHARACTER = 0.062
"""Mean width of a character."""


def draw(results: StudyResults, format_: str) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same results give the same bytes.

    It shows the first of the study's values: its mean over seeds, with the 95 % interval where there is one, and each
    seed's. Where no record has that value the line has a gap.
    """
    with matplotlib.style.context(["default", STYLE, {"text.parse_math": False}]):
        return encode(figure(results), format_)


def figure(results: StudyResults) -> Figure:
    """The figure, in whichever style is set."""
    value, entries = results.shows[0], [entry for entry in results.entries if entry.x is not None]
    panels = list(dict.fromkeys(entry.row for entry in entries))
    lines = list(dict.fromkeys(entry.column for entry in entries))
    across, bands = min(len(panels), _ACROSS), math.ceil(len(panels) / _ACROSS)
    wide = WIDTH / across - 0.5
    title = _wrapped(f"{results.title} ({results.name}, profile {results.profile})", WIDTH - 0.8)
    titles, x_label = [_wrapped(panel, wide) for panel in panels], _wrapped(results.x_label or "", wide)
    drawn = Figure(layout="constrained")
    drawn.suptitle(title, fontsize=8)
    axes = drawn.subplots(bands, across, squeeze=False).flatten()
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for index, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        _x_axis(axis, [_x(entry, results) for entry in entries], wide)
        axis.set_xlabel(x_label)
        _panel(axis, results, [entry for entry in entries if entry.row == panel], lines)
        axis.set_title(titles[index], fontsize=7)
        if index % across == 0:
            axis.set_ylabel("drop, points" if value == "drop" else VALUES[value].heading)
    texts = _lines(title) + _legend(drawn, entries, lines, value) + bands * (max(map(_lines, titles)) + _lines(x_label))
    drawn.set_size_inches(WIDTH, bands * (_HEIGHT if len(panels) > 1 else _ALONE) + texts * _TEXT)
    return drawn


def _panel(axis: Axes, results: StudyResults, entries: Sequence[Entry], lines: Sequence[str]) -> None:
    value = results.shows[0]
    beside = axis.transData + ScaledTranslation(3.5 / 72, 0, axis.figure.dpi_scale_trans)
    axis.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    for index, label in enumerate(lines):
        own = sorted((entry for entry in entries if entry.column == label), key=lambda entry: _x(entry, results))
        found = [entry.of(value) for entry in own]
        x, means = [_x(entry, results) for entry in own], [np.nan if each is None else each.mean for each in found]
        halves = [each.interval[1] - each.mean if each and each.interval else np.nan for each in found]
        look = _look(index)
        axis.errorbar(x, means, halves, **look, **_LINE, **_BAR)
        for at, entry in zip(x, own, strict=True):
            seeds = _seeds(entry, value)
            if len(seeds) > 1:
                axis.plot([at] * len(seeds), seeds, color=look["color"], **_SEED, transform=beside)
            if value in entry.printed:
                axis.plot(at, entry.printed[value], color=look["color"], **_PAPER, zorder=3)
    if all(entry.of(value) is None for entry in entries):
        axis.margins(y=0.3)  # room for the words above what the paper prints
        axis.text(0.5, 0.93, "not run", transform=axis.transAxes, ha="center", va="top", color="0.4")
        if not any(value in entry.printed for entry in entries):
            axis.set_yticks([0])


def _legend(drawn: Figure, entries: Sequence[Entry], lines: Sequence[str], value: str) -> int:
    """Draws it; how many lines of text it is high."""
    handles = [Line2D([], [], label=label, **_look(index), **_LINE) for index, label in enumerate(lines)]
    found = [summary for entry in entries if (summary := entry.of(value))]
    if any(summary.interval for summary in found):
        handles.append(Line2D([], [], label="95 % interval", color="0.4", linestyle="", marker="|", markersize=9))
    if any(summary.n > 1 for summary in found):
        handles.append(Line2D([], [], label="one seed", color="0.4", **_SEED))
    if any(value in entry.printed for entry in entries):
        handles.append(Line2D([], [], label="paper, as printed", color="0.4", **_PAPER))
    labels = [_wrapped(str(handle.get_label()), WIDTH / 2 - 0.7) for handle in handles]
    widths = [max(map(len, label.split("\n"))) * _CHARACTER + 0.55 for label in labels]
    most = len(labels) if sum(widths) <= WIDTH else max(1, int(WIDTH / max(widths)))
    rows = math.ceil(len(labels) / most)
    columns = math.ceil(len(labels) / rows)
    drawn.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3, frameon=False)
    return rows * max(map(_lines, labels))


def _look(index: int) -> dict[str, Any]:
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index % len(_DASHES)],
    }


def _x_axis(axis: Axes, values: Sequence[float], wide: float) -> None:
    """The same for every panel: logarithmic if it spans more than a decade, its ticks at the study's own values."""
    low, high = min(values), max(values)
    if low > 0 and high > 10 * low:
        axis.set_xscale("log")
    to_scale, from_scale = axis.xaxis.get_transform(), axis.xaxis.get_transform().inverted()
    left, right = to_scale.transform([low, high])
    length = right - left or 1.0
    axis.set_xlim(*from_scale.transform([left - 0.05 * length, right + 0.05 * length]))
    named, end = [], -math.inf
    for x in sorted(set(values)):
        middle = wide * (to_scale.transform([x])[0] - left) / (1.1 * length)
        half = _CHARACTER * (len(f"{x:g}") + 1) / 2
        if middle - half >= end:
            named.append(x)
            end = middle + half
    axis.set_xticks(named, [f"{x:g}" for x in named])
    axis.set_xticks(sorted(set(values)), minor=True)
    axis.xaxis.set_minor_formatter(NullFormatter())


def _x(entry: Entry, results: StudyResults) -> float:
    assert entry.x is not None
    return 100 * entry.x if results.percent else entry.x


def _seeds(entry: Entry, value: str) -> list[float]:
    return [number for record in entry.records if (number := VALUES[value].of(record)) is not None]


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _wrapped(text: str, width: float) -> str:
    return textwrap.fill(text, int(width / _CHARACTER))
