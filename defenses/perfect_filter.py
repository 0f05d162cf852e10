"""Exactly the poison: the bound that no filter can beat by finding more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poisonbench.defenses.base import Defense
from poisonbench.plugins.registry import register
from poisonbench.problem.views import Defended, DefenderView, Train
from poisonbench.stages.stage import Stage


@register("perfect-filter")
@dataclass(frozen=True)
class PerfectFilter(Defense):
    """Drop the rows that are poison, and no other: an oracle, told by the benchmark which they are, and never ranked.

    What it leaves of an attack that adds points is what chance does to a training run on D_tr in another order. Of one
    that perturbs rows it is the price of training without them; where all of a class are perturbed it cannot be run.
    """

    version: ClassVar[int] = 1
    paper = None
    cost = "one training run"
    oracle = True

    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        kept = (
            torch.ones(len(view.train), dtype=torch.bool, device=stage.device) if view.poison is None else ~view.poison
        )
        return Defended(train(view.train.rows(kept)), kept)
