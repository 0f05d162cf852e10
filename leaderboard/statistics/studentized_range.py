"""The distribution of the studentized range: how far apart the first and the last of several equal means fall."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr  # scipy.stats has this distribution too, and takes 0.8 s to import

_MAXIMUM = np.linspace(-8.0, 8.0, 41)
"""Nodes of the largest of k standard normal numbers. The trapezoid rule converges like exp(−c / step) on them."""

_SPREAD = np.linspace(0.0, 1.0, 97)
"""Nodes of the logarithm of the estimated standard deviation, from the least to the most that has any weight."""

_MOST = 1e7
"""Degrees of freedom that are as good as infinitely many."""


def survival(q: ArrayLike, k: int, df: ArrayLike) -> NDArray[np.float64]:
    """P(range of k standard normal numbers > q s), with s² an independent χ² / df, for arrays that broadcast.

    sf(q) = ∫ f_df(s) (1 − P_k(q s)) ds and P_k(w) = k ∫ φ(z) (Φ(z) − Φ(z − w))^{k − 1} dz, each by the trapezoid rule,
    the outer one in log s. With df ≥ 2 and k ≤ 50 its
    error is below 2 · 10⁻⁵ where it is below 10 %, and below 2 · 10⁻⁴ elsewhere.

    Args:
        q: ranges, at least 0; √2 |t| for two means.
        k: how many means, at least 2.
        df: degrees of freedom, at least 2, whole or not.
    """
    range_, nu = np.broadcast_arrays(np.asarray(q, dtype=np.float64), np.minimum(np.asarray(df, np.float64), _MOST))
    nu = nu[..., None]
    width = 8.0 / np.sqrt(2.0 * nu)
    low = -34.0 / nu - width
    log_s = low + (width - low) * _SPREAD
    half = nu / 2.0
    log_density = nu * log_s - half * np.exp(2.0 * log_s) + half * np.log(half) - gammaln(half) + np.log(2.0)
    weights = np.exp(log_density) * (width - low) * _SPREAD[1]
    total = (weights * _normal_survival(range_[..., None] * np.exp(log_s), k)).sum(axis=-1)
    return np.asarray(np.clip(total, 0.0, 1.0), dtype=np.float64)


def _normal_survival(w: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """1 − P_k(w)."""
    weights = k * np.exp(-(_MAXIMUM**2) / 2.0) / np.sqrt(2.0 * np.pi) * (_MAXIMUM[1] - _MAXIMUM[0])
    below = ndtr(_MAXIMUM) ** (k - 1)
    total = np.zeros(w.shape)
    for z, weight, all_below in zip(_MAXIMUM, weights, below, strict=True):
        total += weight * (all_below - (ndtr(z) - ndtr(z - w)) ** (k - 1))
    return total
