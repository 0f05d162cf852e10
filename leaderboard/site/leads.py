"""Who is ahead of whom: whether a difference on a board is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poisonbench.leaderboard.statistics.ranking import SEEDS, differences


@dataclass(frozen=True)
class Lead:
    """The first of some entries against the others, by the tests that make the ranks.

    Attributes:
        ahead: names of those that it differs from.
        tied: names of those that it cannot be told apart from.
        seeds: of the first.
    """

    ahead: tuple[str, ...]
    tied: tuple[str, ...]
    seeds: int


def lead(entries: Sequence[tuple[str, Mapping[int, float]]]) -> Lead | None:
    """Of entries in the order of their standing; those with too few seeds are left out. None without any."""
    ranked = [(name, by_seed) for name, by_seed in entries if len(by_seed) >= SEEDS]
    if not ranked:
        return None
    differ = differences([by_seed for _, by_seed in ranked])[0]
    rivals = [(name, bool(apart)) for (name, _), apart in zip(ranked, differ, strict=True)][1:]
    return Lead(
        ahead=tuple(name for name, apart in rivals if apart),
        tied=tuple(name for name, apart in rivals if not apart),
        seeds=len(ranked[0][1]),
    )
