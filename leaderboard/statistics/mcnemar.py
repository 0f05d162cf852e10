"""McNemar's test of two trained models on the same images: both are fixed, so it says nothing about another run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # the binomial distribution; scipy.stats takes 0.8 s to import


@dataclass(frozen=True)
class McNemar:
    """The images that one model got right and the other wrong, and the exact p that both are equally likely."""

    only_a: int
    only_b: int
    p: float


def mcnemar(a: NDArray[np.integer], b: NDArray[np.integer]) -> McNemar:
    """McNemar's exact test of two models on the same images; a and b: whether each image was right, 0 or 1, (n,).

    Null: of an image on which just one model is right, each is equally likely to be the one. The images are
    independent; both models are fixed.

    Raises:
        ValueError: if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"expected the same images, got {a.shape} and {b.shape}")
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return McNemar(only_a, only_b, min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))))
