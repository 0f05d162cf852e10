"""Two entries of a ranking beside each other: every pair of its family, on the seeds that make the ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from poisonbench.leaderboard.site.numbers import mean, points
from poisonbench.leaderboard.statistics.ranking import Better, Contributions, every_pair, ordered
from poisonbench.leaderboard.statistics.summaries import LEVEL, Summary
from poisonbench.leaderboard.statistics.two_way import measured, two_way
from poisonbench.leaderboard.statistics.verdicts import p_value


@dataclass(frozen=True)
class Pair:
    """One entry against another that its mean is behind of.

    Attributes:
        first: whose mean is better.
        second: the other.
        by_seed: the first's value less the second's, points.
        difference: the mean of these, with its interval over seeds and test images.
        p: of no difference, of this pair alone; None where nothing can be tested.
        adjusted: the same for the family, as for ranks.
        family: how many entries are compared.
    """

    first: str
    second: str
    by_seed: tuple[float, ...]
    difference: Summary
    p: float | None
    adjusted: float
    family: int

    @property
    def sentence(self) -> str:
        """What is shown, at the 5 % level and after adjustment for the family."""
        sign = -1 if self.difference.mean < 0 else 1
        size = f"{points(sign * self.difference.mean)} points"
        if self.difference.interval is not None:
            low, high = sorted(sign * end for end in self.difference.interval)
            size += f", 95 % interval {points(low)} to {points(high)}"
        told = f"p = {p_value(self.p)}" + (f", {p_value(self.adjusted)} in the family" if self.family > 2 else "")
        if self.adjusted <= LEVEL:
            return f"{self.first} is ahead of {self.second}: {size}; {told}."
        return f"{self.first} and {self.second} are not told apart: {size}; {told}."

    @property
    def shown(self) -> str:
        """The difference with half of its interval."""
        return mean(self.difference)


def pairs(entries: Mapping[str, Contributions], seeds: Sequence[int], better: Better) -> list[Pair]:
    """Every pair of a ranked family, in the order of the means.

    Args:
        entries: by name, those that are ranked; all have the seeds.
        seeds: those that count.
        better: which mean is first.
    """
    if len(entries) < 2:
        return []
    order, tables = ordered(entries, seeds, better)
    sign = -1.0 if better == "largest" else 1.0
    adjusted = every_pair(entries, seeds, better)
    found = []
    for (i, first), (j, second) in combinations(enumerate(order), 2):
        table = sign * (tables[i] - tables[j])
        values = table.mean(axis=1, dtype=float).tolist()
        test = two_way(table)
        found.append(
            Pair(
                first,
                second,
                tuple(values),
                measured(values, table),
                test.p if test else None,
                adjusted[frozenset((first, second))],
                len(order),
            )
        )
    return found
