"""A model that learns, batch by batch, from images that are made for it as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from poisonbench.bilevel.hvp import flatten
from poisonbench.models.base import Model
from poisonbench.problem.samples import Weights
from poisonbench.stages.stage import Stage
from poisonbench.training import descend


@dataclass(frozen=True)
class Learner:
    """A model under SGD with torch.optim's conventions; weights and momentum are in a loop's state.

    Attributes:
        model: F.
        momentum: of w.
        weight_decay: of w.
        clip: norm to which the gradient of w is clipped, or None.
    """

    model: Model
    momentum: float
    weight_decay: float
    clip: float | None = None

    def begin(self, stage: Stage) -> dict[str, Tensor]:
        """A loop's first state of it: fresh weights, drawn from the stage, at rest."""
        weights = {name: value.to(stage.device) for name, value in self.model.init(stage.generator).items()}
        state = {f"weight/{name}": value for name, value in weights.items()}
        return state | {
            f"velocity/{name}": torch.zeros_like(value) for name, value in self.model.parameters(weights).items()
        }

    def at(self, state: Mapping[str, Tensor]) -> tuple[Weights, list[Tensor]]:
        """The weights, whose parameters are leaves, and the velocities that a loop's state holds; both are changed in
        place."""
        weights = {name.removeprefix("weight/"): value for name, value in state.items() if name.startswith("weight/")}
        w = {name: value.requires_grad_(name not in self.model.buffers) for name, value in weights.items()}
        return w, [state[f"velocity/{name}"] for name in self.model.parameters(w)]

    def step(self, w: Weights, velocity: list[Tensor], x: Tensor, y: Tensor, rate: float) -> Tensor:
        """Take one step on these images, in place. Returns the mean loss before it. Cost: one gradient."""
        loss, gradients = self.model.gradient(w, self.model.normalise(x), y)
        parameters = list(self.model.parameters(w).values())
        with torch.no_grad():
            if self.clip is not None:
                scale = (self.clip / (flatten(gradients).norm() + 1e-6)).clamp(max=1.0)
                gradients = [slope * scale for slope in gradients]
            for part, slope, speed in zip(parameters, gradients, velocity, strict=True):
                speed.mul_(self.momentum).add_(slope).add_(part, alpha=self.weight_decay)
        descend(parameters, velocity, rate)
        return loss
