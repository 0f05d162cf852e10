"""Ranks that chance does not make, over other seeds and other test images: who leads, and whom it is told from.

Entries are in the order of their means over the seeds that count. The first is compared with each behind it, by the
paired two-way test that stepdown adjusts for the family: all that are ranked together. What it is not told from shares
its rank. The first entry that it is ahead of begins the next rank, and is ahead of no entry that those before are not
ahead of. So a shared rank says that the data cannot tell two entries apart, not that they are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poisonbench.leaderboard.statistics.stepdown import ahead
from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.statistics.two_way import Table

SEEDS = 3
"""Fewer seeds are not ranked."""

Better = Literal["largest", "smallest"]

Contributions = Mapping[int, NDArray[np.floating]]
"""By seed, the points that each test image adds to the value, (images,); one number of a value without images."""


@dataclass(frozen=True)
class Ranking:
    """A family of entries in the order of their means.

    Attributes:
        ranks: from 1, of those that could be tested; the others have none.
        p: of each entry behind the first, that the first is not ahead of it, adjusted for the family.
        seeds: how many each was tested with.
    """

    ranks: Mapping[str, int] = field(default_factory=dict)
    p: Mapping[str, float] = field(default_factory=dict)
    seeds: int = 0

    @property
    def ahead(self) -> tuple[str, ...]:
        """Those that the first is ahead of."""
        return tuple(name for name, p in self.p.items() if p <= LEVEL)

    @property
    def tied(self) -> tuple[str, ...]:
        """Those that cannot be told from the first."""
        return tuple(name for name, p in self.p.items() if p > LEVEL)

    def last(self, name: str) -> int:
        """The last of the places that an entry shares with those of its rank."""
        rank = self.ranks[name]
        return rank + sum(one == rank for one in self.ranks.values()) - 1


def shared_seeds(entries: Mapping[str, Contributions]) -> tuple[int, ...]:
    """The seeds of all entries that have enough to be ranked."""
    able = [set(by_seed) for by_seed in entries.values() if len(by_seed) >= SEEDS]
    return tuple(sorted(set.intersection(*able))) if able else ()


def rank(entries: Mapping[str, Contributions], seeds: Sequence[int], better: Better) -> Ranking:
    """The ranks of a family, and who leads it.

    Args:
        entries: by name, all of the same test images.
        seeds: those that count: an entry that lacks one is not ranked, and others are not looked at. Fewer than SEEDS
            rank nobody.
        better: which mean is first; equal ones are in the order of names.
    """
    order, tables = ordered({name: one for name, one in entries.items() if set(seeds) <= set(one)}, seeds, better)
    if len(seeds) < SEEDS or not order:
        return Ranking()
    ranks, p = [1], np.empty(0)
    first, earlier = 0, np.zeros(len(order) - 1)
    while len(ranks) < len(order):
        found = np.maximum(earlier, ahead(tables, first))
        p = p if first else found
        told = np.flatnonzero(found <= LEVEL)
        following = first + 1 + int(told[0]) if told.size else len(order)
        ranks += [first + 1] * (following - first - 1) + [following + 1] * (following < len(order))
        earlier, first = found[following - first :], following
    return Ranking(dict(zip(order, ranks, strict=True)), dict(zip(order[1:], p.tolist(), strict=True)), len(seeds))


def every_pair(
    entries: Mapping[str, Contributions], seeds: Sequence[int], better: Better
) -> dict[frozenset[str], float]:
    """p of each pair, that neither is ahead of the other, adjusted for the family; at least two seeds, which all have.

    Those of an entry that begins a rank are the ones that make the ranks.
    """
    order, tables = ordered(entries, seeds, better)
    found: dict[frozenset[str], float] = {}
    start, earlier = 0, np.zeros(len(order) - 1)
    for first, name in enumerate(order[:-1]):
        p = np.maximum(earlier[first - len(order) + 1 :], ahead(tables, first))
        found |= {frozenset((name, other)): float(one) for other, one in zip(order[first + 1 :], p, strict=True)}
        if first == start:
            earlier = p
            told = np.flatnonzero(p <= LEVEL)
            start = first + 1 + int(told[0]) if told.size else len(order)
    return found


def ordered(entries: Mapping[str, Contributions], seeds: Sequence[int], better: Better) -> tuple[list[str], Table]:
    """Names with the best mean first, and their tables, (entries, seeds, images), such that smaller is better."""
    sign = -1.0 if better == "largest" else 1.0
    names = sorted(entries)
    if not names or not seeds:
        return [], np.empty((0, 0, 0))
    tables = sign * np.stack([np.stack([entries[name][seed] for seed in seeds]) for name in names])
    order = np.argsort(tables.mean(axis=(1, 2), dtype=np.float64), kind="stable")
    return [names[index] for index in order], tables[order]
