"""A board's standings as forest plots: a row each method, its mean with the 95 % interval, every seed a dot, the
numbers at the side."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.plots.figure_text import TEXT, lines, wrapped
from poisonbench.leaderboard.plots.figures import PAPER, WIDTH, Look, drawing, encode, measured
from poisonbench.leaderboard.plots.standings import Row, Section, describe, standings

MOST = 60
"""More attacks and defenses than this are taller than a page."""

_ROW = 0.18
_RANK = 0.3
_NAMES = 1.9
_GAP = 0.1
_BELOW = 0.045
"""How far the dots of the seeds are below the middle of their row."""

_AXIS = 0.42
"""Height of a section's x axis with its label; lengths are in inches."""

_SEED: dict[str, Any] = {
    "linestyle": "", "marker": ".", "markersize": 4, "markeredgewidth": 0, "alpha": 0.6, "zorder": 3
}  # fmt: skip
_WORST: dict[str, Any] = {"linestyle": "", "marker": "v", "markersize": 4.5, "markerfacecolor": "none"}
_MEAN: dict[str, Any] = {"marker": "D", "markersize": 4.5, "elinewidth": 1, "capsize": 2}


def draw(board: Board, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same board gives the same bytes.

    The board has at least one standing.
    """
    with drawing(look):
        return encode(figure(board, look), format_, describe(board), look)


def figure(board: Board, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set: sections one below the other, each with its own axis."""
    found = standings(board)
    title, note, sections = wrapped(found.title, WIDTH - 0.8), wrapped(found.note, WIDTH), found.sections
    above = (lines(title) + lines(note)) * TEXT + 0.12
    labels = {row.label: wrapped(row.label, _NAMES) for section in sections for row in section.rows}
    names = min(_NAMES, max(measured(label)[0] for label in labels.values()))
    numbers = max(measured(row.numbers)[0] for section in sections for row in section.rows)
    left, right = _RANK + names + _GAP, WIDTH - numbers - 2 * _GAP
    tall = [sum(_height(labels[row.label]) for row in section.rows) for section in sections]
    height = above + sum(tall) + len(sections) * (1.5 * TEXT + _AXIS)
    drawn = Figure(figsize=(WIDTH, height))
    drawn.text(0.02 / WIDTH, 1 - 0.04 / height, title, fontsize=8, va="top")
    drawn.text(0.02 / WIDTH, 1 - (0.06 + lines(title) * TEXT) / height, note, va="top", alpha=0.8)
    top = height - above
    for section, rows in zip(sections, tall, strict=True):
        drawn.text(_RANK / WIDTH, (top - 0.6 * TEXT) / height, section.heading, weight="bold", va="center")
        drawn.text(0.02 / WIDTH, (top - 0.6 * TEXT) / height, "rank", va="center", alpha=0.8)
        drawn.text((right + _GAP) / WIDTH, (top - 0.6 * TEXT) / height, "mean [95 %]", va="center", alpha=0.8)
        bottom = top - 1.5 * TEXT - rows
        axis = drawn.add_axes((left / WIDTH, bottom / height, (right - left) / WIDTH, rows / height))
        _section(axis, section, labels, (-left, right - left + _GAP), look)
        top = bottom - _AXIS
    return drawn


def _height(label: str) -> float:
    return _ROW + (lines(label) - 1) * 0.8 * TEXT


def _section(axis: Axes, section: Section, labels: dict[str, str], columns: tuple[float, float], look: Look) -> None:
    """One unit of y is an inch, from the top; columns: where ranks and numbers stand, in inches from the axis."""
    y = 0.0
    wide = columns[1] - _GAP
    for index, row in enumerate(section.rows):
        tall = _height(labels[row.label])
        middle = y + tall / 2
        if index % 2 == 0:
            ends = (columns[0] / wide, 1 + (WIDTH + columns[0] - wide) / wide)
            axis.axhspan(y, y + tall, *ends, color=look.ink, alpha=0.05, linewidth=0, clip_on=False)
        _row(axis, row, middle, look)
        texts = ((columns[0] + 0.07, row.rank), (columns[0] + _RANK, labels[row.label]), (columns[1], row.numbers))
        for x, text in texts:
            axis.text(x / wide, middle, text, transform=axis.get_yaxis_transform(), va="center")
        y += tall
    axis.set_ylim(y, 0)
    axis.set_yticks([])
    axis.axvline(0, color=look.ink, alpha=0.5, linewidth=0.6, zorder=0)
    axis.margins(x=0.03)
    axis.spines[["top", "left", "right"]].set_visible(False)
    axis.set_xlabel(section.x_label, labelpad=2)


def _row(axis: Axes, row: Row, y: float, look: Look) -> None:
    found = row.summary
    if found is None:
        return
    half = found.interval[1] - found.mean if found.interval else np.nan
    if len(row.seeds) > 1:
        axis.plot(row.seeds, [y + _BELOW] * len(row.seeds), color=look.ink, **_SEED)
    if row.worst is not None:
        axis.plot(row.worst, y - _BELOW / 2, color=look.palette[0], **_WORST)
    axis.errorbar(found.mean, y - _BELOW / 2, xerr=half, color=look.palette[0], **_MEAN)
