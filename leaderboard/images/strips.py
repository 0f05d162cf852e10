"""Strips of poisoned points, one for each experiment: clean source above poisoned image above amplified difference."""

from __future__ import annotations

import itertools
import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from poisonbench.counted import counted
from poisonbench.leaderboard.images.exhibit_grid import COLUMNS, LINE, MARGIN, PAGE, Grid, finish, page
from poisonbench.leaderboard.images.exhibits import Exhibit, distance_text
from poisonbench.leaderboard.plots.figures import DPI, drawing, encode

_LEFT = 1.6 * DPI


@dataclass(frozen=True)
class Strip:
    """An experiment and some of its poisoned points.

    Attributes:
        label: what was run; it may have line breaks.
        exhibits: what to show, all images of one shape; none if it was not run.
        distances: L∞ distance to its clean row of every point of the experiment that has one, shown or not.
    """

    label: str
    exhibits: Sequence[Exhibit] = ()
    distances: Sequence[float] = ()

    @property
    def facts(self) -> list[str]:
        """What stands below the label."""
        if not self.distances:
            return []
        median, largest = distance_text(statistics.median(self.distances)), distance_text(max(self.distances))
        return ["L∞ distance", f"median {median}", f"largest {largest}", counted(len(self.distances), "point")]


def draw(strips: Sequence[Strip], title: Sequence[str], notes: Sequence[str], format_: str) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same strips give the same bytes.

    Args:
        strips: at least one; their images may differ in shape, and each has an amplification of its own.
        title: parts of what stands in bold above.
        notes: below the title, a line or more each.
        format_: png, pdf or svg.
    """
    with drawing():
        return encode(figure(strips, title, notes), format_)


def figure(strips: Sequence[Strip], title: Sequence[str], notes: Sequence[str]) -> Figure:
    """The figure, in whichever style is set."""
    columns = min(max(1, *(len(strip.exhibits) for strip in strips)), COLUMNS)
    heading = textwrap.wrap(" · ".join(title), 80)
    small = [line for note in notes for line in textwrap.wrap(note, 100)]
    labels = [_label(strip) for strip in strips]
    grids = [Grid(strip.exhibits, columns, _LEFT) for strip in strips]
    heights = [
        max(LINE * max(1, len(label) + len(strip.facts)), grid.height)
        for strip, label, grid in zip(strips, labels, grids, strict=True)
    ]
    first = (len(heading) + len(small) + 0.8) * LINE
    tops = list(itertools.accumulate((height + 1.3 * LINE for height in heights), initial=first))
    height = math.ceil(tops[-1] - LINE)
    drawn, axes = page(height, heading, small)
    for strip, label, grid, top in zip(strips, labels, grids, tops, strict=False):
        axes.plot([MARGIN, PAGE - MARGIN], [top - 0.4 * LINE] * 2, color="0.7", linewidth=0.4)
        _words(axes, strip, label, top)
        grid.draw(axes, top)
    finish(axes, height)
    return drawn


def _label(strip: Strip) -> list[str]:
    return [line for part in strip.label.splitlines() for line in textwrap.wrap(part, 13)]


def _words(axes: Axes, strip: Strip, label: Sequence[str], top: float) -> None:
    for index, line in enumerate([*label, *strip.facts]):
        look: dict[str, Any] = {"weight": "bold"} if index < len(label) else {}
        axes.text(MARGIN, top + (index + 0.5) * LINE, line, va="center", **look)
    if not strip.exhibits:
        axes.text(_LEFT, top + 0.5 * LINE, "not run", va="center", color="0.4")
