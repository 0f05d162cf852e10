"""The points whose loss under a decoy θ* is low: ℓ_{θ*}(x, y) ≤ τ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.min_max.inner_maximum import ascend
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights

START = 0.9
"""Part of τ that a starting point may use up, so that it is strictly inside."""

BISECTIONS = 20


@dataclass(frozen=True)
class LowLoss:
    """The constraint ℓ_{θ*}(x, y) ≤ τ.

    Attributes:
        model: the architecture.
        weights: θ*.
        tau: the largest loss τ that θ* may have at a poison point.
    """

    model: Model
    weights: Weights
    tau: float

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The decoy's losses ℓ_{θ*}(x, y), (n,)."""
        return self.model.losses(self.model.forward(self.weights, self.model.normalise(x)), y)

    def start(self, x: Tensor, y: Tensor, low: Tensor, high: Tensor, steps: int, rate: float) -> tuple[Tensor, Tensor]:
        """Descend on ℓ_{θ*} from x within [low, high]: the points found, and whether each is well inside."""
        start = torch.minimum(torch.maximum(x, low), high)
        found = ascend(lambda x: -self.losses(x, y), start, low, high, steps, rate)
        with torch.no_grad():
            return found, self.losses(found, y) < START * self.tau

    @torch.no_grad()
    def pull_back(self, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        """The points x where they are inside; else the last point inside on the way to it from `start`, which is, by
        bisection."""
        shape = (-1, *[1] * (x.dim() - 1))
        whole = self.losses(x, y) <= self.tau
        inside, outside = torch.zeros_like(whole, dtype=x.dtype), torch.ones_like(whole, dtype=x.dtype)
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            fits = self.losses(torch.lerp(start, x, middle.view(shape)), y) <= self.tau
            inside, outside = torch.where(fits, middle, inside), torch.where(fits, outside, middle)
        return torch.where(whole.view(shape), x, torch.lerp(start, x, inside.view(shape)))
