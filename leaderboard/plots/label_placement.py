"""Labels beside their points, none over another, over a point or off the plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.2, 3.6, 5.2, 7.0, 9.0, 12.0, 16.0)
"""How far from the point a label may go, in gaps."""

_AROUND = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 70, 110, 250, 290)
"""Degrees, the most readable side first."""


@dataclass(frozen=True)
class Box:
    """A rectangle: left, bottom, right, top."""

    x0: float
    y0: float
    x1: float
    y1: float

    def grown(self, by: float) -> Box:
        """The box with a margin around it."""
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def shared(self, other: Box) -> float:
        """The area that it shares with another box."""
        wide, tall = min(self.x1, other.x1) - max(self.x0, other.x0), min(self.y1, other.y1) - max(self.y0, other.y0)
        return wide * tall if wide > 0 and tall > 0 else 0.0

    def outside(self, page: Box) -> float:
        """The area of it that is off the page."""
        return (self.x1 - self.x0) * (self.y1 - self.y0) - self.shared(page)


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    page: Box,
    gap: float,
) -> list[Box]:
    """Where each point's label goes; lengths are in any one unit.

    Label by label, the first place from near to far that is free; if none is, the one that covers the least. Those
    with the most around them choose first.

    Args:
        points: what is labelled.
        sizes: width and height of each label.
        taken: what no label may cover, the points' own marks among it.
        page: what no label may leave.
        gap: between a point and its label.
    """
    crowded = sorted(range(len(points)), key=lambda index: (-_neighbours(points, index, 12 * gap), index))
    found: dict[int, Box] = {}
    for index in crowded:
        full = [*taken, *found.values()]
        best, least = None, math.inf
        for box in _places(points[index], sizes[index], gap):
            covered = sum(box.shared(other) for other in full) + 4 * box.outside(page)
            if not covered:
                best = box
                break
            if covered < least:
                best, least = box, covered
        assert best is not None
        found[index] = best
    return [found[index] for index in range(len(points))]


def _neighbours(points: Sequence[tuple[float, float]], index: int, reach: float) -> int:
    return sum(math.dist(points[index], other) < reach for other in points)


def _places(point: tuple[float, float], size: tuple[float, float], gap: float) -> Iterator[Box]:
    """Boxes whose nearest edge is so far from the point, near ones first."""
    (x, y), (wide, tall) = point, size
    for step in _STEPS:
        for degrees in _AROUND:
            across, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            left = x + step * gap * across - wide * (1 - across) / 2
            bottom = y + step * gap * up - tall * (1 - up) / 2
            yield Box(left, bottom, left + wide, bottom + tall)
