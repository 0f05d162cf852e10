"""Drop against the attack's seconds, with the Pareto front as a step line; every point has its name beside it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.plots.figure_text import DOT, TEXT, lines, name, seeds, wrapped
from poisonbench.leaderboard.plots.figures import PAPER, WIDTH, Look, drawing, encode, measured
from poisonbench.leaderboard.plots.label_placement import Box, place
from poisonbench.leaderboard.plots.pareto import Pareto, TimedAttack, describe

MOST = 30
"""More names than this do not fit beside their points."""

_HEIGHT = 3.0
_LEFT, _RIGHT, _BOTTOM = 0.5, 0.1, 0.42
_GAP = 0.06
_MARK = 0.045
"""Half a marker."""

_CLEAR = 0.02
"""Around what a name must not touch; lengths are in inches."""


def draw(found: Pareto, format_: str, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same points give the same bytes."""
    with drawing(look):
        return encode(figure(found, look), format_, describe(found), look)


def figure(found: Pareto, look: Look = PAPER) -> Figure:
    """The figure, in whichever style is set."""
    title, note = wrapped(f"Drop against the attack's time · {found.title}", WIDTH - 0.8), wrapped(_note(found), WIDTH)
    top = (lines(title) + lines(note)) * TEXT + 0.12
    height = _HEIGHT + top
    drawn = Figure(figsize=(WIDTH, height))
    drawn.text(_LEFT / WIDTH, 1 - 0.05 / height, title, fontsize=8, va="top")
    drawn.text(_LEFT / WIDTH, 1 - (0.07 + lines(title) * TEXT) / height, note, va="top", alpha=0.8)
    inside = (_LEFT / WIDTH, _BOTTOM / height, (WIDTH - _LEFT - _RIGHT) / WIDTH, (_HEIGHT - _BOTTOM) / height)
    axis = drawn.add_axes(inside)
    _axes(axis, found, look)
    _front(axis, found, look)
    for point in found.points:
        _point(axis, point, look)
    _labels(axis, found, look)
    return drawn


def _note(found: Pareto) -> str:
    counts = {point.drop.n for point in found.points}
    parts = [f"means, {seeds(counts)}; bars: 95 % intervals of the drop"]
    parts += ["line: Pareto front, no other is both stronger and faster"] if len(found.front) > 1 else []
    parts.append(f"seconds on {name(found.machine)}")
    if not all(point.comparable for point in found.points):
        parts.append("hollow: another machine or several, seconds not comparable, not in the front")
    parts += [NOTE] if any(point.mixed_code for point in found.points) else []
    return DOT.join(parts)


def _axes(axis: Axes, found: Pareto, look: Look) -> None:
    seconds = [point.seconds for point in found.points]
    low, high = np.log10(min(seconds)), np.log10(max(seconds))
    margin = max(0.35, 0.08 * (high - low))
    axis.set_xscale("log")
    axis.set_xlim(10 ** (low - margin), 10 ** (high + margin))
    axis.xaxis.set_major_locator(LogLocator(numticks=12))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    ends = [end for point in found.points for end in (point.drop.interval or (point.drop.mean,))]
    span = max(ends) - min(ends) or 1.0
    axis.set_ylim(min(*ends, 0) - 0.06 * span, max(*ends, 0) + 0.08 * span)
    axis.axhline(0, color=look.ink, alpha=0.4, linewidth=0.6, zorder=0)
    axis.set_xlabel("time of the attack, seconds")
    axis.set_ylabel("drop, points")
    axis.spines[["top", "right"]].set_visible(False)


def _front(axis: Axes, found: Pareto, look: Look) -> None:
    axis.plot(*_steps(found, axis), color=look.palette[5], linewidth=1, zorder=1)


def _steps(found: Pareto, axis: Axes) -> tuple[list[float], list[float]]:
    """The corners of the front: the drop that a time buys, to the plot's edge; none if it is one point."""
    front, x, y = found.front, list[float](), list[float]()
    for point, after in zip(front, [*front[1:], None], strict=True) if len(front) > 1 else ():
        x += [point.seconds, after.seconds if after else axis.get_xlim()[1]]
        y += [point.drop.mean] * 2
    return x, y


def _point(axis: Axes, point: TimedAttack, look: Look) -> None:
    colour = look.palette[5] if point.front else look.palette[0]
    shape: dict[str, Any] = {"marker": "D" if point.front else "o", "markersize": 5 if point.front else 4.5}
    shape |= {} if point.comparable else {"markerfacecolor": "none"}
    halves = point.drop.interval[1] - point.drop.mean if point.drop.interval else np.nan
    axis.errorbar(point.seconds, point.drop.mean, halves, color=colour, elinewidth=0.7, capsize=1.5, **shape)


def _labels(axis: Axes, found: Pareto, look: Look) -> None:
    """Write the attacks' names beside their points; lengths are inches from the lower left corner of the plot."""
    drawn = axis.figure
    assert isinstance(drawn, Figure)
    page = axis.get_position().transformed(drawn.transFigure)
    wide, tall = page.width / drawn.dpi, page.height / drawn.dpi

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = axis.transData.transform((x, y))
        return float(across - page.x0) / drawn.dpi, float(up - page.y0) / drawn.dpi

    spots = [at(point.seconds, point.drop.mean) for point in found.points]
    taken = [Box(x, y, x, y).grown(_MARK) for x, y in spots]
    for point in found.points:
        low, high = (at(point.seconds, end) for end in point.drop.interval or (point.drop.mean,) * 2)
        taken.append(Box(*low, *high).grown(_CLEAR))
    taken.append(Box(0, at(1, 0)[1], wide, at(1, 0)[1]).grown(0.005))
    corners = [at(x, y) for x, y in zip(*_steps(found, axis), strict=True)]
    taken += [Box(*one, *other).grown(_CLEAR) for one, other in itertools.pairwise(corners)]
    sizes = [(1.03 * across, up) for across, up in (measured(point.label) for point in found.points)]  # hinted, wider
    boxes = place(spots, sizes, taken, Box(0, 0, wide, tall).grown(-_CLEAR), _GAP + _MARK)
    for point, (x, y), box in zip(found.points, spots, boxes, strict=True):
        near = min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1)
        if math.dist(near, (x, y)) > 2.5 * (_GAP + _MARK):
            ends = [(x / wide, near[0] / wide), (y / tall, near[1] / tall)]
            axis.plot(*ends, transform=axis.transAxes, color=look.ink, alpha=0.5, linewidth=0.5)
        middle = (box.x0 + box.x1) / 2 / wide, (box.y0 + box.y1) / 2 / tall
        axis.text(*middle, point.label, transform=axis.transAxes, ha="center", va="center_baseline")
