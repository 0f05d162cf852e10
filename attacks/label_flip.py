"""Copies of training points with flipped labels: at random, by a rule, or to the worst class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.flips import flipped_at_random, flipped_by_rule, flipped_to_worst
from poisonbench.errors import BudgetError, ConfigError
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
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
        class_weights: p_j, one weight a class for `random`; a row's own class is left out. Empty means equal.
    """

    version: ClassVar[int] = 1
    paper = "biggio2011support"
    cost = "one pass over the model for `worst`, none otherwise"

    flip: Literal["rule", "random", "worst"] = "rule"
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(weight >= 0 and math.isfinite(weight) for weight in self.class_weights):
            raise ConfigError("attack.class_weights: expected finite weights ≥ 0.")
        if self.class_weights and self.flip != "random":
            raise ConfigError("attack.class_weights belongs to attack.flip=random.")
        if self.class_weights and sum(weight > 0 for weight in self.class_weights) < 2:
            raise ConfigError("attack.class_weights: at least two classes need a weight > 0.")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: the worst class needs the model, the others need the data alone."""
        return ThreatModel(Knowledge.TRAINING_ONLY if self.flip == "worst" else Knowledge.TRAINING_DATA_ONLY)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        y = view.train.y.cpu()
        moved = flipped_by_rule(y, view.classes) != y if self.flip == "rule" else torch.ones_like(y)
        eligible = torch.nonzero(moved).flatten()
        if len(eligible) < budget.n_poison:
            raise BudgetError(f"label-flip: only {len(eligible)} rows can be flipped, {budget.n_poison} are wanted.")
        chosen = eligible[torch.randperm(len(eligible), generator=stage.generator)[: budget.n_poison]]
        rows = view.train.rows(chosen.to(stage.device))
        return PoisonSet(rows.x.clone(), self._labels(rows.x, rows.y, view, stage), chosen.to(stage.device))

    def _labels(self, x: Tensor, y: Tensor, view: AttackerView, stage: Stage) -> Tensor:
        if self.flip == "rule":
            return flipped_by_rule(y, view.classes)
        if self.flip == "worst":
            return flipped_to_worst(view.model, view.weights, x, y)
        weights = torch.tensor(self.class_weights or [1.0] * view.classes)
        if len(weights) != view.classes:
            raise ConfigError(f"attack.class_weights: expected {view.classes} weights, got {len(weights)}.")
        return flipped_at_random(y, weights, stage.generator)
