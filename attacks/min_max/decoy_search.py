"""The maximum of ℓ_θ(x, y) over the points near each source that a decoy finds easy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.min_max.feasible_set import Limits, ranges
from poisonbench.attacks.min_max.inner_maximum import ascend, convex_maximum
from poisonbench.attacks.min_max.low_loss import LowLoss
from poisonbench.attacks.min_max.low_loss_set import LowLossSet
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Weights

ROOM = 0.02
"""How far from either end of its range every pixel of a starting point stays, as a part of the range."""


@dataclass(frozen=True)
class DecoySearch:
    """One search for each of s sources and C labels; rows are laid out source by source.

    Attributes:
        decoy: θ* and τ.
        y: labels, (s · C,).
        low: lowest pixels allowed, (s · C, …).
        high: highest pixels allowed, (s · C, …).
        start: where the search starts, (s · C, …).
        inside: whether the start keeps the constraint with something to spare, (s, C); no search is made where not.
        steps: gradient steps of a network's ascent.
        rate: their first size, as a part of each pixel's range.
        penalty: weight of (ℓ_{θ*} − τ)₊ in that ascent.
    """

    decoy: LowLoss
    y: Tensor
    low: Tensor
    high: Tensor
    start: Tensor
    inside: Tensor
    steps: int
    rate: float
    penalty: float

    @classmethod
    def about(
        cls, decoy: LowLoss, x: Tensor, budget: Budget, limits: Limits, steps: int, rate: float, penalty: float
    ) -> DecoySearch:
        """Prepare a search: starting points, by descent on ℓ_{θ*} from the sources x, (s, …)."""
        classes = decoy.model.classes
        y = torch.arange(classes, device=x.device).repeat(len(x))
        x = x.repeat_interleave(classes, 0)
        low, high = ranges(budget, x, limits)
        room = ROOM * (high - low)
        start, inside = decoy.start(x, y, low + room, high - room, steps, rate)
        return cls(decoy, y, low, high, start, inside.view(-1, classes), steps, rate, penalty)

    def best(self, theta: Weights) -> tuple[Tensor, Tensor]:
        """For every source, the point and the label that θ likes least, (s, …) and (s,). Where no label has a start
        inside, both mean nothing."""
        x = self._convex(theta) if self.decoy.model.linear else self._ascent(theta)
        x = self.decoy.pull_back(x, self.y, self.start)
        with torch.no_grad():
            loss = self._losses(theta, x).view_as(self.inside).masked_fill(~self.inside, -math.inf)
        y = loss.argmax(1)
        return x.unflatten(0, self.inside.shape)[torch.arange(len(y), device=x.device), y], y

    def _convex(self, theta: Weights) -> Tensor:
        sources, classes = self.inside.shape
        low, high = (part[::classes].flatten(1)[:, None, None] for part in (self.low, self.high))
        F = LowLossSet(self.decoy, low, high, self.start.view(sources, classes, 1, -1))
        x, _ = convex_maximum(self.decoy.model, theta, F.maximum, sources, starts=1)
        return x.view_as(self.start)

    def _ascent(self, theta: Weights) -> Tensor:
        def penalised(x: Tensor) -> Tensor:
            excess = (self.decoy.losses(x, self.y) - self.decoy.tau).clamp(min=0)
            return self._losses(theta, x) - self.penalty * excess

        return ascend(penalised, self.start, self.low, self.high, self.steps, self.rate)

    def _losses(self, theta: Weights, x: Tensor) -> Tensor:
        model = self.decoy.model
        return model.losses(model.forward(theta, model.normalise(x)), self.y)
