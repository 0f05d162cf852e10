"""Exhibits on a page, a column each: clean source above poisoned image above amplified difference, then captions.

Nothing is resampled: a pixel of an image is a square of equal pixels in the figure. Lengths are in dots, from the top
left corner of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from poisonbench.leaderboard.images.exhibits import (
    Exhibit,
    Image,
    amplification,
    difference,
    distance_text,
    enlarged,
)
from poisonbench.leaderboard.plots.figures import DPI, WIDTH

PAGE = WIDTH * DPI
"""A page's text width."""

MARGIN = 0.02 * DPI
GAP = 0.06 * DPI
LINE = 0.14 * DPI
COLUMNS = 10
_LARGEST = 0.8 * DPI


def page(height: float, heading: Sequence[str], small: Sequence[str]) -> tuple[Figure, Axes]:
    """A page of that height, with its first lines in bold and the next ones small."""
    drawn = Figure(figsize=(WIDTH, height / DPI), dpi=DPI)
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.axis("off")
    for index, line in enumerate([*heading, *small]):
        look: dict[str, Any] = {"fontsize": 8, "weight": "bold"} if index < len(heading) else {}
        axes.text(MARGIN, (index + 0.6) * LINE, line, va="center", **look)
    return drawn, axes


def finish(axes: Axes, height: float) -> None:
    """Set the axes' limits. To be called last: an image sets limits of its own."""
    axes.set(xlim=(0, PAGE), ylim=(height, 0), aspect="auto")


@dataclass(frozen=True)
class Grid:
    """Exhibits in rows of so many columns.

    Attributes:
        exhibits: all images of one shape; there may be none.
        columns: in a row, at most.
        left: where the first begins; names of the rows are before it.
    """

    exhibits: Sequence[Exhibit]
    columns: int
    left: float

    @property
    def pitch(self) -> float:
        """The distance from one column to the next, dots."""
        return min(_LARGEST + GAP, (PAGE - MARGIN - self.left) / self.columns)

    @property
    def scale(self) -> int:
        """How many dots a pixel takes."""
        return max(1, int((self.pitch - GAP) / max(self._shape)))

    @property
    def height(self) -> float:
        """The height of all rows, dots."""
        rows = math.ceil(len(self.exhibits) / self.columns)
        return max(0.0, rows * self._row - 0.5 * LINE)

    def draw(self, axes: Axes, top: float) -> None:
        """Draw the grid on the page, its upper edge at `top`; one amplification for all."""
        factor = amplification(self.exhibits)
        for first in range(0, len(self.exhibits), self.columns):
            shown = self.exhibits[first : first + self.columns]
            self._draw_row(axes, top + first // self.columns * self._row, shown, factor)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.exhibits[0].poisoned.shape[:2] if self.exhibits else (1, 1)

    @property
    def _size(self) -> tuple[int, int]:
        """Height and width of an image."""
        return self._shape[0] * self.scale, self._shape[1] * self.scale

    @property
    def _row(self) -> float:
        return 3 * (self._size[0] + GAP) + 2.5 * LINE

    def _draw_row(self, axes: Axes, top: float, exhibits: Sequence[Exhibit], factor: float) -> None:
        tall, wide = self._size
        levels = [top + level * (tall + GAP) for level in range(3)]
        captions = [top + 3 * (tall + GAP) + (line + 0.5) * LINE for line in range(2)]
        names = ("clean", "poisoned", f"difference\n× {factor:g}", "label", "L∞")
        for y, name in zip([*(level + tall / 2 for level in levels), *captions], names, strict=True):
            axes.text(self.left - 2 * GAP, y, name, ha="right", va="center")
        for column, exhibit in enumerate(exhibits):
            left = self.left + column * self.pitch
            for y, image in zip(levels, (exhibit.clean, exhibit.poisoned, difference(exhibit, factor)), strict=True):
                self._image(axes, round(left), round(y), image)
            for y, words in zip(captions, (exhibit.labels, distance_text(exhibit.distance)), strict=True):
                axes.text(left + wide / 2, y, words, ha="center", va="center")

    def _image(self, axes: Axes, left: int, upper: int, image: Image | None) -> None:
        tall, wide = self._size
        if image is None:
            axes.text(left + wide / 2, upper + tall / 2, "none", ha="center", va="center", color="0.4")
        else:
            shown = enlarged(image if image.shape[2] == 3 else image[..., 0], self.scale)
            place = (left, left + wide, upper + tall, upper)
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="none", extent=place)
        axes.add_patch(Rectangle((left, upper), wide, tall, fill=False, edgecolor="0.6", linewidth=0.3))
