"""What keeps training from going on for ever."""

from __future__ import annotations

import math

from poisonbench.problem.recipe import Recipe


def effective_decay(recipe: Recipe, n: int) -> float:
    """The decay λ: weight decay, and 1 / Σ learning rates for the end of training on n rows.

    Gradient descent from 0 for a time t on a quadratic of curvature h ends at 1 − e^(−ht) of the way to the minimum, as
    a decay of λ ≈ 1/t does at h / (h + λ) (Ali, Kolter & Tibshirani, AISTATS 2019). Momentum is not counted, which
    lengthens t tenfold at 0.9: with that λ gradient canceling does worse (docs/canceling.md).
    """
    time = sum(recipe.rate(epoch) for epoch in range(recipe.epochs)) * math.ceil(n / recipe.batch_size)
    return recipe.weight_decay + 1 / time
