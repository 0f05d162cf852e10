"""Numbers over seeds summed up: mean, spread, 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # Student's quantiles; scipy.stats takes half a second longer to import

LEVEL = 0.05
"""Of tests; the intervals' confidence is 1 − LEVEL."""

ROUNDING = 1e-9
"""Numbers closer than this are the same: equal differences of percentages differ in their last bits."""


@dataclass(frozen=True)
class Summary:
    """Numbers x_1 … x_n of independent draws, such as one value over seeds.

    Attributes:
        n: how many.
        mean: x̄.
        std: sample standard deviation s, with n − 1; None if n = 1.
        standard_error: s / √n, of the mean; None if n = 1.
        interval: 95 % interval of the mean, x̄ ± t_{0.975, n−1} s / √n by Student's t; None if n = 1 or s = 0. No spread
            is no evidence that there is none: accuracies lie on a grid of 100 / n_test, where a few seeds coincide.
    """

    n: int
    mean: float
    std: float | None
    standard_error: float | None
    interval: tuple[float, float] | None


def summary(values: Sequence[float] | NDArray[np.float64]) -> Summary:
    """The mean, spread and interval of some numbers.

    Raises:
        ValueError: for no values, or some that are not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"expected a row of finite numbers, got {values!r}")
    n, mean = x.size, float(x.mean())
    if n == 1:
        return Summary(n, mean, None, None, None)
    if np.ptp(x) <= ROUNDING:
        return Summary(n, mean, 0.0, 0.0, None)
    std = float(x.std(ddof=1))
    error = std / n**0.5
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * error
    return Summary(n, mean, std, error, (mean - half, mean + half))
