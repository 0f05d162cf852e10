"""Ranks that chance does not make: entries that do not differ share one, and whether the first is ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from poisonbench.leaderboard.statistics.paired import holm
from poisonbench.leaderboard.statistics.summaries import LEVEL, ROUNDING

SEEDS = 3
"""Fewer seeds are not ranked: one run against a mean of many says nothing."""

Seeds = Mapping[int, float]
"""A value by seed."""


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


def ranks(entries: Sequence[Seeds], largest_first: bool) -> list[int | None]:
    """The rank of each entry, from 1; None for one with fewer than SEEDS seeds.

    Entries are walked in the order of their means. One that does not differ from the first of the current rank shares
    that rank; else a new rank begins, which counts all entries before it (1, 1, 3). To differ is to have p ≤ 5 % in
    Student's paired t-test over the seeds that both have, after Holm's adjustment for every pair of ranked entries.

    So a shared rank says that the data cannot tell the two apart, not that they are equal: with three seeds only large
    and steady differences show.
    """
    able = [index for index, entry in enumerate(entries) if len(entry) >= SEEDS]
    means = {index: sum(entries[index].values()) / len(entries[index]) for index in able}
    order = sorted(able, key=lambda index: -means[index] if largest_first else means[index])
    differ = differences([entries[index] for index in order])
    found: list[int | None] = [None] * len(entries)
    first = 0
    for position, index in enumerate(order):
        if differ[first, position]:
            first = position
        found[index] = first + 1
    return found


def tied(best: Seeds, others: Sequence[Seeds]) -> list[bool]:
    """Whether each of the others has SEEDS seeds and does not differ from the best; a family of comparisons with one
    entry, as a column of a table has."""
    p = [_p_values(_table([best, other]))[0, 1] for other in others]
    tested = [index for index, value in enumerate(p) if not np.isnan(value)]
    adjusted = dict(zip(tested, holm([p[index] for index in tested]), strict=True))
    return [
        len(best) >= SEEDS and len(other) >= SEEDS and adjusted.get(index, 1.0) > LEVEL
        for index, other in enumerate(others)
    ]


def differences(entries: Sequence[Seeds]) -> NDArray[np.bool_]:
    """Which pairs differ, (m, m), symmetric; the family is all pairs that can be tested."""
    p = _p_values(_table(entries))
    upper = np.triu_indices(len(entries), 1)
    family = p[upper]
    tested = ~np.isnan(family)
    differ = np.zeros(p.shape, dtype=bool)
    adjusted = np.ones(len(family))
    adjusted[tested] = holm(family[tested].tolist())
    differ[upper] = adjusted <= LEVEL
    return differ | differ.T


def lead(entries: Sequence[tuple[str, Seeds]]) -> Lead | None:
    """The lead of the first of some entries, which are in the order of their standing; those with too few seeds are
    left out. None without any."""
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


def _table(entries: Sequence[Seeds]) -> NDArray[np.float64]:
    """Values, (entries, seeds); NaN where an entry lacks a seed."""
    seeds = sorted({seed for entry in entries for seed in entry})
    return np.array([[entry.get(seed, np.nan) for seed in seeds] for entry in entries], dtype=np.float64)


def _p_values(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """p of the paired t-test of each pair of rows, (m, m); NaN where it says nothing, as in paired.paired_t."""
    p = np.full((len(x), len(x)), np.nan)
    for index, row in enumerate(x):
        difference = row - x
        shared = ~np.isnan(difference)
        n = shared.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(shared, difference, 0.0).sum(axis=1) / n
            spread = np.where(shared, difference - mean[:, None], 0.0)
            error = np.sqrt((spread**2).sum(axis=1) / (n - 1) / n)
            p[index] = 2 * stdtr(n - 1.0, -np.abs(mean / error))
        equal = spread.max(axis=1, initial=0.0) - spread.min(axis=1, initial=0.0) <= ROUNDING
        p[index, equal] = np.where(np.abs(mean[equal]) <= ROUNDING, 1.0, np.nan)
        p[index, n < 2] = np.nan
    return p
