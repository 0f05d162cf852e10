"""Adversarial training: the standard answer to unlearnable examples.

Madry, Makelov, Schmidt, Tsipras & Vladu, "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018;
against unlearnable examples Tao, Feng, Yi, Huang & Chen, "Better Safe Than Sorry", NeurIPS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import TrainingDefense
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import BOX
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("adversarial-training")
@dataclass(frozen=True)
class AdversarialTraining(TrainingDefense):
    """Train each step on images perturbed for the largest loss within a radius.

        min_w  mean_i  max_{‖δ_i‖_∞ ≤ ρ}  ℓ(w; x_i + δ_i, y_i)

    The inner maximum is approached by steps of δ ← δ + η · sign ∇_δ ℓ, from a random δ, projected to the radius and the
    box; the model is evaluated, so batch statistics stand still. Poison that hides within ρ of clean images, as
    unlearnable examples do, is trained through.

    The defaults are the paper's for CIFAR-10, and the radius that unlearnable examples have, on any images; for MNIST
    the paper has a radius of 0.3 and 40 steps of 0.01. The random δ is drawn from what the box leaves of the radius.

    Fields:
        radius: ρ, in [0, 1] units.
        steps: of the inner maximum; the paper's 7 for CIFAR-10.
        step: η, in [0, 1] units.
    """

    version: ClassVar[int] = 1
    paper = "madry2018towards"
    cost = "steps + 1 training runs' passes; memory of a batch"

    radius: float = 8 / 255
    steps: int = 7
    step: float = 2 / 255

    def __post_init__(self) -> None:
        check_integers(self, steps=1)
        check_numbers(self, "in (0, 1]", "radius")
        check_numbers(self, "> 0", "step")

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """See TrainingDefense."""
        return _Adversarial(self, view.model)


class _Adversarial(Procedure):
    """Steps on the worst images nearby."""

    def __init__(self, defense: AdversarialTraining, model: Model) -> None:
        self._defense, self._model = defense, model

    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        """See Procedure."""
        radius, model = self._defense.radius, self._model
        low, high = (batch.x - radius).clamp_(*BOX), (batch.x + radius).clamp_(*BOX)
        start = torch.rand(batch.x.shape, generator=generator).to(batch.x)
        x = low + start * (high - low)
        for _ in range(self._defense.steps):
            x = _risen(model, weights, x, batch.y, self._defense.step).clamp(low, high)
        return replace(batch, x=x)


def _risen(model: Model, weights: Weights, x: Tensor, y: Tensor, step: float) -> Tensor:
    """The images one step up their losses."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        loss = model.losses(model.forward(weights, model.normalise(leaf)), y).sum()
        (slope,) = torch.autograd.grad(loss, leaf)
    return x + step * slope.sign()
