"""Strips of poisoned points, one for each experiment: clean source above poisoned image above amplified difference.

As in a gallery nothing is resampled: a pixel of an image is a square of equal pixels in the figure.
"""

from __future__ import annotations

import itertools
import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from poisonbench.leaderboard.figures import DPI, STYLE, WIDTH, encode
from poisonbench.leaderboard.gallery import Exhibit, Image, amplification, difference

_WIDTH = WIDTH * DPI
"""A page's text width; like every length below, in dots."""

_MARGIN = 0.02 * DPI
_LEFT = 1.6 * DPI
_GAP = 0.06 * DPI
_LARGEST = 0.8 * DPI
_LINE = 0.14 * DPI
_COLUMNS = 10


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
        median, largest = _number(statistics.median(self.distances)), _number(max(self.distances))
        return [f"median L∞ {median}", f"largest L∞ {largest}", f"of {len(self.distances)} points"]


def draw(strips: Sequence[Strip], title: Sequence[str], notes: Sequence[str], format_: str) -> bytes:
    """The figure as a file of that format, one of FORMATS; 6.5 inches wide. The same strips give the same bytes.

    Args:
        strips: at least one; their images may differ in shape, and each has an amplification of its own.
        title: parts of what stands in bold above.
        notes: below the title, a line or more each.
        format_: png, pdf or svg.
    """
    with matplotlib.style.context(["default", STYLE, {"text.parse_math": False}]):
        return encode(figure(strips, title, notes), format_)


def figure(strips: Sequence[Strip], title: Sequence[str], notes: Sequence[str]) -> Figure:
    """The figure, in whichever style is set."""
    columns = min(max(1, *(len(strip.exhibits) for strip in strips)), _COLUMNS)
    heading = textwrap.wrap(" · ".join(title), 80)
    small = [line for note in notes for line in textwrap.wrap(note, 110)]
    layouts = [_Layout(strip, columns) for strip in strips]
    first = (len(heading) + len(small) + 0.8) * _LINE
    tops = list(itertools.accumulate((layout.height + 1.3 * _LINE for layout in layouts), initial=first))
    height = math.ceil(tops[-1] - _LINE)

    drawn = Figure(figsize=(WIDTH, height / DPI), dpi=DPI)
    page = drawn.add_axes((0, 0, 1, 1))  # in dots, from the top left corner
    page.axis("off")
    for index, line in enumerate([*heading, *small]):
        look: dict[str, Any] = {"fontsize": 8, "weight": "bold"} if index < len(heading) else {"fontsize": 6.5}
        page.text(_MARGIN, (index + 0.6) * _LINE, line, va="center", **look)
    for layout, top in zip(layouts, tops, strict=False):
        page.plot([_MARGIN, _WIDTH - _MARGIN], [top - 0.4 * _LINE] * 2, color="0.7", linewidth=0.4)
        layout.draw(page, top)
    page.set(xlim=(0, _WIDTH), ylim=(height, 0), aspect="auto")  # last: an image would set its own
    return drawn


class _Layout:
    """A strip with the size of everything in it."""

    def __init__(self, strip: Strip, columns: int) -> None:
        self.strip = strip
        self.columns = columns
        self.label = [line for part in strip.label.splitlines() for line in textwrap.wrap(part, 13)]
        self.pitch: float = min(_LARGEST + _GAP, (_WIDTH - _MARGIN - _LEFT) / columns)
        rows, across, _ = strip.exhibits[0].poisoned.shape if strip.exhibits else (1, 1, 1)
        self.scale = max(1, int((self.pitch - _GAP) / max(rows, across)))
        self.tall: int = rows * self.scale
        self.wide: int = across * self.scale
        self.band: float = 3 * (self.tall + _GAP) + 2.5 * _LINE
        self.bands = math.ceil(len(strip.exhibits) / columns)

    @property
    def height(self) -> float:
        words = max(1, len(self.label) + len(self.strip.facts)) * _LINE
        return max(words, self.bands * self.band - 0.5 * _LINE)

    def draw(self, page: Axes, top: float) -> None:
        """The strip, its upper edge at top."""
        for index, line in enumerate([*self.label, *self.strip.facts]):
            look: dict[str, Any] = {"weight": "bold"} if index < len(self.label) else {"fontsize": 6}
            page.text(_MARGIN, top + (index + 0.5) * _LINE, line, va="center", **look)
        if not self.strip.exhibits:
            page.text(_LEFT, top + 0.5 * _LINE, "not run", va="center", color="0.4")
        factor = amplification(self.strip.exhibits)
        for band in range(self.bands):
            shown = self.strip.exhibits[band * self.columns : (band + 1) * self.columns]
            self._band(page, top + band * self.band, shown, factor)

    def _band(self, page: Axes, top: float, exhibits: Sequence[Exhibit], factor: float) -> None:
        levels = [top + level * (self.tall + _GAP) for level in range(3)]
        captions = [top + 3 * (self.tall + _GAP) + (line + 0.5) * _LINE for line in range(2)]
        names = ("clean", "poisoned", f"difference\n× {factor:g}", "label", "L∞")
        for y, name in zip([*(level + self.tall / 2 for level in levels), *captions], names, strict=True):
            page.text(_LEFT - 2 * _GAP, y, name, ha="right", va="center")
        for column, exhibit in enumerate(exhibits):
            left = _LEFT + column * self.pitch
            images = (exhibit.clean, exhibit.poisoned, difference(exhibit, factor))
            for y, image, words in zip(levels, images, ("made from\nnothing", "", "–"), strict=True):
                self._image(page, round(left), round(y), image, words)
            for y, words in zip(captions, (exhibit.labels, _number(exhibit.distance)), strict=True):
                page.text(left + self.wide / 2, y, words, ha="center", va="center", fontsize=6)

    def _image(self, page: Axes, left: int, upper: int, image: Image | None, words: str) -> None:
        middle = (left + self.wide / 2, upper + self.tall / 2)
        if image is None:
            page.text(*middle, words, ha="center", va="center", fontsize=4.5, color="0.4")
        else:
            shown = image if image.shape[2] == 3 else image[..., 0]
            shown = shown.repeat(self.scale, 0).repeat(self.scale, 1)  # by the viewer of a PDF it would be blurred
            place = (left, left + self.wide, upper + self.tall, upper)
            page.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="none", extent=place)
        frame = Rectangle((left, upper), self.wide, self.tall, fill=False, edgecolor="0.6", linewidth=0.3)
        page.add_patch(frame)


def _number(distance: float | None) -> str:
    if distance is None:
        return "–"
    return f"{distance:.3f}" if distance >= 0.001 else f"{distance:.1g}"
