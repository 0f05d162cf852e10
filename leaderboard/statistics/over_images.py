"""What paired numbers say: tests and their adjustment for a family. Pure functions on numbers.

Two kinds of chance stand between two methods, and each test is about one of them alone:

- `paired_t`: which seed (split, initialisation, order of batches, the methods' own draws). The test set is fixed.
- `over_images`, `mcnemar`: which images happen to be in the test set. The trained models are fixed, so it says nothing
  about another run of the same methods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from poisonbench.leaderboard.statistics.paired import Paired
from poisonbench.leaderboard.statistics.summaries import summary


@dataclass(frozen=True)
class McNemar:
    """The images that one model got right and the other wrong, and the exact p that both are equally likely."""

    only_a: int
    only_b: int
    p: float


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test of two models on the same images; a and b: whether each image was right, (n,).

    Null: of an image on which just one model is right, each is equally likely to be the one. The images are
    independent; both models are fixed.

    Raises:
        ValueError: if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected the same images, got {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    return McNemar(only_a, only_b, float(stats.binomtest(only_a, discordant).pvalue) if discordant else 1.0)


def over_images(differences: NDArray[np.integer]) -> Paired:
    """McNemar's exact test carried over to several seeds: an image's difference is its mean over the seeds.

    The sign-flip test on D_i = Σ_s d_si: p = P(|Σ_i ±D_i| ≥ |Σ_i D_i|) over equally likely signs, computed without
    sampling. With one seed and differences of correctness it is McNemar's test.

    Null: image by image, A and B are exchangeable, so that D_i is as likely as −D_i; hence equal expected accuracy on
    the population that the test images are an independent sample of. (Of equal expected accuracy alone it is a test for
    many images, not an exact one.) Seeds are fixed: their models agree on most images, so they are averaged and not
    counted as further images. What another seed would give is not in p; `paired_t` is for that.

    The interval is Student's, over images; for n in the hundreds that is the normal one.

    Args:
        differences: a − b of correctness, integers, (seeds, images).
    Returns:
        The difference in points, 100 / n_images for an image, and p.
    """
    total = differences.sum(axis=0, dtype=np.int64)
    return Paired(summary(100.0 * total / len(differences)), _sign_flip(total))


def _sign_flip(differences: NDArray[np.int64]) -> float:
    """P(|Σ ±k_i| ≥ |Σ k_i|), exactly. With m_k images at |k|, Σ ±k_i = Σ_k k (2 B_k − m_k) for independent
    B_k ~ Bin(m_k, ½), and the law of Σ_k k B_k is a convolution of binomials whose atoms are k apart."""
    law = np.ones(1)
    for size, count in zip(*np.unique(np.abs(differences[differences != 0]), return_counts=True), strict=True):
        atoms = np.zeros(size * count + 1)
        atoms[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        law = np.convolve(law, atoms)
    sums = 2 * np.arange(law.size) - (law.size - 1)
    return min(1.0, float(law[np.abs(sums) >= abs(differences.sum())].sum()))
