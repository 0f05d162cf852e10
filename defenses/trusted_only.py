"""Trusted rows alone: the control that every defense with trusted rows must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poisonbench.defenses.base import Defense
from poisonbench.plugins.registry import register
from poisonbench.problem.views import Defended, DefenderView, Train
from poisonbench.stages.stage import Stage


@register("trusted-only")
@dataclass(frozen=True)
class TrustedOnly(Defense):
    """Train on the trusted rows and throw the training set away: a control that no attack on D_tr can touch.

    Every row counts as removed: recall is 1 and precision the part that is poison. The clean cost is the price of
    so few rows. A class that the trusted rows lack is not learned. Where the protocol gives the defender no rows of
    its own, they are D_v, which an attacker may know but not change.
    """

    version: ClassVar[int] = 1
    paper = None
    cost = "one training run on the trusted rows"
    trusted_data = True

    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        nothing = torch.zeros(len(view.train), dtype=torch.bool, device=view.train.y.device)
        return Defended(train(view.trusted), nothing)
