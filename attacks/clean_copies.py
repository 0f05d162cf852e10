"""Copies of training points, unchanged: the control that every attack must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poisonbench.attacks.base import Attack
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("clean-copies")
@dataclass(frozen=True)
class CleanCopies(Attack):
    """D_p = {(x_i, y_i)} for random rows i of D_tr, without repetition: a control that poisons nothing.

    Its drop is what a different number and order of rows does to a training run. An attack whose drop is no larger has
    shown nothing, and what a defense removes here is clean.
    """

    version: ClassVar[int] = 1
    paper = None
    formulation = "none, a control"
    cost = "nothing but the points themselves"
    threat = ThreatModel(Knowledge.TRAINING_DATA_ONLY, clean_label=True)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        chosen = torch.randperm(len(view.train), generator=stage.generator)[: budget.n_poison].to(stage.device)
        rows = view.train.rows(chosen)
        return PoisonSet(rows.x.clone(), rows.y.clone(), chosen)
