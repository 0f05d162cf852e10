"""A row's interval as a line on a scale that all rows share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from poisonbench.leaderboard.statistics.summaries import Summary


@dataclass(frozen=True)
class Scale:
    """A scale in points from low to high; zero is on it, and both ends are round.

    Attributes:
        low: left end.
        high: right end.
    """

    low: float
    high: float

    @classmethod
    def over(cls, summaries: Iterable[Summary | None]) -> Scale:
        """The scale that holds every mean. An interval may run out of it: those of two or three seeds are often so wide
        that the means would be a speck."""
        means = [0.0, *(summary.mean for summary in summaries if summary)]
        span = max(max(means) - min(means), 0.1)
        step = 10 ** math.floor(math.log10(span / 2))
        step *= 5 if span / step > 20 else 2 if span / step > 8 else 1
        low, high = min(means) - 0.15 * span, max(means) + 0.35 * span
        return cls(math.floor(low / step) * step, math.ceil(high / step) * step)

    def at(self, value: float) -> float:
        """Where on it a value is, percent of its length; at the end that it is beyond."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round numbers on it, at least two."""
        step = 10 ** math.floor(math.log10(self.high - self.low))
        while (self.high - self.low) / step < 3:
            step /= 2
        return tuple(step * index for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1))

    def beyond(self, summary: Summary) -> tuple[bool, bool]:
        """Whether its interval runs out of it, on the left and on the right."""
        low, high = summary.interval or (self.low, self.high)
        return low < self.low, high > self.high

    def ends(self, summary: Summary) -> tuple[float, float] | None:
        """Where its 95 % interval begins and ends; None without one."""
        return (self.at(summary.interval[0]), self.at(summary.interval[1])) if summary.interval else None
