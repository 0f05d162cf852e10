"""The follower F of the TGDA attack: the model that trains on the poison, n steps to each of the leader's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from poisonbench.attacks.tgda.batches import Batch
from poisonbench.bilevel.clipping import shortened
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights
from poisonbench.training import descend


@dataclass(frozen=True)
class Follower:
    """The model F_w, which descends the mean training loss f of the batch.

    Attributes:
        model: F.
        beta: step size β.
        clip: norm to which the direction of a step is clipped, or None.
        n: steps an outer step.
        start: warm goes on from w; cold steps from w_pre with the gradient at w; reset goes back to w_pre first.
        newton: (w, batch, direction) ↦ (∇²_ww f + λI)⁻¹ · direction if the direction is Newton's, else None.
    """

    model: Model
    beta: float
    clip: float | None
    n: int
    start: Literal["warm", "cold", "reset"]
    newton: Callable[[Weights, Batch, Tensor], Tensor] | None

    def respond(self, w: Weights, batch: Batch, clean: Weights) -> None:
        """Take the n steps of one outer step, in place.

        Args:
            w: the follower's weights; its parameters are leaves.
            batch: with the leader's images in it.
            clean: w_pre.
        Cost: n gradients of the batch; with Newton's direction n solves as well.
        """
        if self.start == "reset":
            with torch.no_grad():
                for name, value in w.items():
                    value.copy_(clean[name])
        if self.newton is None and self.start != "cold":
            self.model.descend(w, batch.z, batch.y, self.beta, self.n, self.clip)
            return
        for _ in range(self.n):
            self.step(w, batch, clean)

    def step(self, w: Weights, batch: Batch, clean: Weights) -> None:
        """Take w ← w − β d, or w ← w_pre − β d from a cold start, in place: d is ∇_w f(w), or Newton's direction
        there."""
        parameters = list(self.model.parameters(w).values())
        _, direction = self.model.gradient(w, batch.z, batch.y)
        if self.newton is not None:
            direction = unflatten(self.newton(w, batch, flatten(direction)), parameters)
        size = shortened(self.beta, direction, self.clip)
        if self.start == "cold":
            with torch.no_grad():
                for part, first in zip(parameters, self.model.parameters(clean).values(), strict=True):
                    part.copy_(first)
        descend(parameters, direction, size)
