"""Copies of training points with flipped labels: at random, by a rule, to the worst class, of the rows that do most."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.adversarial_flips import flip_order
from poisonbench.attacks.base import Attack
from poisonbench.attacks.evaluation import retrained_accuracy
from poisonbench.attacks.flips import flipped_at_random, flipped_by_rule, flipped_to_worst
from poisonbench.errors import BudgetError, ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("label-flip")
@dataclass(frozen=True)
class LabelFlip(Attack):
    """D_p = {(x_i, ȳ_i)} for random rows i of D_tr, without repetition (equations 36–37 of the paper).

    Fields:
        flip: `rule` sets ȳ = C − 1 − y, which, unlike the paper's 10 − y, maps 0..C−1 to itself and, for even C, moves
            every label; rows whose label it would keep are not drawn. `random` draws a wrong label, with equal chances
            or by `class_weights`. `worst` takes the class that the clean model scores highest after y, for linear
            models (equation 38), and the class of largest loss for networks, as the paper suggests; it needs the model.
            `adversarial` flips to that class too, and chooses the rows (Biggio, Nelson & Laskov): those that are no
            support vectors, which flipping makes support vectors, are far from the boundary, and pull one way.
        class_weights: p_j, one weight a class for `random`; a row's own class is left out. Empty means equal.
        repetitions: of `adversarial` on linear models: as many random ways to pull are tried, each by a training on
            D_tr ∪ D_p with the recipe, and the one is kept that leaves the lowest accuracy on D_v.
        beta: of `adversarial`: rows are flipped by rising α_i / C − β (q_i + s_i), with α_i the dual variable, q_i the
            distance from the boundary and s_i the margin under a random model, each at most 1.

    Departures of `adversarial`: it adds copies, where the original flips labels in place; several classes; other losses
    than the hinge, whose α_i / C is −∂ℓ_i/∂s_y; on a network, whose kernel is unknown, no random ways to pull; D_v
    decides, where the original takes D_tr.
    """

    version: ClassVar[int] = 1
    paper = "biggio2011support"
    formulation = "labels alone"
    cost = "one pass over the model for `worst`; `repetitions` trainings for `adversarial` on a linear model"
    later_fields: ClassVar[frozenset[str]] = frozenset({"repetitions", "beta"})

    flip: Literal["rule", "random", "worst", "adversarial"] = "rule"
    class_weights: tuple[float, ...] = ()
    repetitions: int = 10
    beta: float = 0.1

    def __post_init__(self) -> None:
        check_integers(self, repetitions=1)
        check_numbers(self, "≥ 0", "beta")
        if not all(weight >= 0 and math.isfinite(weight) for weight in self.class_weights):
            raise ConfigError("attack.class_weights: expected finite weights ≥ 0.")
        if self.class_weights and self.flip != "random":
            raise ConfigError("attack.class_weights belongs to attack.flip=random.")
        if self.class_weights and sum(weight > 0 for weight in self.class_weights) < 2:
            raise ConfigError("attack.class_weights: at least two classes need a weight > 0.")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: the worst class and the rows that do most need the model, the others the data alone."""
        informed = self.flip in ("worst", "adversarial")
        return ThreatModel(Knowledge.TRAINING_ONLY if informed else Knowledge.TRAINING_DATA_ONLY)

    def ready_for(self, model: Model) -> None:
        """See Attack."""
        self._refuse_other_weights(model.classes)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        if self.flip == "adversarial":
            return self._adversarial(view, budget, stage)
        y = view.train.y.cpu()
        moved = flipped_by_rule(y, view.classes) != y if self.flip == "rule" else torch.ones_like(y)
        eligible = torch.nonzero(moved).flatten()
        if len(eligible) < budget.n_poison:
            raise BudgetError(f"label-flip: only {len(eligible)} rows can be flipped, {budget.n_poison} are wanted.")
        chosen = eligible[torch.randperm(len(eligible), generator=stage.generator)[: budget.n_poison]]
        rows = view.train.rows(chosen.to(stage.device))
        return PoisonSet(rows.x.clone(), self._labels(rows.x, rows.y, view, stage), chosen.to(stage.device))

    def _adversarial(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        flipped = flipped_to_worst(view.model, view.weights, view.train.x, view.train.y)
        repetitions = self.repetitions if view.model.linear else 1
        made, accuracies = [], []
        for index in range(repetitions):
            order = flip_order(view.model, view.weights, view.train, flipped, self.beta, stage.generator)
            chosen = order[: budget.n_poison]
            made.append(PoisonSet(view.train.x[chosen].clone(), flipped[chosen], chosen))
            if repetitions > 1:
                accuracies.append(retrained_accuracy(view, made[-1], stage, f"retrain {index + 1} of {repetitions}"))
        if repetitions == 1:
            return made[0]
        return replace(made[accuracies.index(min(accuracies))], stats={"validation_accuracy": min(accuracies)})

    def _labels(self, x: Tensor, y: Tensor, view: AttackerView, stage: Stage) -> Tensor:
        if self.flip == "rule":
            return flipped_by_rule(y, view.classes)
        if self.flip == "worst":
            return flipped_to_worst(view.model, view.weights, x, y)
        self._refuse_other_weights(view.classes)
        weights = torch.tensor(self.class_weights or [1.0] * view.classes)
        return flipped_at_random(y, weights, stage.generator)

    def _refuse_other_weights(self, classes: int) -> None:
        if self.class_weights and len(self.class_weights) != classes:
            raise ConfigError(f"attack.class_weights: expected {classes} weights, got {len(self.class_weights)}.")
