"""Gradient canceling: poison that makes chosen, harmful weights a stationary point of training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.checks import check_integers, check_numbers
from poisonbench.attacks.evaluation import accuracy, retrained_accuracy
from poisonbench.attacks.gradient_canceling.cancellation import cancel, matching_rows
from poisonbench.attacks.gradient_canceling.corruption import corrupted_in_l2_ball, corrupted_within_reach
from poisonbench.attacks.gradient_canceling.reachability import threshold
from poisonbench.attacks.poison_gradient import mean_gradient
from poisonbench.bilevel.hvp import flatten
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

STRENGTHS = {"reach": (0.025, 0.05, 0.1, 0.2, 0.4, 0.8), "l2": (0.05, 0.1, 0.3, 1.0, 3.0)}


@register("gradient-canceling")
@dataclass(frozen=True)
class GradientCanceling(Attack):
    """Poison points whose gradients cancel the clean ones at harmful target weights.

    With w the target:

        min over D_p of ½ ‖∇L(D_tr; w) + ε ∇L(D_p; w) + λ(w − w_clean)‖²

    The target comes from GradPC, gradient ascent on the weights within a bound. Bounds are tried from weak to strong,
    each start where the last one ended; for each the points are made and the model is retrained on them with the
    recipe, and those are kept that leave the lowest accuracy on D_v.

    Departures. (1) λ stands for what keeps training from going on for ever: the recipe's weight decay, and the end of
    training, which acts like a decay of 1 / Σ learning rates. Without it (`decay=0`, the original) targets are
    found that are stationary and never arrived at. (2) `bound=reach` measures the distance of the target by the
    gradient that is to be canceled; `bound=l2` is GradPC's Euclidean ball, as in the original. (3) `labels=matching`
    picks rows of D_tr and labels by matching pursuit; `labels=source` starts from the first εN rows and keeps their
    labels, a clean-label attack. (4) Adam in place of gradient descent, so that no step size depends on the model.

    Fields:
        bound: reach or l2.
        strengths: the bounds from weak to strong, 1/κ for reach and the radius r for l2; empty takes 0.025 to 0.8 by
            doubling, or 0.05 to 3.
        target_steps: steps of the target's ascent for each bound, of L-BFGS for reach.
        target_rows: rows of D_tr, and of D_v, that the ascent for reach looks at; 0 takes all.
        decay: λ; null takes the recipe's weight decay plus 1 / Σ learning rates.
        labels: matching or source.
        steps: steps of the cancelation for each bound.
        rate: its first step size, in pixels.
    """

    version: ClassVar[int] = 1
    paper = "lu2023exploring"
    cost = (
        "for each bound: target_steps · (3 gradients + 1 Hessian-vector product) of target_rows rows, "
        "steps · 4 gradients of D_p, one training"
    )

    bound: Literal["reach", "l2"] = "reach"
    strengths: tuple[float, ...] = ()
    target_steps: int = 200
    target_rows: int = 10000
    decay: float | None = None
    labels: Literal["matching", "source"] = "matching"
    steps: int = 200
    rate: float = 0.05

    def __post_init__(self) -> None:
        if any(not (math.isfinite(value) and value > 0) for value in self.strengths):
            raise ConfigError("attack.strengths: expected numbers > 0.")
        if list(self.strengths) != sorted(self.strengths):
            raise ConfigError("attack.strengths: expected them from weak to strong, in ascending order.")
        check_integers(self, target_steps=1, target_rows=0, steps=1)
        check_numbers(self, "> 0", "rate")
        check_numbers(self, "≥ 0", "decay")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: clean-label unless matching chooses the labels."""
        return ThreatModel(clean_label=self.labels == "source")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        decay = decay_of(view.recipe, len(view.train)) if self.decay is None else self.decay
        strengths = self.strengths or STRENGTHS[self.bound]
        target, made, accuracies = view.weights, [], []
        for index, strength in enumerate(strengths):
            count = f"{index + 1} of {len(strengths)}"
            target = self._target(view, target, strength, decay, stage, f"corrupt {count}")
            poison = self._cancel(view, target, decay, budget, stage, f"cancel {count}")
            accuracies.append(retrained_accuracy(view, poison, stage, f"retrain {count}"))
            made.append(
                replace(poison, stats={**poison.stats, "strength": strength, "validation_accuracy": accuracies[-1]})
            )
        return made[accuracies.index(min(accuracies))]

    def _target(
        self, view: AttackerView, start: Weights, strength: float, decay: float, stage: Stage, task: str
    ) -> Weights:
        if self.bound == "l2":
            return corrupted_in_l2_ball(view, strength, self.target_steps, stage, task)
        return corrupted_within_reach(
            view, start, 1 / strength, decay, self.target_steps, self.target_rows, stage, task
        )

    def _cancel(
        self, view: AttackerView, target: Weights, decay: float, budget: Budget, stage: Stage, task: str
    ) -> PoisonSet:
        model = view.model
        w = {name: value.clone().requires_grad_(name not in model.buffers) for name, value in target.items()}
        clean = mean_gradient(model, w, view.train.x, view.train.y)
        w_flat, w0_flat = (flatten([part.detach() for part in model.parameters(v).values()]) for v in (w, view.weights))
        gradient = clean + decay * (w_flat - w0_flat)

        start, source = self._start(model, w, gradient, view.train, budget)
        x, residual = cancel(model, w, gradient, start, budget, self.steps, self.rate, stage, task)
        stats = {"residual": residual, "target_validation_accuracy": accuracy(model, target, view.validation)}
        if model.linear:
            stats["threshold"] = threshold(float(torch.dot(w_flat, clean)), model.classes)
        return PoisonSet(x, start.y, source, stats)

    def _start(
        self, model: Model, w: Weights, gradient: Tensor, train: Samples, budget: Budget
    ) -> tuple[Samples, Tensor]:
        """The points before the first step, with their labels, and the rows of D_tr that they are made from, (n,)."""
        if self.labels == "source":
            rows = torch.arange(budget.n_poison, device=train.y.device)
            return train.rows(rows), rows
        rows, y = matching_rows(model, w, gradient, train, budget.n_poison, budget.epsilon)
        return Samples(train.x[rows], y, train.ids[rows]), rows


def decay_of(recipe: Recipe, n: int) -> float:
    """The decay λ: weight decay, and 1 / Σ learning rates for the end of training.

    Gradient descent from 0 for a time t on a quadratic of curvature h ends at 1 − e^(−ht) of the way to the minimum, as
    a decay of λ ≈ 1/t does at h / (h + λ) (Ali, Kolter & Tibshirani, AISTATS 2019).
    """
    time = sum(recipe.rate(epoch) for epoch in range(recipe.epochs)) * math.ceil(n / recipe.batch_size)
    return recipe.weight_decay + 1 / time
