"""Loss defense: drop the rows of largest training loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView
from poisonbench.stages.stage import Stage


@register("loss")
@dataclass(frozen=True)
class LossDefense(FilterDefense):
    """Score = training loss under a model trained on everything; the 3 % largest go, then training starts again.

    That 3 % of all rows go is Lu, Kamath & Yu's setting. Koh, Steinhardt & Liang's code drops 5 % of every class
    (`balanced`), and takes an SVM's loss without the maximum, 1 − margin, which orders rows beyond the margin too; here
    their losses are 0, and of equal ones the earlier rows go.
    """

    version: ClassVar[int] = 1
    paper = "koh2022stronger"
    cost = "two training runs and one pass over the data"

    @torch.no_grad()
    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        """See FilterDefense."""
        return Scores(view.model.losses(view.model.predict(weights, view.train.x), view.train.y))
