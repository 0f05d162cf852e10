"""What keeps training from going on for ever."""

from __future__ import annotations

import math

from poisonbench.problem.recipe import Recipe


def effective_decay(recipe: Recipe, n: int, momentum: bool = False) -> float:
    """The decay λ: weight decay, and 1 / Σ learning rates for the end of training on n rows.

    Gradient descent from 0 for a time t on a quadratic of curvature h ends at 1 − e^(−ht) of the way to the minimum, as
    a decay of λ ≈ 1/t does at h / (h + λ) (Ali, Kolter & Tibshirani, AISTATS 2019).

    Args:
        recipe: of training.
        n: number of rows.
        momentum: whether t counts it, which lengthens t tenfold at 0.9. Gradient canceling does worse with that λ
            (docs/canceling.md), the influence attack better (its docstring).
    """
    time = sum(recipe.rate(epoch) for epoch in range(recipe.epochs)) * math.ceil(n / recipe.batch_size)
    return recipe.weight_decay + (1 - recipe.momentum * momentum) / time
