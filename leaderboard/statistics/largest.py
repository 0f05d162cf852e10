"""The largest of several means: which of them it is was seen in the same data, and its interval allows for that.

Of k means that are about equal the largest one is so by chance: it is too high, and the interval of that one mean holds
the largest true one on 87 to 97 % of simulated boards (k = 10). The largest true mean θ_max is at least θ_a for each a:

    lower end: max over a of x_a − h_a(α / 2k), above θ_max only if one of k intervals lies above its own θ_a;
    upper end: max over a of x_a + h_a(α / 2), below θ_max only if that of the mean that is truly largest does,

with h_a the half width of `two_way` at that level. Both ends together miss θ_max at most as often as α.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.statistics.two_way import Table, Variances, variances


def interval_of_largest(tables: Sequence[Table]) -> tuple[float, float] | None:
    """The 95 % interval of the largest mean, for other seeds and other images; None with one seed.

    Args:
        tables: at least one, of the same seeds and images, each (seeds, images).
    """
    _, n, m = np.shape(tables)
    if n < 2:
        return None
    found = variances(np.stack(tables))
    low = found.mean - _half(found, LEVEL / 2 / len(tables), n, m)
    high = found.mean + _half(found, LEVEL / 2, n, m)
    return float(low.max()), float(high.max())


def _half(found: Variances, tail: float, n: int, m: int) -> NDArray[np.float64]:
    of_seeds, of_images = (stdtrit(count - 1, 1 - tail) ** 2 for count in (n, max(m, 2)))
    return np.asarray(np.sqrt(of_seeds * found.of_seeds + of_images * found.of_images), dtype=np.float64)
