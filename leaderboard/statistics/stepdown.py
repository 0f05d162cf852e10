"""One entry against those behind it: p of the studentized range, stepped down for the family.

The chance that the first of several equal entries is that far ahead of another is the studentized range's. Its sizes
step down, as those of Ryan, Einot, Gabriel and Welsch: the entry that differs most clearly is tested as one of all k of
the family, the next as one of those that are left, and a range over j of k entries has the level 1 − (1 − α)^(j / k).
What is not told apart ends the steps.

Three seeds say little of their own variance, and one of nine rivals looks steady by chance: with the own variance of
each pair, 3 seeds and 10 equal entries the first is called ahead of another on up to 17 of 100 boards. So V_seeds of a
pair is at least the median of all pairs of the family, and of those of the first entry, and has degrees of freedom from
them: (n − 1) (k − 1), at most 3 (n − 1). Medians, for among four or more entries one noisy one does not move them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poisonbench.leaderboard.statistics.studentized_range import survival
from poisonbench.leaderboard.statistics.two_way import Table, degrees, variances

_BORROWED = 3
"""How many times its own degrees of freedom a pair's V_seeds has at most."""


def ahead(tables: Table, first: int) -> NDArray[np.float64]:
    """p, adjusted for the family, that an entry is not ahead of each of those behind it, (entries behind it,).

    Args:
        tables: of the whole family in order, the smallest mean first, (entries, seeds, images).
        first: index of the entry.
    """
    k, n, m = tables.shape
    pairs = variances(tables[first + 1 :] - tables[first])
    of_seeds = np.maximum(pairs.of_seeds, borrowed(tables.mean(axis=2, dtype=np.float64), first))
    total = of_seeds + pairs.of_images
    df = degrees(of_seeds, (n - 1) * min(k - 1, _BORROWED), pairs.of_images, m - 1)
    q = np.sqrt(2.0 * pairs.mean**2 / np.where(total > 0.0, total, np.inf))  # without any error there is no test
    return step_down(q, df, k)


def borrowed(rows: NDArray[np.float64], first: int) -> float:
    """The least V_seeds of a pair with an entry: the lower median of all pairs, or the median of the entry's own.

    Args:
        rows: means over images, (entries, seeds), at least two entries.
        first: index of the entry.
    """
    k, n = rows.shape
    of_pairs = np.var(rows[:, None] - rows[None], axis=2, ddof=1) / n
    of_all = np.quantile(of_pairs[np.triu_indices(k, 1)], 0.5, method="lower")
    return float(max(of_all, np.median(np.delete(of_pairs[first], first))))


def step_down(q: NDArray[np.float64], df: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Adjusted p of one entry against each of those behind it: q = √2 |t|, df its degrees of freedom, k entries in the
    family."""
    adjusted = np.empty(q.size)
    highest = 0.0
    for step, index in enumerate(np.argsort(survival(q, k, df), kind="stable")):
        highest = max(highest, _of_range(q[index], q.size + 1 - step, df[index], k))
        adjusted[index] = highest
    return adjusted


def _of_range(q: float, j: int, df: float, k: int) -> float:
    """p of a range over j entries, adjusted for a family of k."""
    p = float(survival(q, j, df))
    return p if j >= k - 1 else 1.0 - (1.0 - p) ** (k / j)
