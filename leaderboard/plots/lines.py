"""Values over x, as a chart of lines shows them: a panel each setting, a line each method, a point each x."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from poisonbench.leaderboard.badges import NOTE
from poisonbench.leaderboard.statistics.intervals import Spread, described, spread
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Point:
    """A value at one x.

    Attributes:
        x: where.
        seeds: the value of each seed; none if it was not run.
        spread: the value over the seeds, or None without any.
        printed: the value as a paper prints it, or None.
    """

    x: float
    seeds: tuple[float, ...]
    spread: Spread | None
    printed: float | None = None

    @classmethod
    def of(cls, x: float, records: Iterable[Record], value: str, printed: float | None = None) -> Self:
        """The point of a cell.

        Args:
            x: where.
            records: one each seed; those without the value do not count.
            value: a name in VALUES.
            printed: the value as a paper prints it.
        """
        known = tuple(records)
        seeds = (VALUES[value].of(record) for record in known)
        return cls(x, tuple(number for number in seeds if number is not None), spread(known, value), printed)

    @property
    def summary(self) -> Summary | None:
        """Mean and interval of the value over the seeds."""
        return self.spread.summary if self.spread else None


@dataclass(frozen=True)
class Chart:
    """Lines of points, in panels.

    Attributes:
        title: above all panels.
        x_label: with its unit.
        y_label: with its unit.
        panels: by title, the points of each line by its label; a line may be missing in a panel.
        remark: below the title, before what the intervals are; may be empty.
        mixed_code: whether a mean is over seeds of different code.
    """

    title: str
    x_label: str
    y_label: str
    panels: dict[str, dict[str, tuple[Point, ...]]]
    remark: str = ""
    mixed_code: bool = False

    @property
    def note(self) -> str:
        """What stands below the title; may be empty."""
        random = described(point.spread.random for point in self.points if point.spread)
        intervals = f"95 % intervals {random}" if random else ""
        return "; ".join(filter(None, (self.remark, intervals, NOTE if self.mixed_code else "")))

    @property
    def labels(self) -> list[str]:
        """The labels of the lines of all panels, in order."""
        return list(dict.fromkeys(label for panel in self.panels.values() for label in panel))

    @property
    def points(self) -> list[Point]:
        """The points of all lines."""
        return [point for panel in self.panels.values() for line in panel.values() for point in line]
