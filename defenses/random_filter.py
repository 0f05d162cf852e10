"""Rows at random: the control that every filter must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import DefenderView
from poisonbench.stages.stage import Stage


@register("random-filter")
@dataclass(frozen=True)
class RandomFilter(FilterDefense):
    """Drop rows at random, 3 % of them unless `fraction` says otherwise: a control that looks at nothing.

    Its precision is the poison's part of the rows, its recall the fraction. A filter that leaves no less than this one
    has found nothing.
    """

    version: ClassVar[int] = 1
    paper = None
    cost = "one draw a row"

    @property
    def uses_model(self) -> bool:
        """See FilterDefense."""
        return False

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        """See FilterDefense; uniform in [0, 1)."""
        return Scores(torch.rand(len(view.train), generator=stage.generator).to(stage.device))
