"""The paired test across seeds, and the adjustment of several for a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr  # Student's distribution; scipy.stats takes half a second longer to import

from poisonbench.leaderboard.statistics.summaries import ROUNDING, Summary, summary


@dataclass(frozen=True)
class Paired:
    """A paired test of A against B.

    Attributes:
        difference: of a − b over the pairs.
        p: two-sided; None where the test says nothing.
        holm: p adjusted for the family that the test is one of; None outside of one.
    """

    difference: Summary
    p: float | None
    holm: float | None = None


def paired_t(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Student's paired t-test across seeds; a[i] and b[i] are of the same seed.

    Null: over the seeds that one might draw, the mean of a − b is 0; the differences are independent and normal. With
    three seeds that is an assumption, not a finding. Test images are fixed: how few they are is not in p.

    p is None with one pair. With differences that are all 0, p = 1. With equal differences that are not 0, t is
    infinite and p = 0 by the formula, which a few equal numbers on a grid of 100 / n_test do not warrant: p is None,
    and the difference stands there with std = 0 for everyone to see.

    Raises:
        ValueError: if the two have not the same length, or none.
    """
    if len(a) != len(b):
        raise ValueError(f"expected pairs, got {len(a)} and {len(b)} numbers")
    difference = summary(np.subtract(a, b, dtype=np.float64))
    if difference.standard_error is None:
        return Paired(difference, None)
    if difference.standard_error == 0.0:
        return Paired(difference, 1.0 if abs(difference.mean) <= ROUNDING else None)
    t = difference.mean / difference.standard_error
    return Paired(difference, float(2 * stdtr(difference.n - 1, -abs(t))))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: reject what is at most α, and the chance of any false rejection in the family is at
    most α, however the tests depend on each other.

    The k-th smallest of m becomes max_{j ≤ k} (m − j + 1) p_(j), at most 1.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics, 1979.
    """
    order = np.argsort(p, kind="stable")
    steps = (len(p) - np.arange(len(p))) * np.asarray(p, dtype=np.float64)[order]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(number) for number in adjusted]
