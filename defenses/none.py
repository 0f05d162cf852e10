"""No defense: train on everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poisonbench.defenses.base import Defense
from poisonbench.plugins.registry import register
from poisonbench.problem.views import Defended, DefenderView, Train
from poisonbench.stages.stage import Stage


@register("none")
@dataclass(frozen=True)
class NoDefense(Defense):
    """The undefended victim, whose acc2 the paper's tables report."""

    version: ClassVar[int] = 1
    paper = "lu2022indiscriminate"
    cost = "one training run"

    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        return Defended(train(view.train), torch.ones(len(view.train), dtype=torch.bool, device=stage.device))
