"""The mean of a table of seeds by test images, where both are random samples: its error for other seeds and images.

D_si is what image i adds in seed s: D_si = θ + a_s + b_i + c_si, with a_s of the seed (split, initialisation, the
methods' own draws), b_i of the image and c_si of both. The variance of the mean over n seeds and m images is

    Var(a) / n + Var(b) / m + Var(c) / (n m) = V_seeds + V_images,

V_seeds = s² of the n means over images, / n, which estimates Var(a) / n + Var(c) / (n m), and V_images = the same of
the m means over seeds, less the interaction, which estimates Var(b) / m. This is Cameron, Gelbach & Miller's V_seeds +
V_images − V_interaction (Journal of Business & Economic Statistics, 2011), never less than V_seeds.

V_seeds has n − 1 degrees of freedom: two with three seeds. Satterthwaite's rule gives their sum too many when V_seeds
happens to be small, and covers 92 % instead of 95 %. Here the half width of the interval is that of Banerjee (Sankhyā,
1960), √(t²_{n−1} V_seeds + t²_{m−1} V_images), which covers at least 95 % of means of normal numbers whatever the two
variances are; the degrees of freedom are those of the t that gives this width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtridf, stdtrit

from poisonbench.leaderboard.statistics.summaries import LEVEL, ROUNDING, Summary, summary

Table = NDArray[np.floating]
"""Points that each image adds to a value in each seed, (seeds, images): the value is their mean. One column for a value
that is no mean over test images: then seeds alone are random."""

_IMAGE = 100.0
"""Points that an image adds which is right in one table and wrong in the other."""


class Variances(NamedTuple):
    """Estimates of one table, or of many.

    Attributes:
        mean: over seeds and images.
        of_seeds: V_seeds.
        of_images: V_images, and that of one image more: that a few hundred agree does not say that all do.
    """

    mean: NDArray[np.float64]
    of_seeds: NDArray[np.float64]
    of_images: NDArray[np.float64]


@dataclass(frozen=True)
class TwoWay:
    """A mean with its error.

    Attributes:
        mean: points.
        standard_error: √(V_seeds + V_images).
        df: degrees of freedom of t = mean / standard_error.
    """

    mean: float
    standard_error: float
    df: float

    @property
    def t(self) -> float:
        """Mean by standard error; 0 if both are 0."""
        return self.mean / self.standard_error if self.standard_error else 0.0

    @property
    def p(self) -> float:
        """Two-sided, of a mean of 0."""
        return float(2.0 * stdtr(self.df, -abs(self.t)))

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        half = float(stdtrit(self.df, 1 - LEVEL / 2)) * self.standard_error
        return self.mean - half, self.mean + half


def two_way(table: Table) -> TwoWay | None:
    """The mean of a table (seeds, images) with its error.

    None where nothing can be said: of one seed, or of a value without images that is the same in each seed, and not 0.
    """
    n, m = table.shape
    if n < 2:
        return None
    mean, of_seeds, of_images = variances(table)
    if of_seeds + of_images == 0 and abs(mean) > ROUNDING:
        return None
    df = degrees(of_seeds, n - 1, of_images, m - 1)
    return TwoWay(float(mean), float(np.sqrt(of_seeds + of_images)), float(df))


def measured(values: Sequence[float], table: Table | None) -> Summary:
    """Values over seeds summed up, with the error and interval of their table; no interval without one, or without any
    error, which a few equal values do not show."""
    found = None if table is None else two_way(table)
    error = found.standard_error if found else None
    return replace(summary(values), standard_error=error, interval=found.interval if found and error else None)


def variances(tables: Table) -> Variances:
    """Mean and variances of one table, or of each of many, (…, seeds, images)."""
    n, m = tables.shape[-2:]
    rows, columns = tables.mean(axis=-1, dtype=np.float64), tables.mean(axis=-2, dtype=np.float64)
    mean = rows.mean(axis=-1)
    of_seeds = np.where(np.ptp(rows, axis=-1) <= ROUNDING, 0.0, rows.var(axis=-1, ddof=1) / n)
    if m == 1:
        return Variances(mean, of_seeds, np.zeros_like(of_seeds))
    total = np.einsum("...sm,...sm->...", tables, tables, dtype=np.float64) - n * m * mean**2
    between_images = n * m * columns.var(axis=-1)
    interaction = (total - between_images - n * (n - 1) * m * of_seeds) / ((n - 1) * (m - 1))
    of_images = (between_images / (m - 1) - interaction) / (n * m)
    return Variances(mean, of_seeds, np.maximum(of_images, 0.0) + (_IMAGE / m) ** 2)


def degrees(
    of_seeds: NDArray[np.float64], seeds_df: float, of_images: NDArray[np.float64], images_df: float
) -> NDArray[np.float64]:
    """Degrees of freedom of a mean with the variance of_seeds + of_images: those of the t with
    t² = (t²_seeds V_seeds + t²_images V_images) / (V_seeds + V_images), each at 97.5 %."""
    upper = 1 - LEVEL / 2
    total = of_seeds + of_images
    share = np.divide(of_seeds, total, out=np.ones_like(total), where=total > 0)
    seeds_t, images_t = stdtrit(seeds_df, upper), stdtrit(max(images_df, 1), upper)
    found = stdtridf(upper, np.sqrt(share * seeds_t**2 + (1 - share) * images_t**2))
    bounds = min(seeds_df, max(images_df, 1)), max(seeds_df, images_df)
    return np.asarray(np.clip(found, *bounds), dtype=np.float64)  # stdtridf's last digits
