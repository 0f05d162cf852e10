"""The best of what competes, and what chance does not tell from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from poisonbench.leaderboard.statistics.ranking import Better, Contributions, rank
from poisonbench.leaderboard.statistics.summaries import ROUNDING


class Mark(StrEnum):
    """What an entry is among those that it competes with."""

    BEST = "best"
    TIED = "tied"


def marks(entries: Mapping[str, Contributions], seeds: Sequence[int], better: Better) -> dict[str, Mark]:
    """The marks of a family of entries, by name, as it is ranked: equal means are all the best; of one competitor there
    is no best.

    Args:
        entries: by name.
        seeds: those that count.
        better: which mean.
    """
    ranking = rank(entries, seeds, better)
    if len(ranking.ranks) < 2:
        return {}
    means = {name: sum(float(entries[name][seed].mean()) for seed in seeds) / len(seeds) for name in ranking.ranks}
    best = means[next(iter(means))]
    found = dict.fromkeys(ranking.tied, Mark.TIED)
    return found | {name: Mark.BEST for name, mean in means.items() if abs(mean - best) <= ROUNDING}
