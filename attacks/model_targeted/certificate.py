"""How many points any attack needs to make given parameters the outcome of training."""

from __future__ import annotations

import math


def points_needed(excess: float, gain: float) -> float:
    """A lower bound on the number of points that any attack needs for θ* to be the minimiser of the regularised risk.

    If it is, no θ has a lower one: N(θ*) − N(θ) ≤ Σ_p [ℓ(θ; p) − ℓ(θ*; p)] + |D_p| λ/2 (‖θ‖² − ‖θ*‖²) for every θ, with
    N the sum of the losses of D_tr + |D_tr| λ/2 ‖·‖²; so |D_p| ≥ excess / gain. Infinite where no number will do.

    Args:
        excess: N(θ*) − N(θ).
        gain: an upper bound on ℓ(θ; x, y) − ℓ(θ*; x, y) over all feasible points, + λ/2 (‖θ‖² − ‖θ*‖²).
    Source: the lower bound of Suya et al. Their code takes the largest difference that its search found, which is no
        upper bound unless it is the global one.
    """
    if excess <= 0:
        return 0.0
    return excess / gain if gain > 0 else math.inf
