"""The follower F of the TGDA attack: the model that trains on the poison, n steps to each of the leader's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from poisonbench.attacks.tgda.batches import Batch
from poisonbench.bilevel.hvp import flatten, unflatten
from poisonbench.bilevel.solvers import Solve
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights
from poisonbench.training import descend


@dataclass(frozen=True)
class Follower:
    """The model F_w, which descends the mean training loss f of the batch.

    Attributes:
        model: F.
        beta: step size β.
        n: steps an outer step.
        start: warm goes on from w; cold steps from w_pre with the gradient at w; reset goes back to w_pre first.
        newton: (∇²_ww f + λI)⁻¹ if the direction is Newton's, else None.
    """

    model: Model
    beta: float
    n: int
    start: Literal["warm", "cold", "reset"]
    newton: Solve | None

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
            self.model.descend(w, batch.z, batch.y, self.beta, self.n)
            return
        for _ in range(self.n):
            self.step(w, batch, clean)

    def step(self, w: Weights, batch: Batch, clean: Weights) -> None:
        """Take w ← w − β d, or w ← w_pre − β d from a cold start, in place: d is ∇_w f(w), or Newton's direction
        there."""
        parameters = list(self.model.parameters(w).values())
        _, direction = self.model.gradient(w, batch.z, batch.y)
        if self.newton is not None:
            H = self.model.hessian(w, batch.z, batch.y)
            direction = unflatten(self.newton(H, flatten(direction)).x, parameters)
        if self.start == "cold":
            with torch.no_grad():
                for part, first in zip(parameters, self.model.parameters(clean).values(), strict=True):
                    part.copy_(first)
        descend(parameters, direction, self.beta)
