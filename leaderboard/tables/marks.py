"""The best of what competes, and what chance does not tell from it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from poisonbench.leaderboard.statistics.ranking import SEEDS, Seeds, tied
from poisonbench.leaderboard.statistics.summaries import ROUNDING
from poisonbench.leaderboard.values import Better


class Mark(StrEnum):
    """What an entry is among those that it competes with."""

    BEST = "best"
    TIED = "tied"


def marks(entries: Sequence[Seeds], better: Better) -> list[Mark | None]:
    """The mark of each entry. Equal means are all the best; those with fewer than SEEDS seeds do not compete, and of
    one competitor there is no best."""
    found: list[Mark | None] = [None] * len(entries)
    sign = -1.0 if better == "largest" else 1.0
    means = {
        index: sign * sum(entry.values()) / len(entry) for index, entry in enumerate(entries) if len(entry) >= SEEDS
    }
    if len(means) < 2:
        return found
    first = min(means, key=lambda index: means[index])
    others = [index for index in means if index != first]
    found[first] = Mark.BEST
    for index, same in zip(others, tied(entries[first], [entries[index] for index in others]), strict=True):
        if means[index] - means[first] <= ROUNDING:
            found[index] = Mark.BEST
        elif same:
            found[index] = Mark.TIED
    return found
