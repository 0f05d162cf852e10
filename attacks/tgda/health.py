"""Whether a leader can still learn: a bilevel attack that has saturated makes one image of all points, for ever."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.attacks.tgda.leader import Leader
from poisonbench.problem.samples import Weights

COLLAPSED = 0.01
"""The share of either figure's value before the first step below which nothing is left of it."""


@dataclass(frozen=True)
class Health:
    """How much a leader's images can still change.

    Attributes:
        diversity: the standard deviation of a pixel between points, mean over pixels; 0 for one point.
        freedom: the slope 1 − t² of the output's tanh, mean over pixels: near 0, no gradient comes through.
    """

    diversity: float
    freedom: float

    @classmethod
    @torch.no_grad()
    def of(cls, leader: Leader, theta: Weights, inputs: Tensor) -> Health:
        """What the leader makes of those inputs, before any radius."""
        x = leader.images(theta, inputs).flatten(1)  # (1 + t) / 2, so 1 − t² is 4 x (1 − x)
        return cls(float(x.std(0, correction=0).mean()), float((4 * x * (1 - x)).mean()))

    def collapsed_from(self, before: Health) -> bool:
        """Whether less than a hundredth of either figure is left."""
        return self.diversity < COLLAPSED * before.diversity or self.freedom < COLLAPSED * before.freedom
