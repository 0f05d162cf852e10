"""The box and the low-loss set of a linear decoy, with the maxima of linear functions there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from poisonbench.attacks.interior_point import Constraints, cross_entropy_at_most, hinge_at_most, linear_maximum
from poisonbench.attacks.linear_scores import affine, differences
from poisonbench.attacks.min_max.low_loss import LowLoss
from poisonbench.models.base import Model
from poisonbench.models.linear_losses import has_hinge


def constraints_of(model: Model, tau: float) -> Constraints:
    """The constraints that say ℓ_{θ*} ≤ τ, in terms of the rivals' margins.

    Raises:
        ConfigError: for a linear model with a third loss.
    """
    return hinge_at_most(tau) if has_hinge(model, "i-min-max") else cross_entropy_at_most(tau)


@dataclass(frozen=True)
class LowLossSet:
    """The set {x : low ≤ x ≤ high, ℓ_{θ*}(x, y) ≤ τ} for s sources and C labels.

    Attributes:
        decoy: θ* and τ.
        low: (s, 1, 1, d).
        high: (s, 1, 1, d); a pixel whose range is a point stays there.
        start: a point strictly inside for each source and label, (s, C, 1, d); strictly inside the box where the set is
            empty, and then the answer means nothing.
    """

    decoy: LowLoss
    low: Tensor
    high: Tensor
    start: Tensor

    def maximum(self, c: Tensor) -> Tensor:
        """The points argmax c·x for directions c, (s, C, k, d)."""
        W, b = affine(self.decoy.model, self.decoy.weights)
        A, a = differences(W.double()), differences(b.double())[:, None]
        constraints = constraints_of(self.decoy.model, self.decoy.tau)
        return linear_maximum(c, A, a, self.low, self.high, self.start, constraints)
