"""Values over x, as a chart of lines shows them: a panel each setting, a line each method, a point each x."""

from __future__ import annotations

from dataclasses import dataclass

from poisonbench.leaderboard.statistics.summaries import Summary, summary


@dataclass(frozen=True)
class Point:
    """A value at one x.

    Attributes:
        x: where.
        seeds: the value of each seed; none if it was not run.
        printed: the value as a paper prints it, or None.
    """

    x: float
    seeds: tuple[float, ...]
    printed: float | None = None

    @property
    def summary(self) -> Summary | None:
        """The value over the seeds, or None without any."""
        return summary(self.seeds) if self.seeds else None


@dataclass(frozen=True)
class Chart:
    """Lines of points, in panels.

    Attributes:
        title: above all panels.
        x_label: with its unit.
        y_label: with its unit.
        panels: by title, the points of each line by its label; a line may be missing in a panel.
        note: below the title, or nothing.
    """

    title: str
    x_label: str
    y_label: str
    panels: dict[str, dict[str, tuple[Point, ...]]]
    note: str = ""

    @property
    def labels(self) -> list[str]:
        """The labels of the lines of all panels, in order."""
        return list(dict.fromkeys(label for panel in self.panels.values() for label in panel))

    @property
    def points(self) -> list[Point]:
        """The points of all lines."""
        return [point for panel in self.panels.values() for line in panel.values() for point in line]
